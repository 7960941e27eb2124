"""The product from files to arrivals equals the plain-Python reference, row by row and sum by sum."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.expand.planning import plan
from tests.support import reference
from tests.support.known_answers import law_vectors
from tests.support.law import MASK64, MICROS, LawError, Stream
from tests.support.model import (
    FAIL,
    FALLBACKS,
    HYBRID,
    MISSING_EDGE_TABLE,
    MISSING_GROUP_TABLE,
    NO_SITE_IN_ZONE,
    NON_VIRTUAL,
    VIRTUAL_ONLY,
    CountRow,
    Policy,
    Site,
    World,
)
from tests.support.product import arrivals_of, assert_equal, on_disk, planned, table_of, write_sealed
from tests.support.strategies import worlds
from tests.support.worlds import (
    ALONE_ONLINE,
    BERLIN,
    BIG_ID,
    HALF,
    KATHMANDU,
    NEW_YORK,
    SYDNEY,
    TWO_ZONES,
    VIRTUAL,
    edge_table,
    grid_of,
    instant_us,
    small_world,
    zones_for,
)

LAW = law_vectors()
EDGES, MODES = small_world().edges, small_world().modes


def assert_parity(world, batch_arrivals=50, **form):
    with on_disk(world, **form) as written:
        assert_equal(world, arrivals_of(planned(written.run_root, batch_arrivals), threads=2), written)


# --- Published vectors, through the whole product ----------------------------------------------------


def plain_world(counts, grid, **changes):
    """One physical merchant with one site and no group weights, under the identity of the published vectors."""
    who = LAW["identity"]
    merchants = sorted({row.merchant_id for row in counts})
    fields = {
        "manifest_fingerprint": who["manifest_fingerprint"],
        "parameter_hash": who["parameter_hash"],
        "seed": who["seed"],
        "scenario_id": who["scenario_id"],
        "run_id": "c" * 32,
        "grid": grid,
        "counts": tuple(counts),
        "sites": tuple(Site(merchant, "DE", 1, BERLIN, 1.0) for merchant in merchants),
        "group_weights": (),
        "modes": dict.fromkeys(merchants, NON_VIRTUAL),
        "settlement": {},
        "edges": {},
        "zones": zones_for([BERLIN, NEW_YORK, SYDNEY, KATHMANDU], grid),
        "policy": Policy(),
    }
    return World(**{**fields, **changes})


def test_published_offsets_and_site_come_out_of_the_product():
    who, wanted = LAW["identity"], LAW["offsets_of_time_stream"]
    grid = grid_of(instant_us("2026-01-01T00:00"), [wanted["duration_us"] // MICROS] * (who["bucket"] + 1))
    row = CountRow(who["merchant_id"], who["zone"], who["channel_group"], who["bucket"], len(wanted["offsets_us"]))
    with on_disk(plain_world([row], grid)) as written:
        table = table_of(planned(written.run_root))
    start = grid[who["bucket"]][0]
    assert [t - start for t in table["ts_utc"].cast(pa.int64()).to_pylist()] == sorted(wanted["offsets_us"])
    assert set(table["site_id"].to_pylist()) == {LAW["site_ids"][0]["site_id"]}


# --- The small world and its variants ----------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_sealed(small_world(), tmp_path_factory.mktemp("parity") / "small")


@pytest.mark.parametrize("batch_arrivals", [1, 100, 10**9])
def test_small_world(written, batch_arrivals):
    assert_equal(small_world(), arrivals_of(planned(written.run_root, batch_arrivals), threads=2), written)


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": Policy(use_group_weights=False)},
        {"policy": Policy(p_virtual_hybrid="0.05")},
        {"policy": Policy(p_virtual_hybrid="0.80")},
        {"seed": 2**64 - 1},
        {"seed": 0},
        {"scenario_id": "überstress-2"},
        {"settlement": {}},
        {"group_weights": ()},
        {"edges": {**EDGES, ALONE_ONLINE: edge_table(ALONE_ONLINE, [0.0] * 3, [KATHMANDU, SYDNEY], prob_qbits=1)}},
        {"modes": {**MODES, TWO_ZONES: HYBRID, BIG_ID: VIRTUAL_ONLY, HALF: VIRTUAL_ONLY}},
    ],
    ids=lambda changes: "-".join(f"{key}={value}"[:40] for key, value in changes.items()),
)
def test_small_world_changed(changes):
    assert_parity(small_world(**changes), batch_arrivals=700)


def test_edge_slots_of_every_width():
    """Stored probabilities are scaled to 32 bits exactly, from 1 bit on."""
    weights = [0.37, 0.21, 0.18, 0.13, 0.11]
    for prob_qbits in (1, 2, 8, 24, 31, 32):
        edges = {**EDGES, VIRTUAL: edge_table(VIRTUAL, weights, [NEW_YORK, BERLIN, SYDNEY], prob_qbits)}
        counts = (CountRow(VIRTUAL, BERLIN, "card_present", 3, 400),)
        assert_parity(small_world(edges=edges, counts=counts))


def test_counters_of_ids_up_to_2_64():
    """Ids that a signed or floating column would lose: the largest, the first with the top bit, odd above 2^53."""
    ids = (1, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, MASK64 - 1, MASK64)
    grid = grid_of(instant_us("2026-03-29T00:30"), [3600, 1801])
    world = plain_world([CountRow(merchant, BERLIN, None, bucket, 9) for merchant in ids for bucket in (1, 0)], grid)
    assert_parity(world)
    with on_disk(world) as written:
        assert table_of(planned(written.run_root))["merchant_id"].unique().to_pylist() == sorted(ids)


def test_horizon_of_one_second_and_of_the_longest_bucket():
    grid = grid_of(instant_us("2026-03-29T00:59:59"), [1, 86_400, 1])
    counts = [CountRow(5, BERLIN, "mixed", bucket, n) for bucket, n in ((0, 40), (1, 400), (2, 40))]
    assert_parity(plain_world(counts, grid))


# --- Drawn worlds ------------------------------------------------------------------------------------


@given(worlds())
@settings(max_examples=25)
def test_drawn_worlds(world):
    assert_parity(world)


@pytest.mark.slow
@given(worlds(), st.integers(1, 400))
@settings(max_examples=250)
def test_many_drawn_worlds(world, batch_arrivals):
    assert_parity(world, batch_arrivals)


@given(worlds(refusals=True), st.booleans())
@settings(max_examples=25)
def test_refused_fallbacks_refuse_the_same_worlds(world, strict):
    """The product stops exactly where the reference does, be it by policy or by `strict`."""
    policy = replace(world.policy, **dict.fromkeys(FALLBACKS, FAIL)) if strict else world.policy
    with on_disk(world) as written:
        try:
            expected = reference.expand(replace(world, policy=policy))
        except LawError:
            with pytest.raises(ArrivalError) as refusal:
                table_of(planned(written.run_root, 50, strict=strict))
            assert refusal.value.code in (Code.SITE_RESOLUTION_FAILED, Code.EDGE_RESOLUTION_FAILED)
        else:
            batches = planned(written.run_root, 50, strict=strict)
            assert_equal(world, arrivals_of(batches), written, expected)


@pytest.mark.parametrize(
    ("fallback", "code", "keyed"),
    [
        (MISSING_GROUP_TABLE, Code.SITE_RESOLUTION_FAILED, {"merchant_id", "zone_representation", "bucket_index"}),
        (NO_SITE_IN_ZONE, Code.SITE_RESOLUTION_FAILED, {"merchant_id", "zone_representation", "bucket_index"}),
        (MISSING_EDGE_TABLE, Code.EDGE_RESOLUTION_FAILED, {"merchant_id"}),
    ],
)
def test_each_fallback_can_be_refused_by_itself(fallback, code, keyed):
    world = small_world(policy=Policy(**dict[str, Any]({fallback: FAIL})))
    with on_disk(world) as written, pytest.raises(ArrivalError) as refusal:
        table_of(planned(written.run_root))
    assert refusal.value.code == code
    assert keyed <= refusal.value.context.keys()
    assert refusal.value.context["merchant_id"] in world.modes


# --- Order, ties and counters, beyond what files of whole seconds can hold ---------------------------


def shortened(world, batches, durations_us):
    """World and plan with buckets that end this many microseconds after they start."""
    grid = tuple((start, start + d) for (start, _), d in zip(world.grid, durations_us, strict=True))
    tables = batches.world.tables
    short = tables.grid._replace(duration_us=np.array(durations_us, np.uint64))
    loaded = replace(batches.world, tables=tables._replace(grid=short))
    return replace(world, grid=grid), plan(loaded, batches.batch_arrivals)


CROWDED = [
    CountRow(merchant, zone, channel, bucket, n)
    for merchant in (7, 2**63)
    for zone in (SYDNEY, BERLIN, KATHMANDU)
    for channel, n in ((None, 30), ("z", 20), ("Z", 25), ("", 4), ("é", 9))
    for bucket in (1, 0)
]


@pytest.mark.parametrize("durations_us", [(1, 1), (2, 3), (7, 1000), (1, 3_600_000_000)], ids=str)
def test_arrivals_of_the_same_microsecond_are_ordered_by_zone_channel_and_draw(durations_us):
    """In a bucket of a few microseconds nearly every arrival ties, and counts as at the start or the end."""
    world = plain_world(CROWDED, grid_of(instant_us("2026-03-29T00:30"), [3600, 3600]))
    with on_disk(world) as written:
        short, batches = shortened(world, planned(written.run_root, 100), durations_us)
        arrivals = arrivals_of(batches)
        assert_equal(short, arrivals, written)
    offsets = [
        (row.ts_utc - short.grid[row.bucket_index][0], durations_us[row.bucket_index])
        for row in reference.expand(short).rows
    ]
    assert arrivals.ledger.at_start == sum(offset == 0 for offset, _ in offsets) > 0
    assert arrivals.ledger.at_end == sum(offset == duration - 1 for offset, duration in offsets) > 0


@given(worlds(), st.data())
@settings(max_examples=25)
def test_drawn_worlds_of_tied_arrivals(world, data):
    durations = data.draw(st.lists(st.integers(1, 40), min_size=len(world.grid), max_size=len(world.grid)))
    with on_disk(world) as written:
        short, batches = shortened(world, planned(written.run_root, 50), durations)
        assert_equal(short, arrivals_of(batches), written)


def test_ties_in_a_bucket_of_one_second():
    """The shortest bucket that files can hold, crowded until arrivals tie by themselves."""
    world = plain_world(
        [CountRow(7, zone, channel, 0, 1500) for zone in (SYDNEY, BERLIN) for channel in ("b", None)],
        grid_of(instant_us("2026-03-29T00:59:59"), [1]),
    )
    with on_disk(world) as written:
        arrivals = arrivals_of(planned(written.run_root))
        assert_equal(world, arrivals, written)
    assert pc.count_distinct(arrivals.table["ts_utc"]).as_py() < arrivals.table.num_rows - 5


class _Carrying(reference._Expander):
    """The reference with every stream's hi0 at the value under test."""

    hi0 = MASK64

    def stream(self, entity, family):
        return Stream(super().stream(entity, family).key, self.hi0)


