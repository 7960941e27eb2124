"""The mutation table: forgeries by kind, the worlds in which they change something, the checks that name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.forging import Base
from tests.support.forging_law import Columns

ALL = ("mixed", "falling back", "drawn")
KINDS = {
    1: "columns out of line",
    2: "counters off",
    3: "group weights of something else",
    4: "one random word used twice",
    5: "the right distribution by another law",
    6: "lost precision",
    7: "fallbacks, coins, labels, single rows",
    8: "records",
    9: "policies",
    10: "flags",
}


@dataclass(frozen=True)
class Forgery:
    """Other arrivals for a run; `checks` must fail, of them at least one."""

    name: str
    kind: int
    make: Callable[[Base], Columns]
    worlds: tuple[str, ...]
    checks: frozenset[str]


@dataclass(frozen=True)
class Tampering:
    """A change of files that a run wrote; one of `checks` must fail, or the validation end with one of `codes`."""

    name: str
    kind: int
    change: Callable[[Path], None]
    worlds: tuple[str, ...]
    checks: frozenset[str]


FORGERIES: list[Forgery] = []
TAMPERINGS: list[Tampering] = []


def forgery(kind: int, *worlds: str) -> Callable[[Callable[[Base], Columns]], Callable[[Base], Columns]]:
    """Register other arrivals, for the worlds in which they are others (default: all)."""

    def register(make: Callable[[Base], Columns]) -> Callable[[Base], Columns]:
        FORGERIES.append(Forgery(make.__name__, kind, make, worlds or ALL, frozenset({"law"})))
        return make

    return register


def tampering(
    *checks: str, worlds: tuple[str, ...] = ALL
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Register a change of records."""

    def register(change: Callable[[Path], None]) -> Callable[[Path], None]:
        TAMPERINGS.append(Tampering(change.__name__, 8, change, worlds, frozenset(checks)))
        return change

    return register
