"""Random-number events: one per count row and family it touches, by the reference's accounting."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code, arrow_schema, check_document, compact_json, dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.tables import conform
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.expand.ledger import FamilyUse, Ledger
from arrival_engine.engine.records import rng_events
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import read_seal, seal
from arrival_engine.engine.world.load import load_world
from tests.support.model import EDGE_FAMILY, SITE_FAMILY, TIME_FAMILY, CountRow
from tests.support.reference import expand
from tests.support.worlds import BERLIN, BERLIN_GAP, TWO_ZONES, small_world, write_world

LABELS = {
    "arrival_time_jitter": TIME_FAMILY,
    "arrival_site_pick": SITE_FAMILY,
    "arrival_edge_pick": EDGE_FAMILY,
}
OTHER = small_world(scenario_id="a_second", counts=(CountRow(TWO_ZONES, BERLIN, None, BERLIN_GAP, 5),))


def parts_of(run_root, label):
    tokens = read_receipt(run_root).identity.tokens()
    return [path.outside for path in dataset(f"rng_event_{label}").files(run_root, tokens)]


def all_parts(run_root):
    return {path: path.read_bytes() for label in LABELS for path in parts_of(run_root, label)}


def part_names(run_root, label="arrival_time_jitter"):
    return [path.name for path in parts_of(run_root, label)]


def events_of(path):
    if path.suffix == ".parquet":
        return pq.read_table(path, partitioning=None).to_pylist()
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def go(run_root, **options):
    return run(run_root, RunOptions(backend="cpu", batch_arrivals=700, **options)).scenarios


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("events") / "run"
    write_world(small_world(), run_root, further_scenarios=[OTHER])
    seal(run_root)
    go(run_root, rng_events="parquet")
    return run_root


def described(world, label, run_root):
    """The events that the reference's accounting asks for, in count-row order."""
    uses = sorted(expand(world).count_rows, key=lambda use: (use.entity.merchant_id, use.bucket, use.entity.order))
    family = LABELS[label]
    return [
        {
            "ts_utc": read_seal(read_receipt(run_root)).created_utc,
            "run_id": world.run_id,
            "seed": world.seed,
            "parameter_hash": world.parameter_hash,
            "manifest_fingerprint": world.manifest_fingerprint,
            "module": "5B.S4",
            "substream_label": label,
            "rng_counter_before_lo": 0,
            "rng_counter_before_hi": use.counter_word1[family],
            "rng_counter_after_lo": use.n,
            "rng_counter_after_hi": use.counter_word1[family],
            "draws": str(use.words[family]),
            "blocks": use.blocks[family],
            "merchant_id": use.entity.merchant_id,
            "scenario_id": world.scenario_id,
            "zone_representation": use.entity.zone,
            "channel_group": use.entity.channel or None,
            "bucket_index": use.bucket,
        }
        for use in uses
        if use.blocks[family]
    ]


@pytest.mark.parametrize("label", LABELS)
def test_each_event_is_one_count_row_of_the_reference(label, sealed):
    second, first = parts_of(sealed, label)
    assert events_of(first) == described(small_world(), label, sealed)
    assert events_of(second) == described(OTHER, label, sealed)


@pytest.mark.parametrize("label", LABELS)
def test_totals_are_the_trace_logs(label, sealed):
    log = dataset("rng_trace_log").locate(sealed, read_receipt(sealed).identity.tokens())
    traced = [json.loads(line) for line in log.read_text().splitlines()]
    last = [record for record in traced if record["substream_label"] == label][-1]
    events = [event for path in parts_of(sealed, label) for event in events_of(path)]
    assert len(events) == last["events_total"]
    assert sum(event["blocks"] for event in events) == last["blocks_total"]
    assert sum(int(event["draws"]) for event in events) == last["draws_total"]


@pytest.mark.parametrize("label", LABELS)
def test_events_keep_their_contract(label, sealed):
    for path in parts_of(sealed, label):
        table = pq.read_table(path, partitioning=None)
        conform(f"rng_event_{label}", table, where=path.name)
        check_document(f"rng_event_{label}", table.to_pylist(), code=Code.SCHEMA_VIOLATION, where=path.name)


def test_scenarios_have_one_part_each_and_a_run_writes_its_own_alone(sealed):
    assert part_names(sealed) == ["part-000000.parquet", "part-000001.parquet"]
    before = all_parts(sealed)
    inodes = {path: path.stat().st_ino for path in before}
    go(sealed, rng_events="parquet", scenarios=("baseline_v1",))
    assert all_parts(sealed) == before
    assert {path: path.stat().st_ino for path in before} == inodes


