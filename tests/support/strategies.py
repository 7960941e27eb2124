"""Hypothesis strategies: small valid worlds over every corner of the law, at most some 300 arrivals each."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.support.law import MICROS
from tests.support.model import (
    FAIL,
    HYBRID,
    MODES,
    NON_VIRTUAL,
    VIRTUAL_ONLY,
    CountRow,
    EdgeTable,
    GroupWeight,
    Policy,
    Site,
    World,
)
from tests.support.worlds import edge_table, grid_of, instant_us, utc_days, zones_for

# Gaps and folds, half-hour ones among them, before 1970 too; the last one changes nothing.
STARTS = (
    "2026-03-29T00:30:00",  # Berlin forward
    "2026-10-25T00:30:00",  # Berlin back
    "2026-03-08T06:00:00",  # New York, St Johns forward
    "2026-11-01T03:30:00",  # St Johns, New York back
    "2026-04-04T13:00:00",  # Chatham back 45 minutes off the hour, Lord Howe back by half an hour
    "2026-02-15T01:00:00",  # Casablanca back
    "1965-04-25T06:30:00",  # New York forward
    "1969-12-31T23:59:58",  # over the epoch
    "2026-01-01T00:00:00",
)
# Two zones under two names each, and Oslo, which has Berlin's clock and is a zone of its own.
TZIDS = (
    "Africa/Casablanca",
    "America/New_York",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Asia/Katmandu",
    "Australia/Lord_Howe",
    "Etc/UTC",
    "Europe/Berlin",
    "Europe/Oslo",
    "Pacific/Chatham",
    "US/Eastern",
)
# Byte order and code-point order agree, but not case-folded or UTF-16 order.
CHANNELS = (None, "", "card_present", "mixed", "Mixed", "\uffee", "\U0001f4b3")
COUNTRIES = ("AT", "DE", "FR", "US")
SHARES = (
    "0.35",
    "0.05",
    "0.80",
    "0.5",
    "0.0625",
    "0.333333333333333333333333333",
    "0.7999999999999999999999",
)

tzids = st.sampled_from(TZIDS)
merchant_ids = st.one_of(
    st.integers(1, 5),
    st.sampled_from((2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1)),
    st.integers(1, 2**64 - 1),
)
weights = st.one_of(
    st.sampled_from((0.0, 1.0, 0.5, 1e-12, 5e-324, 0.1)),
    st.floats(0.0, 1.0, allow_nan=False),
)
weight_lists = st.one_of(
    st.lists(weights, min_size=1, max_size=6),
    st.lists(st.just(0.0), min_size=1, max_size=3),
    st.lists(st.just(0.25), min_size=2, max_size=9),
)
counts_n = st.sampled_from((0, 1, 2, 3, 5, 8, 13, 21, 30))


@st.composite
def grids(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    """One to six contiguous buckets of whole seconds, up to a day long, some starting off the second."""
    start = instant_us(draw(st.sampled_from(STARTS))) + draw(st.sampled_from((0, 0, 1, 999_999)))
    length = st.one_of(st.sampled_from((1, 7, 900, 1801, 3600, 86_400)), st.integers(1, 86_400))
    return grid_of(start, draw(st.lists(length, min_size=1, max_size=6)))


@st.composite
def edge_tables(draw: st.DrawFn, merchant_id: int) -> EdgeTable:
    prob_qbits = draw(st.one_of(st.just(32), st.integers(1, 32)))
    return edge_table(merchant_id, draw(weight_lists), draw(st.lists(tzids, min_size=1, max_size=3)), prob_qbits)


@st.composite
def site_lists(draw: st.DrawFn, merchant_id: int, needed: bool) -> tuple[Site, ...]:
    """Sites in any order; where one is needed some site has a weight."""
    keys = st.tuples(st.sampled_from(COUNTRIES), st.integers(1, 12))
    own = draw(weight_lists) if needed else draw(st.one_of(st.just([]), weight_lists))
    if needed and not any(own):
        own[-1] = 1.0
    places = draw(st.lists(keys, min_size=len(own), max_size=len(own), unique=True))
    zones = draw(st.lists(tzids, min_size=1, max_size=3))
    return tuple(
        Site(merchant_id, country, order, zones[i % len(zones)], weight)
        for i, ((country, order), weight) in enumerate(zip(places, own, strict=True))
    )


@st.composite
def group_lists(draw: st.DrawFn, merchant_id: int, days: list[str]) -> tuple[GroupWeight, ...]:
    """Groups on some of the days, in zones with and without sites; a day's weights may all be zero."""
    groups: list[GroupWeight] = []
    for day in days:
        zones = draw(st.lists(tzids, max_size=4, unique=True))
        shares = draw(st.lists(weights, min_size=len(zones), max_size=len(zones)))
        groups += [GroupWeight(merchant_id, day, zone, share) for zone, share in zip(zones, shares, strict=True)]
    return tuple(groups)


