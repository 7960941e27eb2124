"""Forged arrivals put in the place of a run's own, and all that the run says of itself fitted to them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.contracts.dictionary import dataset
from arrival_engine.contracts.part_names import parse_part_name, publication_token
from tests.support.damage import receipt_of, tokens_of
from tests.support.forging_ground import Array, Ground, mixed, words
from tests.support.forging_law import Columns, Law, expand
from tests.support.forging_world import world_of
from tests.support.law import DIGEST_FACTORS, MICROS, text_word
from tests.support.model import EDGE_FAMILY, FALLBACKS, HYBRID, SITE_FAMILY
from tests.support.validating import EVENTS, edit_lines, log_path, report_path

_LABELS = {SITE_FAMILY: "arrival_site_pick", EDGE_FAMILY: "arrival_edge_pick"}
_DELTAS = ("arrival_seq", "ts_utc", "ts_local_primary", "ts_local_settlement", "ts_local_operational")
_RUNS = ("seed", "merchant_id", "bucket_index")
_STATISTICS = ("merchant_id", "arrival_seq", "ts_utc", "bucket_index")


class Base:
    """A sound run and its world: what a forger starts from."""

    def __init__(self, run_root: Path) -> None:
        self.run_root = run_root
        self.ground = Ground(world_of(run_root))

    @cached_property
    def honest(self) -> Columns:
        return expand(self.ground, Law())

    def law(self, **pieces: Any) -> Columns:
        """The arrivals of a law that differs in these pieces."""
        return expand(self.ground, Law(**pieces))

    def rows_of_part(self, number: int) -> int:
        """Arrivals in a part of the run."""
        return int(pq.read_metadata(parts_of(self.run_root)[number]).num_rows)


def parts_of(run_root: Path) -> list[Path]:
    folder = dataset(EVENTS).locate(run_root, tokens_of(run_root))
    return sorted(path for path in folder.iterdir() if parse_part_name(path.name))


def copied_run(source: Path, target: Path) -> Path:
    """A copy without what is only kept for the next command."""
    return Path(shutil.copytree(source, target, ignore=shutil.ignore_patterns("tmp")))


# --- Arrivals ---------------------------------------------------------------------------------------


class Clocks:
    """Wall clocks of arrivals by zone number."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self._pairs: dict[int, tuple[Array, Array]] = {}

    def local(self, zone: Array, ts: Array) -> Array:
        local = ts.copy()
        for number in np.unique(zone):
            pairs = self.ground.world.zones[self.ground.zones[number]]
            instants, minutes = (np.array(values, np.int64) for values in zip(*pairs, strict=True))
            at = zone == number
            local[at] += 60 * MICROS * minutes[np.searchsorted(instants, ts[at] // MICROS, "right") - 1]
        return local


@dataclass(frozen=True)
class Rows:
    """Arrivals with everything that follows from them; settlement zone NONE where there is none."""

    columns: Columns
    sequence: Array
    zone: Array
    local: Array
    settlement: Array
    settled: Array

    @staticmethod
    def of(columns: Columns) -> Rows:
        ground = columns.ground
        clocks, zone = Clocks(ground), ground.place_zone[columns.place]
        own = ground.settlement[columns.merchant]
        settlement = np.where(columns.virtual, np.where(own < 0, zone, own), -1)
        settled = np.zeros(zone.size, np.int64)
        settled[columns.virtual] = clocks.local(settlement[columns.virtual], columns.ts[columns.virtual])
        return Rows(columns, columns.sequence, zone, clocks.local(zone, columns.ts), settlement, settled)

    def digest(self, at: slice = slice(None)) -> str:
        """The arrival digest of a range of rows."""
        c, g = self.columns, self.columns.ground
        texts = words(*map(text_word, g.zones))
        zones = texts[g.entity_zone]
        channels = words(*(text_word(entity.channel) for entity in g.entities))
        virtual = c.virtual[at]
        settled = np.where(virtual, self.settled[at].astype(np.uint64), np.uint64(0))
        content = (
            words(*g.merchants)[c.merchant[at]],
            zones[c.entity[at]],
            channels[c.entity[at]],
            c.bucket[at].astype(np.uint64),
            self.sequence[at].astype(np.uint64),
            c.ts[at].astype(np.uint64),
            virtual.astype(np.uint64),
            g.place_id[c.place[at]],
            texts[self.zone[at]],
            self.local[at].astype(np.uint64),
            np.where(virtual, texts[self.settlement[at]], np.uint64(0)),
            settled,
        )
        h = np.zeros(virtual.size, np.uint64)
        for factor, column in zip(DIGEST_FACTORS, content, strict=True):
            h += words(factor) * column
        a, b = mixed(h).sum(dtype=np.uint64), mixed(h ^ words(0xD6E8FEB86659FD93)).sum(dtype=np.uint64)
        return f"{virtual.size}-{int(a):016x}{int(b):016x}"

    def table(self, at: slice, stored: pa.Table) -> pa.Table:
        """A range of rows, constants taken from the stored rows of that range."""
        c, g, zones = self.columns, self.columns.ground, pa.array(self.columns.ground.zones)
        channels = pa.array([entity.channel or None for entity in g.entities], pa.string())
        virtual = c.virtual[at]

        def texts(codes: Array, mask: Array | None = None) -> pa.Array:
            return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=mask), zones).cast(pa.string())

        def shown(values: Array, when: Array) -> pa.Array:
            return pa.array(values, mask=~when)

        made = {
            "merchant_id": pa.array(words(*g.merchants)[c.merchant[at]]),
            "zone_representation": texts(g.entity_zone[c.entity[at]]),
            "channel_group": channels.take(pa.array(c.entity[at])),
            "bucket_index": pa.array(c.bucket[at]),
            "arrival_seq": pa.array(self.sequence[at]),
            "ts_utc": pa.array(c.ts[at]),
            "tzid_primary": texts(self.zone[at]),
            "ts_local_primary": pa.array(self.local[at]),
            "tzid_settlement": texts(np.maximum(self.settlement[at], 0), ~virtual),
            "ts_local_settlement": shown(self.settled[at], virtual),
            "tzid_operational": texts(self.zone[at], ~virtual),
            "ts_local_operational": shown(self.local[at], virtual),
            "is_virtual": pa.array(virtual),
            "site_id": shown(g.place_id[c.place[at]], ~virtual),
            "edge_id": shown(g.place_id[c.place[at]], virtual),
        }
        arrays = []
        for field in stored.schema:
            column = made.get(field.name, stored[field.name])
            if pa.types.is_dictionary(field.type) and field.name in made:
                column = column.dictionary_encode()
            arrays.append(column.cast(field.type))
        return pa.table(arrays, schema=stored.schema)


