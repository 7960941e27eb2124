"""Compilation by numba, with an on-disk cache that cannot serve old code.

numba keys a cached kernel by the kernel's own source file alone. After a change to a law in another file, it would
still use the old machine code (numba issue 1833). So the cache folder is named by a hash of every law and kernel
source, the compiler versions and the numba settings that change generated code.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import platform
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from typing import overload as typing_overload

import llvmlite
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import config as numba_config
from numba.core.caching import IndexDataCacheFile
from numba.extending import intrinsic, overload

__all__ = [
    "cache_directory",
    "cache_is_usable",
    "intrinsic",
    "ir",
    "is_cached",
    "kernel_sources",
    "njit",
    "overload",
    "source_fingerprint",
    "types",
]

_ROOT = Path(__file__).resolve().parent.parent
_SOURCE_PATTERNS = ("cpu_fallback/*.py", "gpu_kernels/*.py", "engine/*/kernels.py")
# Settings that change the code numba generates, but not its cache key.
_SETTINGS = (
    "BOUNDSCHECK",
    "OPT",
    "DEBUGINFO_DEFAULT",
    "ENABLE_AVX",
    "CPU_NAME",
    "CPU_FEATURES",
    "LOOP_VECTORIZE",
)

F = TypeVar("F", bound=Callable[..., Any])


def kernel_sources() -> tuple[Path, ...]:
    """Every source file whose text decides compiled code, in path order."""
    return tuple(sorted(path for pattern in _SOURCE_PATTERNS for path in _ROOT.glob(pattern)))


@functools.cache
def source_fingerprint() -> str:
    """16 hex digits that change with any law or kernel source, compiler version or setting that affects code."""
    state = hashlib.sha256()
    versions = (numba.__version__, llvmlite.__version__, np.__version__, platform.python_version())
    settings = tuple(f"{name}={getattr(numba_config, name, None)}" for name in _SETTINGS)
    for text in versions + settings:
        state.update(text.encode() + b"\0")
    for path in kernel_sources():
        state.update(path.relative_to(_ROOT).as_posix().encode() + b"\0")
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()[:16]


def _cache_base() -> Path:
    for variable in ("ARRIVALS_CACHE_DIR", "NUMBA_CACHE_DIR"):
        if value := os.environ.get(variable):
            return Path(value)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arrival-engine" / "kernels"


def cache_directory() -> Path:
    """The folder for kernels compiled from exactly these sources."""
    return _cache_base() / source_fingerprint()


@functools.cache
def cache_is_usable() -> bool:
    """Whether the cache folder is writable; if not, every process compiles the kernels anew."""
    try:
        cache_directory().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache_directory()):
            return True
    except OSError:
        return False


@typing_overload
def njit(function: F) -> F: ...
@typing_overload
def njit(*, nogil: bool = False, allocates: bool = True, internal: bool = False) -> Callable[[F], F]: ...
def njit(
    function: F | None = None, *, nogil: bool = False, allocates: bool = True, internal: bool = False
) -> F | Callable[[F], F]:
    """Compile a function in nopython mode, cached under `cache_directory()`.

    nogil: an entry point that threads run in parallel. Other functions are always inlined, because a call would copy
    about 2 KB of array descriptors per arrival.
    allocates: False if the function creates no array. Its arrays are then not reference-counted, which made expansion
    ten times faster, because each look-up in a table group had counted every array of the group.
    internal: for compiled callers only. The function gets no wrapper for Python (a call would crash), because for table
    groups the wrapper takes longer to compile than the function.
    No signature is given: numba-cuda refuses a CPU dispatcher that has one.
    """
    options = {
        "nogil": nogil,
        "forceinline": not nogil,
        "_nrt": allocates,
        "no_cpython_wrapper": internal,
        "no_cfunc_wrapper": internal,
    }
    if function is None:
        return functools.partial(_compile, options=options)
    return _compile(function, options)


def _compile(function: F, options: Mapping[str, bool]) -> F:
    # numba reads CACHE_DIR once, while it makes a dispatcher. Setting it only here leaves a host program's own kernels
    # alone. No cache without it: numba would fall back to __pycache__, which has no fingerprint.
    # Two forms of one function share a cache entry, so a form without a Python wrapper must stay out of it. The entry
    # point that contains it is cached anyway.
    if options["no_cpython_wrapper"] or not cache_is_usable():
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
    before = numba_config.CACHE_DIR
    numba_config.CACHE_DIR = str(cache_directory())
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
    finally:
        numba_config.CACHE_DIR = before
    # A plain function, under NUMBA_DISABLE_JIT, has no cache.
    if cache := getattr(dispatcher, "_cache", None):
        cache._cache_file.__class__ = _CheckedCacheFile  # noqa: SLF001 - numba has no public way in
    return dispatcher  # type: ignore[no-any-return]


class _CheckedCacheFile(IndexDataCacheFile):  # type: ignore[misc] # numba has no types
    """numba's cache files: a truncated or changed one counts as missing, and a full disk is not an error.

    numba renames without fsync, so a power cut can leave empty files, and it runs any machine code it reads.
    """

    def save(self, key: object, data: object) -> None:
        with suppress(OSError):
            super().save(key, data)

    def _load_index(self) -> dict[object, str]:
        try:
            return super()._load_index()  # type: ignore[no-any-return]
        except Exception:  # noqa: BLE001 - what unpickling a damaged file raises can be anything
            return {}

    def _save_data(self, name: str, data: object) -> None:
        body = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(body).digest() + body)

    def _load_data(self, name: str) -> object:
        content = Path(self._data_path(name)).read_bytes()
        digest, body = content[:32], content[32:]
        if hashlib.sha256(body).digest() != digest:
            # numba takes this for a file that is gone: it compiles, and writes the file anew.
            raise FileNotFoundError(name)
        return pickle.loads(body)  # noqa: S301 - as numba does, from the user's own cache


def is_cached(function: Callable[..., Any]) -> bool:
    """Whether an entry point's machine code is on disk for exactly this source file, so that it loads at once.

    Only numba's index knows: another copy of the sources, or a touched file, has entries of its own.
    """
    cache_file = getattr(getattr(function, "_cache", None), "_cache_file", None)
    return bool(cache_file and cache_file._load_index())  # noqa: SLF001 - numba has no public way to ask
