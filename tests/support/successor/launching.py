"""Launches of what numba-cuda-mlir compiled: python -P -m tests.support.successor.launching

Run it with the environment of `tests.support.stand_in_driver` and a kernel cache of its own. `draw_keys` is launched
twice, by numba-cuda-mlir and by `gpu_kernels.launcher`. For each, it prints what the driver got, and the words that
`gpu_kernels.arguments` makes of the arguments.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from arrival_engine.gpu_kernels.arguments import words
from arrival_engine.gpu_kernels.launcher import DriverContext, Launcher, function_of
from arrival_engine.gpu_kernels.layout import DRAW
from arrival_engine.gpu_kernels.machine_code import machine_code
from arrival_engine.gpu_kernels.shape import LaunchShape
from tests.support.stand_in_driver import launches
from tests.support.successor.compiling import kernels
from tests.support.successor.executed import with_five_words

SHAPE = LaunchShape(threads=96, blocks=130)
STREAM = 0


class PretendedArray:
    """A host's array that says that it lies on the device."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array
        self.__cuda_array_interface__ = {**array.__array_interface__, "version": 3, "stream": None}


def on_device(value: Any) -> Any:
    """Arguments whose arrays say that they lie on the device."""
    if isinstance(value, np.ndarray):
        return PretendedArray(value)
    if not isinstance(value, tuple):
        return value
    parts = map(on_device, value)
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)


def launch_by_successor(arguments: tuple[Any, ...]) -> None:
    """As `kernel[...](...)`, which takes nested groups of arrays."""
    kernels().draw_keys[SHAPE.blocks, SHAPE.threads, STREAM, DRAW.shared_bytes(SHAPE)](*arguments)


def launch_by_product(arguments: tuple[Any, ...]) -> None:
    """As the product does, given five words per array."""
    context = DriverContext(0)
    with context.entered(), with_five_words():
        function = function_of(machine_code(DRAW, context.compute_capability, 0))
        Launcher({DRAW.name: function}, STREAM).launch(DRAW, SHAPE, arguments)


def main() -> None:
    """Launch twice."""
    # Before the product imports them.
    kernels()
    values = on_device(DRAW.prototypes())
    with with_five_words():
        wanted = words(values)
    found = {}
    for launch in (launch_by_successor, launch_by_product):
        launch(values)
        got = launches()[-1]
        found[launch.__name__] = {
            "launches": len(launches()),
            "shape": [got.grid[0], got.block[0], got.shared_bytes],
            "words": got.words,
            "wanted": wanted,
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