def write_part(
    path: Path,
    tables: Iterator[pa.Table],
    schema: pa.Schema,
    *,
    statistics: Any = _STATISTICS,
    page_rows: int | None = None,
) -> None:
    """One part, each table a row group, as releases up to 0.1.0 lay it out; with `page_rows` also a page index."""
    with pq.ParquetWriter(
        path,
        schema,
        version="2.6",
        compression="LZ4",
        use_dictionary=[name for name in schema.names if name not in (*_DELTAS, *_RUNS)],
        column_encoding=dict.fromkeys(_DELTAS, "DELTA_BINARY_PACKED"),
        write_statistics=statistics,
        write_batch_size=page_rows or 65_536,
        max_rows_per_page=page_rows,
        write_page_index=page_rows is not None,
    ) as writer:
        for table in tables:
            writer.write_table(table.cast(schema))


def rewrite_parts(run_root: Path, rows: Rows) -> None:
    """Put rows in the place of those of a run: as many per part and row group, names by the new bytes."""
    paths, first = parts_of(run_root), 0
    for path in paths:
        stored, file = pq.read_table(path, partitioning=None), pq.ParquetFile(path)
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        edges = np.cumsum([0, *sizes])
        metadata = dict(stored.schema.metadata)
        metadata[b"arrivals.digest"] = rows.digest(slice(first, first + len(stored))).encode("ascii")
        schema = stored.schema.with_metadata(metadata)
        groups = (
            rows.table(slice(first + begin, first + end), stored.slice(begin, end - begin))
            for begin, end in pairwise(edges.tolist())
        )
        write_part(path, groups, schema)
        first += len(stored)
    rename_parts(paths)


