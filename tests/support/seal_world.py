"""A run directory just big enough to be sealed: every input by path, contents arbitrary but for alias blobs."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.config import packaged_bytes
from arrival_engine.contracts import ArrivalError, arrow_schema
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.hashing import inventory_digest
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import verify_seal
from tests.support.blobs import alias_blob, index_rows, slots

MF, PH, SEED, RUN_ID = "a" * 64, "b" * 64, 42, "c" * 32
L1, L2 = "data/layer1", "data/layer2"
GATE = f"{L2}/5B/s0_gate_receipt/manifest_fingerprint={MF}/s0_gate_receipt_5B.json"
INVENTORY = f"{L2}/5B/sealed_inputs/manifest_fingerprint={MF}/sealed_inputs_5B.json"
BY_SEED = f"seed={SEED}/manifest_fingerprint={MF}"
BY_MF = f"manifest_fingerprint={MF}"
COUNTS = f"{L2}/5B/s3_bucket_counts/{BY_SEED}"
GRID = f"{L2}/5B/s1_time_grid/{BY_MF}"

# Every input that must be there, spelt out: artefact -> files, in the order in which they are hashed.
REQUIRED = {
    "s1_time_grid_5B": [f"{GRID}/scenario_id={name}/s1_time_grid_5B.parquet" for name in ("base", "stress")],
    "s3_bucket_counts_5B": [
        f"{COUNTS}/scenario_id=base/part-0.parquet",
        f"{COUNTS}/scenario_id=base/s3_bucket_counts_5B.parquet",
        f"{COUNTS}/scenario_id=stress/s3_bucket_counts_5B.parquet",
    ],
    "site_timezones": [
        f"{L1}/2A/site_timezones/{BY_SEED}/part-00000.parquet",
        f"{L1}/2A/site_timezones/{BY_SEED}/part-00001.parquet",
    ],
    "s1_site_weights": [f"{L1}/2B/s1_site_weights/{BY_SEED}/part-00000.parquet"],
    "tz_timetable_cache": [
        f"{L1}/2A/tz_timetable_cache/{BY_MF}/tz_cache_v1.bin",
        f"{L1}/2A/tz_timetable_cache/{BY_MF}/tz_timetable_cache.json",
    ],
    "s2_alias_index": [f"{L1}/2B/s2_alias_index/{BY_SEED}/index.json"],
    "s2_alias_blob": [f"{L1}/2B/s2_alias_blob/{BY_SEED}/alias.bin"],
    "s4_group_weights": [f"{L1}/2B/s4_group_weights/{BY_SEED}/part-00000.parquet"],
    "virtual_classification_3B": [f"{L1}/3B/virtual_classification/{BY_SEED}/part-00000.parquet"],
    "virtual_settlement_3B": [f"{L1}/3B/virtual_settlement/{BY_SEED}/part-00000.parquet"],
    "edge_catalogue_3B": [f"{L1}/3B/edge_catalogue/{BY_SEED}/part-00000.parquet"],
    "edge_catalogue_index_3B": [f"{L1}/3B/edge_catalogue_index/{BY_SEED}/edge_catalogue_index_3B.parquet"],
    "edge_alias_blob_3B": [f"{L1}/3B/edge_alias_blob/{BY_SEED}/edge_alias_blob_3B.bin"],
    "edge_alias_index_3B": [f"{L1}/3B/edge_alias_index/{BY_SEED}/edge_alias_index_3B.parquet"],
    "edge_universe_hash_3B": [f"{L1}/3B/edge_universe_hash/{BY_MF}/edge_universe_hash_3B.json"],
    "virtual_routing_policy_3B": [f"{L1}/3B/virtual_routing_policy/{BY_MF}/virtual_routing_policy_3B.json"],
}
SEGMENTS = ("1A", "1B", "2A", "2B", "3A", "3B", "5A")
RNG_POLICY = "config/layer2/5B/arrival_rng_policy_5B.yaml"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(root: Path, relative: str, data: bytes) -> Path:
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def bundle_of(segment: str) -> str:
    return f"data/{'layer2' if segment == '5A' else 'layer1'}/{segment}/validation/{BY_MF}"


def put_bundle(root: Path, segment: str) -> str:
    """A bundle of two files that passes by its segment's law; gives its digest."""
    folder = bundle_of(segment)
    files = {"report.json": f"report {segment}".encode(), "evidence/rows.bin": f"rows {segment}".encode()}
    for name, data in files.items():
        put(root, f"{folder}/{name}", data)
    entries = [{"path": name, "sha256_hex": sha(data), "logical_id": sha(data)[:6]} for name, data in files.items()]
    index: object = entries
    digest = sha(files["evidence/rows.bin"] + files["report.json"])
    name = "index.json"
    if segment == "1B":
        index = {"files": [{"path": entry["path"]} for entry in entries]}
    elif segment == "2B":
        index = [{"path": f"{folder}/{entry['path']}"} for entry in entries]
    elif segment == "3A":
        index = {"members": entries}
        ordered = sorted(entries, key=lambda entry: entry["logical_id"])
        digest = sha("".join(entry["sha256_hex"] for entry in ordered).encode())
    elif segment == "3B":
        index = {"members": entries}
    elif segment == "5A":
        index, name = {"entries": entries}, "validation_bundle_index_5A.json"
    put(root, f"{folder}/{name}", json.dumps(index).encode())
    flag = f"sha256_hex = {digest}\n"
    if segment == "5A":
        flag = json.dumps({"manifest_fingerprint": MF, "bundle_digest_sha256": digest})
    put(root, f"{folder}/_passed.flag", flag.encode())
    return digest


