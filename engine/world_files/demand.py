"""5A of a world: scenarios, and the demand that its counts are drawn from, in local time.

This engine reads none of it. The tables are there for other readers of the contract, and so are short: they divide the
local week into whole days or take it as one bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from arrival_engine.contracts.arrow_columns import coded, constant
from arrival_engine.engine.world_files.grid import Band
from arrival_engine.engine.world_files.shelf import SPEC_VERSION, Shelf

Ids = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CHUNK_ROWS = 1 << 20
_MINUTES_PER_DAY, _MINUTES_PER_WEEK = 1440, 10_080


@dataclass(frozen=True, eq=False)
class Demand:
    """Cells of demand, unique and ordered by (merchant, legal country, tzid).

    merchant: uint64[E]; country, zone, demand: int64[E] codes into `countries`, `tzids` and `classes`; weekly:
    float64[E], expected arrivals per local week; shares: float64[K, n], the part of a week's arrivals in each of its n
    equal buckets, by class; source: the origin of the classes.
    """

    merchant: Ids
    country: Ints
    countries: Sequence[str]
    zone: Ints
    tzids: Sequence[str]
    demand: Ints
    classes: Sequence[str]
    weekly: Floats
    shares: Floats
    source: str

    def keys(self, cell: Ints) -> dict[str, pa.Array]:
        """The key columns of some cells."""
        return {
            "merchant_id": pa.array(self.merchant[cell]),
            "legal_country_iso": coded(self.country[cell], self.countries),
            "tzid": coded(self.zone[cell], self.tzids),
        }


class LocalRows(NamedTuple):
    """Rows of the scenario's intensity, ordered by cell and bucket: cell, bucket int64[R], intensity float64[R]."""

    cell: Ints
    bucket: Ints
    intensity: Floats


def write_scenarios(horizon: tuple[str, str], shelf: Shelf, band: Band) -> None:
    """Write `scenario_manifest_5A`: the one scenario; horizon: begin and end as the contract's UTC texts."""
    texts = pa.list_(pa.string())
    shelf.table(
        "scenario_manifest_5A",
        {
            **shelf.common(1, "manifest_fingerprint", "scenario_id"),
            "scenario_version": constant(SPEC_VERSION, 1),
            "horizon_start_utc": pa.array(horizon[:1]),
            "horizon_end_utc": pa.array(horizon[1:]),
            "is_baseline": pa.array([band == "baseline"]),
            "is_stress": pa.array([band != "baseline"]),
            "labels": pa.array([[band]], texts),
            "scenario_config_ids": pa.array([[]], texts),
        },
    )


def write_demand(demand: Demand, scenario: Iterable[LocalRows], shelf: Shelf) -> None:
    """Write 5A's profiles, weekly grid and shapes, and the intensities: of the baseline week and of the scenario."""
    _write_profiles(demand, shelf)
    _write_grid(demand.shares.shape[1], shelf)
    _write_shapes(demand, shelf)
    shelf.tables("merchant_zone_baseline_local_5A", (_baseline(demand, rows, shelf) for rows in _weeks(demand)))
    shelf.tables("merchant_zone_scenario_local_5A", (_scenario(demand, rows, shelf) for rows in scenario))


def repeated_weeks(demand: Demand, first_day: int, days: int) -> Iterator[LocalRows]:
    """The baseline over a horizon of local days, for shares by day; first_day: weekday of day 0, Monday being 0."""
    weekday = (first_day + np.arange(days)) % 7
    for rows in _cells(len(demand.merchant), days):
        cell, day = np.repeat(rows, days), np.tile(np.arange(days), len(rows))
        yield LocalRows(cell, day, demand.weekly[cell] * demand.shares[demand.demand[cell], weekday[day]])


def _weeks(demand: Demand) -> Iterator[LocalRows]:
    buckets = demand.shares.shape[1]
    for rows in _cells(len(demand.merchant), buckets):
        cell, bucket = np.repeat(rows, buckets), np.tile(np.arange(buckets), len(rows))
        yield LocalRows(cell, bucket, demand.weekly[cell] * demand.shares[demand.demand[cell], bucket])


