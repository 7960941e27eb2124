"""The kernels that numba-cuda-mlir compiled, ready to be executed."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from arrival_engine.gpu_kernels.layout import KERNELS
from tests.support.ptx.arena import Arena
from tests.support.ptx.launch import ExecutableKernel, Grid
from tests.support.successor.local_memory import in_global_memory

__all__ = ["SuccessorKernel", "array_words", "compiled", "executables", "missing", "with_five_words"]

PACKAGES = ("numba-cuda-mlir", "nvidia-nvvm", "nvidia-nvjitlink", "nvidia-cuda-nvrtc")
_ERROR_CODE = ".common .global .align 4 .u32 __numba_cuda_mlir_error_code;"
_STATIC = re.compile(r"\t\.shared (\.align \d+ \.b8 __dynamic_shmem__\d+);")


def missing() -> str:
    """Why numba-cuda-mlir cannot compile here; empty if it can."""
    absent = []
    for package in PACKAGES:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            absent.append(package)
    return f"not installed: {', '.join(absent)}; pip install 'arrival-engine[successor]'" if absent else ""


def compiled(capability: tuple[int, int], parent: Path) -> dict[str, str]:
    """The PTX of each kernel, by its name; made once in `parent`, which several processes may share."""
    version = ".".join(map(str, capability))
    folder = parent / f"successor-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            command = [sys.executable, "-P", "-m", "tests.support.successor.compiling", str(folder), version]
            subprocess.run(command, check=True)
            (folder / "done").touch()
    return {kernel.name: (folder / f"{kernel.name}.ptx").read_text(encoding="ascii") for kernel in KERNELS}


def executable(text: str) -> str:
    """PTX as `tests.support.ptx` knows it, line by line.

    numba-cuda-mlir declares dynamic shared memory as a static variable of no size within the kernel. It is the only
    one, so it begins where memory that is sized at launch begins, and is declared as such here.
    """
    static = _STATIC.findall(text)
    if len(static) > 1:
        raise ValueError(f"one shared variable is expected, not {static}")
    dynamic = f".extern .shared {static[0]}[];" if static else ""
    return _STATIC.sub("", text.rstrip("\0").replace(_ERROR_CODE, dynamic))


def array_words(array: Any) -> tuple[int, ...]:
    """`gpu_kernels.arguments._array_words` for numba-cuda-mlir: an array is a memref of MLIR, five words.

    They are the address allocated and the one aligned, the offset, and in elements the size and the stride.
    """
    facts = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    (address, _), (elements,) = facts["data"], facts["shape"]
    return address, address, 0, elements, 1


def with_five_words() -> AbstractContextManager[Any]:
    """Let the product pass arrays so."""
    return mock.patch("arrival_engine.gpu_kernels.arguments._array_words", array_words)


class SuccessorKernel(ExecutableKernel):
    """A kernel of numba-cuda-mlir."""

    def __init__(self, text: str) -> None:
        text, self._local_bytes = in_global_memory(executable(text))
        super().__init__(text)

    def launch(self, grid: Grid, parameters: NDArray[np.uint64], arena: Arena, order: str = "up") -> None:
        """As of every kernel, with local memory that lives as long as the launch."""
        if nbytes := self._local_bytes * grid.blocks * grid.threads:
            local = arena.allocate(nbytes, np.uint8)
            parameters = np.append(parameters, np.uint64(local.ctypes.data))
        super().launch(grid, parameters, arena, order)


def executables(texts: dict[str, str]) -> dict[str, SuccessorKernel]:
    """The kernels as machine code of this machine, by name."""
    return {name: SuccessorKernel(text) for name, text in texts.items()}