@pytest.mark.parametrize("hi0", [2**32 - 1, 2**63 - 1, MASK64, MASK64 - 1], ids=hex)
def test_counter_word_1_carries_inside_an_expansion(hi0, monkeypatch):
    """Buckets 0, 1, 2, ... from an hi0 just below a border: the counter must pass it as one 64-bit number."""
    world = small_world(
        counts=tuple(
            CountRow(merchant, BERLIN, "mixed", bucket, 12)
            for merchant in (TWO_ZONES, VIRTUAL, HALF)
            for bucket in range(4)
        )
    )
    monkeypatch.setattr(_Carrying, "hi0", hi0)
    expander = _Carrying(world)
    expected = [expander.row(arrival, sequence) for arrival, sequence in reference._ordered(expander)[0]]
    with on_disk(world) as files:
        batches = planned(files.run_root)
        entities = batches.world.tables.entities
        carrying: Any = {name: np.full_like(entities.time_hi, hi0) for name in ("time_hi", "site_hi", "edge_hi")}
        tables = batches.world.tables._replace(entities=entities._replace(**carrying))
        table = table_of(replace(batches, world=replace(batches.world, tables=tables)))
    reference_rows = [(r.merchant_id, r.ts_utc, r.site_id, r.edge_id, r.tzid_primary) for r in expected]
    columns = [table["merchant_id"], table["ts_utc"].cast(pa.int64())]
    columns += [table[name] for name in ("site_id", "edge_id", "tzid_primary")]
    assert list(zip(*(column.to_pylist() for column in columns), strict=True)) == reference_rows
