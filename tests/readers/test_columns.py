"""Columns for people: each value against one that is derived row by row from the contract's columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from arrival_engine.contracts import ArrivalError, Code, arrow_schema
from arrival_engine.engine.merchant_names import MerchantNames
from arrival_engine.engine.readable.facts import KnownFacts, RunFacts
from arrival_engine.engine.readable.places import PlaceList, Places, places_of_members
from arrival_engine.engine.readable.reshaping import Reshaper
from arrival_engine.engine.readable.shapes import DESCRIPTIONS, Shape, plain
from arrival_engine.engine.rundir.receipt import read_receipt
from tests.support.reader_rows import SETTLEMENT, expected_row
from tests.support.reader_worlds import BIG, HALF, REPEATED, SHOPS, instant, tables, wall_clock

IDS: dict[str, Callable[[int], object]] = {
    "uint64": int,
    "int64": lambda value: value - 2**64 * (value >= 2**63),
    "text": str,
    "decimal": Decimal,
}


@pytest.fixture(scope="module")
def facts(world):
    return RunFacts(read_receipt(world.root))


def reshaped(table, shape, facts):
    reshaper = Reshaper(shape, facts)
    batches = [reshaper.batch(batch) for batch in table.to_batches()]
    for batch in batches:
        batch.validate(full=True)
        assert batch.schema == reshaper.schema
    return pa.Table.from_batches(batches, reshaper.schema)


@pytest.mark.parametrize("ids", IDS)
def test_every_value_is_that_of_the_contract(world, facts, ids):
    found = reshaped(world.rows, Shape("readable", ids), facts).to_pylist()
    assert found == [expected_row(row, IDS[ids]) for row in world.rows.to_pylist()]
    assert {HALF, BIG} <= {row["merchant_id"] for row in world.rows.to_pylist()}
    assert any(row["settlement_tzid"] != row["tzid"] for row in found if row["is_virtual"])


def test_local_times_are_those_of_the_standard_library_and_have_one_instant(world, facts):
    rows = reshaped(world.rows, Shape(), facts).to_pylist()
    for row in rows:
        utc = row["ts_utc"].replace(tzinfo=None)
        assert row["ts_local"] == wall_clock(utc, row["tzid"])
        assert instant(row["ts_local"], row["utc_offset_minutes"]) == utc
        if row["is_virtual"]:
            assert row["settlement_ts_local"] == wall_clock(utc, row["settlement_tzid"])
            assert instant(row["settlement_ts_local"], row["settlement_utc_offset_minutes"]) == utc
    begin, end = REPEATED
    berlin = [row for row in rows if row["tzid"] == "Europe/Berlin" and begin <= row["ts_local"] < end]
    assert {row["utc_offset_minutes"] for row in berlin} == {60, 120}
    assert len(berlin) > 100


@pytest.mark.parametrize("ids", IDS)
def test_the_contracts_columns_keep_their_values(world, facts, ids):
    found = reshaped(world.rows, Shape("contract", ids), facts)
    assert found.column_names == arrow_schema("arrival_events_5B").names
    of_id = [field.name for field in arrow_schema("arrival_events_5B") if field.type == pa.uint64()]
    for name in found.column_names:
        values = world.rows[name].to_pylist()
        if name in of_id:
            form = IDS[ids]
            values = [None if value is None else form(value) for value in values]
        assert found[name].to_pylist() == values


def as_texts(table):
    """The times as the output policy's rfc3339 writes them."""
    for at, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            form = "%Y-%m-%dT%H:%M:%S" + ("Z" if field.type.tz else "")
            table = table.set_column(at, field.name, pc.strftime(table[field.name], form))
    return table


@pytest.mark.parametrize("columns", ["readable", "contract"])
def test_times_that_are_texts_are_the_same_times(world, facts, columns):
    texts = as_texts(world.rows)
    assert texts["ts_utc"][0].as_py().endswith("Z")
    assert len(texts["ts_local_primary"][0].as_py()) == 26
    assert reshaped(texts, Shape(columns), facts) == reshaped(world.rows, Shape(columns), facts)


