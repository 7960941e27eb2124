"""Writes the 3B datasets of a world: modes, settlement, edges with blob and indexes, universe hash."""

from __future__ import annotations

import hashlib

from tests.support.blobs import alias_blob
from tests.support.law import edge_id
from tests.support.model import NON_VIRTUAL, EdgeTable
from tests.support.world_disk import CREATED, LAYOUT_VERSION, Disk, columns, compact, indented, sha256

CLASSIFICATION = columns(
    "u64 seed",
    "text manifest_fingerprint",
    "u64 merchant_id",
    "bool is_virtual",
    "text virtual_mode decision_reason rule_id rule_version source_policy_id source_policy_version",
    "text classification_digest notes",
)
SETTLEMENT = columns(
    "u64 seed",
    "text manifest_fingerprint",
    "u64 merchant_id",
    "text settlement_site_id",
    "f64 lat_deg lon_deg",
    "text tzid_settlement tz_source coord_source_id coord_source_version",
    "text settlement_coord_digest tz_policy_digest evidence_url notes",
)
CATALOGUE = columns(
    "u64 seed",
    "text manifest_fingerprint",
    "u64 merchant_id",
    "text edge_id",
    "i64 edge_seq_index",
    "text country_iso",
    "f64 lat_deg lon_deg",
    "text tzid_operational tz_source",
    "f64 edge_weight",
    "text hrsl_tile_id spatial_surface_id cdn_policy_id cdn_policy_version rng_stream_id rng_event_id",
    "i64 sampling_rank",
    "text edge_digest",
)
CATALOGUE_INDEX = columns(
    "text scope",
    "u64 seed",
    "text manifest_fingerprint",
    "u64 merchant_id",
    "i64 edge_count_total",
    "text edge_digest edge_catalogue_path",
    "i64 edge_catalogue_size_bytes",
    "text country_mix_summary",
    "i64 edge_count_total_all_merchants",
    "text edge_catalogue_digest_global notes",
)
ALIAS_INDEX = columns(
    "text scope",
    "u64 seed",
    "text manifest_fingerprint",
    "u64 merchant_id",
    "i64 blob_offset_bytes blob_length_bytes edge_count_total alias_table_length",
    "text merchant_alias_checksum alias_layout_version universe_hash blob_sha256_hex notes",
)


def write_virtual(disk: Disk) -> str:
    """Write all of them; returns the universe hash."""
    _classification(disk)
    _settlement(disk)
    catalogue_index = _edge_catalogue(disk)
    alias_index = _edge_aliases(disk)
    universe = _universe_hash(disk, alias_index, catalogue_index)
    _routing_policy(disk, universe)
    return universe


def _classification(disk: Disk) -> None:
    rows = [
        {
            **disk.identity,
            "merchant_id": merchant,
            "is_virtual": mode != NON_VIRTUAL,
            "virtual_mode": mode,
            "decision_reason": "RULE_MATCH",
        }
        for merchant, mode in sorted(disk.world.modes.items())
    ]
    disk.table("virtual_classification_3B", CLASSIFICATION, rows)


def _settlement(disk: Disk) -> None:
    rows = [
        {
            **disk.identity,
            "merchant_id": merchant,
            "settlement_site_id": sha256(b"3B.SETTLEMENT\x1f" + str(merchant).encode("ascii"))[48:],
            "lat_deg": 48.9,
            "lon_deg": 2.3,
            "tzid_settlement": tzid,
            "tz_source": "INGEST",
            "coord_source_id": "handmade",
            "coord_source_version": "1",
            "settlement_coord_digest": "0" * 64,
            "tz_policy_digest": "1" * 64,
        }
        for merchant, tzid in sorted(disk.world.settlement.items())
    ]
    disk.table("virtual_settlement_3B", SETTLEMENT, rows)


def _catalogue_rows(disk: Disk, merchant: int, table: EdgeTable) -> list[dict[str, object]]:
    sequences = {f"{edge_id(merchant, k):016x}": k for k in range(len(table.edges))}
    rows = []
    for rank, edge in enumerate(table.edges):
        sequence = sequences.get(edge.edge_id, rank)
        row: dict[str, object] = dict.fromkeys(CATALOGUE)
        row |= disk.identity
        row |= {
            "merchant_id": merchant,
            "edge_id": edge.edge_id,
            "edge_seq_index": sequence,
            "country_iso": edge.country,
            "lat_deg": 1.5,
            "lon_deg": -2.25,
            "tzid_operational": edge.tzid,
            "tz_source": "POLYGON",
            "edge_weight": edge.weight,
            "rng_stream_id": "3B.edge_catalogue",
            "rng_event_id": sha256(f"3B.edge_catalogue|{merchant}|{sequence}".encode("ascii")),
        }
        del row["edge_digest"]
        rows.append(row | {"edge_digest": sha256(compact(row))})
    return rows


