"""Clocks, identifiers and digests of the compiled law against the vectors and the plain-Python reference."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.cpu_fallback import route
from arrival_engine.cpu_fallback.digest import MULTIPLIERS, Digest, digest_lanes, fold_word, mix64
from arrival_engine.cpu_fallback.identifiers import edge_id, site_id, text_word
from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.law import (
    whole_seconds,
)
from arrival_engine.cpu_fallback.tables import NO_TABLE, Groups, Merchants, Zones
from arrival_engine.engine.validation.file_order import table_digest
from tests.support import law
from tests.support.law import MASK64, TWO64
from tests.support.law_cases import LAW, instants, texts, words
from tests.support.model import BEFORE_ALL

# Compiled as each backend compiles them; those inside the CPU kernel have no way in from Python.
_find_group_table = njit(route.find_group_table)


_local_time = njit(route.local_time)


@given(st.integers(-(2**62), 2**62))
@settings(max_examples=200)
def test_seconds_are_floored_before_1970_too(ts_us):
    assert int(whole_seconds(np.int64(ts_us))) == ts_us // 10**6


def test_seconds_at_the_epoch():
    assert [int(whole_seconds(np.int64(t))) for t in (-1_000_001, -1_000_000, -1, 0, 999_999)] == [-2, -1, -1, 0, 0]


@given(st.lists(st.lists(st.tuples(instants, st.integers(-900, 900)), max_size=5), min_size=1, max_size=4), st.data())
@settings(max_examples=150)
def test_local_times_equal_the_reference(drawn, data):
    tables = [((BEFORE_ALL, data.draw(st.integers(-902, 902))), *sorted(dict(pairs).items())) for pairs in drawn]
    pairs = list(itertools.chain(*tables))
    zones = Zones(
        start=np.cumsum([0, *map(len, tables)]).astype(np.int32),
        instant=np.array([instant for instant, _ in pairs], np.int64),
        offset_us=np.array([minutes * 60 * 10**6 for _, minutes in pairs], np.int64),
        text=np.zeros(len(tables), np.uint64),
    )
    for code, table in enumerate(tables):
        steps = [instant * 10**6 + step for instant, _ in table[1:] for step in (-1, 0, 1)]
        for ts_us in (data.draw(instants) * 10**6, *steps):
            assert int(_local_time(zones, np.int32(code), np.int64(ts_us))) == law.local_us(table, ts_us)


@given(st.lists(st.lists(st.integers(-400, 30_000), max_size=8, unique=True), min_size=1, max_size=4))
@settings(max_examples=80)
def test_group_table_of_a_day_is_found_or_missing(days_of):
    days_of = [sorted(days) for days in days_of]
    start = np.cumsum([0, *map(len, days_of)]).astype(np.int64)
    nothing = np.zeros(0, np.uint64)
    groups = Groups(
        np.array(list(itertools.chain(*days_of)), np.int32),
        np.zeros(1, np.int64),
        nothing,
        nothing.astype(np.int32),
        nothing.astype(np.int32),
    )
    merchants = Merchants(
        nothing, nothing.astype(np.int8), nothing.astype(np.int32), start, nothing.astype(np.int32), start
    )
    for merchant, days in enumerate(days_of):
        known = dict(zip(days, range(int(start[merchant]), int(start[merchant + 1])), strict=True))
        for day in {-401, 0, 30_001, *days, *(day + 1 for day in days)}:
            found = int(_find_group_table(merchants, groups, np.int32(merchant), np.int32(day)))
            assert found == known.get(day, NO_TABLE)


def test_identifier_vectors():
    for site in LAW["site_ids"]:
        assert site_id(site["merchant_id"], site["country"], site["site_order"]) == site["site_id"]
    for edge in LAW["edge_ids"]:
        assert edge_id(edge["merchant_id"], edge["sequence"]) == edge["edge_id"] == int(edge["hex"], 16)


@given(st.integers(1, MASK64), st.from_regex("[A-Z]{2}", fullmatch=True), st.integers(1, 2**31 - 1), texts)
@settings(max_examples=100)
def test_identifiers_equal_the_reference(merchant, country, number, text):
    assert site_id(merchant, country, number) == law.site_id(merchant, country, number)
    assert edge_id(merchant, number) == law.edge_id(merchant, number)
    assert text_word(text) == law.text_word(text)


def test_digest_factors():
    for position, factor in LAW["digest_factors"].items():
        assert f"{int(MULTIPLIERS[int(position) - 1]):016x}" == factor
    assert [int(factor) for factor in MULTIPLIERS] == list(law.DIGEST_FACTORS)


def folded(row):
    """The row hash of twelve words."""
    h = np.uint64(0)
    for factor, word in zip(MULTIPLIERS, row, strict=True):
        h = np.uint64(fold_word(h, np.uint64(word), factor))
    return int(h)


@given(st.lists(words, min_size=12, max_size=12))
@settings(max_examples=200)
def test_row_hashes_and_lanes_equal_the_reference(row):
    h = folded(row)
    assert h == law.row_hash(row)
    assert int(mix64(np.uint64(h))) == law.mix(h)
    lanes = digest_lanes(np.uint64(h))
    assert f"1-{int(lanes[0]):016x}{int(lanes[1]):016x}" == law.digest_text([row])


@given(st.integers(-(2**63), -1))
@settings(max_examples=50)
def test_instants_before_1970_count_modulo_2_64(ts_us):
    word: Any = np.int64(ts_us)
    assert int(fold_word(np.uint64(0), word, MULTIPLIERS[5])) == ts_us * law.DIGEST_FACTORS[5] % TWO64


def digest_words(row):
    """The twelve words of a row of the vectors file."""
    settled = (row["tzid_settlement"], row["ts_local_settlement"])
    return (
        row["merchant_id"],
        text_word(row["zone_representation"]),
        text_word(row["channel_group"] or ""),
        row["bucket_index"],
        row["arrival_seq"],
        row["ts_utc"],
        int(row["is_virtual"]),
        row["edge_id"] if row["is_virtual"] else row["site_id"],
        text_word(row["tzid_primary"]),
        row["ts_local_primary"],
        *((text_word(settled[0]), settled[1]) if row["is_virtual"] else (0, 0)),
    )


@pytest.mark.parametrize("vector", LAW["digests"], ids=lambda v: f"{v['rows']}-rows")
def test_digest_vectors(vector):
    total = Digest()
    for row in LAW["digest_rows"][: vector["rows"]]:
        a, b = digest_lanes(np.uint64(folded(digest_words(row))))
        total += Digest(1, int(a), int(b))
    assert str(total) == vector["digest"]
    assert Digest.parse(vector["digest"]) == total


def stored(values, name, encoding):
    """A column of arrivals as a part file holds it, in either timestamp encoding."""
    if name.startswith("ts_"):
        instants = pa.array(values, pa.timestamp("us", "UTC" if name == "ts_utc" else None))
        if encoding == "timestamp":
            return instants
        suffix = "Z" if name == "ts_utc" else ""
        texts = [v and v.replace(tzinfo=None).isoformat(timespec="microseconds") + suffix for v in instants.to_pylist()]
        return pa.array(texts, pa.string())
    if name in ("merchant_id", "site_id", "edge_id"):
        return pa.array(values, pa.uint64())
    return pa.array(values, pa.string() if isinstance(values[-1], str | None) else None)


@pytest.mark.parametrize("encoding", ["timestamp", "rfc3339"])
@pytest.mark.parametrize("vector", LAW["digests"], ids=lambda v: f"{v['rows']}-rows")
def test_digest_vectors_by_the_second_look(vector, encoding):
    """Validation recomputes the digest from stored values, in either timestamp encoding."""
    rows = LAW["digest_rows"][: vector["rows"]]
    columns = {name: stored([row[name] for row in rows], name, encoding) for name in rows[0]}
    assert table_digest(pa.table(columns)) == vector["digest"]


@given(st.lists(st.tuples(st.integers(0, 10**12), words, words), max_size=5))
def test_digests_add_modulo_2_64_and_read_back(parts):
    total = sum((Digest(*part) for part in parts), Digest())
    assert total.rows == sum(rows for rows, _, _ in parts)
    assert total.a == sum(a for _, a, _ in parts) % TWO64
    assert total.b == sum(b for _, _, b in parts) % TWO64
    assert Digest.parse(str(total)) == total


@pytest.mark.parametrize("text", ["", "1-", "1", f"x-{'0' * 32}", f"1-{'0' * 31}", f"1-{'g' * 32}", f"-1-{'0' * 32}"])
def test_texts_that_are_no_digest(text):
    with pytest.raises(ValueError, match=r"not an arrival digest|invalid literal"):
        Digest.parse(text)