def test_a_mirrored_clock_of_a_physical_arrival_is_left_out(world, facts):
    mirrored = world.rows
    for clock in ("settlement", "operational"):
        for name in (f"tzid_{clock}", f"ts_local_{clock}"):
            primary = mirrored[name.replace(clock, "primary")]
            values = pc.coalesce(mirrored[name].cast(pa.string()), primary.cast(pa.string())).cast(primary.type)
            mirrored = mirrored.set_column(mirrored.column_names.index(name), name, values)
    assert mirrored["tzid_settlement"].null_count == 0
    assert reshaped(mirrored, Shape(), facts).to_pylist() == reshaped(world.rows, Shape(), facts).to_pylist()


def test_slices_and_plain_texts_are_as_good(world, facts):
    whole = reshaped(world.rows, Shape(), facts).to_pylist()
    plain_texts = world.rows.cast(plain(world.rows.schema))
    assert reshaped(plain_texts.slice(5, 300), Shape(), facts).to_pylist() == whole[5:305]
    (first,) = world.rows.slice(0, 200).combine_chunks().to_batches()
    assert Reshaper(Shape(), facts).batch(first.slice(7, 100)).to_pylist() == whole[7:107]
    assert Reshaper(Shape(), facts).batch(first.slice(7, 0)).num_rows == 0


def test_an_offset_of_odd_seconds_is_refused_by_name_and_the_contract_has_it(world, facts):
    at = world.rows.column_names.index("ts_local_primary")
    field = world.rows.schema.field(at)
    late = world.rows.slice(3, 1)
    late = late.set_column(at, field, pc.add(late[at], pa.scalar(timedelta(seconds=28), pa.duration("us"))))
    (batch,) = late.to_batches()
    with pytest.raises(ArrivalError, match="microseconds ahead of UTC") as caught:
        Reshaper(Shape(), facts).batch(batch)
    assert caught.value.code is Code.SCHEMA_VIOLATION
    assert "--columns contract" in caught.value.hint
    assert f"merchant {late['merchant_id'][0]}" in caught.value.message
    assert Reshaper(Shape("contract"), facts).batch(batch)["ts_local_primary"] == late["ts_local_primary"].chunk(0)


@pytest.mark.parametrize(("virtual", "column"), [(True, "edge_id"), (False, "site_id")])
def test_an_arrival_without_its_place_is_refused(world, facts, virtual, column):
    rows = world.rows.filter(pc.equal(world.rows["is_virtual"], virtual)).slice(0, 1)
    (batch,) = rows.set_column(rows.column_names.index(column), column, pa.nulls(1, pa.uint64())).to_batches()
    with pytest.raises(ArrivalError, match=f"has no {column}"):
        Reshaper(Shape(), facts).batch(batch)


NONE = PlaceList(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64), ())


def places(*members):
    """Edges (merchant, id, country), and no site."""
    merchant, ids, country = (list(column) for column in zip(*members, strict=True))
    names = sorted(set(country))
    codes = np.array([names.index(name) for name in country], np.int64)
    return Places(NONE, PlaceList(np.array(merchant, np.uint64), np.array(ids, np.uint64), codes, names))


def test_one_id_in_two_countries_is_told_apart_by_its_merchant():
    edges = places((1, 7, "DE"), (2, 7, "FR"), (2, 8, "ES"), (3, 7, "DE"))
    merchant, ids = pa.array([2, 1, 3, 2, 2], pa.uint64()), pa.array([7, 7, 7, 8, 7], pa.uint64())
    assert edges.countries(merchant, ids, np.ones(5, np.bool_)).to_pylist() == ["FR", "DE", "DE", "ES", "FR"]