@st.composite
def policies(draw: st.DrawFn, refusals: bool) -> Policy:
    switch = st.sampled_from(("fallback", FAIL)) if refusals else st.just("fallback")
    return Policy(draw(st.booleans()), draw(st.sampled_from(SHARES)), draw(switch), draw(switch), draw(switch))


@st.composite
def count_rows(draw: st.DrawFn, merchants: list[int], buckets: int) -> tuple[CountRow, ...]:
    """Count rows in any order; few zones, channels and buckets, so that keys repeat."""
    row = st.builds(
        CountRow,
        merchant_id=st.sampled_from(merchants),
        zone=st.sampled_from(draw(st.lists(tzids, min_size=1, max_size=3))),
        channel=st.sampled_from(draw(st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3))),
        bucket=st.integers(0, buckets - 1),
        n=counts_n,
    )
    return tuple(draw(st.lists(row, min_size=1, max_size=10)))


@st.composite
def worlds(draw: st.DrawFn, refusals: bool = False) -> World:
    """A world that the law expands; with `refusals` the policy may refuse a fallback that it needs."""
    grid = draw(grids())
    days = utc_days(grid)
    merchants = draw(st.lists(merchant_ids, min_size=1, max_size=4, unique=True))
    modes = {merchant: draw(st.sampled_from(MODES)) for merchant in merchants}
    edges, settlement = {}, {}
    sites: tuple[Site, ...] = ()
    groups: tuple[GroupWeight, ...] = ()
    for merchant, mode in modes.items():
        if mode != NON_VIRTUAL or draw(st.booleans()):
            if draw(st.integers(0, 3)):
                edges[merchant] = draw(edge_tables(merchant))
            if draw(st.booleans()):
                settlement[merchant] = draw(tzids)
        needed = mode in (NON_VIRTUAL, HYBRID) or merchant not in edges
        sites += draw(site_lists(merchant, needed))
        if mode != VIRTUAL_ONLY or needed or draw(st.booleans()):
            groups += draw(group_lists(merchant, days))
    return World(
        manifest_fingerprint=f"{draw(st.integers(0, 2**256 - 1)):064x}",
        parameter_hash=f"{draw(st.integers(0, 2**256 - 1)):064x}",
        seed=draw(st.one_of(st.integers(0, 99), st.integers(0, 2**64 - 1))),
        scenario_id=draw(st.sampled_from(("baseline_v1", "s", "Stress-2", "\u00fcber"))),
        run_id=f"{draw(st.integers(0, 2**128 - 1)):032x}",
        grid=grid,
        counts=draw(count_rows(merchants, len(grid))),
        sites=sites,
        group_weights=groups,
        modes=modes,
        settlement=settlement,
        edges=edges,
        zones=zones_for(TZIDS, ((grid[0][0] // MICROS * MICROS, grid[-1][1]),)),
        policy=draw(policies(refusals)),
    )
