"""How arrivals are computed never shows: threads, batches, input order, files, processes, output options."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.expand.planning import DEFAULT_BATCH_ARRIVALS, plan
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.validation.check import check_published
from arrival_engine.engine.world.load import load_world
from tests.support import reference
from tests.support.compare import assert_same_rows
from tests.support.known_answers import DEMO_DIGEST
from tests.support.model import CountRow
from tests.support.product import (
    arrivals_of,
    assert_equal,
    ledger_of,
    located,
    on_disk,
    planned,
    published_parts,
    published_table,
    table_of,
    write_sealed,
)
from tests.support.worlds import BERLIN, BIG_ID, HALF, PARIS, SILENT, SYDNEY, TWO_ZONES, VIRTUAL, small_world

CPU = RunOptions(backend="cpu")
BATCH = 300


@cache
def busy_world():
    """The small world with some 500 count rows all over its merchants and buckets, one of them large."""
    rng = random.Random(20260329)
    base = small_world()
    spread = tuple(
        CountRow(merchant, zone, channel, bucket, rng.choice((0, 1, 2, 5, 9)))
        for merchant in sorted(base.modes.keys() - {SILENT})  # SILENT has no site
        for zone, channel in ((BERLIN, "card_present"), (SYDNEY, None), (PARIS, "mixed"))
        for bucket in rng.sample(range(len(base.grid)), 20)
    )
    return small_world(counts=base.counts + spread)


@cache
def expected():
    return reference.expand(busy_world())


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """The busy world on disk; tests that publish work on copies."""
    return write_sealed(busy_world(), tmp_path_factory.mktemp("invariance") / "sealed")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The world of `arrivals demo`, read back."""
    run_root = tmp_path_factory.mktemp("demo") / "run"
    synthesise(run_root, preset="demo", seed=42)
    seal(run_root)
    return load_world(run_root)


@pytest.fixture
def copy_of(sealed, tmp_path):
    """Fresh copies of the sealed world, for runs that must not see each other's output."""
    return lambda name: Path(shutil.copytree(sealed.run_root, tmp_path / name))


DATASETS = (
    *("arrival_events_5B", "s4_arrival_summary_5B", "s4_arrival_anomalies_5B"),
    *("arrival_sites_5B", "arrival_edges_5B"),
)


def published_bytes(run_root, world=None):
    """Every published file of the scenario by its path below the run root."""
    places = [located(name, run_root, world or busy_world()) for name in DATASETS]
    files = [file for place in places for file in (place.iterdir() if place.is_dir() else [place])]
    return {file.relative_to(run_root).as_posix(): file.read_bytes() for file in files}


# --- The demo world ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_arrivals", [DEFAULT_BATCH_ARRIVALS, 70_000])
def test_the_demo_world_has_the_published_digest(demo, batch_arrivals):
    assert str(ledger_of(plan(demo, batch_arrivals)).digest) == DEMO_DIGEST


# --- Same bytes --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_one_thread(sealed, tmp_path_factory):
    """Files published by one thread."""
    run_root = tmp_path_factory.mktemp("one-thread") / "run"
    shutil.copytree(sealed.run_root, run_root)
    run(run_root, replace(CPU, threads=1, batch_arrivals=BATCH))
    return published_bytes(run_root)


def test_there_are_several_parts_to_compare(by_one_thread):
    parts = [name for name in by_one_thread if "part-" in name]
    assert len(parts) > 5
    assert len(by_one_thread) == len(parts) + 4


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_any_number_of_threads_publishes_the_same_bytes(by_one_thread, copy_of, threads):
    """With one thread again, for a second run from the same files is a first run as well."""
    run_root = copy_of("run")
    run(run_root, replace(CPU, threads=threads, batch_arrivals=BATCH))
    assert published_bytes(run_root) == by_one_thread


