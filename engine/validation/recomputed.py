"""The law's arrivals of a scenario, recomputed from the tables of the validation database."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.engine.recomputing.recount import Recomputation
from arrival_engine.engine.recomputing.tables import (
    CountRows,
    EdgeRows,
    GroupRows,
    Inputs,
    LawlessError,
    SiteRows,
    build,
)
from arrival_engine.engine.rundir.inputs import read_bytes
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.database import Cursor
from arrival_engine.engine.validation.file_order import LawReader
from arrival_engine.engine.validation.inputs import files_of, source
from arrival_engine.engine.validation.policy import document

_OF_COUNTED = "SEMI JOIN (SELECT DISTINCT merchant_id FROM entity) USING (merchant_id)"


class Recomputed:
    """The law's arrivals of one scenario, beside the rows of the database that its tables were built from."""

    def __init__(self, inputs: Inputs, bins: int, largest: int) -> None:
        self._inputs = inputs
        self.tables = build(inputs)
        watched = _largest(inputs.counts.arrivals, largest)
        self._recomputation = Recomputation(self.tables, bins, watched.tolist())

    def reader(self) -> LawReader:
        """A reader of stored rows for one thread."""
        return LawReader(self._recomputation.begin(), self.tables)

    def arrival(self, merchant_id: int, arrival_seq: int) -> dict[str, Any] | None:
        """The law's arrival of a key, None if it has none."""
        return self._recomputation.arrival(merchant_id, arrival_seq)

    def first_unseen(self) -> dict[str, int] | None:
        """The first (merchant, bucket) of which there was no stored row, None if there were some of each."""
        rows = self.tables.law.rows
        for segment in np.flatnonzero(self._recomputation.recount.seen == 0)[:1]:
            merchant = int(self.tables.law.merchants.id[rows.merchant[segment]])
            return {"merchant_id": merchant, "bucket_index": int(rows.bucket[rows.start[segment]])}
        return None

    def store_recount(self, cursor: Cursor, use_group_weights: bool) -> None:
        """Make `recount` readable on this cursor: count rows with what the law determines of their arrivals.

        Columns beside the key: n; v, virtual arrivals; and the arrivals that took each fallback.
        """
        self._recomputation.finish()
        rows, recount = self.tables.law.rows, self._recomputation.recount
        columns = (rows.entity, rows.bucket, rows.arrivals, recount.virtual, recount.homeless)
        names = ("entity", "bucket_index", "n", "v", "homeless")
        cursor.attach(
            "recount_row", pa.table({name: pa.array(column) for name, column in zip(names, columns, strict=True)})
        )
        ungrouped = "ungrouped.day IS NOT NULL" if use_group_weights else "false"
        cursor.run(f"""
            CREATE OR REPLACE TEMP VIEW recount AS
            SELECT merchant_id, zone, channel, bucket_index, n::BIGINT AS n, v::BIGINT AS v,
                   homeless::BIGINT AS no_site_in_zone,
                   CASE WHEN {ungrouped} THEN n - v ELSE 0 END::BIGINT AS missing_group_table,
                   CASE WHEN mode <> 'NON_VIRTUAL' AND NOT has_edges THEN n ELSE 0 END::BIGINT AS missing_edge_table
            FROM recount_row JOIN entity USING (entity) JOIN merchant USING (merchant_id)
            JOIN grid USING (bucket_index) LEFT JOIN ungrouped USING (merchant_id, day)""")

    def store_tallies(self, cursor: Cursor) -> None:
        """Store the arrivals that are the law's, by place, day, tz group and place in the bucket."""
        inputs, tally = self._inputs, self._recomputation.tally()
        days = np.arange(tally.zone_day.shape[1]) + self.tables.first_day
        zones = len(self.tables.tzids)
        cursor.store(
            "tallied_site",
            _tallied(
                tally.site, merchant_id=inputs.sites.merchant_id, site_id=inputs.sites.site_id, tzid=inputs.sites.tzid
            ),
        )
        cursor.store(
            "tallied_edge",
            _tallied(
                tally.edge, merchant_id=inputs.edges.merchant_id, edge_id=inputs.edges.edge_id, tzid=inputs.edges.tzid
            ),
        )
        cursor.run("""
            INSERT INTO found_place
            SELECT merchant_id, false, site_id, NULL, tzid, n FROM tallied_site
            UNION ALL SELECT merchant_id, true, NULL, edge_id, tzid, n FROM tallied_edge;
            DROP TABLE tallied_site; DROP TABLE tallied_edge""")
        cursor.store(
            "found_group",
            _tallied(
                tally.group, merchant_id=inputs.groups.merchant_id, day=inputs.groups.day, tzid=inputs.groups.tzid
            ),
        )
        cursor.store(
            "found_day",
            _tallied(
                tally.zone_day.ravel(),
                tzid=np.repeat(np.array(self.tables.tzids), days.size),
                day=np.tile(days, zones).astype(np.int32),
            ),
        )
        cursor.store("found_bin", _tallied(tally.bins, bin=np.arange(tally.bins.size)))
        cursor.store("found_end", pa.table({"at_start": [int(tally.ends[0])], "at_end": [int(tally.ends[1])]}))
        row, place = np.indices(tally.large.shape)
        cursor.store("found_largest", _tallied(tally.large.ravel(), id=row.ravel() + 1, bin=place.ravel()))


