"""A world whose inputs name one zone by several names, and zones with one clock that are not one zone."""

from __future__ import annotations

from tests.support.model import HYBRID, NON_VIRTUAL, CountRow, GroupWeight, Policy, Site, World
from tests.support.worlds import edge_table, grid_of, instant_us, zones_for

INDIA, NORWAY, AMERICA, NEPAL = 11, 12, 13, 14
KOLKATA, CALCUTTA, COLOMBO = "Asia/Kolkata", "Asia/Calcutta", "Asia/Colombo"
OSLO, BERLIN, PARIS = "Europe/Oslo", "Europe/Berlin", "Europe/Paris"
EASTERN, NEW_YORK, CHICAGO = "US/Eastern", "America/New_York", "America/Chicago"
KATMANDU, KATHMANDU = "Asia/Katmandu", "Asia/Kathmandu"

_DAY = "2026-03-08"
_GRID = grid_of(instant_us(f"{_DAY}T05:00:00"), [3600] * 4)

CURRENT = (KOLKATA, COLOMBO, OSLO, BERLIN, PARIS, NEW_YORK, CHICAGO, KATHMANDU)
OLDER = (CALCUTTA, COLOMBO, OSLO, BERLIN, PARIS, EASTERN, CHICAGO, KATMANDU)


def named_twice(*, weights: bool, cached: tuple[str, ...] = (*CURRENT, CALCUTTA, EASTERN, KATMANDU)) -> World:
    """Merchants whose counts, sites, group weights, edges and settlement differ in names; `cached` is in the cache."""
    return World(
        manifest_fingerprint="a" * 64,
        parameter_hash="b" * 64,
        seed=42,
        scenario_id="baseline_v1",
        run_id="c" * 32,
        grid=_GRID,
        counts=(
            CountRow(INDIA, KOLKATA, "card", 0, 60),
            CountRow(INDIA, CALCUTTA, "card", 0, 60),
            CountRow(INDIA, CALCUTTA, None, 1, 30),
            CountRow(NORWAY, OSLO, "card", 1, 40),
            CountRow(AMERICA, EASTERN, "card", 2, 50),
            CountRow(NEPAL, KATHMANDU, "web", 3, 40),
        ),
        # In byte order of country and order, the two names of the Indian zone alternate.
        sites=(
            Site(INDIA, "IN", 1, CALCUTTA, 0.2),
            Site(INDIA, "IN", 2, KOLKATA, 0.3),
            Site(INDIA, "IN", 3, CALCUTTA, 0.1),
            Site(INDIA, "LK", 1, COLOMBO, 0.4),
            Site(NORWAY, "DE", 1, BERLIN, 0.5),
            Site(NORWAY, "FR", 1, PARIS, 0.5),
            Site(AMERICA, "US", 1, NEW_YORK, 0.5),
            Site(AMERICA, "US", 2, CHICAGO, 0.5),
            Site(NEPAL, "NP", 1, KATMANDU, 1.0),
        ),
        group_weights=(
            GroupWeight(INDIA, _DAY, CALCUTTA, 0.25),
            GroupWeight(INDIA, _DAY, KOLKATA, 0.35),
            GroupWeight(INDIA, _DAY, COLOMBO, 0.4),
            GroupWeight(AMERICA, _DAY, EASTERN, 1.0),
        ),
        modes={INDIA: NON_VIRTUAL, NORWAY: NON_VIRTUAL, AMERICA: NON_VIRTUAL, NEPAL: HYBRID},
        settlement={NEPAL: KATHMANDU},
        edges={NEPAL: edge_table(NEPAL, [0.5, 0.5], [KATMANDU, KOLKATA])},
        zones=zones_for(cached, _GRID),
        policy=Policy(use_group_weights=weights),
    )
