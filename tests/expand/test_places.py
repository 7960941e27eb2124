"""The CPU kernel picks places row by row before it sorts; routed one by one, the arrivals are the same to the bit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from arrival_engine.cpu_fallback import route
from arrival_engine.cpu_fallback.expand import expand_segments
from arrival_engine.cpu_fallback.law import counter_word1, draw_offset
from arrival_engine.cpu_fallback.philox import philox2x64
from arrival_engine.cpu_fallback.tables import (
    FAILED_NO_GROUP,
    FAILED_NO_SITE,
    NO_TABLE,
    Results,
    Work,
    empty_batch_totals,
    empty_columns,
    empty_row_totals,
)
from tests.support.gpu import Case, assert_same_results, make_case
from tests.support.model import CountRow, GroupWeight
from tests.support.worlds import (
    ALONE_ONLINE,
    BERLIN,
    BERLIN_GAP,
    BIG_ID,
    CASABLANCA,
    HALF,
    KATHMANDU,
    NEW_YORK_GAP,
    PARIS,
    SYDNEY,
    TWO_ZONES,
    UTC,
    VIRTUAL,
    small_world,
)

COIN_MAX = 2**64 - 1
MIXED = tuple(
    CountRow(merchant, zone, channel, bucket, n)
    for merchant in (HALF, VIRTUAL, ALONE_ONLINE, TWO_ZONES)
    for zone, channel, n in ((PARIS, "mixed", 9), (BERLIN, None, 1), (KATHMANDU, "a", 6), (UTC, "b", 4))
    for bucket in (BERLIN_GAP, NEW_YORK_GAP)
)


class Drawn(NamedTuple):
    """One arrival before it is routed; they sort into output order."""

    offset: int
    position: int
    row: int
    draw: int


def drawn(work: Work, segment: int) -> list[Drawn]:
    """A segment's arrivals by position."""
    tables, rows, segments, _ = work
    arrivals = []
    for row in range(segments.row_start[segment], segments.row_start[segment + 1]):
        entity, bucket = rows.entity[row], rows.bucket[row]
        word1 = np.uint64(counter_word1(tables.entities.time_hi[entity], bucket))
        for draw in range(rows.arrivals[row]):
            x0, _ = philox2x64(np.uint64(draw), word1, tables.entities.time_key[entity])
            offset = int(draw_offset(np.uint64(x0), tables.grid.duration_us[bucket]))
            arrivals.append(Drawn(offset, len(arrivals), row, draw))
    return arrivals


def routed(work: Work, arrival: Drawn) -> tuple[route.Routed, bool]:
    """The route of an arrival, and whether it goes without a tz group table."""
    tables, rows, _, switches = work
    entity, bucket = rows.entity[arrival.row], rows.bucket[arrival.row]
    table = np.int64(NO_TABLE)
    if switches.use_group_weights:
        merchant = tables.entities.merchant[entity]
        table = route.find_group_table(tables.merchants, tables.groups, merchant, tables.grid.day[bucket])
    found = route.route_arrival(tables, switches.coin, entity, bucket, table, np.int64(arrival.draw))
    return found, bool(switches.use_group_weights and table < 0 and not found[0])


def one_by_one(work: Work) -> Results:
    """All segments as `route` has them, arrival by arrival in output order."""
    tables, rows, segments, switches = work
    size = int(segments.arrival_start[-1])
    results = Results(empty_columns(size), empty_row_totals(rows.entity.size), empty_batch_totals())
    columns, row_totals, totals = results
    out, lanes = 0, [0, 0]
    for segment, before in enumerate(segments.arrivals_before):
        for seq, arrival in enumerate(sorted(drawn(work, segment)), int(before) + 1):
            entity, bucket = rows.entity[arrival.row], rows.bucket[arrival.row]
            found, without_group = routed(work, arrival)
            is_virtual, place, primary, settlement, without_site = found
            failure = route.forbidden_fallback(switches, without_group, without_site)
            if failure:
                totals.failure[:] = failure, arrival.row
                return results
            ts_us = np.int64(tables.grid.start_us[bucket] + arrival.offset)
            clocks = (
                route.local_time(tables.zones, primary, ts_us),
                route.local_time(tables.zones, settlement, ts_us) if is_virtual else np.int64(0),
            )
            local_us, settlement_us = clocks
            values: tuple[Any, ...] = (
                arrival.row,
                seq,
                ts_us,
                place,
                primary,
                local_us,
                settlement,
                settlement_us,
                is_virtual,
            )
            arrays: tuple[np.ndarray[Any, Any], ...] = columns
            for column, value in zip(arrays, values, strict=True):
                column[out] = value
            terms = route.row_digest(tables, entity, bucket, np.int64(seq), ts_us, found, clocks)
            lanes = [total + int(term) for total, term in zip(lanes, terms, strict=True)]
            totals.at_start[0] += arrival.offset == 0
            totals.at_end[0] += arrival.offset == int(tables.grid.duration_us[bucket]) - 1
            row_totals.virtual[arrival.row] += is_virtual
            row_totals.without_group[arrival.row] += without_group
            row_totals.without_site[arrival.row] += without_site
            out += 1
    totals.digest[:] = [total % 2**64 for total in lanes]
    return results


def by_kernel(work: Work) -> Results:
    return expand_segments(work, (0, work.segments.arrivals_before.size))


def switched(case: Case, **changes: Any) -> Work:
    return case.work._replace(switches=case.plan.switches._replace(**changes))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return make_case(small_world(counts=MIXED), tmp_path_factory.mktemp("places") / "mixed")


