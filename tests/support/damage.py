"""Damages worlds on disk: tables, documents, blobs and policies edited in place, and what hangs on them restated.

Restating keeps a damage from being noticed early: a changed blob gets the checksums that its index should state, a
changed 3B index the universe hash that it should have.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.contracts.dictionary import dataset
from tests.support.world_disk import indented, sha256, spaced
from tests.support.world_policies import packaged, replaced

GRID, COUNTS = "s1_time_grid_5B", "s3_bucket_counts_5B"
SITE_WEIGHTS, SITE_ZONES, GROUPS = "s1_site_weights", "site_timezones", "s4_group_weights"
MODES, SETTLEMENT, EDGES = "virtual_classification_3B", "virtual_settlement_3B", "edge_catalogue_3B"
EDGE_INDEX, EDGE_BLOB, EDGES_INDEX = "edge_alias_index_3B", "edge_alias_blob_3B", "edge_catalogue_index_3B"
SITE_INDEX, SITE_BLOB = "s2_alias_index", "s2_alias_blob"
UNIVERSE, ROUTING_3B = "edge_universe_hash_3B", "virtual_routing_policy_3B"
TZ_BIN, TZ_MANIFEST = "tz_timetable_cache_bin", "tz_timetable_cache_manifest"
ROUTING, RNG, OUTPUT = "arrival_routing_policy_5B", "arrival_rng_policy_5B", "arrival_output_policy_5B"
PLACEMENT = "arrival_time_placement_policy_5B"
HEADER, ENTRY = 16, 8

Row = dict[str, Any]


def receipt_of(run_root: Path) -> dict[str, Any]:
    """The run receipt as it stands."""
    document: dict[str, Any] = json.loads((run_root / "run_receipt.json").read_text("ascii"))
    return document


def tokens_of(run_root: Path, scenario_id: str = "baseline_v1") -> dict[str, str]:
    """Path tokens of the run."""
    receipt = receipt_of(run_root)
    names = ("manifest_fingerprint", "parameter_hash", "seed", "run_id")
    return {**{name: str(receipt[name]) for name in names}, "scenario_id": scenario_id}


def file_of(run_root: Path, dataset_id: str) -> Path:
    """The dataset's one file; for the tables of these worlds that is the first part."""
    path = dataset(dataset_id).locate(run_root, tokens_of(run_root))
    return path / "part-00000.parquet" if dataset(dataset_id).kind == "directory" else path


# --- Tables ---------------------------------------------------------------------------------------


