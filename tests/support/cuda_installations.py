"""CUDA packages as they are installed on other machines: a CuPy, a library that is missing, one of another version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.hidden import on_path
from tests.support.on_stand_in import PACKAGES

# cuda-bindings, numba-cuda and CuPy all find NVIDIA's libraries by this function.
_LIBRARIES = """
import cuda.pathfinder._dynamic_libs.load_nvidia_dynamic_lib as loading
from cuda.pathfinder import DynamicLibNotFoundError

found = loading._load_lib_no_cache

def load(name):
    if name not in LIBRARIES:
        return found(name)
    if LIBRARIES[name] is None:
        raise DynamicLibNotFoundError(f"{{name}} is hidden")
    return loading.LOADER.load_with_abs_path(loading.LIB_DESCRIPTORS[name], LIBRARIES[name], "a test")

LIBRARIES = {libraries!r}
loading._load_lib_no_cache = load
"""


def installation(folder: Path, libraries: Mapping[str, Path | None] | None = None, *, sort: str = "") -> dict[str, str]:
    """The change of an environment to an installation with the stand-in for CuPy, in a folder that is filled.

    libraries: by their names for `cuda.pathfinder`, the file to be found, or None for no such library. sort: the
    statement that CuPy sorts by.
    """
    folder.mkdir()
    cupy = (PACKAGES / "cupy.py").read_text(encoding="utf-8")
    if sort:
        cupy += f"\n\ndef sort(array):\n    {sort}\n\n\nndarray.sort = sort\n"
    (folder / "cupy.py").write_text(cupy, encoding="utf-8")
    if libraries:
        paths = {name: str(path) if path else None for name, path in libraries.items()}
        (folder / "sitecustomize.py").write_text(_LIBRARIES.format(libraries=paths), encoding="utf-8")
    return {"PYTHONPATH": on_path(folder)}
