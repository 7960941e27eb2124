"""The kernels' PTX by numba-cuda-mlir, in a process that uses no other compiler for them.

python -P -m tests.support.successor.compiling FOLDER CAPABILITY       writes FOLDER/KERNEL.ptx
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from numba_cuda_mlir import cuda
from numba_cuda_mlir.numba_cuda.core.errors import NumbaIRAssumptionWarning

from arrival_engine.gpu_kernels.layout import KERNELS
from arrival_engine.gpu_kernels.shape import MAX_THREADS
from tests.support.successor import jit
from tests.support.successor.asked import answer_for_device

__all__ = ["kernels"]


def parsed_capability(text: str) -> tuple[int, int]:
    """(9, 0) for "9.0"."""
    major, minor = text.split(".")
    return int(major), int(minor)


def kernels() -> Any:
    """The module `gpu_kernels.kernels`, made by numba-cuda-mlir."""
    if sys.modules.setdefault("arrival_engine.gpu_kernels.jit", jit) is not jit:
        raise ValueError("numba-cuda has made the kernels of this process")
    # It is about the loops of inlined functions, and calls itself pedantic.
    warnings.filterwarnings("ignore", category=NumbaIRAssumptionWarning)
    from arrival_engine.gpu_kernels import kernels

    return kernels


def main() -> None:
    """Compile each kernel."""
    folder, capability = Path(sys.argv[1]), parsed_capability(sys.argv[2])
    answer_for_device(capability)
    module = kernels()
    for kernel in KERNELS:
        function, signature = getattr(module, kernel.name).py_func, jit.signature(kernel.prototypes())
        text, _ = cuda.compile_ptx(function, signature, cc=capability, launch_bounds=MAX_THREADS)
        (folder / f"{kernel.name}.ptx").write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
