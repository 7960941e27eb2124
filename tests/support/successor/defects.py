"""What stands in the way of numba-cuda-mlir: python -P -m tests.support.successor.defects prints {defect: is it there}.

Run it with CUDA_VISIBLE_DEVICES empty. Where a defect is gone, `jit` and `executed` need less.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numba_cuda_mlir import cuda, types

from arrival_engine.cpu_fallback.law import counter_word1
from tests.support.successor.asked import answer_for_device

WORDS, NUMBERS = types.uint64[::1], types.int64[::1]
WIDE = np.uint64(1 << 63)


class Defect(NamedTuple):
    """The least function that has the defect, compiled for a capability; `text` is in its PTX or its exception."""

    name: str
    function: Callable[..., None]
    signature: tuple[Any, ...]
    text: str
    capability: tuple[int, int] = (12, 0)


def nothing() -> None:
    pass


def multiply(words: Any) -> None:
    words[0] = words[0] * WIDE


def keep_greatest(words: Any) -> None:
    cuda.atomic.max(words, 0, words[1])


def call_law(words: Any) -> None:
    words[0] = counter_word1(words[0], words[1])


def share(words: Any) -> None:
    shared = cuda.shared.array(0, types.uint64)
    shared[cuda.threadIdx.x] = words[cuda.threadIdx.x]
    cuda.syncthreads()
    words[cuda.threadIdx.x] = shared[cuda.threadIdx.x ^ 1]


def search(starts: Any) -> None:
    low, high = np.int64(0), np.int64(starts.size)
    while high - low > 1:
        middle = (low + high) >> 1
        if starts[middle] <= 7:
            low = middle
        else:
            high = middle
    starts[0] = low


NEEDS_DEVICE = Defect("compiling asks for a device", nothing, (), "CudaSupportError")
DEFECTS = (
    Defect("a global of 2^63 or more does not compile", multiply, (WORDS,), "std::bad_cast"),
    Defect("the atomic maximum of unsigned words is signed", keep_greatest, (WORDS,), ".max.s64"),
    Defect("a dispatcher of numba for the CPU has no type", call_law, (WORDS,), "AssertionError"),
    Defect("dynamic shared memory is a static variable", share, (WORDS,), "\t.shared .align 16 .b8"),
    Defect("a choice between variables goes through local memory", search, (NUMBERS,), ".local", (9, 0)),
)


def present(defect: Defect) -> bool:
    """Whether numba-cuda-mlir has the defect."""
    try:
        found, _ = cuda.compile_ptx(defect.function, defect.signature, cc=defect.capability)
    except Exception as failure:  # noqa: BLE001 - a compiler's own errors are what is looked for
        found = repr(failure)
    return defect.text in found


def _all() -> Iterator[tuple[str, bool]]:
    yield NEEDS_DEVICE.name, present(NEEDS_DEVICE)
    answer_for_device((9, 0))
    for defect in DEFECTS:
        yield defect.name, present(defect)


if __name__ == "__main__":
    json.dump(dict(_all()), sys.stdout)
