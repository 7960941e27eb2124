"""The check of a time zone cache: where it differs from the exact tables, and where that matters."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.engine.tz.agreement import disagreements
from arrival_engine.engine.tz.pinned import pinned_zones
from arrival_engine.engine.tz.zones import SENTINEL, stack
from tests.support.zone_tables import BERLIN_2026, seconds, table

Q1 = (seconds(2026, 1, 1), seconds(2026, 4, 1))


DST_ZONES = ["America/New_York", "Asia/Tokyo", "Europe/Berlin"]


def changed(zones, tzids, edit):
    return stack(tzids, [edit(*zones.steps(tzid)) for tzid in tzids])


def test_an_exact_cache_agrees(exact):
    assert disagreements(exact, exact.tzids, *Q1) == []
    assert disagreements(exact, ["Europe/Berlin"], seconds(1880, 1, 1), seconds(2037, 12, 31)) == []
    assert disagreements(exact, [], *Q1) == []


def test_transitions_27_seconds_late_are_found(exact):
    def late(instants, offsets):
        return np.where((instants > 0), instants + 27, instants), offsets

    found = disagreements(changed(exact, DST_ZONES, late), DST_ZONES, *Q1)
    assert [tuple(entry) for entry in found] == [
        ("America/New_York", seconds(2026, 3, 8, 7), seconds(2026, 3, 8, 7) + 27, -300, -240),
        ("Europe/Berlin", BERLIN_2026, BERLIN_2026 + 27, 60, 120),
    ]
    assert str(found[1]).startswith("Europe/Berlin from 2026-03-29T01:00:00Z: the cache says +60 min")
    assert "+120 min" in str(found[1])


def test_a_cut_off_horizon_is_found(exact):
    def cut(instants, offsets):
        keep = instants < seconds(2025, 12, 28)
        return instants[keep], offsets[keep]

    found = disagreements(changed(exact, DST_ZONES, cut), DST_ZONES, *Q1)
    assert [(entry.tzid, entry.instant, entry.until) for entry in found] == [
        ("America/New_York", seconds(2026, 3, 8, 7), Q1[1] + 1),
        ("Europe/Berlin", BERLIN_2026, Q1[1] + 1),
    ]


def test_a_wrong_offset_at_the_start_and_a_stretch_that_ends(exact):
    def ahead(instants, _offsets):
        return np.append(instants[:1], [Q1[0] + 86400]), np.array([600, 540], np.int32)

    found = disagreements(changed(exact, ["Asia/Tokyo"], ahead), ["Asia/Tokyo"], *Q1)
    assert [tuple(entry) for entry in found] == [("Asia/Tokyo", Q1[0], Q1[0] + 86400, 600, 540)]


def test_the_end_of_the_interval_counts(exact):
    def cut(instants, offsets):
        keep = instants < BERLIN_2026
        return instants[keep], offsets[keep]

    cache = changed(exact, ["Europe/Berlin"], cut)
    assert disagreements(cache, ["Europe/Berlin"], Q1[0], BERLIN_2026 - 1) == []
    assert len(disagreements(cache, ["Europe/Berlin"], Q1[0], BERLIN_2026)) == 1


def test_steps_that_change_nothing_are_no_disagreement():
    cache = table(Etc__UTC=[(SENTINEL, 0), (Q1[0] + 5, 0), (Q1[0] + 9, 0)])
    assert disagreements(cache, ["Etc/UTC"], *Q1) == []


def test_unknown_zones_are_errors(exact):
    berlin = changed(exact, ["Europe/Berlin"], lambda instants, offsets: (instants, offsets))
    with pytest.raises(ArrivalError) as caught:
        disagreements(berlin, ["Europe/Berlin", "Asia/Tokyo", "Asia/Seoul"], *Q1)
    assert caught.value.code is Code.DST_MAPPING_FAILED
    assert caught.value.context["tzids"] == ["Asia/Seoul", "Asia/Tokyo"]
    mars = table(Mars__Olympus=[(SENTINEL, 0)])
    with pytest.raises(ArrivalError, match="Mars/Olympus"):
        disagreements(mars, ["Mars/Olympus"], *Q1)


def test_impossible_intervals_are_errors(exact):
    for bounds in ((5, 4), (0, 2**62)):
        with pytest.raises(ArrivalError) as caught:
            disagreements(exact, ["Etc/UTC"], *bounds)
        assert caught.value.code is Code.DST_MAPPING_FAILED


@given(st.data())
def test_agreement_equals_a_search_by_brute_force(data):
    """Random step functions on a short interval, compared second by second."""
    zones = pinned_zones(["Europe/Berlin"], 2026)
    low, high = BERLIN_2026 - 30, BERLIN_2026 + 30
    edges = sorted(data.draw(st.sets(st.integers(low - 3, high + 3), max_size=5)))
    levels = data.draw(st.lists(st.sampled_from([60, 120]), min_size=len(edges) + 1, max_size=len(edges) + 1))
    cache = table(Europe__Berlin=list(zip([SENTINEL, *edges], levels, strict=True)))
    pairs = [
        (cache.offset_at("Europe/Berlin", at), zones.offset_at("Europe/Berlin", at)) for at in range(low, high + 1)
    ]
    expected, at = [], low
    for pair, stretch in groupby(pairs):
        instant, at = at, at + len(list(stretch))
        if pair[0] != pair[1]:
            expected.append(("Europe/Berlin", instant, at, *pair))
    assert [tuple(entry) for entry in disagreements(cache, ["Europe/Berlin"], low, high)] == expected
