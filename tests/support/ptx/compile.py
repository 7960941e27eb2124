"""PTX of the kernels as devices run it, compiled by numba-cuda without a device.

numba-cuda makes a kernel's code as it does at a launch: with the kernel's own options and for the architecture that it
takes for a compute capability (sm_90a for 9.0). Only the questions to the driver are answered here. Where nvJitLink is
installed, a launch links at run time, and optimises anew while it links.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import pytest

from arrival_engine.gpu_kernels import layout
from arrival_engine.gpu_kernels.toolchain import links_with_optimization

__all__ = [
    "CAPABILITIES",
    "KERNELS",
    "WHEELS",
    "CompiledKernel",
    "compiled",
    "compiled_elsewhere",
    "compiled_form",
    "compiled_from",
    "skip_without_compiler",
]

KERNELS = tuple(kernel.name for kernel in layout.KERNELS)
_PROTOTYPES = {kernel.name: kernel.prototypes() for kernel in layout.KERNELS}
CAPABILITIES = ((8, 0), (9, 0), (12, 0))
WHEELS = "pip install nvidia-nvvm nvidia-nvjitlink nvidia-cuda-nvrtc nvidia-cuda-nvcc"


class CompiledKernel(NamedTuple):
    """linked: PTX after optimisation at link time, which is what devices run. plain: PTX without it.

    cubin: the machine code that a launch loads, an ELF file.
    """

    linked: str
    plain: str
    cubin: bytes


@cache
def compiled(name: str, capability: tuple[int, int]) -> CompiledKernel:
    """A kernel of the product; skips the test where NVIDIA's compiler is not installed."""
    from arrival_engine.gpu_kernels import kernels

    skip_without_compiler()
    return compiled_from(kernels, name, capability)


def compiled_from(kernels: ModuleType, name: str, capability: tuple[int, int]) -> CompiledKernel:
    """A kernel of a module that has the product's kernels."""
    return compiled_form(getattr(kernels, name), _PROTOTYPES[name], capability)


def compiled_form(dispatcher: Any, arguments: tuple[Any, ...], capability: tuple[int, int]) -> CompiledKernel:
    """A kernel for arguments of these types, as a launch on a device of this compute capability compiles it."""
    from numba.cuda.dispatcher import _Kernel
    from numba.cuda.typing.typeof import Purpose, typeof

    signature = tuple(typeof(argument, Purpose.argument) for argument in arguments)
    with _device(capability):
        library = _Kernel(dispatcher.py_func, signature, **dispatcher.targetoptions).library
        linked, cubin = library.get_lto_ptx().rstrip("\0"), library.get_cubin().code
        return CompiledKernel(linked, library.get_asm_str(), bytes(cubin))


def compiled_elsewhere(sources: Path, folder: Path, capability: tuple[int, int]) -> dict[str, str]:
    """Linked PTX of all kernels of a copy of the package in the folder `sources`, compiled in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(sources), os.environ.get("PYTHONPATH", "")))}
    command = [sys.executable, "-P", "-m", __name__, str(folder), *map(str, capability)]
    subprocess.run(command, env=environment, check=True)
    return {name: (folder / f"{name}.ptx").read_text(encoding="utf-8") for name in KERNELS}


@contextmanager
def _device(capability: tuple[int, int]) -> Iterator[None]:
    """Answer numba-cuda's questions for the current device."""
    device = SimpleNamespace(compute_capability=capability)
    with (
        mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device),
        mock.patch("numba.cuda.cudadrv.devices.get_context", return_value=SimpleNamespace(device=device)),
    ):
        yield


def skip_without_compiler() -> None:
    """Skip the test, with what to install, where kernels cannot be compiled and linked as for a device."""
    if problem := _compiler_problem():
        pytest.skip(f"{problem}; {WHEELS}")


@cache
def _compiler_problem() -> str:
    from arrival_engine.gpu_kernels.jit import kernel

    if not links_with_optimization():
        return "no nvJitLink here, which links kernels for devices"
    try:
        compiled_form(kernel(_nothing), (), CAPABILITIES[0])
    except (ImportError, RuntimeError) as failure:
        if find_spec("nvidia") is not None:
            raise
        return f"no CUDA compiler here ({type(failure).__name__})"
    return ""


def _nothing() -> None:
    pass


def _main(folder: str, *capability: str) -> None:
    major, minor = map(int, capability)
    for name in KERNELS:
        Path(folder, f"{name}.ptx").write_text(compiled(name, (major, minor)).linked, encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
