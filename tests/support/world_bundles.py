"""Tiny upstream validation bundles that pass, each by its segment's own law.

docs/reference/layouts.md, "Upstream bundles", has the laws.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from arrival_engine.contracts.dictionary import bundle_index, dataset

SEGMENTS = ("1A", "1B", "2A", "2B", "3A", "3B", "5A")


def write_bundles(run_root: Path, manifest_fingerprint: str) -> dict[str, str]:
    """Write a bundle of two reports, its index and its flag per segment; returns the bundle digests."""
    return {segment: _write(segment, run_root, manifest_fingerprint) for segment in SEGMENTS}


def _write(segment: str, run_root: Path, manifest_fingerprint: str) -> str:
    tokens = {"manifest_fingerprint": manifest_fingerprint}
    bundle = bundle_index(segment).folder(run_root, tokens)
    members = {name: f'{{"report":"{name}","segment":"{segment}"}}'.encode() for name in ("a.json", "b/c.json")}
    for name, data in members.items():
        path = bundle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    # Listed against the order of the law, which sorts.
    listed = [
        {"path": name, "sha256_hex": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(members.items(), reverse=True)
    ]
    digest = hashlib.sha256(b"".join(data for _, data in sorted(members.items()))).hexdigest()
    index: object = listed
    if segment == "1B":
        index = {"files": listed}
    elif segment == "2B":
        inside = bundle.relative_to(run_root).as_posix()
        index = [{**entry, "path": f"{inside}/{entry['path']}"} for entry in listed]
    elif segment == "3A":
        # By logical_id these come in the other order than by path.
        named = [{**entry, "logical_id": f"report_{place}"} for place, entry in enumerate(listed)]
        index = {"members": named}
        digest = hashlib.sha256("".join(entry["sha256_hex"] for entry in named).encode("ascii")).hexdigest()
    elif segment == "3B":
        index = {"members": listed}
    elif segment == "5A":
        index = {"entries": listed}
    index_path = bundle_index(segment).locate(run_root, tokens)
    index_path.write_text(json.dumps(index, sort_keys=True), encoding="ascii")
    flag = f"sha256_hex = {digest}\n"
    if segment == "5A":
        flag = json.dumps({"manifest_fingerprint": manifest_fingerprint, "bundle_digest_sha256": digest})
    dataset(f"validation_passed_flag_{segment}").locate(run_root, tokens).write_text(flag, encoding="ascii")
    return digest
