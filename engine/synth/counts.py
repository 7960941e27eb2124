"""Intensity and count tables, streamed entity by entity, and the small tables of 5A and 5B.S1."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from arrival_engine.contracts import conform
from arrival_engine.contracts.arrow_columns import coded, constant
from arrival_engine.cpu_fallback.law import HYBRID, VIRTUAL_ONLY
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.arrow_files import ParquetWriter, new_parquet
from arrival_engine.engine.synth import kernels
from arrival_engine.engine.synth.intensity import Intensity, Scene
from arrival_engine.engine.synth.kernels import CountRows, Entities
from arrival_engine.engine.synth.policies import bucket_count
from arrival_engine.engine.synth.presets import HORIZON_END, HORIZON_START, SCENARIO_BAND
from arrival_engine.engine.synth.shapes import CLASSES, daily_shares
from arrival_engine.engine.world_files.demand import Demand, repeated_weeks, write_demand, write_scenarios
from arrival_engine.engine.world_files.grid import instant_text, write_time_grid
from arrival_engine.engine.world_files.shelf import COMPRESSION, SPEC_VERSION, Shelf

CHUNK_ROWS = 1 << 20
_CHANNELS = ("card_not_present", "card_present", "mixed")


@dataclass(frozen=True)
class CountTotals:
    """Sums over the count table; `virtual` is the expected number of virtual arrivals."""

    rows: int
    expected: float
    arrivals: int
    zero_rows: int
    capped_rows: int
    virtual: float


def write_grid(scene: Scene, shelf: Shelf) -> None:
    """5B.S1's grid: one row per bucket, with local annotations in UTC as the policy says."""
    buckets, seconds = bucket_count(scene.policies), scene.policies.bucket_seconds
    weekend = scene.policies.document("time_grid_policy_5B")["local_annotations"]["weekend_days"]
    edges = [HORIZON_START + timedelta(seconds=seconds * b) for b in range(buckets + 1)]
    write_time_grid(edges, shelf, weekend, SCENARIO_BAND)


def write_local_demand(scene: Scene, model: Intensity, shelf: Shelf) -> None:
    """5A: one cell of demand per entity, by day, before the latent field."""
    placement, geography = scene.placement, scene.geography
    demand = Demand(
        merchant=scene.population.merchant[placement.entity_merchant],
        country=placement.pair_country[placement.entity_pair],
        countries=geography.countries,
        zone=placement.entity_zone,
        tzids=geography.tzids,
        demand=model.entities.curve,
        classes=[item.name for item in CLASSES],
        # Shapes have mean 1 over the 168 hours of a week.
        weekly=model.entities.volume * 168.0,
        shares=daily_shares(),
        source="synthetic",
    )
    days = scene.spec.days()
    write_scenarios((instant_text(HORIZON_START), instant_text(HORIZON_END)), shelf, SCENARIO_BAND)
    write_demand(demand, repeated_weeks(demand, days[0].weekday(), len(days)), shelf)


def write_grouping(scene: Scene, model: Intensity, shelf: Shelf) -> None:
    """5B.S1's grouping: one row per entity, in the order of the counts. Keys repeat if countries share a zone."""
    rows = len(model.entity_group)
    groups = model.groups
    demand = np.array([group.demand for group in groups], np.int64)
    member = model.entity_group

    def of_group(texts: list[str]) -> pa.DictionaryArray:
        names = sorted(set(texts))
        number = {name: i for i, name in enumerate(names)}
        return coded(np.array([number[text] for text in texts], np.int64)[member], names)

    shelf.table(
        "s1_grouping_5B",
        {
            **shelf.common(rows, "manifest_fingerprint", "parameter_hash", "scenario_id"),
            "merchant_id": pa.array(scene.population.merchant[scene.placement.entity_merchant]),
            "zone_representation": coded(scene.placement.entity_zone, scene.geography.tzids),
            "channel_group": of_group([group.channel for group in groups]),
            "group_id": of_group([group.group_id for group in groups]),
            "scenario_band": constant(SCENARIO_BAND, rows),
            "demand_class": coded(demand[member], [item.name for item in CLASSES]),
            "virtual_band": of_group([group.band for group in groups]),
            "zone_group_id": of_group([group.zone_group for group in groups]),
            "s1_spec_version": constant(SPEC_VERSION, rows),
        },
    )


@dataclass(frozen=True, eq=False)
class _Piece:
    """Some entities with all their buckets, in table order."""

    merchant: npt.NDArray[np.uint64]
    zone: npt.NDArray[np.int64]
    channel: npt.NDArray[np.int64]
    rows: CountRows


def write_counts(scene: Scene, model: Intensity, shelf: Shelf, reporter: Reporter) -> CountTotals:
    """Write 5B.S2's intensities and 5B.S3's counts, in pieces of whole entities and on one thread per file."""
    totals = CountTotals(0, 0.0, 0, 0, 0, 0.0)
    reporter.expect("rows", len(model.entities.volume) * bucket_count(scene.policies))
    with (
        _Table(scene, shelf, "s2_realised_intensity_5B") as intensity,
        _Table(scene, shelf, "s3_bucket_counts_5B") as counts,
    ):
        for piece, part in _pieces(scene, model):
            intensity.append(piece)
            counts.append(piece)
            totals = _added(totals, part)
            reporter.advance(len(piece.rows.counts))
    return totals


