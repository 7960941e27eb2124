"""3B: classification, settlement, edge catalogue, edge alias blob, universe hash, virtual routing policy."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts import arrow_schema, compact_json, dataset, indented_json
from cpu_fallback.identifiers import edge_id
from engine.synth.draws import Draws
from engine.synth.intensity import Scene
from engine.synth.kernels import ordered_sum
from engine.synth.population import MODES, NON_VIRTUAL
from engine.synth.presets import CREATED_UTC, GENERATOR_VERSION
from engine.synth.sites import scattered
from engine.synth.tables import Shelf, absent, coded, constant
from engine.world.alias_encode import encode_3b

Ints = npt.NDArray[np.int64]

_RULES = ("virtual_rules", "1.0.0")
_CDN_WEIGHTS = ("cdn_country_weights", "1.0.0")
_COORDINATES = ("pelias", "1.0.0")
# The reference deployment's value: the digest of its CDN key, which no state of this engine uses.
_CDN_KEY_DIGEST = "369b4c1ef0faa83810814d3053f269766bf0af5c56dbd81c27408ec2f62f0114"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_virtual(scene: Scene, shelf: Shelf, draws: Draws) -> int:
    """Every 3B dataset; gives the number of edges."""
    _write_classification(scene, shelf)
    _write_settlement(scene, shelf)
    return _write_edges(scene, shelf, draws)


def _write_classification(scene: Scene, shelf: Shelf) -> None:
    population = scene.population
    rows = len(population.merchant)
    virtual = population.mode != NON_VIRTUAL
    shelf.table(
        "virtual_classification_3B",
        {
            **shelf.common(rows, "seed", "manifest_fingerprint"),
            "merchant_id": pa.array(population.merchant),
            "is_virtual": pa.array(virtual),
            "virtual_mode": coded(population.mode, MODES),
            "decision_reason": coded(virtual.astype(np.int64), ("DEFAULT_GUARD", "RULE_MATCH")),
            "rule_id": pa.array(["online_business" if is_virtual else None for is_virtual in virtual.tolist()]),
            "rule_version": constant(_RULES[1], rows),
            "source_policy_id": constant(_RULES[0], rows),
            "source_policy_version": constant(_RULES[1], rows),
            "classification_digest": constant(_sha256("|".join(_RULES)), rows),
            "notes": absent(rows),
        },
    )


def _write_settlement(scene: Scene, shelf: Shelf) -> None:
    """Where each virtual merchant settles: the zone of its first site."""
    population, geography, placement = scene.population, scene.geography, scene.placement
    virtual = np.flatnonzero(population.mode != NON_VIRTUAL)
    zone = placement.site_zone[np.searchsorted(placement.site_merchant, virtual)]
    rows = len(virtual)
    ids: list[str] = []
    coordinates: list[str] = []
    for m, z in zip(population.merchant[virtual].tolist(), zone.tolist(), strict=True):
        ids.append(hashlib.sha256(b"3B.SETTLEMENT\x1f%d" % m).digest()[24:].hex())
        coordinates.append(_sha256(f"{m}|{int(geography.lat[z])}|{int(geography.lon[z])}"))
    shelf.table(
        "virtual_settlement_3B",
        {
            **shelf.common(rows, "seed", "manifest_fingerprint"),
            "merchant_id": pa.array(population.merchant[virtual]),
            "settlement_site_id": pa.array(ids, pa.string()),
            "lat_deg": pa.array(geography.lat[zone] / 1e6),
            "lon_deg": pa.array(geography.lon[zone] / 1e6),
            "tzid_settlement": coded(zone, geography.tzids),
            "tz_source": constant("INGEST", rows),
            "coord_source_id": constant(_COORDINATES[0], rows),
            "coord_source_version": constant(_COORDINATES[1], rows),
            "settlement_coord_digest": pa.array(coordinates, pa.string()),
            "tz_policy_digest": constant(_sha256("tz_policy"), rows),
            "evidence_url": absent(rows),
            "notes": absent(rows),
        },
    )


def _write_edges(scene: Scene, shelf: Shelf, draws: Draws) -> int:
    owners = np.flatnonzero(scene.population.edges)
    merchant = scene.population.merchant[owners]
    sizes = scene.population.edges[owners]
    start = np.zeros(len(owners) + 1, np.int64)
    np.cumsum(sizes, out=start[1:])
    records = _edges(scene, draws, merchant, start)
    shelf.table("edge_catalogue_3B", pa.Table.from_pylist(records, schema=arrow_schema("edge_catalogue_3B")))
    catalogue = shelf.table("edge_catalogue_index_3B", _catalogue_index(shelf, merchant, start, records))
    weights = np.array([record["edge_weight"] for record in records], np.float64)
    blob, index = encode_3b(
        merchant,
        start,
        weights,
        seed=shelf.identity.seed,
        manifest_fingerprint=shelf.identity.manifest_fingerprint,
    )
    shelf.binary("edge_alias_blob_3B", blob)
    alias = shelf.table("edge_alias_index_3B", index)
    digests = {
        "cdn_weights_digest": _sha256(f"{GENERATOR_VERSION}|{'|'.join(_CDN_WEIGHTS)}"),
        "edge_alias_index_digest": hashlib.sha256(alias.read_bytes()).hexdigest(),
        "edge_catalogue_index_digest": hashlib.sha256(catalogue.read_bytes()).hexdigest(),
        "virtual_rules_digest": _sha256(f"{GENERATOR_VERSION}|{'|'.join(_RULES)}"),
    }
    _write_universe(shelf, digests)
    return len(records)


def _edges(scene: Scene, draws: Draws, merchant: npt.NDArray[np.uint64], start: Ints) -> list[dict[str, Any]]:
    """Catalogue rows by (merchant, edge id); countries and zones by weight, edge weights falling with rank."""
    geography = scene.geography
    total = int(start[-1])
    country_edges = np.cumsum(geography.weight)
    country = np.searchsorted(
        country_edges, draws.below("edge country", np.full(total, country_edges[-1])), side="right"
    )
    zone_edges = np.concatenate([[0], np.cumsum(geography.zone_weight)])
    low = zone_edges[geography.start[country]]
    span = zone_edges[geography.start[country + 1]] - low
    row = np.searchsorted(zone_edges, low + draws.below("edge zone", span), side="right") - 1
    zone = geography.zone[row]
    lat = scattered(draws, "edge latitude", geography.lat[zone], 90).tolist()
    lon = scattered(draws, "edge longitude", geography.lon[zone], 180).tolist()
    tilt = 0.5 + draws.uniforms("edge weight", total)
    records: list[dict[str, Any]] = []
    for m, merchant_id in enumerate(merchant.tolist()):
        mine = range(int(start[m]), int(start[m + 1]))
        raw = tilt[mine.start : mine.stop] / (10.0 + np.arange(len(mine)))
        weight = (raw / ordered_sum(raw)).tolist()
        edges = [
            _edge(scene, merchant_id, seq, geography.countries[country[i]], geography.tzids[zone[i]])
            | {"lat_deg": lat[i], "lon_deg": lon[i], "edge_weight": weight[seq]}
            for seq, i in enumerate(mine)
        ]
        records += sorted(edges, key=lambda edge: str(edge["edge_id"]))
    for record in records:
        record["edge_digest"] = hashlib.sha256(compact_json(record)).hexdigest()
    return records


def _edge(scene: Scene, merchant_id: int, seq: int, country: str, tzid: str) -> dict[str, Any]:
    stream = "3B.edge_catalogue"
    return {
        "seed": scene.identity.seed,
        "manifest_fingerprint": scene.identity.manifest_fingerprint,
        "merchant_id": merchant_id,
        "edge_id": f"{edge_id(merchant_id, seq):016x}",
        "edge_seq_index": seq,
        "country_iso": country,
        "tzid_operational": tzid,
        "tz_source": "POLYGON",
        "hrsl_tile_id": None,
        "spatial_surface_id": None,
        "cdn_policy_id": _CDN_WEIGHTS[0],
        "cdn_policy_version": _CDN_WEIGHTS[1],
        "rng_stream_id": stream,
        "rng_event_id": _sha256(f"{stream}|{merchant_id}|{seq}"),
        "sampling_rank": seq,
    }


def _catalogue_index(
    shelf: Shelf, merchant: npt.NDArray[np.uint64], start: Ints, records: list[dict[str, Any]]
) -> pa.Table:
    """MERCHANT rows, then the GLOBAL one; digests chain from edges to merchants to the whole."""
    path = shelf.path("edge_catalogue_3B")
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
            "edge_catalogue_path": f"{shelf.relative('edge_catalogue_3B')}{path.name}",
            "edge_catalogue_size_bytes": path.stat().st_size,
            "edge_count_total_all_merchants": len(records),
            "edge_catalogue_digest_global": whole.hexdigest(),
        }
    )
    return pa.Table.from_pylist([{**common, **row} for row in rows], schema=arrow_schema("edge_catalogue_index_3B"))


def _write_universe(shelf: Shelf, digests: dict[str, str]) -> None:
    universe = hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests.values())).hexdigest()
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
