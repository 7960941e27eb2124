"""Validation bundles and passed flags of the segments upstream (docs/reference/layouts.md, "Upstream bundles")."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from arrival_engine.contracts import bundle_index, compact_json, dataset, indented_json
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.rundir.hashing import content_sha256
from arrival_engine.engine.world_files.shelf import CREATED_UTC, SPEC_VERSION, Shelf

_CHECKS = "checks.json"
# The datasets that each bundle covers; those that a world does not have are left out.
_SUBJECTS: dict[str, tuple[str, ...]] = {
    "1A": (),
    "1B": ("site_locations",),
    "2A": ("site_timezones", "tz_timetable_cache_bin", "tz_timetable_cache_manifest"),
    "2B": ("s1_site_weights", "s2_alias_blob", "s2_alias_index", "s3_day_effects", "s4_group_weights"),
    "3A": ("zone_alloc", "zone_alloc_universe_hash"),
    "3B": (
        "virtual_classification_3B",
        "virtual_settlement_3B",
        "edge_catalogue_3B",
        "edge_catalogue_index_3B",
        "edge_alias_blob_3B",
        "edge_alias_index_3B",
        "edge_universe_hash_3B",
        "virtual_routing_policy_3B",
        "virtual_validation_contract_3B",
    ),
    "5A": (
        "scenario_manifest_5A",
        "merchant_zone_profile_5A",
        "shape_grid_definition_5A",
        "class_zone_shape_5A",
        "merchant_zone_baseline_local_5A",
        "merchant_zone_scenario_local_5A",
    ),
}


def write_bundles(shelf: Shelf) -> None:
    """Write a bundle with index and flag for every segment upstream; all their datasets must exist."""
    for segment, subjects in _SUBJECTS.items():
        held = [subject for subject in subjects if shelf.holds(subject)]
        digests = {subject: content_sha256([shelf.path(subject)]) for subject in held}
        checks = {
            "manifest_fingerprint": shelf.identity.manifest_fingerprint,
            "segment": segment,
            "status": "PASS",
            "sha256_hex": digests,
        }
        report = shelf.path(bundle_index(segment).id).parent / _CHECKS
        report.write_bytes(indented_json(checks))
        index, digest = _INDEX[segment](shelf, digests, report)
        shelf.document(bundle_index(segment).id, index, indented_json(index))
        _write_flag(shelf, segment, digest)


# The index of a bundle, in its segment's form, and the bundle's digest by the segment's law.
_Index = tuple[Any, str]


def _listed(_shelf: Shelf, _digests: Mapping[str, str], report: InsidePath) -> _Index:
    entry = {"artifact_id": "checks", "kind": "summary", "path": _CHECKS, "mime": "application/json", "notes": None}
    return [entry], content_sha256([report])


def _files(_shelf: Shelf, _digests: Mapping[str, str], report: InsidePath) -> _Index:
    own = content_sha256([report])
    return {"files": [{"path": _CHECKS, "sha256_hex": own}]}, own


def _files_below_the_run_root(shelf: Shelf, digests: Mapping[str, str], report: InsidePath) -> _Index:
    paths = sorted([report, *(shelf.path(subject) for subject in digests)], key=lambda path: _below(shelf, path))
    index = [{"path": _below(shelf, path), "sha256_hex": content_sha256([path])} for path in paths]
    return index, content_sha256(paths)


def _members_by_hash(shelf: Shelf, digests: Mapping[str, str], report: InsidePath) -> _Index:
    datasets = [
        {
            "logical_id": subject,
            "path": _below(shelf, shelf.path(subject)),
            "schema_ref": dataset(subject).schema_ref,
            "sha256_hex": sha256,
            "role": "dataset",
        }
        for subject, sha256 in digests.items()
    ]
    members = sorted([_checks_member(report), *datasets], key=lambda member: member["logical_id"])
    hashes = "".join(member["sha256_hex"] for member in members)
    index = {**_parameters(shelf), "s6_receipt_digest": content_sha256([report]), "members": members}
    return index, hashlib.sha256(hashes.encode("ascii")).hexdigest()


def _members(shelf: Shelf, _digests: Mapping[str, str], report: InsidePath) -> _Index:
    own = content_sha256([report])
    return {**_parameters(shelf), "s5_manifest_digest": own, "members": [_checks_member(report)]}, own


def _entries(shelf: Shelf, _digests: Mapping[str, str], report: InsidePath) -> _Index:
    own = content_sha256([report])
    index = {
        "manifest_fingerprint": shelf.identity.manifest_fingerprint,
        "segment_id": "5A",
        "s5_spec_version": SPEC_VERSION,
        "generated_utc": CREATED_UTC,
        "overall_status": "PASS",
        "entries": [{"path": _CHECKS, "sha256_hex": own}],
    }
    return index, own


_INDEX: Mapping[str, Callable[[Shelf, Mapping[str, str], InsidePath], _Index]] = {
    "1A": _listed,
    "1B": _listed,
    "2A": _files,
    "2B": _files_below_the_run_root,
    "3A": _members_by_hash,
    "3B": _members,
    "5A": _entries,
}


def _parameters(shelf: Shelf) -> dict[str, str]:
    return {
        "manifest_fingerprint": shelf.identity.manifest_fingerprint,
        "parameter_hash": shelf.identity.parameter_hash,
    }


def _checks_member(report: InsidePath) -> dict[str, str]:
    # The contract has no schema of these checks.
    return {
        "logical_id": "checks",
        "path": _CHECKS,
        "schema_ref": "",
        "sha256_hex": content_sha256([report]),
        "role": "evidence",
    }


def _write_flag(shelf: Shelf, segment: str, digest: str) -> None:
    flag = f"validation_passed_flag_{segment}"
    if dataset(flag).format == "json":
        text = {
            "manifest_fingerprint": shelf.identity.manifest_fingerprint,
            "bundle_digest_sha256": digest,
        }
        shelf.document(flag, text, compact_json(text))
    else:
        shelf.binary(flag, f"sha256_hex = {digest}\n".encode("ascii"))


def _below(shelf: Shelf, path: InsidePath) -> str:
    return path.relative_to(shelf.root).as_posix()