def _edge_catalogue(disk: Disk) -> bytes:
    """Write the catalogue and its index; returns the bytes of the index."""
    rows, index, digests = [], [], b""
    for merchant, table in sorted(disk.world.edges.items()):
        own = _catalogue_rows(disk, merchant, table)
        digest = hashlib.sha256(b"".join(bytes.fromhex(str(row["edge_digest"])) for row in own))
        index.append(
            {
                **disk.identity,
                "scope": "MERCHANT",
                "merchant_id": merchant,
                "edge_count_total": len(own),
                "edge_digest": digest.hexdigest(),
            }
        )
        rows += own
        digests += digest.digest()
    disk.table("edge_catalogue_3B", CATALOGUE, rows)
    files = disk.path("edge_catalogue_3B").glob("*.parquet")
    whole = {
        **disk.identity,
        "scope": "GLOBAL",
        "edge_catalogue_path": disk.relative("edge_catalogue_3B") + "/",
        "edge_catalogue_size_bytes": sum(file.stat().st_size for file in files),
        "edge_count_total_all_merchants": len(rows),
        "edge_catalogue_digest_global": sha256(digests),
    }
    return disk.table_in_order("edge_catalogue_index_3B", CATALOGUE_INDEX, [*index, whole])


def _edge_aliases(disk: Disk) -> bytes:
    """Write the blob and its index; returns the bytes of the index."""
    blob, slices = alias_blob(
        {
            merchant: (table.prob_qbits, [(edge.prob_q, edge.alias) for edge in table.edges])
            for merchant, table in disk.world.edges.items()
        }
    )
    disk.write("edge_alias_blob_3B", blob)
    common = {**disk.identity, "alias_layout_version": LAYOUT_VERSION}
    rows = [
        {
            **common,
            "scope": "MERCHANT",
            "merchant_id": piece.merchant_id,
            "blob_offset_bytes": piece.offset,
            "blob_length_bytes": piece.length,
            "edge_count_total": piece.entries,
            "alias_table_length": piece.entries,
            "merchant_alias_checksum": piece.checksum,
        }
        for piece in slices
    ]
    whole = {
        **common,
        "scope": "GLOBAL",
        "blob_length_bytes": len(blob),
        "edge_count_total": sum(piece.entries for piece in slices),
        "blob_sha256_hex": sha256(blob),
    }
    return disk.table_in_order("edge_alias_index_3B", ALIAS_INDEX, [*rows, whole])


def _universe_hash(disk: Disk, alias_index: bytes, catalogue_index: bytes) -> str:
    digests = {
        "cdn_weights_digest": sha256(b"cdn weights"),
        "edge_alias_index_digest": sha256(alias_index),
        "edge_catalogue_index_digest": sha256(catalogue_index),
        "virtual_rules_digest": sha256(b"virtual rules"),
    }
    universe = sha256(b"".join(bytes.fromhex(digest) for digest in digests.values()))
    document = {**disk.hashes, **digests, "universe_hash": universe, "created_at_utc": CREATED}
    disk.write("edge_universe_hash_3B", indented(document))
    return universe


def _routing_policy(disk: Disk, universe: str) -> None:
    document = {
        **disk.hashes,
        "edge_universe_hash": universe,
        "routing_policy_id": "route_rng_policy_v1",
        "routing_policy_version": "1.0.0",
        "virtual_validation_policy_id": "virtual_validation_policy",
        "virtual_validation_policy_version": "v1.0.0",
        "cdn_key_digest": "369b4c1ef0faa83810814d3053f269766bf0af5c56dbd81c27408ec2f62f0114",
        "alias_layout_version": LAYOUT_VERSION,
        "alias_blob_manifest_key": "mlr.3B.s3.edge_alias_blob",
        "alias_index_manifest_key": "mlr.3B.s3.edge_alias_index",
        "edge_universe_hash_manifest_key": "mlr.3B.validation.edge_universe_hash",
        "dual_timezone_semantics": {
            "tzid_settlement_field": "event.tzid_settlement",
            "tzid_operational_field": "event.tzid_operational",
            "settlement_cutoff_rule": "settlement_day_from_tzid_settlement",
        },
        "geo_field_bindings": {
            "ip_country_field": "event.ip_country",
            "ip_latitude_field": "event.ip_latitude",
            "ip_longitude_field": "event.ip_longitude",
        },
        "artefact_paths": {
            "edge_catalogue_index": disk.relative("edge_catalogue_index_3B"),
            "edge_alias_blob": disk.relative("edge_alias_blob_3B"),
            "edge_alias_index": disk.relative("edge_alias_index_3B"),
        },
        "virtual_edge_rng_binding": {
            "module": "2B.virtual_edge",
            "substream_label": "cdn_edge_pick",
            "event_schema": "schemas.layer1.yaml#/rng/events/cdn_edge_pick",
        },
    }
    disk.write("virtual_routing_policy_3B", indented(document))
