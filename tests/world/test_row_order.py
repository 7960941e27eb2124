"""Count rows in law order, packed into keys or not, against plain Python."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.world.catalogue import Uncoded, catalogued
from arrival_engine.engine.world.counts import DrawnRows, merge_drawn

MOST = 2**31 - 1
ENTITIES = [
    (merchant, zone, channel)
    for merchant in (7, 2**64 - 1, 8)
    for zone in ("UTC", "Asia/Tokyo", "Ä")
    for channel in ("", "mixed")
]


def piece_of(rows):
    """Rows of (entity, bucket, arrivals) as one row group hands them on."""
    entities = list(dict.fromkeys(entity for entity, _, _ in rows))
    columns = [[entities.index(entity) for entity, _, _ in rows], *zip(*((b, n) for _, b, n in rows), strict=True)]
    entity, bucket, arrivals = (np.array(column, np.int32) for column in (columns if rows else ([], [], [])))
    return drawn(entities, entity, bucket, arrivals, len(rows) + 1)


def drawn(entities, entity, bucket, arrivals, input_rows):
    """DrawnRows of entities that are listed as texts, in any order."""
    ids = np.array([merchant for merchant, _, _ in entities], np.uint64)
    texts = [[entity[field] for entity in entities] for field in (1, 2)]
    each = np.arange(len(entities))
    catalogue, index = catalogued(Uncoded(ids, each, texts[0], each, texts[1]))
    return DrawnRows(catalogue, index[entity], bucket, arrivals, input_rows)


def merged(pieces, buckets, most=MOST):
    return merge_drawn([piece_of(rows) for rows in pieces], buckets, most)


def uncoded(counts):
    entities = [counts.catalogue.entity(index) for index in range(counts.catalogue.merchant.size)]
    return [
        (entities[entity], bucket, arrivals)
        for entity, bucket, arrivals in zip(*(column.tolist() for column in counts.rows), strict=True)
    ]


def law_order(key):
    (merchant, zone, channel), bucket = key
    return merchant, bucket, zone.encode(), channel.encode()


def expected(pieces):
    sums = Counter()
    for rows in pieces:
        for entity, bucket, arrivals in rows:
            sums[entity, bucket] += arrivals
    return [(*key, sums[key]) for key in sorted(sums, key=law_order)]


# Buckets and arrivals of 31 bits leave one bit of a key for merchant and entity.
def rows_up_to(buckets, arrivals):
    row = st.tuples(st.sampled_from(ENTITIES), st.integers(0, buckets - 1), st.integers(1, arrivals))
    return st.lists(st.lists(row, max_size=6), max_size=4)


@given(rows_up_to(3, 5))
def test_narrow_rows(pieces):
    counts = merged(pieces, 3)
    assert uncoded(counts) == expected(pieces)
    rows = sum(map(len, pieces))
    assert counts.merged_rows == rows - counts.rows.entity.size
    assert (counts.input_rows, counts.zero_rows) == (rows + len(pieces), len(pieces))
    assert {column.dtype for column in counts.rows} == {np.dtype(np.int32)}


@given(rows_up_to(MOST, 2**26))
@example([[(ENTITIES[0], MOST - 1, MOST)]])
@example([[(ENTITIES[0], MOST - 1, MOST), (ENTITIES[6], 0, 1)]])
@example([[(entity, MOST - 1, MOST)] for entity in ENTITIES])
def test_rows_too_wide_for_a_key(pieces):
    assert uncoded(merged(pieces, MOST)) == expected(pieces)


@pytest.mark.parametrize("buckets", [3, MOST])
def test_a_repeated_key_may_add_up_to_the_guardrail_and_no_further(buckets):
    rows = [(ENTITIES[3], 2, MOST - 1), (ENTITIES[2], 2, 5), (ENTITIES[3], 2, 1)]
    assert uncoded(merged([rows], buckets)) == expected([rows])
    for more in (1, MOST):
        with pytest.raises(
            ArrivalError, match=f"merchant 7, Asia/Tokyo, mixed, bucket 2 add up to {MOST + more} "
        ) as e:
            merged([rows, [(ENTITIES[3], 2, more)]], buckets)
        assert e.value.code is Code.LIMIT_EXCEEDED


def test_many_rows_in_several_blocks():
    """More rows than are unpacked at a time, of which every other repeats a key."""
    size = 150_000
    draws = np.random.default_rng(5)
    entity, bucket = draws.integers(0, len(ENTITIES), size), draws.integers(0, 90_000, size)
    arrivals = draws.integers(1, 1000, size)
    columns = [np.append(column, column[::2]).astype(np.int32) for column in (entity, bucket, arrivals)]
    halves = [drawn(ENTITIES, columns[0][i::2], columns[1][i::2], columns[2][i::2], 0) for i in (0, 1)]
    counts = merge_drawn(halves, 90_000, MOST)
    sums = Counter()
    for code, at, n in zip(*(column.tolist() for column in columns), strict=True):
        sums[ENTITIES[code], at] += n
    assert uncoded(counts) == [(*key, sums[key]) for key in sorted(sums, key=law_order)]