def _pieces(scene: Scene, model: Intensity) -> Iterator[tuple[_Piece, CountTotals]]:
    buckets = bucket_count(scene.policies)
    step = max(1, CHUNK_ROWS // buckets)
    merchants = scene.placement.entity_merchant
    channel_of = np.array([_CHANNELS.index(demand.channel) for demand in CLASSES], np.int64)
    for first in range(0, len(merchants), step):
        part = slice(first, first + step)
        entities = Entities._make(column[part] for column in model.entities)
        size = len(entities.volume) * buckets
        rows = CountRows(np.empty(size), np.empty(size), np.empty(size, np.int64), np.empty(size, np.bool_))
        kernels.bucket_counts(entities, model.curves, model.limits, rows)
        piece = _Piece(
            scene.population.merchant[merchants[part]],
            scene.placement.entity_zone[part],
            channel_of[entities.curve],
            rows,
        )
        yield piece, _sums(scene, merchants[part], rows)


def _sums(scene: Scene, merchants: npt.NDArray[np.int64], rows: CountRows) -> CountTotals:
    per_entity = rows.counts.reshape(len(merchants), -1).sum(axis=1)
    mode, edges = scene.population.mode[merchants], scene.population.edges[merchants]
    only = int(per_entity[(edges > 0) & (mode == VIRTUAL_ONLY)].sum())
    hybrid = int(per_entity[(edges > 0) & (mode == HYBRID)].sum())
    return CountTotals(
        rows=len(rows.counts),
        expected=kernels.ordered_sum(rows.realised),
        arrivals=int(per_entity.sum()),
        zero_rows=int(np.count_nonzero(rows.counts == 0)),
        capped_rows=int(np.count_nonzero(rows.capped)),
        virtual=only + float(scene.policies.hybrid_probability) * hybrid,
    )


def _added(left: CountTotals, right: CountTotals) -> CountTotals:
    return CountTotals(
        left.rows + right.rows,
        left.expected + right.expected,
        left.arrivals + right.arrivals,
        left.zero_rows + right.zero_rows,
        left.capped_rows + right.capped_rows,
        left.virtual + right.virtual,
    )


class _Table:
    """One file that grows piece by piece on its own thread, at most one piece behind the caller."""

    def __init__(self, scene: Scene, shelf: Shelf, dataset_id: str) -> None:
        self._scene = scene
        self._shelf = shelf
        self._dataset_id = dataset_id
        self._pool = ThreadPoolExecutor(1, dataset_id)
        self._pending: Future[None] | None = None
        self._file = ExitStack()
        self._writer: ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            self._pool.shutdown()
            self._file.close()

    def append(self, piece: _Piece) -> None:
        """Write `piece` in the background."""
        self._wait()
        self._pending = self._pool.submit(self._write, piece)

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, piece: _Piece) -> None:
        table = conform(self._dataset_id, self._columns(piece), where=self._dataset_id)
        if self._writer is None:
            split = [name for name in table.column_names if name in ("lambda_realised", "mu")]
            plain = {"bucket_index", *split}
            self._writer = self._file.enter_context(
                new_parquet(
                    self._shelf.path(self._dataset_id),
                    table.schema,
                    compression=COMPRESSION,
                    use_dictionary=[name for name in table.column_names if name not in plain],
                    column_encoding={
                        "bucket_index": "DELTA_BINARY_PACKED",
                        **dict.fromkeys(split, "BYTE_STREAM_SPLIT"),
                    },
                )
            )
        self._writer.write_table(table, row_group_size=CHUNK_ROWS)

    def _columns(self, piece: _Piece) -> pa.Table:
        rows = piece.rows
        size = len(rows.counts)
        buckets = size // len(piece.merchant)
        keys = {
            **self._shelf.common(size, "manifest_fingerprint", "parameter_hash", "seed", "scenario_id"),
            "merchant_id": pa.array(np.repeat(piece.merchant, buckets)),
            "zone_representation": coded(np.repeat(piece.zone, buckets), self._scene.geography.tzids),
            "channel_group": coded(np.repeat(piece.channel, buckets), _CHANNELS),
            "bucket_index": pa.array(np.tile(np.arange(buckets, dtype=np.int64), len(piece.merchant))),
        }
        if self._dataset_id == "s2_realised_intensity_5B":
            return pa.table(
                {
                    **keys,
                    "lambda_baseline": pa.array(rows.base),
                    "lambda_realised": pa.array(rows.realised),
                    "s2_spec_version": constant(SPEC_VERSION, size),
                }
            )
        seconds = self._scene.policies.bucket_seconds
        return pa.table(
            {
                **keys,
                "lambda_realised": pa.array(rows.realised),
                "mu": pa.array(rows.realised),
                "count_N": pa.array(rows.counts),
                "count_capped": pa.array(rows.capped),
                "bucket_duration_seconds": pa.array(np.full(size, seconds, np.int64)),
                "count_law_id": constant("nb2", size),
                "s3_spec_version": constant(SPEC_VERSION, size),
            }
        )
