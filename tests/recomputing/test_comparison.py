"""Stored rows against the law's: in any order and split, with any column changed, with keys that do not exist."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.engine.recomputing.kernel_shapes import NONE
from arrival_engine.engine.recomputing.recount import Recomputation
from arrival_engine.engine.recomputing.tables import build
from tests.support import reference
from tests.support.recomputed import chosen, inputs_of, stored_rows
from tests.support.strategies import worlds
from tests.support.worlds import BIG_ID, HALF, TWO_ZONES, small_world

LEAST, MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@cache
def small():
    """The tables of the small world, and its rows as stored."""
    world = small_world()
    tables = build(inputs_of(world))
    return tables, stored_rows(reference.expand(world).rows, tables)


def compared(*parts, tables=None):
    """The numbers of the rows found in each part, by one pass."""
    reading = Recomputation(tables or small()[0], bins=10).begin()
    return [reading.compare(part).tolist() for part in parts]


def changed(column, value, rows=slice(None)):
    """The small world's rows with a column of some of them set, or made by a function of what they have."""
    _, stored = small()
    values = getattr(stored, column).copy()
    values[rows] = value(values[rows]) if callable(value) else value
    return stored._replace(**{column: values})


def split(stored, sizes):
    return [chosen(stored, slice(*bounds)) for bounds in itertools.pairwise(itertools.accumulate(sizes, initial=0))]


# --- Any order, any split ---------------------------------------------------------------------------


def tallies(recomputation):
    return {name: values.tolist() for name, values in recomputation.tally()._asdict().items()}


def counts(recomputation):
    return {name: values.tolist() for name, values in recomputation.recount._asdict().items()}


def test_the_small_worlds_rows_are_the_laws():
    tables, stored = small()
    assert compared(stored) == [[]]
    assert stored.seq.size == tables.arrivals > 3000


@given(st.randoms(use_true_random=False), st.integers(1, 4), st.sampled_from((1, 2, 7, 100, 1000, 5000)))
@settings(max_examples=25)
def test_rows_may_come_in_any_order_and_batches_over_several_passes(random, passes, size):
    tables, stored = small()
    whole = Recomputation(tables, bins=10, watched=[0, 3])
    assert whole.begin().compare(stored).tolist() == []

    order = list(range(stored.seq.size))
    # Blocks of neighbours, some turned round, so that segments are met again and again.
    blocks = [order[at : at + 97] for at in range(0, len(order), 97)]
    random.shuffle(blocks)
    order = [row for block in blocks for row in (block if random.random() < 0.5 else reversed(block))]
    recomputation = Recomputation(tables, bins=10, watched=[0, 3])
    readers = [recomputation.begin() for _ in range(passes)]
    for number, at in enumerate(range(0, len(order), size)):
        batch = chosen(stored, order[at : at + size])
        assert readers[number % passes].compare(batch).tolist() == []
    assert tallies(recomputation) == tallies(whole)
    assert recomputation.finish() == 0
    assert counts(recomputation) == counts(whole)


def test_rows_in_no_order_at_all():
    _, stored = small()
    order = np.random.default_rng(3).permutation(stored.seq.size)[:200]
    assert compared(*split(chosen(stored, order), [1, 3, 196])) == [[], [], []]


def test_an_empty_batch_changes_nothing():
    _, stored = small()
    nothing = chosen(stored, slice(0, 0))
    assert compared(nothing, stored, nothing) == [[], [], []]


def test_every_stretch_of_the_bucket_is_tallied_for_watched_rows():
    tables, stored = small()
    largest = int(np.argmax(tables.law.rows.arrivals))
    recomputation = Recomputation(tables, bins=10, watched=[largest])
    recomputation.begin().compare(stored)
    assert recomputation.tally().large.sum() == tables.law.rows.arrivals[largest] == 3000
    assert recomputation.tally().bins.sum() == stored.seq.size


# --- Every column -----------------------------------------------------------------------------------

