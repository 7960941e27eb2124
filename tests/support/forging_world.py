"""A run directory's world, read back into the plain records of `tests.support.model` by means of its own."""

from __future__ import annotations

import datetime as dt
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.config import resolve_policy
from arrival_engine.contracts.dictionary import dataset
from tests.support.damage import EDGE_BLOB, EDGE_INDEX, ENTRY, HEADER, receipt_of, tokens_of
from tests.support.model import FAIL, FALLBACKS, CountRow, Edge, EdgeTable, GroupWeight, Policy, Site, World
from tests.support.worlds import zones_for

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def world_of(run_root: Path, scenario_id: str = "baseline_v1") -> World:
    """The world as its input files state it; clocks are those of the pinned tzdata."""
    receipt = receipt_of(run_root)
    grid = _grid(run_root, scenario_id)
    sites, edges = _sites(run_root), _edges(run_root)
    settlement = {row["merchant_id"]: row["tzid_settlement"] for row in _rows(run_root, "virtual_settlement_3B")}
    shown = {site.tzid for site in sites} | {edge.tzid for table in edges.values() for edge in table.edges}
    return World(
        manifest_fingerprint=receipt["manifest_fingerprint"],
        parameter_hash=receipt["parameter_hash"],
        seed=receipt["seed"],
        scenario_id=scenario_id,
        run_id=receipt["run_id"],
        grid=grid,
        counts=tuple(
            CountRow(*row.values())
            for row in _rows(
                run_root,
                "s3_bucket_counts_5B",
                "merchant_id zone_representation channel_group bucket_index count_N",
                scenario_id,
            )
            if row["count_N"]
        ),
        sites=sites,
        group_weights=tuple(
            GroupWeight(*row.values())
            for row in _rows(run_root, "s4_group_weights", "merchant_id utc_day tz_group_id p_group")
        ),
        modes={row["merchant_id"]: row["virtual_mode"] for row in _rows(run_root, "virtual_classification_3B")},
        settlement=settlement,
        edges=edges,
        zones=zones_for(sorted(shown | set(settlement.values())), grid),
        policy=_policy(run_root),
    )


def _rows(
    run_root: Path, dataset_id: str, columns: str | None = None, scenario_id: str = "baseline_v1"
) -> list[dict[str, Any]]:
    files = dataset(dataset_id).files(run_root, tokens_of(run_root, scenario_id))
    tables = [pq.read_table(file.outside, columns=columns and columns.split(), partitioning=None) for file in files]
    table: pa.Table = pa.concat_tables(tables)
    return list((table.select(columns.split()) if columns else table).to_pylist())


def _instant_us(text: str) -> int:
    return (dt.datetime.fromisoformat(text) - _EPOCH) // dt.timedelta(microseconds=1)


def _grid(run_root: Path, scenario_id: str) -> tuple[tuple[int, int], ...]:
    rows = _rows(run_root, "s1_time_grid_5B", "bucket_index bucket_start_utc bucket_end_utc", scenario_id)
    rows.sort(key=lambda row: row["bucket_index"])
    return tuple((_instant_us(row["bucket_start_utc"]), _instant_us(row["bucket_end_utc"])) for row in rows)


def _sites(run_root: Path) -> tuple[Site, ...]:
    key = "merchant_id legal_country_iso site_order"
    zones = {tuple(row.values())[:3]: row["tzid"] for row in _rows(run_root, "site_timezones", f"{key} tzid")}
    weights = [tuple(row.values()) for row in _rows(run_root, "s1_site_weights", f"{key} p_weight")]
    return tuple(
        Site(merchant, country, order, zones[merchant, country, order], weight)
        for merchant, country, order, weight in weights
        if (merchant, country, order) in zones
    )


def _edges(run_root: Path) -> dict[int, EdgeTable]:
    blob = dataset(EDGE_BLOB).locate(run_root, tokens_of(run_root)).read_bytes()
    catalogue: dict[int, list[dict[str, Any]]] = {}
    columns = "merchant_id edge_id tzid_operational edge_weight country_iso"
    for row in sorted(_rows(run_root, "edge_catalogue_3B", columns), key=lambda row: row["edge_id"]):
        catalogue.setdefault(row["merchant_id"], []).append(row)
    tables = {}
    for row in _rows(run_root, EDGE_INDEX, "scope merchant_id blob_offset_bytes"):
        if row["scope"] != "MERCHANT":
            continue
        at = row["blob_offset_bytes"]
        entries, qbits = struct.unpack_from("<2I", blob, at)
        slots = [struct.unpack_from("<2I", blob, at + HEADER + ENTRY * slot) for slot in range(entries)]
        edges = zip(catalogue[row["merchant_id"]], slots, strict=True)
        tables[row["merchant_id"]] = EdgeTable(
            qbits,
            tuple(
                Edge(e["edge_id"], e["tzid_operational"], prob_q, alias, e["edge_weight"], e["country_iso"])
                for e, (prob_q, alias) in edges
            ),
        )
    return tables


def _policy(run_root: Path) -> Policy:
    document: Any = resolve_policy("arrival_routing_policy_5B", run_root=run_root).document
    switches = {name: document["fallbacks"][name] for name in FALLBACKS}
    assert FAIL not in switches.values()
    return Policy(
        use_group_weights=document["physical_router"]["use_group_weights"],
        p_virtual_hybrid=str(document["hybrid_policy"]["p_virtual_hybrid"]),
        **switches,
    )
