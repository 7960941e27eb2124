"""The validation bundle: members that are equal on every machine and day, index, flag, publication."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.contracts import ArrivalError, Code, arrow_schema, check_document, compact_json, dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.moments import utc_now
from arrival_engine.contracts.oserrors import writing
from arrival_engine.engine.process.version import version
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.staging import owned_staging, publish_folder, write_file
from arrival_engine.engine.validation import arrival_parts
from arrival_engine.engine.validation.agreement import FAIL, PASS
from arrival_engine.engine.validation.issues import issues
from arrival_engine.engine.validation.policy import document
from arrival_engine.engine.validation.verify import read_bundle

_LAYOUT = "bundle_layout_policy_5B"

Publication = Literal["published", "identical", "replaced"]

# Fields that say when, where or by which build a record was written; the bundle vouches for data alone.
_VOLATILE = frozenset({"created_utc", "ts_utc", "hostname", "platform", "build_commit", "code_digest", "notes"})
# Fields of a run-report line that depend on the scenario alone.
_LASTING = (
    "layer",
    "segment",
    "state",
    "state_id",
    "manifest_fingerprint",
    "parameter_hash",
    "seed",
    "run_id",
    "scenario_id",
    "status",
    "law_version",
    "n_buckets_total",
    "n_buckets_nonzero",
    "n_arrivals_total",
    "n_arrivals_physical",
    "n_arrivals_virtual",
    "min_bucket_duration",
    "max_bucket_duration",
    "n_arrivals_at_bucket_start",
    "n_arrivals_at_bucket_end_minus_epsilon",
    "counts_match_s3",
    "schema_ok",
    "partition_ok",
    "rng_accounting_ok",
    "rng_draws_time",
    "rng_draws_site",
    "rng_draws_edge",
    "rng_blocks_time",
    "rng_blocks_site",
    "rng_blocks_edge",
    "count_rows_read",
    "count_rows_zero",
    "count_rows_merged",
    "count_rows_drawn",
    "entities",
    "merchants",
    "fallbacks",
    "arrival_digest",
    "sealed_inputs_digest",
    "policy_digests",
    "routing_universe_hash",
)


@dataclass(frozen=True)
class Evidence:
    """The other contents of a bundle besides report and issues.

    The seal's two documents, logs, run-report lines, and the listing of the arrivals' parts.
    """

    gate: Mapping[str, Any]
    inventory: Sequence[Mapping[str, Any]]
    audit: Sequence[Mapping[str, Any]]
    trace: Sequence[Mapping[str, Any]]
    lines: Sequence[Mapping[str, Any]]
    parts: Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """The place of a bundle, its digest, and whether it existed before."""

    folder: Path | str  # a URL if the run directory is in an object store
    digest: str
    publication: Publication


def members(receipt: Receipt, report: Mapping[str, Any], evidence: Evidence) -> dict[str, bytes]:
    """The members by path, as the layout policy lists them; optional ones only if they have content.

    The listing of the arrivals' parts is a member whatever the policy says: without it a flag vouches for no file.
    """
    available: dict[str, bytes | None] = {
        "validation_issue_table_5B.parquet": _issue_table(report),
        "validation_report_5B.json": compact_json(report),
        "receipts/s0_gate_receipt_5B.json": compact_json(_lasting(evidence.gate)),
        "receipts/sealed_inputs_5B.json": compact_json(list(evidence.inventory)),
        "rng/rng_audit_log.jsonl": _lines([_lasting(record) for record in evidence.audit]),
        "rng/rng_trace_log.jsonl": _lines([_lasting(record) for record in evidence.trace]),
        "reports/segment_state_runs.jsonl": _lines(
            [{name: line[name] for name in _LASTING if name in line} for line in evidence.lines]
        ),
    }
    chosen: dict[str, bytes] = {arrival_parts.MEMBER: compact_json(evidence.parts)}
    for group in document(receipt, _LAYOUT)["evidence_groups"].values():
        for path in (member["path"] for member in group["members"]):
            # None: the run has no such thing, or it is a dataset of another implementation.
            data = available.get(path)
            if data is not None:
                chosen[path] = data
            elif group["required"]:
                raise ArrivalError(
                    Code.S5_BUNDLE_INDEX_INVALID,
                    f"the bundle lacks its required member {path}",
                    hint="this is a defect of validation; please report it",
                )
    return chosen


def _lasting(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _VOLATILE}


def _lines(records: Sequence[Mapping[str, Any]]) -> bytes | None:
    return b"".join(compact_json(record) + b"\n" for record in records) if records else None


def _issue_table(report: Mapping[str, Any]) -> bytes:
    """The findings that are worth a look; the schema even without rows."""
    table = pa.Table.from_pylist(issues(report), schema=arrow_schema("validation_issue_table_5B"))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", write_statistics=False)
    return bytes(sink.getvalue())


def publish(receipt: Receipt, content: Mapping[str, bytes], spec_version: str, *, passed: bool) -> Published:
    """Write a bundle, verify it, and put it in its place, which depends on `passed`, over another one.

    The bundle that stands there stays until then, and stays for good if it is the same.
    """
    status = PASS if passed else FAIL
    final = receipt.path("validation_bundle_5B" if passed else "validation_failed_bundle_5B")
    digest = bundle_digest(content)
    standing = _standing(final, receipt)
    if standing == digest:
        return Published(final.outside, digest, "identical")
    with owned_staging(receipt.run_root, "validation") as stage:
        folder = stage / "bundle"
        _write(folder, content, _index(receipt, content, spec_version, status, digest))
        if passed:
            flag = {
                "manifest_fingerprint": receipt.identity.manifest_fingerprint,
                "bundle_digest_sha256": digest,
            }
            check_document("passed_flag", flag, code=Code.S5_FLAG_SCHEMA_VIOLATION, where="flag")
            write_file(folder / PurePosixPath(dataset("validation_passed_flag_5B").path).name, compact_json(flag))
        written = read_bundle(folder, receipt.identity.manifest_fingerprint).bundle
        if written.digest != digest:
            raise ArrivalError(
                Code.S5_BUNDLE_DIGEST_MISMATCH,
                f"the bundle was written with digest {written.digest} instead of {digest}",
                hint="check the disk; nothing was published",
            )
        publish_folder(folder, final)
    return Published(final.outside, digest, "published" if standing is None else "replaced")


def bundle_digest(content: Mapping[str, bytes]) -> str:
    """SHA-256 over the members' bytes, by path (docs/reference/layouts.md, "Validation bundle")."""
    digest = hashlib.sha256()
    for path in _ordered(content):
        digest.update(content[path])
    return digest.hexdigest()