def _largest(counts: NDArray[np.int32], number: int) -> NDArray[np.int64]:
    """Places of the largest counts; ties are broken by the place, so that the choice depends on no order."""
    kept = min(number, counts.size)
    least = np.partition(counts, counts.size - kept)[counts.size - kept] if kept else 0
    candidates = np.flatnonzero(counts >= least)
    return candidates[np.argsort(-counts[candidates], kind="stable")][:kept]


def _tallied(counts: NDArray[np.int64], **columns: Any) -> pa.Table:
    """The columns beside their counts, where these are above zero."""
    table = pa.table({**{name: pa.array(values) for name, values in columns.items()}, "n": pa.array(counts)})
    return table.filter(pa.array(counts > 0))


def recomputed(case: Case, bins: int, largest: int) -> Recomputed:
    """The law's arrivals of a case, watching its `largest` count rows. Raises LawlessError if the law makes none."""
    inputs = Inputs(
        identity=case.receipt.identity,
        scenario_id=case.scenario_id,
        p_virtual_hybrid=Fraction(case.routing["hybrid_policy"]["p_virtual_hybrid"]),
        use_group_weights=case.routing["physical_router"]["use_group_weights"],
        bounds_us=_grid(case),
        counts=_counts(case),
        modes=dict(case.cursor.rows(f"SELECT merchant_id, mode FROM merchant {_OF_COUNTED}")),
        sites=_sites(case),
        groups=_groups(case),
        edges=_edges(case),
    )
    return Recomputed(inputs, bins, largest)


def _grid(case: Case) -> NDArray[np.int64]:
    found = case.cursor.arrow("SELECT bucket_index, start_us, end_us FROM grid ORDER BY 1")
    number, start_us, end_us = (_numbers(found, name, np.int64) for name in found.column_names)
    if (number != np.arange(number.size)).any() or (end_us <= start_us).any():
        raise LawlessError("the time grid has gaps, or buckets that end before they start")
    return np.stack([start_us, end_us], axis=1)


def _counts(case: Case) -> CountRows:
    """The count rows, within the guardrail that every run keeps."""
    cursor = case.cursor
    most = document(case.receipt, "arrival_time_placement_policy_5B")["guardrails"]["max_arrivals_per_bucket"]
    rows, beyond, outside = cursor.row(
        f"SELECT count(*), count(*) FILTER (n > {most}), "
        f"count(*) FILTER (bucket_index NOT BETWEEN 0 AND {case.horizon.buckets - 1}) FROM counted"
    )
    if beyond or outside:
        raise LawlessError("there are counts above the guardrail, or off the time grid")
    entities = cursor.arrow("SELECT merchant_id, zone, channel FROM entity ORDER BY entity")
    columns = [np.empty(rows, np.int32) for _ in range(3)]
    at = 0
    for batch in cursor.batches("""
        SELECT entity, bucket_index, n::INTEGER AS n FROM counted JOIN entity USING (entity)
        ORDER BY merchant_id, bucket_index, entity"""):
        for column, values in zip(columns, batch.columns, strict=True):
            column[at : at + batch.num_rows] = values.to_numpy(zero_copy_only=False)
        at += batch.num_rows
    merchant_id = _numbers(entities, "merchant_id", np.uint64)
    return CountRows(merchant_id, _texts(entities, "zone"), _texts(entities, "channel"), *columns)


def _sites(case: Case) -> SiteRows:
    found = case.cursor.arrow(f"""
        SELECT merchant_id, site_id, weight, tzid FROM site {_OF_COUNTED} ORDER BY merchant_id, country, site_order""")
    return SiteRows(
        _numbers(found, "merchant_id", np.uint64),
        _numbers(found, "site_id", np.uint64),
        _numbers(found, "weight", np.float64),
        _texts(found, "tzid"),
    )


def _groups(case: Case) -> GroupRows:
    found = case.cursor.arrow(f"""
        SELECT merchant_id, day, tzid, weight FROM group_weight {_OF_COUNTED} ORDER BY merchant_id, day, tzid""")
    return GroupRows(
        _numbers(found, "merchant_id", np.uint64),
        _numbers(found, "day", np.int32),
        _texts(found, "tzid"),
        _numbers(found, "weight", np.float64),
    )


def _edges(case: Case) -> EdgeRows:
    found = case.cursor.arrow(f"""
        SELECT merchant_id, edge_id, tzid FROM edge {_OF_COUNTED} ORDER BY merchant_id, edge_id""")
    index = source(case.cursor, case.receipt, "edge_alias_index_3B")
    slices = case.cursor.rows(f"""
        SELECT merchant_id::UBIGINT, blob_offset_bytes::BIGINT, blob_length_bytes::BIGINT
        FROM {index} WHERE scope = 'MERCHANT'""")
    (blob,) = files_of(case.receipt, "edge_alias_blob_3B")
    return EdgeRows(
        _numbers(found, "merchant_id", np.uint64),
        _numbers(found, "edge_id", np.uint64),
        _texts(found, "tzid"),
        {merchant_id: (offset, length) for merchant_id, offset, length in slices},
        read_bytes(case.receipt, blob),
    )


def _numbers(table: pa.Table, name: str, kind: type[np.number[Any]]) -> NDArray[Any]:
    numbers: NDArray[Any] = table[name].to_numpy().astype(kind, copy=False)
    return numbers


def _texts(table: pa.Table, name: str) -> list[str]:
    texts: list[str] = table[name].cast(pa.string()).to_pylist()
    return texts
