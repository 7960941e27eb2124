"""Log lines as the reference pipeline's states write them, and logs in place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arrival_engine.contracts.dictionary import dataset
from tests.support.damage import receipt_of, tokens_of

AUDIT, TRACE, REPORT = "rng_audit_log", "rng_trace_log", "segment_state_runs"
_COUNTERS = {f"rng_counter_{side}_{word}": 7 for side in ("before", "after") for word in ("lo", "hi")}
_INSTANTS = {"started_at_utc": "2026-01-01T00:00:00.000000Z", "finished_at_utc": "2026-01-01T00:00:01.000000Z"}


def log_file(run_root: Path, dataset_id: str) -> Path:
    """The log; of the run report the only day."""
    if dataset_id == REPORT:
        (path,) = (run_root / "reports").rglob("segment_state_runs.jsonl")
        return path
    return dataset(dataset_id).locate(run_root, tokens_of(run_root))


def identity_of(run_root: Path) -> dict[str, Any]:
    names = ("manifest_fingerprint", "parameter_hash", "seed", "run_id")
    return {name: receipt_of(run_root)[name] for name in names}


def foreign_audit(identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """S2's record of this run, without what it did not know, and a record of another run."""
    record = {
        **identity,
        "ts_utc": "2026-01-01T00:00:00.000000Z",
        "algorithm": "philox2x64-10",
        "build_commit": "0123456789abcdef",
        "hostname": "somewhere",
        "platform": "Linux",
    }
    return [{**record, "run_id": "e" * 32}, record]


def foreign_trace(identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Records of S2, S3 and S4, and of S4 of another run: none has the optional `detail`, or it is null."""
    record = {
        "ts_utc": "2026-01-01T00:00:00.000000Z",
        "run_id": identity["run_id"],
        "seed": identity["seed"],
        **_COUNTERS,
        **{f"{name}_total": 11 for name in ("draws", "blocks", "events")},
    }
    labels = [("5B.S2", "latent_vector"), ("5B.S3", "bucket_count"), ("1A.s0", "s0.anchor")]
    labels += [("5B.S4", f"arrival_{name}") for name in ("time_jitter", "site_pick", "edge_pick")]
    found = [{**record, "module": module, "substream_label": label} for module, label in labels]
    ours = json.dumps({"scenario_id": "baseline_v1"})
    return [*found, {**found[-1], "detail": None}, {**found[-1], "run_id": "e" * 32, "seed": 5, "detail": ours}]


def foreign_report(identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lines of S0 to S5: S5 states neither `parameter_hash` nor `seed`, S4 no scenario but the set of them."""
    common = {"layer": "layer2", "segment": "5B", "error_code": None, **identity, **_INSTANTS}
    scenarios = {"scenario_set": ["baseline_v1"], "scenario_count_requested": 1, "scenario_count_failed": 0}
    lines = [
        {**common, "state": f"S{state}", "state_id": f"5B.S{state}", "status": "PASS", **scenarios}
        for state in range(5)
    ]
    lines[0] |= {"upstream_total": 6, "sealed_inputs_digest": "d" * 64}
    lines[1] |= {"details": {"baseline_v1": {"bucket_count": 3}}, "durations": {"wall_ms": 5}, "bucket_count_mean": 0.5}
    lines[4] |= {"rng_draws_total": {"arrival_time_jitter": 5}, "total_arrivals": 5, "tz_temper": {"topk_tzids": []}}
    failed = {"status": "FAIL", "error_code": "DOMAIN_ALIGN_FAILED", "error_context": {"detail": "x", "phase": "run"}}
    last = {**common, "state": "S5", "state_id": "5B.S5", "status": "PASS", "metrics": {"n_scenarios": 1}}
    for name in ("parameter_hash", "seed"):
        del last[name]
    return [*lines, {**lines[4], **failed}, last, {**last, "run_id": "another"}]


def foreign_events(identity: Mapping[str, Any], label: str) -> list[dict[str, Any]]:
    """S4's event records, which do not state the zone."""
    record = {
        **identity,
        **_COUNTERS,
        "ts_utc": "2026-01-01T00:00:00.000000Z",
        "module": "5B.S4",
        "substream_label": label,
        "draws": "3",
        "blocks": 3,
        "scenario_id": "baseline_v1",
        "merchant_id": 5,
    }
    return [{**record, "bucket_index": bucket} for bucket in range(3)]


def spaced_lines(records: list[dict[str, Any]]) -> bytes:
    """JSON Lines as the reference writes them."""
    return b"".join(json.dumps(record, sort_keys=True).encode() + b"\n" for record in records)