def test_a_fresh_process_publishes_the_same_bytes(by_one_thread, copy_of):
    """Another process with other string hashes, another current directory, another time zone."""
    run_root = copy_of("run")
    program = (
        "import sys; from arrival_engine import RunOptions, run;"
        f"run(sys.argv[1], RunOptions(backend='cpu', threads=3, batch_arrivals={BATCH}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "TZ": "America/New_York"}
    subprocess.run(
        [sys.executable, "-c", program, str(run_root)], cwd=run_root, env=environment, check=True, timeout=120
    )
    assert published_bytes(run_root) == by_one_thread


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_any_number_of_threads_yields_the_same_record_batches(sealed, threads):
    from arrival_engine.engine.expand.expansion import expand

    batches = planned(sealed.run_root, BATCH)
    assert list(expand(batches, threads=threads)) == list(expand(batches, threads=1))


# --- Same rows for any cut ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(sealed):
    """The world as one batch: its plan, its rows, its ledger."""
    batches = planned(sealed.run_root, 10**12)
    assert len(batches.batches) == 1
    arrivals = arrivals_of(batches)
    assert_equal(busy_world(), arrivals, sealed, expected())
    return batches, arrivals


def check_cut(whole, batch_arrivals):
    one, arrivals = whole
    cut = plan(one.world, batch_arrivals)
    assert table_of(cut, threads=2).equals(arrivals.table)
    ledger = ledger_of(cut)
    assert ledger.digest == arrivals.ledger.digest
    assert ledger.accounting() == arrivals.ledger.accounting()
    assert ledger.fallbacks() == arrivals.ledger.fallbacks()
    for found, wanted in zip(ledger.row_totals, arrivals.ledger.row_totals, strict=True):
        assert found.tolist() == wanted.tolist()
    return cut


@pytest.mark.parametrize("batch_arrivals", [1, 2, 7, 2999, 3000, 3010, 10**12])
def test_any_batch_size_gives_the_same_rows_and_sums(whole, batch_arrivals):
    cut = check_cut(whole, batch_arrivals)
    bounds = cut.segments.arrival_start
    for batch in cut.batches:
        first, last = batch.segments
        assert batch.arrivals == bounds[last] - bounds[first]
        assert batch.arrivals <= batch_arrivals or last == first + 1


def test_a_batch_size_of_one_makes_every_segment_its_own_batch(whole):
    cut = plan(whole[0].world, 1)
    assert len(cut.batches) == cut.segments.arrivals_before.size
    assert max(batch.arrivals for batch in cut.batches) > 1


@given(st.integers(1, 6000))
@settings(max_examples=10)
def test_drawn_batch_sizes_give_the_same_rows_and_sums(whole, batch_arrivals):
    check_cut(whole, batch_arrivals)


@pytest.mark.parametrize("batch_arrivals", [1, 40, 10**12])
def test_published_files_hold_the_same_rows_for_any_batch_size(batch_arrivals):
    world = small_world()
    with on_disk(world) as written:
        (result,) = run(written.run_root, replace(CPU, threads=2, batch_arrivals=batch_arrivals)).scenarios
        table, parts = published_table(written.run_root, world), published_parts(written.run_root, world)
    expansion = reference.expand(world)
    assert_same_rows(expansion.rows, table, routing_universe_hash=written.routing_universe_hash)
    assert (result.digest, result.parts) == (expansion.digest, len(parts))
    assert (len(parts) == 1) == (batch_arrivals == 10**12)


# --- Same rows for any form of the input -------------------------------------------------------------

FORMS = {
    "shuffled": {"shuffle_seed": 1},
    "shuffled otherwise": {"shuffle_seed": 2},
    "several files": {"split_files": 3},
    "more files than rows of some tables": {"split_files": 30},
    "dictionary strings": {"dictionary_strings": True},
    "all at once": {"shuffle_seed": 3, "split_files": 5, "dictionary_strings": True},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_input_order_files_and_encodings_do_not_show(whole, form):
    with on_disk(busy_world(), **form) as written:
        arrivals = arrivals_of(planned(written.run_root, BATCH))
    assert_same_rows(expected().rows, arrivals.table, routing_universe_hash=written.routing_universe_hash)
    assert arrivals.ledger.digest == whole[1].ledger.digest
    assert arrivals.ledger.accounting() == whole[1].ledger.accounting()


@given(st.randoms(use_true_random=False), st.integers(1, 9))
@settings(max_examples=8)
def test_drawn_orders_of_count_rows_do_not_show(randomness, pieces):
    """Counts torn into repeated keys of smaller counts, in any order, are the same counts."""
    world = small_world()
    torn = []
    for row in world.counts:
        cuts = sorted(randomness.randint(0, row.n) for _ in range(pieces - 1))
        torn += [replace(row, n=b - a) for a, b in zip([0, *cuts], [*cuts, row.n], strict=True)]
    randomness.shuffle(torn)
    with on_disk(replace(world, counts=tuple(torn))) as written:
        arrivals = arrivals_of(planned(written.run_root))
    assert str(arrivals.ledger.digest) == small_digest()


@cache
def small_digest():
    return reference.expand(small_world()).digest


def test_run_id_creation_time_and_place_do_not_show(whole):
    """Identity is fingerprint, parameters, seed and scenario: run_id never influences data."""
    with on_disk(replace(busy_world(), run_id="0123456789abcdef" * 2)) as written:
        assert table_of(planned(written.run_root)).equals(whole[1].table)


# --- Same rows in any form of the output -------------------------------------------------------------

OUTPUTS = {
    "rfc3339": {"timestamp_encoding": "rfc3339"},
    "mirror": {"physical_dual_clock": '"mirror"'},
    "rfc3339 and mirror": {"timestamp_encoding": "rfc3339", "physical_dual_clock": '"mirror"'},
    "zstd in small groups": {"compression": "zstd", "row_group_rows": "1024"},
    "uncompressed": {"compression": "none"},
    "snappy": {"compression": "snappy"},
}


def test_snappy_is_refused_for_arrow_files():
    with on_disk(busy_world(), output_policy=OUTPUTS["snappy"]) as written, pytest.raises(ArrivalError) as caught:
        run(written.run_root, replace(CPU, format="arrow"))
    assert caught.value.code is Code.ROUTING_POLICY_INVALID


@pytest.mark.parametrize(
    ("output_policy", "file_format"),
    [
        pytest.param(policy, file_format, id=f"{name}-{file_format}")
        for name, policy in {"default": {}, **OUTPUTS}.items()
        for file_format in ("parquet", "arrow")
        if (name, file_format) != ("snappy", "arrow")  # refused, as the test above shows
    ],
)
def test_every_output_form_holds_the_reference_rows(output_policy, file_format):
    world = busy_world()
    options = replace(CPU, threads=2, batch_arrivals=2000, format=file_format)
    with on_disk(world, output_policy=output_policy) as written:
        (result,) = run(written.run_root, options).scenarios
        assert {path.suffix for path in published_parts(written.run_root, world)} == {f".{file_format}"}
        table = published_table(written.run_root, world)
        second_look = check_published(written.run_root, world.scenario_id)
    mirrored = output_policy.get("physical_dual_clock") == '"mirror"'
    encoded = output_policy.get("timestamp_encoding") == "rfc3339"
    for name in ("ts_utc", "ts_local_primary", "ts_local_settlement", "ts_local_operational"):
        assert pa.types.is_string(table.schema.field(name).type) == encoded
    assert_same_rows(
        expected().rows, table, routing_universe_hash=written.routing_universe_hash, mirror_dual_clock=mirrored
    )
    assert result.digest == expected().digest == second_look.digest
    assert all(check.ok for check in second_look.checks)


# --- Extremes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
def test_a_world_of_zero_counts_is_a_dataset_without_rows(file_format):
    world = small_world(counts=tuple(replace(row, n=0) for row in small_world().counts))
    with on_disk(world) as written:
        assert planned(written.run_root).batches == ()
        assert table_of(planned(written.run_root)).num_rows == 0
        (result,) = run(written.run_root, replace(CPU, format=file_format)).scenarios
        table = published_table(written.run_root, world)
        assert_same_rows((), table, routing_universe_hash=written.routing_universe_hash)
        assert all(check.ok for check in check_published(written.run_root, world.scenario_id).checks)
    assert (result.arrivals, result.parts, result.digest) == (0, 1, reference.expand(world).digest)


def test_a_world_without_count_rows_is_a_dataset_without_rows():
    world = small_world(counts=())
    with on_disk(world) as written:
        (result,) = run(written.run_root, CPU).scenarios
        assert published_table(written.run_root, world).num_rows == 0
    assert result.digest == f"0-{0:032x}"


@pytest.mark.parametrize("merchant", [TWO_ZONES, BIG_ID, VIRTUAL, HALF, 2**64 - 1], ids=str)
@pytest.mark.parametrize("file_format", ["parquet", "arrow"])
def test_a_world_of_one_arrival(merchant, file_format):
    world = small_world(counts=(CountRow(merchant, BERLIN, "mixed", 3, 1), CountRow(SILENT, BERLIN, None, 0, 0)))
    with on_disk(world) as written:
        (result,) = run(written.run_root, replace(CPU, format=file_format)).scenarios
        table = published_table(written.run_root, world)
        assert_equal(world, arrivals_of(planned(written.run_root)), written)
    expansion = reference.expand(world)
    assert_same_rows(expansion.rows, table, routing_universe_hash=written.routing_universe_hash)
    assert (result.arrivals, result.digest) == (1, expansion.digest)
    assert table["merchant_id"].to_pylist() == [merchant]


@pytest.mark.parametrize("merchants", [{TWO_ZONES}, {BIG_ID, VIRTUAL, 2**64 - 1}, {SILENT}, {12}], ids=str)
def test_a_part_of_the_merchants_has_the_rows_it_has_in_the_whole(sealed, whole, merchants):
    table = table_of(planned(sealed.run_root, BATCH, merchant_ids=merchants))
    of_whole = pc.is_in(whole[1].table["merchant_id"], pa.array(sorted(merchants), pa.uint64()))
    assert table.to_pylist() == whole[1].table.filter(of_whole).to_pylist()
