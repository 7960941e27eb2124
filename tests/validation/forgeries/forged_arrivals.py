"""All forged arrivals, in the order of their kinds."""

from __future__ import annotations

from tests.validation.forgeries import counters, laws, lines, routing
from tests.validation.forgeries.registry import FORGERIES, Forgery

_MODULES = {module.__name__ for module in (lines, counters, routing, laws)}


def forged_arrivals() -> list[Forgery]:
    """The forgeries of kinds 1 to 7."""
    return sorted((entry for entry in FORGERIES if entry.make.__module__ in _MODULES), key=lambda entry: entry.kind)
