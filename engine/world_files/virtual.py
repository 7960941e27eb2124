"""3B: classification, settlement, edge catalogue, edge alias blob, universe hash, virtual routing policy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from arrival_engine.contracts import arrow_schema, compact_json, dataset, indented_json
from arrival_engine.contracts.arrow_columns import coded, constant
from arrival_engine.cpu_fallback.identifiers import edge_id
from arrival_engine.cpu_fallback.law import MODES, NON_VIRTUAL
from arrival_engine.engine.alias_blobs.encode import encode_3b
from arrival_engine.engine.world_files.shelf import CREATED_UTC, Shelf, absent

Ids = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

_STREAM = "3B.edge_catalogue"
# The reference deployment's value: the digest of its CDN key, which this engine does not use.
_CDN_KEY_DIGEST = "369b4c1ef0faa83810814d3053f269766bf0af5c56dbd81c27408ec2f62f0114"


@dataclass(frozen=True)
class Labels:
    """Provenance in 3B's tables: (id, version) of rules, coordinates and edge weights.

    `generator` enters the digests that stand in for files of these names.
    """

    generator: str
    rule_id: str
    rules: tuple[str, str]
    coordinates: tuple[str, str]
    edge_weights: tuple[str, str]

    def stand_in(self, policy: tuple[str, str]) -> str:
        """A digest in place of an upstream policy that no reader of this world opens."""
        return _sha256(f"{self.generator}|{'|'.join(policy)}")


class Places(NamedTuple):
    """A place in each zone: `tzids`, and int64 latitudes and longitudes in 1e-6 degrees."""

    tzids: Sequence[str]
    lat: Ints
    lon: Ints


class Edge(NamedTuple):
    """An edge of a merchant; `seq`, from 0, makes its id; degrees."""

    seq: int
    country: str
    tzid: str
    lat: float
    lon: float
    weight: float


class MerchantEdges(NamedTuple):
    """The edges of one merchant, weights summing to 1."""

    merchant_id: int
    edges: Sequence[Edge]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_classification(merchant: Ids, mode: Ints, shelf: Shelf, labels: Labels) -> None:
    """Write `virtual_classification_3B`: `merchant` uint64[M] ascending, `mode` int64[M] index into `MODES`."""
    rows = len(merchant)
    virtual = mode != NON_VIRTUAL
    shelf.table(
        "virtual_classification_3B",
        {
            **shelf.common(rows, "seed", "manifest_fingerprint"),
            "merchant_id": pa.array(merchant),
            "is_virtual": pa.array(virtual),
            "virtual_mode": coded(mode, MODES),
            "decision_reason": coded(virtual.astype(np.int64), ("DEFAULT_GUARD", "RULE_MATCH")),
            "rule_id": pa.array(
                [labels.rule_id if is_virtual else None for is_virtual in virtual.tolist()], pa.string()
            ),
            "rule_version": constant(labels.rules[1], rows),
            "source_policy_id": constant(labels.rules[0], rows),
            "source_policy_version": constant(labels.rules[1], rows),
            "classification_digest": constant(_sha256("|".join(labels.rules)), rows),
            "notes": absent(rows),
        },
    )


def write_settlement(merchant: Ids, zone: Ints, places: Places, shelf: Shelf, labels: Labels) -> None:
    """Write `virtual_settlement_3B`: `merchant` uint64[K] ascending; `zone` int64[K] index into `places`."""
    rows = len(merchant)
    ids: list[str] = []
    coordinates: list[str] = []
    for m, z in zip(merchant.tolist(), zone.tolist(), strict=True):
        ids.append(hashlib.sha256(b"3B.SETTLEMENT\x1f%d" % m).digest()[24:].hex())
        coordinates.append(_sha256(f"{m}|{int(places.lat[z])}|{int(places.lon[z])}"))
    shelf.table(
        "virtual_settlement_3B",
        {
            **shelf.common(rows, "seed", "manifest_fingerprint"),
            "merchant_id": pa.array(merchant),
            "settlement_site_id": pa.array(ids, pa.string()),
            "lat_deg": pa.array(places.lat[zone] / 1e6),
            "lon_deg": pa.array(places.lon[zone] / 1e6),
            "tzid_settlement": coded(zone, places.tzids),
            "tz_source": constant("INGEST", rows),
            "coord_source_id": constant(labels.coordinates[0], rows),
            "coord_source_version": constant(labels.coordinates[1], rows),
            "settlement_coord_digest": pa.array(coordinates, pa.string()),
            "tz_policy_digest": constant(_sha256("tz_policy"), rows),
            "evidence_url": absent(rows),
            "notes": absent(rows),
        },
    )


def write_edges(merchants: Sequence[MerchantEdges], shelf: Shelf, labels: Labels) -> None:
    """Write edge catalogue, alias blob, both indexes, universe hash and routing policy; merchants ascending by id.

    Raises EDGE_RESOLUTION_FAILED for weights that `encode_3b` refuses.
    """
    _write_universe(shelf, write_edge_tables(merchants, shelf, labels))
    _write_validation_contract(shelf)


def write_edge_tables(merchants: Sequence[MerchantEdges], shelf: Shelf, labels: Labels) -> dict[str, str]:
    """Write edge catalogue, alias blob and both indexes; the components of the universe hash, in its order.

    Raises what `write_edges` does.
    """
    start = np.zeros(len(merchants) + 1, np.int64)
    np.cumsum([len(owner.edges) for owner in merchants], out=start[1:])
    merchant = np.array([owner.merchant_id for owner in merchants], np.uint64)
    records = [record for owner in merchants for record in _records(owner, shelf, labels)]
    shelf.table("edge_catalogue_3B", pa.Table.from_pylist(records, schema=arrow_schema("edge_catalogue_3B")))
    shelf.table("edge_catalogue_index_3B", _catalogue_index(shelf, merchant, start, records))
    blob, index = encode_3b(
        merchant,
        start,
        np.array([record["edge_weight"] for record in records], np.float64),
        seed=shelf.identity.seed,
        manifest_fingerprint=shelf.identity.manifest_fingerprint,
    )
    shelf.binary("edge_alias_blob_3B", blob)
    shelf.table("edge_alias_index_3B", index)
    return {
        "cdn_weights_digest": labels.stand_in(labels.edge_weights),
        "edge_alias_index_digest": shelf.sha256("edge_alias_index_3B"),
        "edge_catalogue_index_digest": shelf.sha256("edge_catalogue_index_3B"),
        "virtual_rules_digest": labels.stand_in(labels.rules),
    }


def universe_hash(digests: Mapping[str, str]) -> str:
    """The universe hash of its components, which are in order."""
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests.values())).hexdigest()


def _records(owner: MerchantEdges, shelf: Shelf, labels: Labels) -> list[dict[str, Any]]:
    """Catalogue rows of a merchant, by edge id."""
    rows = [_record(owner.merchant_id, edge, shelf, labels) for edge in owner.edges]
    rows.sort(key=lambda row: str(row["edge_id"]))
    for row in rows:
        row["edge_digest"] = hashlib.sha256(compact_json(row)).hexdigest()
    return rows


def _record(merchant_id: int, edge: Edge, shelf: Shelf, labels: Labels) -> dict[str, Any]:
    return {
        "seed": shelf.identity.seed,
        "manifest_fingerprint": shelf.identity.manifest_fingerprint,
        "merchant_id": merchant_id,
        "edge_id": f"{edge_id(merchant_id, edge.seq):016x}",
        "edge_seq_index": edge.seq,
        "country_iso": edge.country,
        "lat_deg": edge.lat,
        "lon_deg": edge.lon,
        "tzid_operational": edge.tzid,
        "tz_source": "POLYGON",
        "edge_weight": edge.weight,
        "hrsl_tile_id": None,
        "spatial_surface_id": None,
        "cdn_policy_id": labels.edge_weights[0],
        "cdn_policy_version": labels.edge_weights[1],
        "rng_stream_id": _STREAM,
        "rng_event_id": _sha256(f"{_STREAM}|{merchant_id}|{edge.seq}"),
        "sampling_rank": edge.seq,
    }


def _catalogue_index(shelf: Shelf, merchant: Ids, start: Ints, records: list[dict[str, Any]]) -> pa.Table:
    """MERCHANT rows, then the GLOBAL one; digests chain from edges to merchants to the whole."""
    common = {"seed": shelf.identity.seed, "manifest_fingerprint": shelf.identity.manifest_fingerprint}
    rows: list[dict[str, Any]] = []
    whole = hashlib.sha256()
    for m, merchant_id in enumerate(merchant.tolist()):
        mine = records[int(start[m]) : int(start[m + 1])]
        digest = hashlib.sha256(b"".join(bytes.fromhex(edge["edge_digest"]) for edge in mine))
        whole.update(digest.digest())
        rows.append(
            {
                "scope": "MERCHANT",
                "merchant_id": merchant_id,
                "edge_count_total": len(mine),
                "edge_digest": digest.hexdigest(),
            }
        )
    rows.append(
        {
            "scope": "GLOBAL",
            "edge_catalogue_path": f"{shelf.relative('edge_catalogue_3B')}{shelf.name('edge_catalogue_3B')}",
            "edge_catalogue_size_bytes": shelf.size("edge_catalogue_3B"),
            "edge_count_total_all_merchants": len(records),
            "edge_catalogue_digest_global": whole.hexdigest(),
        }
    )
    return pa.Table.from_pylist([{**common, **row} for row in rows], schema=arrow_schema("edge_catalogue_index_3B"))


# Tests of the edges that arrivals take: id, type, dataset, field, sentence.
_VIRTUAL_TESTS = (
    (
        "edge_usage_vs_weight",
        "EDGE_USAGE_VS_WEIGHT",
        "edge_catalogue_3B",
        "schemas.3B.yaml#/plan/edge_catalogue_3B/edge_weight",
        "merchants' shares of arrivals by edge are close to the edges' weights",
    ),
    (
        "ip_country_mix",
        "IP_COUNTRY_MIX",
        "edge_catalogue_3B",
        "schemas.3B.yaml#/plan/edge_catalogue_3B/country_iso",
        "shares of arrivals by country are close to those of the edges' weights",
    ),
)
# As in `validation_policy_5B`.
_MAX_ABS_ERROR = 0.05


def _write_validation_contract(shelf: Shelf) -> None:
    """Write `virtual_validation_contract_3B`, tests by id."""
    rows = [
        {
            "manifest_fingerprint": shelf.identity.manifest_fingerprint,
            "test_id": name,
            "test_type": kind,
            "scope": "GLOBAL",
            "target_population": {"virtual_only": True},
            "inputs": {
                "datasets": [{"logical_id": source, "role": "expected"}],
                "fields": [{"schema_anchor": anchor, "role": "expected"}],
                "join_keys": ["merchant_id", "edge_id"],
            },
            "thresholds": {"max_abs_error": _MAX_ABS_ERROR},
            "severity": "WARNING",
            "enabled": True,
            "description": sentence,
            "profile": None,
        }
        for name, kind, source, anchor, sentence in _VIRTUAL_TESTS
    ]
    dataset_id = "virtual_validation_contract_3B"
    shelf.table(dataset_id, pa.Table.from_pylist(rows, schema=arrow_schema(dataset_id)))


def _write_universe(shelf: Shelf, digests: dict[str, str]) -> None:
    universe = universe_hash(digests)
    identity = {
        "manifest_fingerprint": shelf.identity.manifest_fingerprint,
        "parameter_hash": shelf.identity.parameter_hash,
    }
    document = {**identity, **digests, "universe_hash": universe, "created_at_utc": CREATED_UTC}
    shelf.document("edge_universe_hash_3B", document, indented_json(document))
    policy = {
        **identity,
        "edge_universe_hash": universe,
        "routing_policy_id": "route_rng_policy_v1",
        "routing_policy_version": "1.0.0",
        "virtual_validation_policy_id": "virtual_validation_policy",
        "virtual_validation_policy_version": "v1.0.0",
        "cdn_key_digest": _CDN_KEY_DIGEST,
        "alias_layout_version": "2B.alias.blob.v1",
        "alias_blob_manifest_key": dataset("edge_alias_blob_3B").manifest_key,
        "alias_index_manifest_key": dataset("edge_alias_index_3B").manifest_key,
        "edge_universe_hash_manifest_key": dataset("edge_universe_hash_3B").manifest_key,
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
            name: shelf.relative(f"{name}_3B")
            for name in ("edge_catalogue_index", "edge_alias_blob", "edge_alias_index")
        },
        "virtual_edge_rng_binding": {
            "module": "2B.virtual_edge",
            "substream_label": "cdn_edge_pick",
            "event_schema": "schemas.layer1.yaml#/rng/events/cdn_edge_pick",
        },
    }
    shelf.document("virtual_routing_policy_3B", policy, indented_json(policy))
