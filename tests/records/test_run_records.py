"""The records a run leaves: random-number logs and run report, against the reference's accounting."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache

import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code
from tests.support import reference
from tests.support.law import MICROS
from tests.support.model import FAIL, NO_SITE_IN_ZONE, CountRow, Policy
from tests.support.product import (
    LABELS,
    copy_without_outputs,
    fallbacks_by_count_row,
    key_of,
    located,
    log_records,
    on_disk,
    published_parts,
    published_table,
    report_lines,
    staged,
    write_sealed,
)
from tests.support.worlds import ALONE_ONLINE, BERLIN, HALF, NEW_YORK_GAP, TWO_ZONES, UTC, small_world

CPU = RunOptions(backend="cpu", threads=2, batch_arrivals=500)


@cache
def expansion():
    return reference.expand(small_world())


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The small world, sealed and run once: its run root."""
    written = write_sealed(small_world(), tmp_path_factory.mktemp("records") / "run")
    run(written.run_root, CPU)
    return written.run_root


@pytest.fixture
def sealed(published, tmp_path):
    """A copy of the sealed small world before any run."""
    return copy_without_outputs(published, tmp_path / "run")


# --- Random-number logs --------------------------------------------------------------------------------


def trace_totals(records):
    return {
        record["substream_label"]: tuple(record[f"{name}_total"] for name in ("draws", "blocks", "events"))
        for record in records  # the last one of a label stands
    }


def reference_totals(*expansions):
    return {
        label: tuple(
            map(
                sum,
                zip(
                    *(
                        (one.words(family), one.blocks(family), sum(use.blocks[family] > 0 for use in one.count_rows))
                        for one in expansions
                    ),
                    strict=True,
                ),
            )
        )
        for family, label in LABELS.items()
    }


def counters(record):
    return {name: record[f"rng_counter_{name}"] for name in ("before_lo", "before_hi", "after_lo", "after_hi")}


def test_trace_log_totals_are_those_of_the_law(published):
    records = log_records("rng_trace_log", published, small_world())
    assert trace_totals(records) == reference_totals(expansion())
    assert sorted(record["substream_label"] for record in records) == sorted(LABELS.values())
    world = small_world()
    for record in records:
        assert (record["module"], record["run_id"], record["seed"]) == ("5B.S4", world.run_id, world.seed)
        (family,) = (family for family, label in LABELS.items() if label == record["substream_label"])
        touching = [use for use in expansion().count_rows if use.blocks[family]]
        touching.sort(key=lambda use: key_of(use.entity, use.bucket))
        assert counters(record) == {
            "before_lo": 0,
            "before_hi": touching[0].counter_word1[family],
            "after_lo": touching[-1].n,
            "after_hi": touching[-1].counter_word1[family],
        }


def test_audit_log_has_one_record_of_the_run(published):
    world = small_world()
    (record,) = log_records("rng_audit_log", published, small_world())
    assert record["algorithm"] == "philox2x64-10"
    for name in ("run_id", "seed", "manifest_fingerprint", "parameter_hash"):
        assert record[name] == getattr(world, name)


def second_scenario():
    counts = (
        CountRow(TWO_ZONES, BERLIN, "card_present", 2, 40),
        CountRow(HALF, BERLIN, "mixed", NEW_YORK_GAP, 50),
        CountRow(ALONE_ONLINE, UTC, None, 4, 7),
    )
    return small_world(scenario_id="stress_b", counts=counts)


def stable(records):
    return [{name: value for name, value in record.items() if name != "ts_utc"} for record in records]


@pytest.fixture(scope="module")
def two_scenarios(tmp_path_factory):
    """Run roots with the same two scenarios, run together, in order, and in reverse order."""
    base = tmp_path_factory.mktemp("two-scenarios")
    first = base / "together"
    write_sealed(small_world(), first, further_scenarios=[second_scenario()])
    roots = {"together": first, "in order": base / "in-order", "reversed": base / "reversed"}
    for name in ("in order", "reversed"):
        shutil.copytree(first, roots[name])
    run(first, CPU)
    for name, order in (("in order", ("baseline_v1", "stress_b")), ("reversed", ("stress_b", "baseline_v1"))):
        for scenario in order:
            run(roots[name], replace(CPU, scenarios=(scenario,)))
    return roots


