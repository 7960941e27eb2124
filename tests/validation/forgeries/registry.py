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
    """Other arrivals for a run, and the worlds in which they are others."""

    name: str
    kind: int
    make: Callable[[Base], Columns]
    worlds: tuple[str, ...]


@dataclass(frozen=True)
class Tampering:
    """A change of what a run wrote; one of `checks` must fail, or the change be refused in one of these words.

    slow: whether no world of it is tested by default.
    """

    name: str
    kind: int
    change: Callable[[Path], None]
    worlds: tuple[str, ...]
    checks: frozenset[str]
    slow: bool


@dataclass(frozen=True)
class Pretence:
    """What a forger does so that a flag seems to hold; `says` is in the words with which `verify` refuses it."""

    name: str
    act: Callable[[Path, Base], None]
    says: str
    hashed: bool


FORGERIES: list[Forgery] = []
TAMPERINGS: list[Tampering] = []
PRETENCES: list[Pretence] = []

Change = Callable[[Path], None]
Act = Callable[[Path, Base], None]


def forgery(kind: int, *worlds: str) -> Callable[[Callable[[Base], Columns]], Callable[[Base], Columns]]:
    """Register other arrivals, for the worlds in which they are others (default: all)."""

    def register(make: Callable[[Base], Columns]) -> Callable[[Base], Columns]:
        FORGERIES.append(Forgery(make.__name__, kind, make, worlds or ALL))
        return make

    return register


def tampering(
    *checks: str, kind: int = 8, worlds: tuple[str, ...] = ALL, slow: bool = False
) -> Callable[[Change], Change]:
    """Register a change of records or policies."""

    def register(change: Change) -> Change:
        TAMPERINGS.append(Tampering(change.__name__, kind, change, worlds, frozenset(checks), slow))
        return change

    return register


def pretence(says: str, *, hashed: bool = False) -> Callable[[Act], Act]:
    """Register a flag that must not hold; `hashed` where only the hashes of the arrivals show it."""

    def register(act: Act) -> Act:
        PRETENCES.append(Pretence(act.__name__, act, says, hashed))
        return act

    return register


def quick(worlds: tuple[str, ...], number: int) -> str | None:
    """The world in which a forgery is tested by default: none for every third, else another one for each number."""
    order = ("mixed", "falling back", "mixed", "falling back", "drawn")
    first = number % len(order)
    return None if number % 3 == 2 else next(world for world in order[first:] + order[:first] if world in worlds)