CHANGES = {
    "ts_us a microsecond later": ("ts_us", lambda values: values + 1),
    "ts_us a microsecond earlier": ("ts_us", lambda values: values - 1),
    "ts_us extreme": ("ts_us", LEAST),
    "ts_us extreme too": ("ts_us", MOST),
    "place by one": ("place", lambda values: values + np.uint64(1)),
    "place zero": ("place", np.uint64(0)),
    "is_virtual": ("is_virtual", np.logical_not),
    "zone unknown": ("zone", NONE),
    "zone of another": ("zone", lambda values: (values + 1) % len(small()[0].tzids)),
    "channel unknown": ("channel", NONE),
    "channel of another": ("channel", lambda values: (values + 1) % len(small()[0].channels)),
    "primary unknown": ("primary", NONE),
    "primary of another": ("primary", lambda values: (values + 1) % len(small()[0].tzids)),
    "merchant unknown": ("merchant", np.uint64(7)),
    "merchant less by one": ("merchant", lambda values: values - np.uint64(1)),
    "merchant extreme": ("merchant", np.uint64(2**64 - 2)),
    "bucket by one": ("bucket", lambda values: values + np.uint64(1)),
    "bucket less by one": ("bucket", lambda values: values - np.uint64(1)),
    "bucket beyond the grid": ("bucket", np.uint64(10**6)),
    "bucket beyond 32 bits": ("bucket", lambda values: values + np.uint64(2**32)),
    "bucket extreme": ("bucket", np.uint64(2**64 - 1)),
    "seq zero": ("seq", 0),
    "seq negative": ("seq", -1),
    "seq beyond": ("seq", 10**9),
    "seq least": ("seq", LEAST),
    "seq most": ("seq", MOST),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_every_row_is_found_in_every_row(change):
    _, stored = small()
    assert compared(changed(*CHANGES[change])) == [list(range(stored.seq.size))]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_single_rows_is_found_in_these_alone(change):
    _, stored = small()
    rows = [0, 1, 500, 3010, stored.seq.size - 1]
    assert compared(changed(*CHANGES[change], rows=rows)) == [rows]


def test_neighbours_with_their_numbers_exchanged_are_found():
    _, stored = small()
    same = (stored.merchant[1:] == stored.merchant[:-1]) & (stored.ts_us[1:] != stored.ts_us[:-1])
    first = np.flatnonzero(same)[::50]
    seq = stored.seq.copy()
    seq[first], seq[first + 1] = stored.seq[first + 1], stored.seq[first]
    assert compared(stored._replace(seq=seq)) == [sorted([*first.tolist(), *(first + 1).tolist()])]


@pytest.mark.parametrize("column", ["ts_us", "place", "primary", "zone"])
def test_a_column_one_row_late_is_found(column):
    """Within each merchant: exactly the rows whose value is not that of the row before."""
    _, stored = small()
    rolled = stored._replace(**{column: np.roll(getattr(stored, column), 1)})
    differing = np.flatnonzero(getattr(rolled, column) != getattr(stored, column))
    assert differing.size
    assert compared(rolled) == [differing.tolist()]


def test_the_arrival_of_another_merchant_is_found():
    """The whole row but the merchant."""
    _, stored = small()
    row = int(np.flatnonzero(stored.merchant == BIG_ID)[0])
    for merchant in (HALF, TWO_ZONES):
        forged = chosen(stored, [row])._replace(merchant=np.array([merchant], np.uint64))
        assert compared(forged) == [[0]]


@given(worlds(), st.data())
@settings(max_examples=40)
def test_single_rows_of_drawn_worlds(world, data):
    rows = reference.expand(world).rows
    if not rows:
        return
    tables = build(inputs_of(world))
    stored = stored_rows(rows, tables)
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(("ts_us", "place", "zone", "channel", "primary", "is_virtual")))
    values = getattr(stored, column).copy()
    values[row] = not values[row] if column == "is_virtual" else values[row] + values.dtype.type(1)
    assert compared(stored, stored._replace(**{column: values}), stored, tables=tables) == [[], [row], []]


# --- Keys: none, repeated, missing ------------------------------------------------------------------


def test_rows_that_differ_are_not_tallied_among_places():
    tables, stored = small()
    recomputation = Recomputation(tables, bins=10)
    recomputation.begin().compare(changed("place", np.uint64(0)))
    tally = recomputation.tally()
    assert tally.site.sum() == tally.edge.sum() == tally.group.sum() == tally.zone_day.sum() == 0
    # Their times are in their buckets all the same.
    assert tally.bins.sum() == stored.seq.size


def test_times_outside_their_buckets_are_not_tallied():
    recomputation = Recomputation(small()[0], bins=10)
    recomputation.begin().compare(changed("ts_us", MOST))
    recomputation.begin().compare(changed("ts_us", LEAST))
    assert recomputation.tally().bins.sum() == recomputation.tally().ends.sum() == 0


def test_a_repeated_row_is_no_difference_but_counts_twice():
    """That keys are unique is another check's matter."""
    tables, stored = small()
    recomputation = Recomputation(tables, bins=10)
    reading = recomputation.begin()
    assert reading.compare(chosen(stored, [5, 5, 5])).tolist() == []
    tally = recomputation.tally()
    assert tally.site.sum() + tally.edge.sum() == 3


def test_segments_of_which_there_is_no_row_are_recounted_at_the_end():
    tables, stored = small()
    half = stored.merchant == HALF
    recomputation, whole = Recomputation(tables, bins=10), Recomputation(tables, bins=10)
    recomputation.begin().compare(chosen(stored, ~half))
    assert recomputation.finish() == half.sum() > 0
    assert recomputation.finish() == 0
    assert whole.finish() == tables.arrivals
    assert counts(recomputation) == counts(whole)