def test_trace_log_is_cumulative_over_scenarios(two_scenarios):
    records = log_records("rng_trace_log", two_scenarios["together"], small_world())
    second = reference.expand(second_scenario())
    assert trace_totals(records) == reference_totals(expansion(), second)
    in_baseline = [record for record in records if json.loads(record["detail"]) == {"scenario_id": "baseline_v1"}]
    assert trace_totals(in_baseline) == reference_totals(expansion())
    assert len(records) == 2 * len(LABELS)


def test_logs_do_not_depend_on_the_order_of_runs(two_scenarios):
    together = stable(log_records("rng_trace_log", two_scenarios["together"], small_world()))
    assert stable(log_records("rng_trace_log", two_scenarios["in order"], small_world())) == together
    assert stable(log_records("rng_trace_log", two_scenarios["reversed"], small_world())) == together
    for root in two_scenarios.values():
        assert len(log_records("rng_audit_log", root, small_world())) == 1


@pytest.mark.parametrize("again", [(), ("stress_b",), ("baseline_v1",)], ids=str)
def test_logs_stay_as_they_are_when_runs_are_repeated(two_scenarios, again):
    run_root = two_scenarios["in order"]
    paths = [located(name, run_root, small_world()) for name in ("rng_trace_log", "rng_audit_log")]
    before = [path.read_bytes() for path in paths]
    run(run_root, replace(CPU, scenarios=again))
    assert [path.read_bytes() for path in paths] == before


def test_both_scenarios_are_published(two_scenarios):
    for world in (small_world(), second_scenario()):
        expected = reference.expand(world)
        table = published_table(two_scenarios["reversed"], world)
        assert table["merchant_id"].to_pylist() == [row.merchant_id for row in expected.rows]
        assert table["site_id"].to_pylist() == [row.site_id for row in expected.rows]
    lines = report_lines(two_scenarios["together"])
    assert [(line["scenario_id"], line["status"]) for line in lines] == [("baseline_v1", "PASS"), ("stress_b", "PASS")]


def test_records_of_other_modules_stay_in_the_logs(sealed):
    trace, audit = (located(name, sealed, small_world()) for name in ("rng_trace_log", "rng_audit_log"))
    world = small_world()
    foreign = {
        "ts_utc": "2026-01-01T00:00:00.000000Z",
        "run_id": world.run_id,
        "seed": world.seed,
        "module": "5B.S3",
        "substream_label": "bucket_count",
        **{f"rng_counter_{side}_{word}": 5 for side in ("before", "after") for word in ("lo", "hi")},
        **{f"{name}_total": 2**64 - 1 for name in ("draws", "blocks", "events")},
    }
    trace.parent.mkdir(parents=True)
    trace.write_text(json.dumps(foreign) + "\n", "ascii")
    run(sealed, CPU)
    records = log_records("rng_trace_log", sealed, small_world())
    assert records[0] == foreign
    assert trace_totals(records[1:]) == reference_totals(expansion())
    assert len(log_records("rng_audit_log", sealed, small_world())) == 1
    assert audit.is_file()


# --- Run report ----------------------------------------------------------------------------------------

REQUIRED_METRICS = {
    *("state_id", "scenario_id", "status", "error_code", "error_message"),
    *("n_buckets_total", "n_buckets_nonzero", "n_arrivals_total", "n_arrivals_physical", "n_arrivals_virtual"),
    *("min_bucket_duration", "max_bucket_duration"),
    *("n_arrivals_at_bucket_start", "n_arrivals_at_bucket_end_minus_epsilon"),
    *("counts_match_s3", "schema_ok", "partition_ok", "rng_accounting_ok"),
    *(f"rng_{kind}_{use}" for kind in ("draws", "blocks") for use in ("time", "site", "edge")),
}


