"""An environment for a subprocess in which some packages are not installed, as far as Python can tell."""

from __future__ import annotations

import os
from pathlib import Path

_SITE = """
import sys
from importlib.machinery import PathFinder
from importlib.metadata import MetadataPathFinder

HIDDEN = {names!r}

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

    @staticmethod
    def find_distributions(context):
        found = MetadataPathFinder.find_distributions(context)
        return (dist for dist in found if dist.name.lower().replace("-", "_") not in HIDDEN)

    invalidate_caches = PathFinder.invalidate_caches

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""


def without(folder: Path, *names: str, **changes: str) -> dict[str, str]:
    """The environment, in which Python finds none of the packages `names` (as they are imported, in lower case)."""
    (folder / "sitecustomize.py").write_text(_SITE.format(names=names), encoding="utf-8")
    return {**os.environ, "PYTHONPATH": on_path(folder), **changes}


def on_path(folder: Path) -> str:
    """PYTHONPATH with the folder before what is on it."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
