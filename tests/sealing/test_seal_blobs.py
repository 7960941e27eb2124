"""Alias blobs at the gate: decoded, so that a damaged one is found before any run."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import Code, arrow_schema
from arrival_engine.engine.sealing import seal
from tests.support.seal_world import (
    GATE,
    REQUIRED,
    refusal,
    rows_of,
    sha,
)

BLOBS = {"s2_alias_blob": Code.SITE_RESOLUTION_FAILED, "edge_alias_blob_3B": Code.EDGE_RESOLUTION_FAILED}
ALIAS = 16 + 8 + 4  # the second alias of the first slice


def edited(run_root, name, change):
    path = run_root / REQUIRED[name][0]
    path.write_bytes(change(path.read_bytes()))
    return path


def agreeing(run_root, name, blob):
    """State the blob's size and SHA-256 in its index, so that only its slices are wrong."""
    path = run_root / REQUIRED[name.replace("blob", "index")][0]
    if path.suffix == ".json":
        index = json.loads(path.read_bytes()) | {"blob_sha256": sha(blob), "blob_size_bytes": len(blob)}
        path.write_text(json.dumps(index), encoding="utf-8")
        return
    rows = pq.read_table(path).to_pylist()
    rows[-1] |= {"blob_sha256_hex": sha(blob), "blob_length_bytes": len(blob)}
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(name.replace("blob", "index"))), path)


@pytest.mark.parametrize("name", BLOBS)
@pytest.mark.parametrize("agrees", [False, True])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda blob: blob[:-8], ("bytes", "after the blob's")),
        (lambda blob: blob + bytes(8), ("bytes", "follow the last slice")),
        (
            lambda blob: blob[:ALIAS] + bytes([blob[ALIAS] ^ 1]) + blob[ALIAS + 1 :],
            ("SHA-256",) * 2,
        ),
    ],
    ids=["truncated", "longer", "flipped"],
)
def test_a_damaged_alias_blob_is_found_at_the_gate(run_root, name, agrees, change, said):
    path = edited(run_root, name, change)
    if agrees:
        agreeing(run_root, name, path.read_bytes())
    error = refusal(seal, run_root)
    assert error.code is BLOBS[name]
    assert path.name in error.message
    assert said[agrees] in error.message
    assert not (run_root / GATE).exists()


def test_the_alias_blobs_are_sealed_by_their_content(run_root):
    seal(run_root)
    rows = rows_of(run_root)
    for name in BLOBS:
        assert rows[name]["sha256_hex"] == sha((run_root / REQUIRED[name][0]).read_bytes())
