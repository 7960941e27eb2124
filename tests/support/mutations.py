"""Damages to a proven run, registered with the checks that must find them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

from tests.support.validating import (
    Arrivals,
    Row,
    arrivals_of,
)

Damage = Callable[[Path], None]


RowDamage = Callable[[Arrivals], None]


# What follows from arrivals that are not those of the run any more, in number or in kind.
NUMBER = {"counts", "run_report", "arrival_digest"}


@dataclass(frozen=True)
class Mutation:
    """A damage and exactly the checks that must fail; `also` are those that may.

    ample: needs the larger run. slow: of a kind with another damage, and so for the slow tests.
    """

    name: str
    damage: Damage
    fails: frozenset[str]
    also: frozenset[str]
    ample: bool
    slow: bool


MUTATIONS: list[Mutation] = []


def mutation(
    *fails: str, also: Collection[str] = (), ample: bool = False, slow: bool = False
) -> Callable[[Damage], Damage]:
    """Register a damage of the run directory."""

    def register(function: Damage) -> Damage:
        MUTATIONS.append(Mutation(function.__name__, function, frozenset(fails), frozenset(also), ample, slow))
        return function

    return register


def rows(
    *fails: str, also: Collection[str] = (), ample: bool = False, lawful: bool = False
) -> Callable[[RowDamage], RowDamage]:
    """Register a damage of the rows of the arrivals; `lawful` if what the law determines of them stays as it is."""
    checks = fails if lawful else (*fails, "law")

    def register(function: RowDamage) -> RowDamage:
        @wraps(function)
        def apply(run_root: Path) -> None:
            with arrivals_of(run_root) as arrivals:
                function(arrivals)

        mutation(*checks, also=also, ample=ample)(apply)
        return function

    return register


def physical(merchant: int, tzid: str | None = None) -> Callable[[Row], bool]:
    return lambda row: row["merchant_id"] == merchant and not row["is_virtual"] and tzid in (None, row["tzid_primary"])


def virtual(merchant: int, tzid: str | None = None) -> Callable[[Row], bool]:
    return lambda row: row["merchant_id"] == merchant and row["is_virtual"] and tzid in (None, row["tzid_primary"])


def edge_in(merchant: int, arrivals: Arrivals, tzid: str) -> int:
    """Some edge of the merchant in a zone, as the arrivals have it."""
    return int(arrivals.first(virtual(merchant, tzid))["edge_id"])
