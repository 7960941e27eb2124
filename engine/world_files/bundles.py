"""Validation bundles and passed flags of the segments upstream (docs/reference/layouts.md, "Upstream bundles")."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from arrival_engine.contracts import compact_json, dataset, indented_json
from arrival_engine.engine.rundir.hashing import content_sha256
from arrival_engine.engine.world_files.shelf import Shelf

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
    ),
    "5A": (),
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
        folder = shelf.path(f"validation_bundle_index_{segment}").parent
        report = folder / _CHECKS
        report.write_bytes(indented_json(checks))
        _close(shelf, segment, digests, report)


def _close(shelf: Shelf, segment: str, digests: dict[str, str], report: Path) -> None:
    """Write the index over the bundle's members and the flag over the index's digest."""
    content = report.read_bytes()
    own = {"path": _CHECKS, "sha256_hex": hashlib.sha256(content).hexdigest()}
    index: Any
    if segment == "2B":
        paths = [report, *(shelf.path(subject) for subject in digests)]
        index = [_entry(shelf, path) for path in sorted(paths, key=lambda path: _below(shelf, path))]
        digest = content_sha256([shelf.root / entry["path"] for entry in index])
    elif segment == "3A":
        others = [{"logical_id": subject} | _entry(shelf, shelf.path(subject)) for subject in digests]
        members = sorted([{"logical_id": "checks", **own}, *others], key=lambda member: member["logical_id"])
        index = {"members": members}
        hashes = "".join(member["sha256_hex"] for member in members)
        digest = hashlib.sha256(hashes.encode("ascii")).hexdigest()
    elif segment == "3B":
        index = {"members": [{"logical_id": "checks", **own}]}
        digest = own["sha256_hex"]
    else:
        index = {"entries": [own]} if segment == "5A" else [own]
        digest = own["sha256_hex"]
    shelf.document(f"validation_bundle_index_{segment}", index, indented_json(index))
    flag = f"validation_passed_flag_{segment}"
    if dataset(flag).format == "json":
        text = {
            "manifest_fingerprint": shelf.identity.manifest_fingerprint,
            "bundle_digest_sha256": digest,
        }
        shelf.document(flag, text, compact_json(text))
    else:
        shelf.binary(flag, f"sha256_hex = {digest}\n".encode("ascii"))


def _below(shelf: Shelf, path: Path) -> str:
    return path.relative_to(shelf.root).as_posix()


def _entry(shelf: Shelf, path: Path) -> dict[str, str]:
    return {"path": _below(shelf, path), "sha256_hex": content_sha256([path])}
