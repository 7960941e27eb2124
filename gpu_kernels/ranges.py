"""Named ranges for NVIDIA's profilers, where the package nvtx is installed; elsewhere nothing is loaded or done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec

__all__ = ["marked"]

_DOMAIN = "arrival_engine"
_NOTHING: AbstractContextManager[object] = nullcontext()


def marked(name: str) -> AbstractContextManager[object]:
    """A range of this name, on the calling thread."""
    annotate = _annotate()
    return annotate(name, domain=_DOMAIN) if annotate else _NOTHING


@cache
def _annotate() -> Callable[..., AbstractContextManager[object]] | None:
    if find_spec("nvtx") is None:
        return None
    from nvtx import annotate

    found: Callable[..., AbstractContextManager[object]] = annotate
    return found