@pytest.mark.parametrize(
    ("merchant", "place", "virtual", "code"),
    [
        (1, 9, True, Code.EDGE_RESOLUTION_FAILED),
        (9, 7, True, Code.EDGE_RESOLUTION_FAILED),
        (1, 7, False, Code.SITE_RESOLUTION_FAILED),
    ],
)
def test_a_place_that_the_world_does_not_have_is_refused(merchant, place, virtual, code):
    edges = places((1, 7, "DE"), (2, 7, "FR"))
    with pytest.raises(ArrivalError, match=f"merchant {merchant} names (edge|site) {place}") as caught:
        edges.countries(pa.array([merchant], pa.uint64()), pa.array([place], pa.uint64()), np.array([virtual]))
    assert caught.value.code is code


def test_places_of_tables_in_memory_are_those_of_the_run(world, facts):
    given = tables()
    in_memory = places_of_members(*(_Members(table) for table in (given.sites, given.edges)))
    assert reshaped(world.rows, Shape(), KnownFacts(in_memory)) == reshaped(world.rows, Shape(), facts)


class _Members:
    def __init__(self, table):
        self.merchant = np.array([row.merchant_id for row in table], np.uint64)
        self.countries = tuple(sorted({row.country for row in table}))
        self.country = np.array([self.countries.index(row.country) for row in table], np.int64)
        self.order = np.array([row.order for row in table], np.int64)


def test_merchants_that_are_texts_are_shown(world, facts):
    ids = pc.unique(world.rows["merchant_id"]).to_numpy()
    names = MerchantNames.of(ids, [f"shop {number}" for number in ids])
    found = reshaped(world.rows, Shape(), KnownFacts(facts.places, names))
    assert found.column_names[:3] == ["merchant_id", "merchant", "arrival_seq"]
    assert found["merchant"].to_pylist() == [f"shop {number}" for number in world.rows["merchant_id"].to_pylist()]
    assert found.drop(["merchant"]).to_pylist() == reshaped(world.rows, Shape(), facts).to_pylist()
    lacking = KnownFacts(facts.places, names.of_merchants(ids[ids != SHOPS]))
    with pytest.raises(ArrivalError, match=f"merchant {SHOPS} has arrivals but no row in merchant_names_5B"):
        reshaped(world.rows, Shape(), lacking)


@pytest.mark.parametrize(("columns", "ids", "named"), [("people", "int64", "columns"), ("contract", "int", "ids")])
def test_a_word_that_is_none_of_the_choices_is_refused(columns, ids, named):
    with pytest.raises(ValueError, match=f"{named} must be one of"):
        Shape(columns, ids)


@pytest.mark.parametrize("columns", ["readable", "contract"])
@pytest.mark.parametrize("ids", IDS)
def test_every_column_has_a_description(columns, ids):
    shape = Shape(columns, ids)
    for has_names in (False, True):
        found = shape.descriptions(has_names=has_names)
        assert list(found) == shape.schema(has_names=has_names).names
        assert all(text.strip().endswith(".") for text in found.values())
    assert ("2^64" in found["merchant_id"]) == (ids == "int64")


def test_only_what_may_be_missing_is_nullable():
    schema = Shape().schema(has_names=True)
    nullable = {field.name for field in schema if field.nullable}
    assert nullable == {"channel", *(name for name in DESCRIPTIONS if name.startswith("settlement_"))}
    assert not any(pa.types.is_dictionary(field.type) for field in plain(schema))
    assert [field.nullable for field in plain(schema)] == [field.nullable for field in schema]


def test_a_world_without_virtual_merchants_has_no_settlement_clocks(world, facts):
    physical = world.rows.filter(pc.invert(world.rows["is_virtual"]))
    found = reshaped(physical, Shape(), facts)
    for name in (*SETTLEMENT, "settlement_utc_offset_minutes"):
        assert found[name].null_count == physical.num_rows


def test_shapes_are_compared_by_value():
    assert replace(Shape(), ids="text") == Shape("readable", "text")
