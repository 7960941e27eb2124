"""One merchant's part of the sealed inputs, as a view: read and keyed apart from the world that a run loads."""

from __future__ import annotations

import os
from collections import Counter
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.explaining.names import Names
from arrival_engine.engine.explaining.rows import merchant_rows
from arrival_engine.engine.explaining.view import Stated, View
from arrival_engine.engine.merchant_names import MerchantNames, told
from arrival_engine.engine.recomputing.identifiers import site_id
from arrival_engine.engine.recomputing.tables import (
    CountRows,
    EdgeRows,
    GroupRows,
    Inputs,
    LawlessError,
    SiteRows,
    build,
)
from arrival_engine.engine.rundir.inputs import locate_files, read_bytes, read_document, read_table
from arrival_engine.engine.rundir.pieces import readable
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.tz.tzc1 import decode


def read_view(
    receipt: Receipt, scenario_id: str, merchant_id: int, merchants: MerchantNames | None, spec_version: str
) -> View:
    """The view of a merchant.

    Raises OPTION_INVALID for a merchant without arrivals, and the code of an input of which the law makes none.
    """
    counts = _counts(receipt, scenario_id, merchant_id, merchants)
    routing = receipt.policy("arrival_routing_policy_5B").document
    mode = _one_value(receipt, "virtual_classification_3B", merchant_id, "virtual_mode")
    inputs = Inputs(
        identity=receipt.identity,
        scenario_id=scenario_id,
        p_virtual_hybrid=Fraction(routing["hybrid_policy"]["p_virtual_hybrid"]),
        use_group_weights=routing["physical_router"]["use_group_weights"],
        bounds_us=_bounds(receipt, scenario_id),
        counts=counts,
        modes={merchant_id: mode} if mode else {},
        sites=_sites(receipt, merchant_id),
        groups=_groups(receipt, merchant_id),
        edges=_edges(receipt, merchant_id),
    )
    try:
        tables = build(inputs)
    except LawlessError as failure:
        raise ArrivalError(
            failure.code,
            f"the law makes no arrivals of these inputs: {failure}",
            hint="correct the input and seal again",
            merchant_id=merchant_id,
            scenario_id=scenario_id,
        ) from failure
    (cache,) = locate_files(receipt, "tz_timetable_cache_bin")
    output = receipt.policy("arrival_output_policy_5B").document
    return View(
        receipt,
        inputs,
        tables,
        merchant_id,
        settlement=_one_value(receipt, "virtual_settlement_3B", merchant_id, "tzid_settlement"),
        stated=Stated(
            forbidden={name: action == "fail" for name, action in routing["fallbacks"].items()},
            mirror_dual_clock=output["physical_dual_clock"] == "mirror",
            universe_hash=read_document(receipt, "edge_universe_hash_3B")["universe_hash"],
            spec_version=spec_version,
        ),
        zones=decode(read_bytes(receipt, cache), str(cache)),
        names=Names(receipt, merchant_id),
        merchants=merchants,
    )


def _one_value(receipt: Receipt, dataset_id: str, merchant_id: int, column: str) -> str | None:
    rows = merchant_rows(receipt, dataset_id, merchant_id, (column,))
    return rows[0][0] if rows else None


def _bounds(receipt: Receipt, scenario_id: str) -> NDArray[np.int64]:
    """Start and end of every bucket in microseconds, int64[B, 2]."""
    names = ("bucket_index", "bucket_start_utc", "bucket_end_utc")
    table = read_table(receipt, "s1_time_grid_5B", names, scenario_id=scenario_id)
    order = np.argsort(table[names[0]].to_numpy())
    # Without the Z: for NumPy, a time without a zone is UTC.
    columns = [[text.removesuffix("Z") for text in table[name].to_pylist()] for name in names[1:]]
    bounds: NDArray[np.int64] = np.array(columns, "datetime64[us]").astype(np.int64).T[order]
    return bounds


def _counts(receipt: Receipt, scenario_id: str, merchant_id: int, merchants: MerchantNames | None) -> CountRows:
    columns = ("zone_representation", "channel_group", "bucket_index", "count_N")
    total: Counter[tuple[str, str, int]] = Counter()
    for zone, channel, bucket, arrivals in merchant_rows(
        receipt, "s3_bucket_counts_5B", merchant_id, columns, scenario_id=scenario_id
    ):
        if arrivals:
            total[zone, channel or "", bucket] += arrivals
    if not total:
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"merchant {told(merchants, merchant_id)} has no arrivals in scenario {scenario_id}",
            hint="s3_bucket_counts_5B has no row with a count above zero for it; check the id and the scenario",
            merchant_id=merchant_id,
            scenario_id=scenario_id,
        )
    owners = sorted({key[:2] for key in total}, key=lambda texts: tuple(map(str.encode, texts)))
    number = {owner: at for at, owner in enumerate(owners)}
    rows = sorted((bucket, number[zone, channel], n) for (zone, channel, bucket), n in total.items())
    bucket, entity, arrivals = np.array(rows, np.int32).T.copy()
    zones, channels = zip(*owners, strict=True)
    return CountRows(np.full(len(owners), merchant_id, np.uint64), zones, channels, entity, bucket, arrivals)


def _sites(receipt: Receipt, merchant_id: int) -> SiteRows:
    key = ("legal_country_iso", "site_order")
    zones = {
        (country, order): tzid
        for country, order, tzid in merchant_rows(receipt, "site_timezones", merchant_id, (*key, "tzid"))
    }
    rows = sorted(merchant_rows(receipt, "s1_site_weights", merchant_id, (*key, "p_weight")))
    return SiteRows(
        np.full(len(rows), merchant_id, np.uint64),
        np.array([site_id(merchant_id, country, order) for country, order, _ in rows], np.uint64),
        np.array([weight for *_, weight in rows], np.float64),
        [zones.get((country, order)) for country, order, _ in rows],
    )


def _groups(receipt: Receipt, merchant_id: int) -> GroupRows:
    columns = ("utc_day", "tz_group_id", "p_group")
    rows = merchant_rows(receipt, "s4_group_weights", merchant_id, columns)
    rows.sort(key=lambda row: (row[0], row[1].encode()))
    return GroupRows(
        np.full(len(rows), merchant_id, np.uint64),
        np.array([day for day, *_ in rows], "datetime64[D]").astype(np.int32),
        [tzid for _, tzid, _ in rows],
        np.array([weight for *_, weight in rows], np.float64),
    )


def _edges(receipt: Receipt, merchant_id: int) -> EdgeRows:
    """The merchant's edges, with its slice alone as the blob."""
    rows = sorted(merchant_rows(receipt, "edge_catalogue_3B", merchant_id, ("edge_id", "tzid_operational")))
    slices = merchant_rows(receipt, "edge_alias_index_3B", merchant_id, ("blob_offset_bytes", "blob_length_bytes"))
    blob = _slice(receipt, *slices[0]) if slices else b""
    return EdgeRows(
        np.full(len(rows), merchant_id, np.uint64),
        np.array([int(edge, 16) for edge, _ in rows], np.uint64),
        [tzid for _, tzid in rows],
        {merchant_id: (0, len(blob))} if slices else {},
        blob,
    )


def _slice(receipt: Receipt, offset: int, length: int) -> bytes:
    (path,) = locate_files(receipt, "edge_alias_blob_3B")
    with readable(path), receipt.open(path) as file:
        size = file.seek(0, os.SEEK_END)
        return file.read(max(min(file.seek(offset) + length, size) - offset, 0))