def _ordered(content: Mapping[str, bytes]) -> list[str]:
    return sorted(content, key=lambda path: path.encode("utf-8"))


def _standing(final: InsidePath, receipt: Receipt) -> str | None:
    """The digest of the existing bundle; empty if it is broken, None if there is none."""
    if not final.exists():
        return None
    try:
        return read_bundle(final, receipt.identity.manifest_fingerprint).bundle.digest
    except ArrivalError:
        return ""


# Members by their datasets' schemas; of the others the bundle has extracts, without the volatile fields.
_PARTS = {"dataset_id": arrival_parts.SCHEMA, "role": arrival_parts.ROLE}
_WHOLE = ("validation_issue_table_5B", "validation_report_5B", "sealed_inputs_5B")


def _index(
    receipt: Receipt, content: Mapping[str, bytes], spec_version: str, status: str, digest: str
) -> dict[str, Any]:
    layout = document(receipt, _LAYOUT)
    role_field = str(layout["member_rules"]["role_field"])
    listed = {member["path"]: member for group in layout["evidence_groups"].values() for member in group["members"]}
    entries = []
    for path in _ordered(content):
        member = listed.get(path, _PARTS)
        entry = {"path": path, "sha256_hex": hashlib.sha256(content[path]).hexdigest(), role_field: member["role"]}
        if member["dataset_id"] in _WHOLE:
            entry["schema_ref"] = dataset(member["dataset_id"]).schema_ref
        entries.append(entry)
    report = json.loads(content["validation_report_5B.json"])
    index = {
        "manifest_fingerprint": receipt.identity.manifest_fingerprint,
        "segment_id": "5B",
        "s5_spec_version": spec_version,
        "generated_utc": utc_now(),
        "entries": entries,
        "status": status,
        "summary": {
            "bundle_sha256": digest,
            "engine_version": version(),
            "error_code": report.get("error_code"),
            "verdicts": report["verdicts"],
            "validation_policy": report["validation_policy"],
        },
    }
    check_document("validation_bundle_index_5B", index, code=Code.S5_BUNDLE_INDEX_INVALID, where="index")
    return index


def _write(folder: InsidePath, content: Mapping[str, bytes], index: Mapping[str, Any]) -> None:
    for path in _ordered(content):
        place = folder / path
        with writing("bundle member", place):
            place.parent.mkdir(parents=True, exist_ok=True)
        write_file(place, content[path])
    write_file(folder / PurePosixPath(dataset("validation_bundle_index_5B").path).name, compact_json(index))
