"""What is fuzzed: functions from hostile bytes to nothing. Any exception but ArrivalError is a finding.

Alias blobs are fuzzed with an index that states their true size and hashes, or no mutation would get past the hash.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from arrival_engine.config import packaged_bytes, policy_ids
from arrival_engine.config.policies import resolve_policy
from arrival_engine.contracts import ArrivalError, arrow_schema, dataset
from arrival_engine.engine.alias_blobs.decode import AliasSlices, decode_2b, decode_3b
from arrival_engine.engine.alias_blobs.index import site_index
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.tz.tzc1 import decode, encode
from tests.support.blobs import tzc1

MERCHANT = 7
Target = Callable[[bytes], None]


def fuzz_tzc1(data: bytes) -> None:
    """A cache that decodes must encode to the same bytes again."""
    try:
        table = decode(data, "fuzz")
    except ArrivalError:
        return
    if encode(table) != data:
        raise AssertionError("a TZC1 cache decoded to something that encodes differently")


def _in_bounds(slices: AliasSlices) -> None:
    sizes = np.diff(slices.start)
    if (slices.alias >= np.repeat(sizes, sizes)).any():
        raise AssertionError("an alias index outside its slice came through")


def fuzz_alias_2b(data: bytes) -> None:
    """A 2B blob of one merchant, its index telling the truth about size and hashes."""
    sha = hashlib.sha256(data).hexdigest()
    row = {
        "merchant_id": MERCHANT,
        "offset": 0,
        "length": max(len(data), 1),
        "sites": max((len(data) - 16) // 8, 1),
        "quantised_bits": 24,
        "checksum": sha,
    }
    index = {
        "layout_version": "2B.alias.blob.v1",
        "endianness": "little",
        "alignment_bytes": 8,
        "quantised_bits": 24,
        "created_utc": "2026-01-01T00:00:00.000000Z",
        "policy_id": "alias_layout_policy_v1",
        "policy_digest": "0" * 64,
        "blob_sha256": sha,
        "blob_size_bytes": len(data),
        "merchants_count": 1,
        "merchants": [row],
    }
    try:
        _in_bounds(decode_2b(data, site_index(index, "fuzz"), "fuzz"))
    except ArrivalError:
        return


def fuzz_alias_3b(data: bytes) -> None:
    """A 3B blob of one merchant, its index telling the truth about size and hashes."""
    sha, edges = hashlib.sha256(data).hexdigest(), max((len(data) - 16) // 8, 1)
    common = {"seed": 1, "manifest_fingerprint": "a" * 64, "alias_layout_version": "2B.alias.blob.v1"}
    rows = [
        {
            **common,
            "scope": "MERCHANT",
            "merchant_id": MERCHANT,
            "blob_offset_bytes": 0,
            "blob_length_bytes": len(data),
            "edge_count_total": edges,
            "alias_table_length": edges,
            "merchant_alias_checksum": sha,
        },
        {
            **common,
            "scope": "GLOBAL",
            "blob_length_bytes": len(data),
            "edge_count_total": edges,
            "blob_sha256_hex": sha,
        },
    ]
    try:
        index = pa.Table.from_pylist(rows, schema=arrow_schema("edge_alias_index_3B"))
        _in_bounds(decode_3b(data, index, "fuzz"))
    except ArrivalError:
        return


def fuzz_alias_index(data: bytes) -> None:
    """A 2B index document over a sound blob."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    blob, _ = _sound_blob()
    try:
        _in_bounds(decode_2b(blob, site_index(document, "fuzz"), "fuzz"))
    except ArrivalError:
        return


def fuzz_receipt(data: bytes) -> None:
    """A run receipt."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "run_receipt.json").write_bytes(data)
        try:
            receipt = read_receipt(Path(folder))
        except ArrivalError:
            return
        if ".." in receipt.identity.run_id or "/" in receipt.identity.manifest_fingerprint:
            raise AssertionError("a receipt with path characters came through")


def fuzz_policy(data: bytes) -> None:
    """Each policy file in turn, chosen by the first byte."""
    if not data:
        return
    policy_id = policy_ids()[data[0] % len(policy_ids())]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / dataset(policy_id).path
        path.parent.mkdir(parents=True)
        path.write_bytes(data[1:])
        try:
            resolve_policy(policy_id, run_root=Path(folder))
        except ArrivalError:
            return


def _sound_blob() -> tuple[bytes, list[tuple[int, int]]]:
    data = b"".join(
        (3).to_bytes(4, "little") if at == 0 else (32).to_bytes(4, "little") if at == 1 else bytes(4) for at in range(4)
    )
    slots = [(2**32 - 1, 0), (2**31, 0), (7, 1)]
    return data + b"".join(q.to_bytes(4, "little") + a.to_bytes(4, "little") for q, a in slots), slots


def seeds(name: str) -> list[bytes]:
    """Sound inputs that mutation starts from."""
    blob, _ = _sound_blob()
    sound = {
        "tzc1": [tzc1({"Etc/UTC": [(-(2**63), 0)], "Europe/Berlin": [(-(2**63), 53), (1774746000, 120)]})],
        "alias_2b": [blob],
        "alias_3b": [blob],
        "alias_index": [b'{"layout_version":"2B.alias.blob.v1","merchants":[]}'],
        "receipt": [b'{"run_id":"' + b"c" * 32 + b'","seed":42,"parameter_hash":"' + b"b" * 64 + b'"}'],
        "policy": [bytes([at]) + packaged_bytes(policy_id) for at, policy_id in enumerate(policy_ids())],
    }
    return sound[name]


TARGETS: dict[str, Target] = {
    "tzc1": fuzz_tzc1,
    "alias_2b": fuzz_alias_2b,
    "alias_3b": fuzz_alias_3b,
    "alias_index": fuzz_alias_index,
    "receipt": fuzz_receipt,
    "policy": fuzz_policy,
}