def put_receipt(root: Path, **changes: object) -> None:
    receipt = {
        "run_id": RUN_ID,
        "seed": SEED,
        "parameter_hash": PH,
        "manifest_fingerprint": MF,
        "external_roots": ["elsewhere"],
        "created_utc": "2026-01-01T00:00:00.000000Z",
    }
    put(root, "run_receipt.json", json.dumps({**receipt, **changes}).encode())


def put_alias_blobs(root: Path) -> None:
    """Both blobs, of two merchants each, and indexes that agree with them."""
    blob, slices = alias_blob({7: (32, slots([0.5, 0.25, 0.25])), 9: (32, slots([1.0]))})
    rows = index_rows(slices)
    index = {
        "layout_version": "2B.alias.blob.v1",
        "endianness": "little",
        "alignment_bytes": 8,
        "quantised_bits": 24,
        "created_utc": "2026-01-01T00:00:00.000000Z",
        "policy_id": "alias_layout_policy_v1",
        "policy_digest": "d" * 64,
        "blob_sha256": sha(blob),
        "blob_size_bytes": len(blob),
        "merchants_count": len(rows),
        "merchants": rows,
    }
    put(root, REQUIRED["s2_alias_index"][0], json.dumps(index).encode())
    put(root, REQUIRED["s2_alias_blob"][0], blob)
    edges = [
        {"scope": "MERCHANT", "merchant_id": piece.merchant_id, "blob_offset_bytes": piece.offset}
        | {"blob_length_bytes": piece.length, "edge_count_total": piece.entries, "alias_table_length": piece.entries}
        | {"merchant_alias_checksum": piece.checksum}
        for piece in slices
    ]
    total = sum(piece.entries for piece in slices)
    edges.append(
        {"scope": "GLOBAL", "blob_length_bytes": len(blob), "edge_count_total": total, "blob_sha256_hex": sha(blob)}
    )
    common = {"seed": SEED, "manifest_fingerprint": MF, "alias_layout_version": "2B.alias.blob.v1"}
    table = pa.Table.from_pylist([common | row for row in edges], schema=arrow_schema("edge_alias_index_3B"))
    pq.write_table(table, root / REQUIRED["edge_alias_index_3B"][0])
    put(root, REQUIRED["edge_alias_blob_3B"][0], blob)


def make_world(root: Path) -> Path:
    """All required inputs, passing bundles, one policy of the run's own; unsealed."""
    put_receipt(root)
    for files in REQUIRED.values():
        for path in files:
            put(root, path, f"content of {path}".encode())
    put_alias_blobs(root)
    for segment in SEGMENTS:
        put_bundle(root, segment)
    put(root, RNG_POLICY, packaged_bytes("arrival_rng_policy_5B"))
    return root


def verify(root: Path, reporter: Reporter | None = None):
    return verify_seal(read_receipt(root), reporter)


def refusal(action, *args):
    with pytest.raises(ArrivalError) as caught:
        action(*args)
    return caught.value


def rows_of(root: Path) -> dict[str, dict]:
    return {row["artifact_id"]: row for row in json.loads((root / INVENTORY).read_bytes())}


def gate_of(root: Path) -> dict:
    return json.loads((root / GATE).read_bytes())


def compact(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def rewrite(root: Path, edit, **gate_changes: object) -> None:
    """Let `edit` change the inventory's rows, and make the gate receipt agree with the result."""
    rows = json.loads((root / INVENTORY).read_bytes())
    rows = edit(rows) or rows
    (root / INVENTORY).write_bytes(compact(rows))
    gate = {
        **gate_of(root),
        "sealed_inputs_digest": inventory_digest(rows),
        "sealed_inputs_row_count": len(rows),
    }
    (root / GATE).write_bytes(compact({**gate, **gate_changes}))
