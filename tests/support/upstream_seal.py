"""A run of the reference pipeline, in small: a synthetic world with upstream's policies and its S0 gate's seal.

The seal follows the contract of that gate: bundles and flags by the bundle's digest, policies and a few documents by
their bytes, every other dataset by a hash of its own description, and nothing of 5B's own tables.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arrival_engine import synthesise
from arrival_engine.contracts import Dataset, datasets
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from tests.support.upstream_policies import write_upstream

SCENARIO = "baseline_v1"
SEGMENTS = ("1A", "1B", "2A", "2B", "3A", "3B", "5A")
BY_CONTENT = (
    "tz_timetable_cache",
    "zone_alloc_universe_hash",
    "edge_universe_hash_3B",
    "virtual_routing_policy_3B",
    "virtual_validation_contract_3B",
    "scenario_manifest_5A",
)
_ROW_KEYS = (
    *("manifest_fingerprint", "parameter_hash", "owner_layer", "owner_segment", "artifact_id", "manifest_key", "role"),
    *("schema_ref", "path_template", "partition_keys", "sha256_hex", "status", "read_scope", "notes", "owner_team"),
    "source_manifest",
)


def make_upstream_run(root: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
    """A world at `root`/run, unsealed, whose policies are those of the repository `root`/pipeline."""
    run, pipeline = root / "run", root / "pipeline"
    synthesise(run, preset="demo", seed=7, scale=0.05)
    shutil.rmtree(run / "config")
    write_upstream(pipeline, changes)
    path = run / "run_receipt.json"
    receipt = json.loads(path.read_bytes()) | {"external_roots": [str(pipeline)]}
    path.write_text(json.dumps(receipt), encoding="utf-8")
    return run


def seal_as_upstream(run_root: Path) -> dict[str, dict[str, Any]]:
    """Write the two documents of upstream's S0 for a run; its rows by artefact."""
    receipt = read_receipt(run_root)
    digests = {segment: _flagged(receipt, segment) for segment in SEGMENTS}
    rows = [_row(entry, receipt, digests) for entry in datasets() if _is_listed(entry, receipt)]
    rows.sort(key=lambda row: (row["owner_segment"], row["artifact_id"], row["role"]))
    digest = hashlib.sha256()
    for row in rows:
        fixed = {key: row.get(key) for key in _ROW_KEYS}
        digest.update(json.dumps(fixed, ensure_ascii=True, separators=(",", ":")).encode())
    gate = {
        **receipt.identity.document(),
        "created_utc": "2026-02-01T08:00:00.000000Z",
        "upstream_segments": {
            segment: {
                "status": "PASS",
                "bundle_path": _below(receipt, f"validation_bundle_{segment}"),
                "flag_path": _below(receipt, f"validation_passed_flag_{segment}"),
                "spec_version": "1.0.0",
                "bundle_digest": digests[segment],
            }
            for segment in SEGMENTS
        },
        "scenario_set": [SCENARIO],
        "sealed_inputs_digest": digest.hexdigest(),
        "sealed_inputs_row_count": len(rows),
        "spec_version": "1.0.0",
    }
    for name, document in (("sealed_inputs_5B", rows), ("s0_gate_receipt_5B", gate)):
        path = receipt.path(name)
        path.parent.mkdir(parents=True)
        path.write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    return {row["artifact_id"]: row for row in rows}


def _is_listed(entry: Dataset, receipt: Receipt) -> bool:
    own = entry.owner_segment == "5B" and entry.role == "dataset"
    if not entry.sealed or own or entry.id == "arrival_output_policy_5B":
        return False
    scenario = {"scenario_id": SCENARIO} if "scenario_id" in entry.partitions else {}
    return entry.role == "policy" or bool(receipt.files(entry.id, **scenario))


def _below(receipt: Receipt, name: str) -> str:
    return receipt.path(name).relative_to(receipt.run_root).as_posix()


def _flagged(receipt: Receipt, segment: str) -> str:
    text = receipt.path(f"validation_passed_flag_{segment}").read_text()
    return str(json.loads(text)["bundle_digest_sha256"]) if segment == "5A" else text.split(" = ")[1].strip()


def _row(entry: Dataset, receipt: Receipt, digests: Mapping[str, str]) -> dict[str, Any]:
    described = {
        "artifact_id": entry.id,
        "manifest_key": entry.manifest_key,
        "schema_ref": entry.schema_ref,
        "path_template": entry.path,
        "partition_keys": list(entry.partitions),
    }
    row = {
        **_common(receipt),
        **described,
        "owner_layer": entry.owner_layer,
        "owner_segment": entry.owner_segment,
        "role": entry.role,
        "status": "REQUIRED",
        "read_scope": entry.read_scope,
        "owner_team": entry.owner_team,
        "notes": "",
    }
    if entry.role in ("validation_bundle", "validation_flag"):
        return row | {"sha256_hex": digests[entry.owner_segment]}
    if entry.role == "policy":
        (root,) = receipt.external_roots
        return row | {"sha256_hex": hashlib.sha256((root / entry.path).read_bytes()).hexdigest()}
    if entry.id in BY_CONTENT:
        files = sorted(receipt.files(entry.id), key=str)
        return row | {"sha256_hex": hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()}
    scenarios = f";scenario_ids={SCENARIO}" if "scenario_id" in entry.partitions else ""
    return row | {"sha256_hex": _structural(described), "notes": f"structural_digest=path_template{scenarios}"}


def _common(receipt: Receipt) -> dict[str, str]:
    identity = receipt.identity
    return {"manifest_fingerprint": identity.manifest_fingerprint, "parameter_hash": identity.parameter_hash}


def _structural(described: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