def test_report_line_has_every_metric_with_the_reference_value(published):
    (line,) = report_lines(published)
    assert line.keys() >= REQUIRED_METRICS
    world, expected = small_world(), expansion()
    fallen = fallbacks_by_count_row(world)
    drawn = {use.bucket for use in expected.count_rows}
    durations = [(end - start) // MICROS for start, end in (world.grid[bucket] for bucket in drawn)]
    wanted = {
        "layer": "layer2",
        "segment": "5B",
        "state": "S4",
        "state_id": "5B.S4",
        "status": "PASS",
        "error_code": None,
        "error_message": None,
        "n_buckets_total": len(world.grid),
        "n_buckets_nonzero": len(drawn),
        "n_arrivals_total": len(expected.rows),
        "n_arrivals_physical": sum(not row.is_virtual for row in expected.rows),
        "n_arrivals_virtual": sum(row.is_virtual for row in expected.rows),
        "min_bucket_duration": min(durations),
        "max_bucket_duration": max(durations),
        "n_arrivals_at_bucket_start": sum(row.ts_utc == world.grid[row.bucket_index][0] for row in expected.rows),
        "n_arrivals_at_bucket_end_minus_epsilon": sum(
            row.ts_utc == world.grid[row.bucket_index][1] - 1 for row in expected.rows
        ),
        **dict.fromkeys(("counts_match_s3", "schema_ok", "partition_ok", "rng_accounting_ok"), True),
        "fallbacks": dict(expected.fallbacks),
        "arrival_digest": expected.digest,
        "count_rows_read": len(world.counts),
        "count_rows_zero": sum(row.n == 0 for row in world.counts),
        "count_rows_merged": expected.merged_drawn_rows,
        "count_rows_drawn": len(expected.count_rows),
        "published": "published",
        "parts": 3,
        "anomalies": len({(n, k.merchant_id, k.zone, k.channel) for n, rows in fallen.items() for k in rows}),
        **{name: getattr(world, name) for name in ("manifest_fingerprint", "parameter_hash", "seed", "run_id")},
        "scenario_id": world.scenario_id,
    }
    for family, use in zip(LABELS, ("time", "site", "edge"), strict=True):
        wanted[f"rng_draws_{use}"] = expected.words(family)
        wanted[f"rng_blocks_{use}"] = expected.blocks(family)
    assert {name: line[name] for name in wanted} == wanted


def test_report_line_says_how_the_run_went(published):
    (line,) = report_lines(published)
    assert line["started_at_utc"] < line["finished_at_utc"]
    assert line["durations"]["wall_ms"] > 0
    assert line["durations"]["phase_seconds"].keys() >= {"read", "plan", "expand and write", "verify", "publish"}
    assert line["rows_per_second"] > 0
    assert line["peak_rss_bytes"] > 10**7
    assert (line["backend"], line["threads"], line["batch_arrivals"]) == ("cpu", 2, 500)
    assert line["bytes"] == sum(part.stat().st_size for part in published_parts(published, small_world()))
    gate = json.loads(located("s0_gate_receipt_5B", published, small_world()).read_text("ascii"))
    assert line["sealed_inputs_digest"] == gate["sealed_inputs_digest"]


def test_a_failure_is_a_line_too_and_publishes_nothing(sealed):
    with pytest.raises(ArrivalError) as failure:
        run(sealed, replace(CPU, strict=True))
    (line,) = report_lines(sealed)
    assert (line["status"], line["error_code"]) == ("FAIL", str(failure.value.code))
    assert line["error_message"] == failure.value.message
    assert (line["state_id"], line["scenario_id"]) == ("5B.S4", small_world().scenario_id)
    assert line["error_context"]["merchant_id"] in small_world().modes
    for name in ("arrival_events_5B", "s4_arrival_summary_5B", "s4_arrival_anomalies_5B", "rng_trace_log"):
        assert not located(name, sealed, small_world()).exists()
    assert staged(sealed) == []


def test_a_fallback_refused_while_drawing_publishes_nothing():
    """Found by a worker in the midst of the run, not while reading."""
    world = small_world(policy=Policy(no_site_in_zone=FAIL))
    with on_disk(world) as written:
        with pytest.raises(ArrivalError) as failure:
            run(written.run_root, replace(CPU, batch_arrivals=10))
        (line,) = report_lines(written.run_root)
        assert not located("arrival_events_5B", written.run_root, world).exists()
        assert staged(written.run_root) == []
    assert (line["status"], line["error_code"]) == ("FAIL", str(Code.SITE_RESOLUTION_FAILED))
    first = min(fallbacks_by_count_row(small_world())[NO_SITE_IN_ZONE])
    assert failure.value.context["merchant_id"] == line["error_context"]["merchant_id"] == first.merchant_id
    assert failure.value.context["bucket_index"] == first.bucket