def rename_parts(paths: list[Path]) -> None:
    """Give parts the names that their bytes call for."""
    token = publication_token(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    for path in paths:
        name = parse_part_name(path.name)
        assert name
        path.rename(path.with_name(str(name._replace(token=token))))


# --- Records ----------------------------------------------------------------------------------------


class CountRows:
    """Sums over the arrivals of each count row, in segment order."""

    def __init__(self, columns: Columns) -> None:
        ground = self.ground = columns.ground
        buckets = len(ground.world.grid)
        keys = ground.row_entity * buckets + ground.row_bucket
        order = np.argsort(keys)
        row = order[np.searchsorted(keys[order], columns.entity * buckets + columns.bucket)]
        self.n = np.bincount(row, minlength=keys.size)
        assert np.array_equal(self.n, ground.row_n)
        self.virtual = np.bincount(row, columns.virtual, keys.size).astype(np.int64)
        self.fallbacks = {
            switch: np.bincount(row, flag, keys.size).astype(np.int64) for switch, flag in columns.fallbacks.items()
        }

    def same(self, other: CountRows) -> bool:
        """Whether the records of both would be the same."""
        sums = [[rows.virtual, *(rows.fallbacks[switch] for switch in FALLBACKS)] for rows in (self, other)]
        return all(map(np.array_equal, *sums))

    def draws(self) -> dict[str, Array]:
        """Words drawn by family that depends on the routes."""
        merchant = self.ground.entity_merchant[self.ground.row_entity]
        mode, edged = self.ground.merchant_mode[merchant], self.ground.has_edges[merchant]
        coins = np.where((mode == HYBRID) & edged, self.n, 0)
        return {SITE_FAMILY: 2 * (self.n - self.virtual), EDGE_FAMILY: coins + self.virtual}

    def by_key(self, values: Array) -> dict[tuple[int, str, str, int], int]:
        """Values by (merchant, zone, channel, bucket)."""
        entities = [self.ground.entities[number] for number in self.ground.row_entity]
        return {
            (entity.merchant_id, entity.zone, entity.channel, bucket): value
            for entity, bucket, value in zip(entities, self.ground.row_bucket.tolist(), values.tolist(), strict=True)
        }


def _keys(table: pa.Table) -> list[tuple[int, str, str, int]]:
    names = ("merchant_id", "zone_representation", "channel_group", "bucket_index")
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    return [(merchant, zone, channel or "", bucket) for merchant, zone, channel, bucket in rows]


def file_at(run_root: Path, dataset_id: str) -> Path:
    path = dataset(dataset_id).locate(run_root, tokens_of(run_root))
    return path / "part-000000.parquet" if dataset(dataset_id).kind == "directory" else path


def set_columns(path: Path, **columns: Any) -> None:
    """Replace columns of a Parquet file."""
    table = pq.read_table(path, partitioning=None)
    for name, values in columns.items():
        at = table.column_names.index(name)
        array = pa.array(values, table.schema.field(name).type)
        table = table.set_column(at, table.schema.field(name), array)
    pq.write_table(table, path, compression="zstd", write_statistics=False)


def fit_summary(run_root: Path, rows: CountRows) -> None:
    path, virtual = file_at(run_root, "s4_arrival_summary_5B"), rows.by_key(rows.virtual)
    table = pq.read_table(path, partitioning=None)
    found = np.array([virtual.get(key, 0) for key in _keys(table)])
    set_columns(path, count_virtual=found, count_physical=table["count_N"].to_numpy() - found)


def fit_events(run_root: Path, rows: CountRows) -> None:
    for family, draws in rows.draws().items():
        path = file_at(run_root, f"rng_event_{_LABELS[family]}")
        if path.exists():
            words_of = rows.by_key(draws)
            set_columns(path, draws=[str(words_of[key]) for key in _keys(pq.read_table(path, partitioning=None))])


def anomaly_rows(rows: CountRows) -> list[dict[str, Any]]:
    """The anomalies of docs/reference/layouts.md, their order and messages too."""
    meanings = {
        "missing_group_table": "no tz group weights on some days: arrivals stayed in the count row's zone",
        "no_site_in_zone": "a drawn zone has no site: arrivals went to the table over all the merchant's sites",
        "missing_edge_table": "a virtual merchant without an edge table: arrivals were made physical",
    }
    ground, found = rows.ground, []
    for switch in FALLBACKS:
        arrivals = rows.fallbacks[switch]
        for number in np.unique(ground.row_entity[arrivals > 0]):
            hit = (ground.row_entity == number) & (arrivals > 0)
            entity, total, buckets = ground.entities[number], int(arrivals[hit].sum()), ground.row_bucket[hit]
            texts = (ground.world.scenario_id, switch.upper(), entity.domain)
            name = b"".join(len(text.encode()).to_bytes(4, "big") + text.encode() for text in texts)
            found.append(
                {
                    "anomaly_id": int.from_bytes(hashlib.sha256(b"5B.anomaly" + name).digest()[:8], "big") or 1,
                    "anomaly_code": switch.upper(),
                    "severity": "WARN",
                    "context": {
                        "merchant_id": entity.merchant_id,
                        "zone_representation": entity.zone,
                        "channel_group": entity.channel or None,
                        "arrivals": total,
                        "count_rows": int(hit.sum()),
                        "first_bucket": int(buckets.min()),
                        "last_bucket": int(buckets.max()),
                    },
                    "message": f"merchant {entity.merchant_id}, {entity.zone}: {meanings[switch]} ({total} arrivals)",
                }
            )
    return sorted(found, key=lambda row: row["anomaly_id"])


def fit_anomalies(run_root: Path, rows: CountRows) -> None:
    path, receipt = file_at(run_root, "s4_arrival_anomalies_5B"), receipt_of(run_root)
    schema = pq.read_schema(path)
    constants = {**receipt, "scenario_id": "baseline_v1", "s4_spec_version": "1.0.0"}
    made = [{**{name: constants.get(name) for name in schema.names}, **row} for row in anomaly_rows(rows)]
    pq.write_table(pa.Table.from_pylist(made, schema), path, compression="zstd", write_statistics=False)


def fit_logs(run_root: Path, rows: Rows, sums: CountRows) -> None:
    c = rows.columns
    draws = {_LABELS[family]: int(values.sum()) for family, values in sums.draws().items()}
    start, end = c.ground.bucket_start[c.bucket], c.ground.bucket_length[c.bucket] + c.ground.bucket_start[c.bucket]
    facts = {
        "arrival_digest": rows.digest(),
        "n_arrivals_virtual": int(c.virtual.sum()),
        "n_arrivals_physical": int((~c.virtual).sum()),
        "n_arrivals_at_bucket_start": int((c.ts == start).sum()),
        "n_arrivals_at_bucket_end_minus_epsilon": int((c.ts == end - 1).sum()),
        "rng_draws_site": draws["arrival_site_pick"],
        "rng_draws_edge": draws["arrival_edge_pick"],
        "fallbacks": {switch: int(values.sum()) for switch, values in sums.fallbacks.items()},
        "anomalies": len(anomaly_rows(sums)),
    }

    def traced(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**record, "draws_total": draws.get(record["substream_label"], record["draws_total"])} for record in records
        ]

    edit_lines(report_path(run_root), lambda lines: [{**line, **facts} for line in lines])
    edit_lines(log_path(run_root, "rng_trace_log"), traced)


def publish(run_root: Path, columns: Columns) -> None:
    """Forge a run: its parts, and every record that follows from them."""
    rows, sums = Rows.of(columns), CountRows(columns)
    rewrite_parts(run_root, rows)
    fit_logs(run_root, rows, sums)
    fit_summary(run_root, sums)
    fit_anomalies(run_root, sums)
    fit_events(run_root, sums)
