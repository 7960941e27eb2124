"""Checks at `import engine` that its sibling packages come from the same installation.

`config`, `contracts` and `engine` are common names: under `python -m` or `python -c`, a folder of such a name
in the current directory comes before the installed package. Running on a foreign `config` would fail far from
the cause.
"""

from __future__ import annotations

import importlib.util
import os
import sys

_SIBLINGS = ("contracts", "config", "cpu_fallback")


def check_origin() -> None:
    """Raise ImportError when a sibling package is missing or comes from elsewhere; imports nothing itself."""
    home = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120 - pathlib costs start-up time
    for name in _SIBLINGS:
        found = _folder(name)
        if found is None:
            raise ImportError(
                f"arrival-engine is incomplete: package {name!r} is missing beside {home}/engine. "
                "Install it again: pip install --force-reinstall arrival-engine"
            )
        if os.path.dirname(found) != home:  # noqa: PTH120
            raise ImportError(
                f"package {name!r} was found at {found}, which is not arrival-engine's own ({home}/{name}): "
                "a like-named folder in the current directory or on PYTHONPATH comes first. "
                "Use the console script `arrivals`, or run from another directory."
            )


def _folder(name: str) -> str | None:
    """The real path of the package folder `name` would be (or was) imported from."""
    loaded = sys.modules.get(name)
    try:
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(name)
    except (ValueError, ImportError):
        return None
    if spec is None:
        return None
    if spec.origin is not None:
        return os.path.dirname(os.path.realpath(spec.origin))  # noqa: PTH120
    # A namespace package: a folder without __init__.py, never ours.
    places = list(spec.submodule_search_locations or ())
    return os.path.realpath(places[0]) if places else None