class TestFormats:
    @pytest.fixture
    def run_root(self, tmp_path):
        write_world(small_world(counts=small_world().counts[3:]), tmp_path / "run", further_scenarios=[OTHER])
        seal(tmp_path / "run")
        return tmp_path / "run"

    def test_json_lines_are_the_compact_json_of_the_same_events(self, run_root):
        go(run_root, rng_events="parquet")
        wanted = {
            path.with_suffix(".jsonl"): b"".join(compact_json(event) + b"\n" for event in events_of(path))
            for path in all_parts(run_root)
        }
        go(run_root, rng_events="jsonl")
        assert all_parts(run_root) == wanted

    def test_another_format_takes_the_place_of_the_scenarios_part_alone(self, run_root):
        go(run_root, rng_events="jsonl")
        go(run_root, rng_events="parquet", scenarios=("a_second",))
        assert part_names(run_root) == ["part-000000.parquet", "part-000001.jsonl"]

    def test_without_the_option_nothing_is_written_and_nothing_taken_away(self, run_root):
        go(run_root)
        assert all_parts(run_root) == {}
        go(run_root, rng_events="parquet")
        before = all_parts(run_root)
        go(run_root)
        assert all_parts(run_root) == before

    def test_replaced_arrivals_take_their_events_along(self, run_root):
        go(run_root, rng_events="parquet")
        assert [s.published for s in go(run_root, format="arrow", replace=True, scenarios=("baseline_v1",))] == [
            "replaced"
        ]
        assert part_names(run_root) == ["part-000000.parquet"]

    def test_the_bytes_depend_on_the_seal_alone(self, run_root):
        go(run_root, rng_events="parquet")
        before = all_parts(run_root)
        for path in before:
            path.unlink()
        run(run_root, RunOptions(backend="cpu", batch_arrivals=13, threads=1, rng_events="parquet"))
        assert all_parts(run_root) == before


def test_events_that_do_not_add_up_are_refused(sealed, tmp_path):
    ledger = Ledger(load_world(sealed, "baseline_v1"))
    accounts = ledger.accounting()
    accounts["arrival_site_pick"] = dataclasses.replace(
        accounts["arrival_site_pick"], words=accounts["arrival_site_pick"].words + 1
    )
    with pytest.raises(ArrivalError) as caught:
        rng_events.write_rng_events(ledger, accounts, tmp_path / "staged", "parquet")
    assert caught.value.code is Code.RNG_ACCOUNTING_MISMATCH
    assert caught.value.context["family"] == "arrival_site_pick"


def test_leftovers_of_a_killed_run_are_written_over(sealed, tmp_path):
    ledger = Ledger(load_world(sealed, "a_second"))
    for file_format in ("jsonl", "parquet"):
        rng_events.write_rng_events(ledger, ledger.accounting(), InsidePath(tmp_path) / "staged", file_format)
        assert {path.name for path in (tmp_path / "staged").iterdir()} == {f"{label}.{file_format}" for label in LABELS}
        (tmp_path / "staged" / f"arrival_time_jitter.{file_format}").write_bytes(b"half")


def test_a_counter_word_wraps_at_two_to_the_64(sealed):
    world = load_world(sealed, "baseline_v1")
    size = world.rows.arrivals.size
    hi0 = np.full(world.tables.entities.merchant.size, 2**64 - 1, np.uint64)
    use = FamilyUse(np.ones(size, np.bool_), np.zeros(size, np.int64), hi0)
    schema = arrow_schema("rng_event_arrival_time_jitter")
    (touching,) = rng_events._touching(use, world.rows)
    events = rng_events._events(world, "arrival_time_jitter", touching, schema)
    assert events["rng_counter_before_hi"].to_pylist() == [(2**64 - 1 + b) % 2**64 for b in world.rows.bucket.tolist()]


def test_an_unknown_format_is_no_option():
    with pytest.raises(ValueError, match="rng_events must be one of none, parquet, jsonl, not 'csv'"):
        RunOptions(rng_events="csv")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--rng-events"], ["part-000000.parquet", "part-000001.parquet"]),
        (["--rng-events", "jsonl"], ["part-000000.jsonl", "part-000001.jsonl"]),
        ([], []),
    ],
    ids=" ".join,
)
def test_the_command_line_writes_parquet_where_no_format_is_named(words, names, tmp_path):
    write_world(OTHER, tmp_path / "run", further_scenarios=[dataclasses.replace(OTHER, scenario_id="b")])
    seal(tmp_path / "run")
    assert main(["run", str(tmp_path / "run"), "--backend", "cpu", "--quiet", *words]) == 0
    assert part_names(tmp_path / "run") == names