def _cells(cells: int, rows_per_cell: int) -> Iterator[Ints]:
    """Runs of cells with at most CHUNK_ROWS rows, or one cell."""
    step = max(1, CHUNK_ROWS // rows_per_cell)
    for first in range(0, cells, step):
        yield np.arange(first, min(first + step, cells))


def _write_profiles(demand: Demand, shelf: Shelf) -> None:
    rows = len(demand.merchant)
    shelf.table(
        "merchant_zone_profile_5A",
        {
            **shelf.common(rows, "manifest_fingerprint", "parameter_hash"),
            **demand.keys(np.arange(rows)),
            "demand_class": coded(demand.demand, demand.classes),
            "weekly_volume_expected": pa.array(demand.weekly),
            "weekly_volume_unit": constant("arrivals", rows),
            "class_source": constant(demand.source, rows),
        },
    )


def _write_grid(buckets: int, shelf: Shelf) -> None:
    minutes = _MINUTES_PER_WEEK // buckets
    begin = np.arange(buckets, dtype=np.int64) * minutes
    shelf.table(
        "shape_grid_definition_5A",
        {
            **shelf.common(buckets, "parameter_hash", "scenario_id"),
            "bucket_index": pa.array(np.arange(buckets, dtype=np.int64)),
            "local_day_of_week": pa.array(begin // _MINUTES_PER_DAY + 1),
            "local_minutes_since_midnight": pa.array(begin % _MINUTES_PER_DAY),
            "bucket_duration_minutes": pa.array(np.full(buckets, minutes, np.int64)),
            "time_grid_version": constant(SPEC_VERSION, buckets),
        },
    )


def _write_shapes(demand: Demand, shelf: Shelf) -> None:
    names, countries, tzids = demand.classes, demand.countries, demand.tzids
    found = set(zip(demand.demand.tolist(), demand.country.tolist(), demand.zone.tolist(), strict=True))
    ordered = sorted(found, key=lambda key: (names[key[0]], countries[key[1]], tzids[key[2]]))
    buckets = demand.shares.shape[1]
    kind, country, zone = (np.repeat(np.array(column, np.int64), buckets) for column in zip(*ordered, strict=True))
    bucket = np.tile(np.arange(buckets, dtype=np.int64), len(ordered))
    rows = len(bucket)
    shelf.table(
        "class_zone_shape_5A",
        {
            **shelf.common(rows, "parameter_hash", "scenario_id"),
            "demand_class": coded(kind, names),
            "legal_country_iso": coded(country, countries),
            "tzid": coded(zone, tzids),
            "bucket_index": pa.array(bucket),
            "shape_value": pa.array(demand.shares[kind, bucket]),
            "s2_spec_version": constant(SPEC_VERSION, rows),
        },
    )


def _baseline(demand: Demand, rows: LocalRows, shelf: Shelf) -> dict[str, pa.Array]:
    size = len(rows.cell)
    return {
        **shelf.common(size, "manifest_fingerprint", "parameter_hash", "scenario_id"),
        **demand.keys(rows.cell),
        "bucket_index": pa.array(rows.bucket),
        "lambda_local_base": pa.array(rows.intensity),
        "s3_spec_version": constant(SPEC_VERSION, size),
    }


def _scenario(demand: Demand, rows: LocalRows, shelf: Shelf) -> dict[str, pa.Array]:
    size = len(rows.cell)
    return {
        **shelf.common(size, "manifest_fingerprint", "parameter_hash", "scenario_id"),
        **demand.keys(rows.cell),
        "local_horizon_bucket_index": pa.array(rows.bucket),
        "lambda_local_scenario": pa.array(rows.intensity),
        "s4_spec_version": constant(SPEC_VERSION, size),
        "overlay_factor_total": pa.array(np.ones(size)),
    }