def edit_table(run_root: Path, dataset_id: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace a table by what `change` makes of it."""
    path = file_of(run_root, dataset_id)
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)


def edit_rows(run_root: Path, dataset_id: str, change: Callable[[list[Row]], list[Row]]) -> None:
    """Replace a table's rows, its types kept."""
    edit_table(run_root, dataset_id, lambda table: pa.Table.from_pylist(change(table.to_pylist()), table.schema))


def put(run_root: Path, dataset_id: str, column: str, value: object, where: Mapping[str, object] | None = None) -> None:
    """Set a column in the first row, or in every row with the values of `where`, of which there must be one."""

    def change(rows: list[Row]) -> list[Row]:
        hit = [row for row in rows if matches(row, where)] if where else rows[:1]
        if not hit:
            raise ValueError(f"{dataset_id} has no row with {where}")
        for row in hit:
            row[column] = value
        return rows

    edit_rows(run_root, dataset_id, change)


def drop(run_root: Path, dataset_id: str, where: Mapping[str, object]) -> None:
    """Remove the rows with these values."""

    def change(rows: list[Row]) -> list[Row]:
        kept = [row for row in rows if not matches(row, where)]
        if len(kept) == len(rows):
            raise ValueError(f"{dataset_id} has no row with {where}")
        return kept

    edit_rows(run_root, dataset_id, change)


def repeat(run_root: Path, dataset_id: str, where: Mapping[str, object]) -> None:
    """Write the rows with these values a second time."""
    edit_rows(run_root, dataset_id, lambda rows: [*rows, *(row for row in rows if matches(row, where))])


def matches(row: Row, where: Mapping[str, object]) -> bool:
    return all(row[name] == value for name, value in where.items())


def without_column(run_root: Path, dataset_id: str, column: str) -> None:
    edit_table(run_root, dataset_id, lambda table: table.drop_columns([column]))


def with_column(run_root: Path, dataset_id: str, column: str) -> None:
    """Add a column of texts that no contract knows."""
    edit_table(run_root, dataset_id, lambda table: table.append_column(column, pa.array(["x"] * table.num_rows)))


def retyped(run_root: Path, dataset_id: str, column: str) -> None:
    """Turn a column of texts into integers, any other into texts."""

    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(column)
        if pa.types.is_string(table.schema.field(at).type):
            return table.set_column(at, column, pa.array(range(table.num_rows), pa.int64()))
        return table.set_column(at, column, pa.array([str(value) for value in table[column].to_pylist()]))

    edit_table(run_root, dataset_id, change)


# --- Bytes and documents --------------------------------------------------------------------------


def edit_bytes(run_root: Path, dataset_id: str, change: Callable[[bytes], bytes]) -> None:
    path = file_of(run_root, dataset_id)
    path.write_bytes(change(path.read_bytes()))


def edit_document(run_root: Path, dataset_id: str, **changes: object) -> None:
    """Set keys of a JSON document; a value None removes the key."""
    path = file_of(run_root, dataset_id)
    document = {**json.loads(path.read_bytes()), **changes}
    path.write_bytes(indented({key: value for key, value in document.items() if value is not None}))


def edit_receipt(run_root: Path, **changes: object) -> None:
    document = {**receipt_of(run_root), **changes}
    (run_root / "run_receipt.json").write_bytes(
        spaced({key: value for key, value in document.items() if value is not None})
    )


def edit_policy(run_root: Path, policy_id: str, **scalars: str) -> None:
    """Write the packaged policy below the run root, single scalars replaced."""
    text = packaged(policy_id).decode("utf-8")
    for key, value in scalars.items():
        text = replaced(text, key, value)
    write_policy(run_root, policy_id, text)


def write_policy(run_root: Path, policy_id: str, text: str) -> None:
    path = dataset(policy_id).locate(run_root, {})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# --- Alias blobs ----------------------------------------------------------------------------------


def words(*places: tuple[int, int]) -> Callable[[bytes], bytes]:
    """A change that stores little-endian u32 values at byte offsets."""

    def change(data: bytes) -> bytes:
        edited = bytearray(data)
        for offset, value in places:
            struct.pack_into("<I", edited, offset, value)
        return bytes(edited)

    return change


def edit_site_blob(run_root: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the 2B blob and let its index state the new checksums; sizes stay as stated."""
    edit_bytes(run_root, SITE_BLOB, change)
    blob = file_of(run_root, SITE_BLOB).read_bytes()
    index = json.loads(file_of(run_root, SITE_INDEX).read_bytes())
    rows = [
        {**row, "checksum": sha256(blob[row["offset"] : row["offset"] + row["length"]])} for row in index["merchants"]
    ]
    edit_document(run_root, SITE_INDEX, merchants=rows, blob_sha256=sha256(blob))


def edit_site_index(run_root: Path, /, **changes: object) -> None:
    """Change the 2B index's row of its first merchant."""
    first, *others = json.loads(file_of(run_root, SITE_INDEX).read_bytes())["merchants"]
    edit_document(run_root, SITE_INDEX, merchants=[{**first, **changes}, *others])


def edit_edge_blob(run_root: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the 3B blob and let its index state the new checksums, the universe hash that of the new index."""
    edit_bytes(run_root, EDGE_BLOB, change)
    blob = file_of(run_root, EDGE_BLOB).read_bytes()

    def restate(rows: list[Row]) -> list[Row]:
        for row in rows:
            if row["scope"] == "GLOBAL":
                row["blob_sha256_hex"] = sha256(blob)
            else:
                begin = row["blob_offset_bytes"]
                row["merchant_alias_checksum"] = sha256(blob[begin : begin + row["blob_length_bytes"]])
        return rows

    edit_rows(run_root, EDGE_INDEX, restate)
    restate_universe(run_root)


def edit_edge_index(run_root: Path, scope: str, /, **changes: object) -> None:
    """Change the first row of this scope in the 3B index, universe hash restated."""

    def change(rows: list[Row]) -> list[Row]:
        next(row for row in rows if row["scope"] == scope).update(changes)
        return rows

    edit_rows(run_root, EDGE_INDEX, change)
    restate_universe(run_root)


def restate_universe(run_root: Path) -> None:
    """Let universe hash and routing policy of 3B state what follows from the index files as they are now."""
    document = json.loads(file_of(run_root, UNIVERSE).read_bytes())
    document["edge_alias_index_digest"] = sha256(file_of(run_root, EDGE_INDEX).read_bytes())
    document["edge_catalogue_index_digest"] = sha256(file_of(run_root, EDGES_INDEX).read_bytes())
    parts = ("cdn_weights_digest", "edge_alias_index_digest", "edge_catalogue_index_digest", "virtual_rules_digest")
    universe = hashlib.sha256(b"".join(bytes.fromhex(document[part]) for part in parts)).hexdigest()
    edit_document(run_root, UNIVERSE, **{**document, "universe_hash": universe})
    edit_document(run_root, ROUTING_3B, edge_universe_hash=universe)


# --- Time zone cache ------------------------------------------------------------------------------


def write_tz_cache(run_root: Path, data: bytes) -> None:
    """Replace the TZC1 cache and let its manifest state size and hash."""
    file_of(run_root, TZ_BIN).write_bytes(data)
    edit_document(run_root, TZ_MANIFEST, rle_cache_bytes=len(data), tz_index_digest=sha256(data))