@pytest.mark.parametrize("coin", [0, 1 << 62, COIN_MAX], ids=hex)
@pytest.mark.parametrize("use_group_weights", [True, False])
def test_rows_of_every_mode_are_as_routed_one_by_one(mixed, coin, use_group_weights):
    work = switched(mixed, coin=np.uint64(coin), use_group_weights=use_group_weights)
    found = by_kernel(work)
    assert_same_results(one_by_one(work), found)
    entities = mixed.work.tables.entities
    hybrid = entities.merchant[mixed.work.rows.entity] == mixed.work.tables.merchants.id.tolist().index(HALF)
    virtual, arrivals = found.row_totals.virtual[hybrid], mixed.work.rows.arrivals[hybrid]
    if coin == 0:
        assert not virtual.any()
    elif coin == COIN_MAX:
        assert np.array_equal(virtual, arrivals)
    else:
        assert ((virtual > 0) & (virtual < arrivals)).any()


def test_a_merchant_without_settlement_zone_settles_where_the_edge_is(mixed):
    """ALONE_ONLINE also has a single edge, which every arrival takes."""
    columns = by_kernel(mixed.work).columns
    merchants = mixed.work.tables.merchants.id[mixed.work.tables.entities.merchant[mixed.work.rows.entity[columns.row]]]
    online = merchants == np.uint64(ALONE_ONLINE)
    assert online.any()
    assert columns.is_virtual[online].all()
    assert np.unique(columns.place[online]).size == 1
    assert np.array_equal(columns.settlement[online], columns.primary[online])
    assert np.array_equal(columns.settlement_local_us[online], columns.local_us[online])
    settled = merchants == np.uint64(VIRTUAL)
    assert np.unique(columns.settlement[settled]).size == 1 < np.unique(columns.primary[settled]).size


# --- Forbidden fallbacks -----------------------------------------------------------------------------


def forbidden(work: Work, code: int) -> list[Drawn]:
    """Arrivals of the only segment that take a forbidden fallback, by position."""
    arrivals = drawn(work, 0)
    routes = [routed(work, arrival) for arrival in arrivals]
    return [
        arrival
        for arrival, (found, without_group) in zip(arrivals, routes, strict=True)
        if route.forbidden_fallback(work.switches, without_group, found[4]) == code
    ]


def one_segment(folder, merchant, bucket, *rows, **changes):
    counts = tuple(CountRow(merchant, zone, channel, bucket, n) for zone, channel, n in rows)
    return make_case(small_world(counts=counts, **changes), folder / "run")


def test_of_a_hybrid_merchant_only_physical_arrivals_lack_the_group_table(tmp_path):
    case = one_segment(tmp_path, HALF, BERLIN_GAP, (PARIS, "mixed", 4), (KATHMANDU, "a", 3), (BERLIN, None, 5))
    work = switched(case, fail_no_group=True)
    failing, arrivals = forbidden(work, FAILED_NO_GROUP), sorted(drawn(work, 0))
    assert 0 < len(failing) < len(arrivals)
    assert min(failing) != arrivals[0], "the first arrival in output order is virtual"
    assert min(failing).row != failing[0].row, "the first by draw is of another count row"
    assert by_kernel(work).totals.failure.tolist() == [FAILED_NO_GROUP, min(failing).row]
    only_virtual = work._replace(switches=work.switches._replace(coin=np.uint64(COIN_MAX)))
    assert_same_results(one_by_one(only_virtual), by_kernel(only_virtual))
    assert by_kernel(only_virtual).totals.failure[0] == 0


@pytest.mark.parametrize("merchant", [BIG_ID, HALF], ids=["physical", "hybrid"])
def test_the_first_arrival_without_a_site_in_output_order_is_reported(tmp_path, merchant):
    case = one_segment(
        tmp_path,
        merchant,
        NEW_YORK_GAP + 2,  # 9 March
        *((PARIS, "mixed", 20), (CASABLANCA, "a", 12), (BERLIN, None, 16)),
        group_weights=tuple(
            GroupWeight(merchant, "2026-03-09", zone, 0.5) for zone in (SYDNEY, BERLIN if merchant == BIG_ID else PARIS)
        ),
    )
    work = switched(case, fail_no_site=True)
    failing = forbidden(work, FAILED_NO_SITE)
    assert 0 < len(failing) < work.segments.arrival_start[-1]
    assert min(failing).row != failing[0].row, "the first by draw is of another count row"
    assert by_kernel(work).totals.failure.tolist() == [FAILED_NO_SITE, min(failing).row]
    assert_same_results(one_by_one(case.work), by_kernel(case.work))


def test_a_segment_before_the_forbidden_fallback_does_not_hide_it(tmp_path):
    """Rows are counted from the batch's first, also where segments come before; no group goes before no site."""
    counts = (
        CountRow(BIG_ID, CASABLANCA, "mixed", NEW_YORK_GAP - 1, 7),
        CountRow(BIG_ID, CASABLANCA, "mixed", NEW_YORK_GAP, 5),  # a day without group weights
        CountRow(BIG_ID, SYDNEY, "mixed", NEW_YORK_GAP, 5),  # that day, and a zone without sites
    )
    case = make_case(small_world(counts=counts), tmp_path / "run")
    for changes in ({"fail_no_group": True}, {"fail_no_site": True}, {"fail_no_group": True, "fail_no_site": True}):
        work = switched(case, **changes)
        expected = one_by_one(work)
        assert expected.totals.failure[0] != 0
        assert_same_results(expected, by_kernel(work))
