"""Machine code of the kernels, kept on disk, so that only the first process after a change compiles.

The files are in the folder of `cpu_fallback.jit.cache_directory`, whose name covers all law and kernel sources. The
name of a file has the kernel, the compute capability and a fingerprint of the toolchain. A process that finds all
kernels there does not import numba-cuda. Importing this module loads nothing of CUDA.

A file begins with a hash of the folder's fingerprint and of what follows: it finds damage, as by a power cut. Against
someone who can write the file it is no help; `own_files` refuses such files.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from arrival_engine.cpu_fallback.jit import cache_directory, cache_unused, refused, source_fingerprint
from arrival_engine.cpu_fallback.own_files import ForeignFileError, own_folder, read_own, write_own
from arrival_engine.gpu_kernels.layout import KERNELS, Kernel
from arrival_engine.gpu_kernels.toolchain import toolchain_fingerprint

__all__ = ["MachineCode", "cuda_kernels_are_cached", "machine_code"]

Capability = tuple[int, int]

_FOLDER = "cuda"
_HASH_BYTES = 32
_compiling = threading.Lock()


class MachineCode(NamedTuple):
    """A kernel for one compute capability: its name in the code, and the code, an ELF file (cubin)."""

    entry: str
    cubin: bytes


def cuda_kernels_are_cached(compute_capability: Capability) -> bool:
    """Whether the machine code of all kernels is on disk for devices of this compute capability."""
    return cache_unused() is None and all(_read(kernel, compute_capability) for kernel in KERNELS)


def machine_code(kernel: Kernel, compute_capability: Capability, ordinal: int) -> MachineCode:
    """The kernel's code for a device, from the disk or else compiled for the device `ordinal` and put there.

    Raises numba-cuda's errors if it must be compiled and cannot be.
    """
    with _compiling:
        if cache_unused():
            return _compiled(kernel, ordinal)
        if found := _read(kernel, compute_capability):
            return found
        made = _compiled(kernel, ordinal)
        _write(kernel, compute_capability, made)
        return made


def _compiled(kernel: Kernel, ordinal: int) -> MachineCode:
    from arrival_engine.gpu_kernels import kernels
    from arrival_engine.gpu_kernels.jit import compiled

    function: Any = getattr(kernels, kernel.name)
    return compiled(function, kernel.prototypes(), ordinal)


def _path(kernel: Kernel, capability: Capability) -> Path:
    architecture = "sm_" + "".join(map(str, capability))
    return cache_directory() / _FOLDER / f"{kernel.name}.{architecture}.{toolchain_fingerprint()}.cubin"


def _read(kernel: Kernel, capability: Capability) -> MachineCode | None:
    """The code on disk; None if there is none, if it is damaged, or if others can write it."""
    try:
        content = read_own(_path(kernel, capability))
    except ForeignFileError as error:
        refused(error)
        return None
    except OSError:
        return None
    body = content[_HASH_BYTES:]
    if _hash(body) != content[:_HASH_BYTES]:
        return None
    entry, _, cubin = body.partition(b"\0")
    return MachineCode(entry.decode(), cubin)


def _write(kernel: Kernel, capability: Capability, code: MachineCode) -> None:
    body = code.entry.encode() + b"\0" + code.cubin
    # A full disk, or a folder that others could fill meanwhile: the next process compiles again.
    with suppress(OSError):
        folder = cache_directory()
        own_folder(folder.parent, folder.name, _FOLDER)
        write_own(_path(kernel, capability), _hash(body) + body)


def _hash(body: bytes) -> bytes:
    return hashlib.sha256(source_fingerprint().encode() + body).digest()
