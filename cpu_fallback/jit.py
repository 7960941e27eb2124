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
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from typing import overload as typing_overload

import llvmlite
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core import config as numba_config
from numba.core.caching import IndexDataCacheFile, UserProvidedCacheLocator
from numba.extending import intrinsic, overload

from arrival_engine.contracts.oserrors import reason
from arrival_engine.cpu_fallback.own_files import ForeignFileError, own_folder, read_own, write_own

__all__ = [
    "Unused",
    "cache_directory",
    "cache_unused",
    "cgutils",
    "intrinsic",
    "ir",
    "is_cached",
    "kernel_sources",
    "njit",
    "overload",
    "refused",
    "source_fingerprint",
    "types",
    "untold_refusals",
]

_ROOT = Path(__file__).resolve().parent.parent
_SOURCE_PATTERNS = ("cpu_fallback/*.py", "cpu_fallback/*/*.py", "gpu_kernels/*.py", "engine/*/kernel*.py")
# Settings that change the code numba generates, but not its cache key.
_SETTINGS = (
    "BOUNDSCHECK",
    "OPT",
    "DEBUGINFO_DEFAULT",
    "ENABLE_AVX",
    "CPU_NAME",
    "CPU_FEATURES",
    "LOOP_VECTORIZE",
    "CUDA_DEBUGINFO_DEFAULT",
    "FORCE_CUDA_CC",
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
            return Path(value).absolute()
    # A relative XDG_CACHE_HOME is to be ignored, says its specification.
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (caches if caches.is_absolute() else Path.home() / ".cache") / "arrival-engine" / "kernels"


def cache_directory() -> Path:
    """The folder for kernels compiled from exactly these sources, absolute; it need not exist.

    Raises RuntimeError where no variable names a folder and the user has no home directory.
    """
    return _cache_base() / source_fingerprint()


class Unused(NamedTuple):
    """Why the cache folder, or a file in it, is not used, and what to do; `refused` if others can write it."""

    reason: str
    remedy: str
    refused: bool


@functools.cache
def cache_unused() -> Unused | None:
    """Why no kernel is read from the cache or written to it; every process then compiles the kernels anew."""
    try:
        folder = own_folder(_cache_base(), source_fingerprint())
        with tempfile.TemporaryFile(dir=folder):
            return None
    except ForeignFileError as error:
        return refused(error)
    except RuntimeError:
        return Unused("this user has no home directory", _WRITABLE, refused=False)
    except OSError as error:
        # A home directory that is read-only is usual in a container.
        return Unused(f"{cache_directory()} cannot be written: {reason(error)}", _WRITABLE, refused=False)


_WRITABLE = "set ARRIVALS_CACHE_DIR to a writable folder"
_refusals: set[Unused] = set()
_to_tell: deque[Unused] = deque()


def refused(error: ForeignFileError) -> Unused:
    """The refusal of a file or folder that others can write, to be told once per process."""
    unused = Unused(error.reason, error.remedy, refused=True)
    if unused not in _refusals:
        _refusals.add(unused)
        _to_tell.append(unused)
    return unused


def untold_refusals() -> Iterator[Unused]:
    """What was refused because others can write it, each once per process."""
    with suppress(IndexError):
        while True:
            yield _to_tell.popleft()


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
        "no_cfunc_wrapper": True,
    }
    if function is None:
        return functools.partial(_compile, options=options)
    return _compile(function, options)


def _compile(function: F, options: Mapping[str, bool]) -> F:
    # Two forms of one function share a cache entry, so a form without a Python wrapper must stay out of it. The entry
    # point that contains it is cached anyway.
    if options["no_cpython_wrapper"] or cache_unused():
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
    # numba reads these once, while it makes a dispatcher. Setting them only here leaves a host program's own kernels
    # alone, and a host program's settings leave ours: elsewhere, a cache would have no fingerprint.
    before = numba_config.CACHE_DIR, numba_config.CACHE_LOCATOR_CLASSES
    numba_config.CACHE_DIR = str(cache_directory())
    numba_config.CACHE_LOCATOR_CLASSES = f"{__name__}.{_Locator.__name__}"
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
    finally:
        numba_config.CACHE_DIR, numba_config.CACHE_LOCATOR_CLASSES = before
    # A plain function, under NUMBA_DISABLE_JIT, has no cache.
    if cache := getattr(dispatcher, "_cache", None):
        cache._cache_file.__class__ = _CheckedCacheFile  # noqa: SLF001 - numba has no public way in
    return dispatcher  # type: ignore[no-any-return]


class _Locator(UserProvidedCacheLocator):  # type: ignore[misc] # numba has no types
    """Names the folder of a source file's kernels as numba does, and leaves making it to `_CheckedCacheFile`."""

    def ensure_cache_path(self) -> None:
        """Do nothing: numba would make the folder with whatever permissions the umask leaves."""


class _CheckedCacheFile(IndexDataCacheFile):  # type: ignore[misc] # numba has no types
    """numba's cache files: one that is damaged or that others can write counts as missing; a full disk is no error.

    Both kinds begin with a hash of the sources' fingerprint and of what follows. It finds damage: numba renames without
    fsync, so a power cut can leave empty files, and it unpickles and runs any bytes it reads. Against someone who can
    write the file it is no help, since they can hash too. `own_files` refuses such files.
    """

    def save(self, key: object, data: object) -> None:
        with suppress(OSError):
            folder = Path(self._cache_path)
            own_folder(folder.parent.parent, folder.parent.name, folder.name)
            super().save(key, data)

    def _load_index(self) -> dict[object, str]:
        try:
            version, stamp, overloads = self._load_data(self._index_name)
        except Exception:  # noqa: BLE001 - what unpickling raises can be anything
            return {}
        # Data files of a stale index are numbered from 1 again, and so overwritten.
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict[object, str]) -> None:
        self._save_data(self._index_name, (self._version, self._source_stamp, overloads))

    def _save_data(self, name: str, data: object) -> None:
        body = self._dump(data)
        write_own(Path(self._data_path(name)), _hash(body) + body)

    def _load_data(self, name: str) -> Any:
        try:
            content = read_own(Path(self._data_path(name)))
        except ForeignFileError as error:
            refused(error)
            raise
        body = content[_HASH_BYTES:]
        if _hash(body) != content[:_HASH_BYTES]:
            # numba takes this for a file that is gone: it compiles, and writes the file anew.
            raise FileNotFoundError(name)
        return pickle.loads(body)  # noqa: S301 - as numba does, from a file that only this user can write


_HASH_BYTES = 32


def _hash(body: bytes) -> bytes:
    return hashlib.sha256(source_fingerprint().encode() + body).digest()


def is_cached(function: Callable[..., Any]) -> bool:
    """Whether an entry point's machine code is on disk for exactly this source file, so that it loads at once.

    Only numba's index knows: another copy of the sources, or a touched file, has entries of its own.
    """
    cache_file = getattr(getattr(function, "_cache", None), "_cache_file", None)
    return bool(cache_file and cache_file._load_index())  # noqa: SLF001 - numba has no public way to ask
