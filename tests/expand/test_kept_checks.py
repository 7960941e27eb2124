"""What a device hands over is checked there: each defect, made for real, has its code."""

from __future__ import annotations

import pytest

from arrival_engine.contracts import ArrivalError, Code
from tests.support import gpu as support
from tests.support.on_device import Lanes, batches_of


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run", 100)


def spoilt(case, change):
    with pytest.raises(ArrivalError) as caught:
        list(batches_of(case, Lanes(case, change)))
    return caught.value


@pytest.mark.parametrize("wrong", [-1, 2**31 - 1, 0])
@pytest.mark.parametrize("place", [0, -1])
def test_an_arrival_of_another_count_row(small, wrong, place):
    def change(kept):
        row = kept.columns.row[: kept.arrivals]
        # Row 0 has the first arrival anyway.
        row[place] = 1 if wrong == place == 0 else wrong

    error = spoilt(small, change)
    assert error.code is Code.BUCKET_COUNT_MISMATCH
    assert ("outside" in error.message) == (wrong != 0)
    assert error.context["batch"] == 0


@pytest.mark.parametrize("place", [0, 50, -1])
@pytest.mark.parametrize("days", [-40, 40])
def test_an_arrival_outside_its_bucket(small, place, days):
    def change(kept):
        kept.columns.ts_us[: kept.arrivals][place] += days * 86_400_000_000

    assert spoilt(small, change).code is Code.TS_OUTSIDE_BUCKET_WINDOW


@pytest.mark.parametrize(("at", "passes"), [("start", True), ("before", False), ("last", True), ("end", False)])
def test_a_bucket_begins_and_ends_where_it_says(small, at, passes):
    grid = small.plan.world.tables.grid

    def change(kept):
        bucket = kept.lookups.rows.bucket[kept.columns.row[0] + kept.first_row]
        start, duration = int(grid.start_us[bucket]), int(grid.duration_us[bucket])
        kept.columns.ts_us[0] = {"start": 0, "before": -1, "last": duration - 1, "end": duration}[at] + start

    if passes:
        assert len(list(batches_of(small, Lanes(small, change)))) == len(small.plan.batches)
    else:
        assert spoilt(small, change).code is Code.TS_OUTSIDE_BUCKET_WINDOW


def test_virtual_arrivals_that_the_sums_do_not_have(small):
    def change(kept):
        kept.columns.is_virtual[kept.arrivals - 1] ^= True

    assert spoilt(small, change).code is Code.RNG_ACCOUNTING_MISMATCH
