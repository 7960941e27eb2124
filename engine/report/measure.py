"""The measures of a scenario: three scans of the published arrivals and one of the counts, by DuckDB.

The scans are: by site or edge (with its merchant and zone), by hour of UTC and of the local clock, and by place in the
bucket. Each reads only its own columns; everything else is summed up from their small results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.scratch import scratch_folder
from arrival_engine.engine.report.clock_changes import ClockChange, Window, ZoneArrivals, clock_changes, spotlight
from arrival_engine.engine.report.published import Published
from arrival_engine.engine.report.records import own_codes
from arrival_engine.engine.rundir.inputs import locate_files
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.sealed_files import InputFile
from arrival_engine.engine.validation.database import Cursor, Database, text

Counts = NDArray[np.int64]

BINS = 100
HOUR_US = 3_600_000_000
HOURS_PER_DAY = 24
_MEMORY_BYTES = 1 << 30
# A whole number of days that makes every instant of the calendar positive, so that division rounds down.
_SHIFT_HOURS = 24 * 1_000_000


class Horizon(NamedTuple):
    """Extent of the time grid in µs, and its number of buckets."""

    start_us: int
    end_us: int
    buckets: int

    @property
    def first_hour(self) -> int:
        """The hour since 1970 in which the horizon begins."""
        return self.start_us // HOUR_US

    @property
    def hours(self) -> int:
        """The number of UTC hours that the horizon touches."""
        return -(-self.end_us // HOUR_US) - self.first_hour


class Spotlight(NamedTuple):
    """One zone's arrivals in the days before and after its clock change, int64[2, 24] by hour of day of each clock."""

    change: ClockChange
    days: int
    utc: Counts
    local: Counts


@dataclass(frozen=True, eq=False)
class Merchants:
    """Merchants with counts or arrivals, largest first: uint64 ids, int64 counts, float64 expected arrivals."""

    merchant_id: NDArray[np.uint64]
    arrivals: Counts
    virtual: Counts
    sites: Counts
    edges: Counts
    zones: Counts
    expected: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measures:
    """All measures of one scenario's arrivals that the report shows.

    per_hour: int64[2, hours of the horizon], physical and virtual by UTC hour. profile: int64[2, 2, 24], physical and
    virtual, weekdays and weekends, by hour of the stored local clock. sites, edges: arrivals of each that exists,
    ascending, zeros included. offsets: int64[BINS], by place in the bucket; outside: arrivals beyond their bucket.
    expected_by: the column that `merchants.expected` sums up.
    """

    scenario_id: str
    arrivals: int
    virtual: int
    horizon: Horizon
    per_hour: Counts
    profile: Counts
    zones: tuple[ZoneArrivals, ...]
    changes: tuple[ClockChange, ...]
    spotlight: Spotlight | None
    sites: Counts
    edges: Counts
    merchants: Merchants
    expected_by: str
    offsets: Counts
    outside: int

    @property
    def physical(self) -> int:
        """Arrivals at sites."""
        return self.arrivals - self.virtual


def measure(receipt: Receipt, published: Published) -> Measures:
    """Count one scenario. Raises IO_READ_FAILED for files that cannot be read or change meanwhile."""
    with own_codes(), scratch_folder() as spill:
        database = Database(spill, available_cores(), _MEMORY_BYTES)
        try:
            with database.cursor() as cursor, published.relation(cursor) as rows:
                return _Survey(receipt, published, cursor, rows).measures()
        finally:
            database.close()


@dataclass(frozen=True)
class _Survey:
    receipt: Receipt
    published: Published
    cursor: Cursor
    rows: str

    def measures(self) -> Measures:
        horizon = self._grid()
        arrivals, virtual = self._places()
        zones = tuple(
            ZoneArrivals(*row)
            for row in self.cursor.rows(
                f"SELECT tzid, {_total('n')}, {_total('n', 'is_virtual')} FROM place GROUP BY 1 ORDER BY 2 DESC, 1"
            )
        )
        window = spotlight(zones, horizon.start_us, horizon.end_us)
        self._same(arrivals, self._hours(window.change.lead if window else None))
        offsets, outside = self._offsets()
        self._same(arrivals, int(offsets.sum()) + outside)
        merchants, expected_by = self._merchants()
        return Measures(
            scenario_id=self.published.scenario_id,
            arrivals=arrivals,
            virtual=virtual,
            horizon=horizon,
            per_hour=self._per_hour(horizon),
            profile=self._profile(),
            zones=zones,
            changes=clock_changes(zones, horizon.start_us, horizon.end_us),
            spotlight=self._spotlight(window) if window else None,
            sites=self._shares("NOT is_virtual", "s1_site_weights", "merchant_id, legal_country_iso, site_order"),
            edges=self._shares("is_virtual", "edge_catalogue_3B", "merchant_id, edge_id"),
            merchants=merchants,
            expected_by=expected_by,
            offsets=offsets,
            outside=outside,
        )

    def _grid(self) -> Horizon:
        files = locate_files(self.receipt, "s1_time_grid_5B", scenario_id=self.published.scenario_id)
        self.cursor.run(f"""
            CREATE TABLE grid AS
            SELECT bucket_index::BIGINT AS bucket_index, epoch_us(bucket_start_utc::TIMESTAMP) AS start_us,
                   epoch_us(bucket_end_utc::TIMESTAMP) AS end_us
            FROM {self._table(files)}""")
        return Horizon(*self.cursor.row("SELECT min(start_us), max(end_us), count(*) FROM grid"))

    def _places(self) -> tuple[int, int]:
        """Make `place`, arrivals by site or edge; all arrivals, and the virtual ones."""
        self.cursor.run(f"""
            CREATE TABLE place AS
            SELECT merchant_id, tzid_primary::VARCHAR AS tzid, is_virtual,
                   CASE WHEN is_virtual THEN edge_id ELSE site_id END AS place, count(*) AS n
            FROM {self.rows} GROUP BY ALL""")
        found, virtual = self.cursor.row(f"SELECT {_total('n')}, {_total('n', 'is_virtual')} FROM place")
        return found, virtual

    def _hours(self, chosen: str | None) -> int:
        """Make `clock`, arrivals by UTC hour and local hour, those of the chosen zone apart; all arrivals."""
        self.cursor.run(f"""
            CREATE TABLE clock AS
            SELECT is_virtual, {_hour("ts_us")} AS utc, {_hour("local_us")} AS local,
                   {f"tzid_primary = {text(chosen)}" if chosen else "false"} AS chosen, count(*) AS n
            FROM {self.rows} GROUP BY ALL""")
        (found,) = self.cursor.row(f"SELECT {_total('n')} FROM clock")
        return int(found)

    def _offsets(self) -> tuple[Counts, int]:
        found = self.cursor.rows(f"""
            SELECT CASE WHEN ts_us >= start_us AND ts_us < end_us
                        THEN (ts_us - start_us) * {BINS} // (end_us - start_us) ELSE -1 END AS bin, count(*)
            FROM {self.rows} LEFT JOIN grid USING (bucket_index) GROUP BY 1""")
        bins = np.zeros(BINS, np.int64)
        for place, count in found:
            if place >= 0:
                bins[place] = count
        return bins, sum(count for place, count in found if place < 0)

    def _per_hour(self, horizon: Horizon) -> Counts:
        series = np.zeros((2, horizon.hours), np.int64)
        for virtual, hour, count in self.cursor.rows(f"SELECT is_virtual, utc, {_total('n')} FROM clock GROUP BY 1, 2"):
            if 0 <= hour - horizon.first_hour < horizon.hours:
                series[int(virtual), hour - horizon.first_hour] = count
        return series

    def _profile(self) -> Counts:
        profile = np.zeros((2, 2, HOURS_PER_DAY), np.int64)
        for virtual, hour, count in self.cursor.rows(
            f"SELECT is_virtual, local, {_total('n')} FROM clock GROUP BY 1, 2"
        ):
            profile[int(virtual), int(is_weekend(hour // HOURS_PER_DAY)), hour % HOURS_PER_DAY] += count
        return profile

    def _spotlight(self, window: Window) -> Spotlight:
        hours = window.days * HOURS_PER_DAY
        change = window.change.instant_us // HOUR_US
        tables = np.zeros((2, 2, HOURS_PER_DAY), np.int64)
        for utc, local, count in self.cursor.rows(f"""
            SELECT utc, local, {_total("n")} FROM clock
            WHERE chosen AND utc >= {change - hours} AND utc < {change + hours} GROUP BY 1, 2"""):
            for clock, hour in enumerate((utc, local)):
                tables[clock, int(utc >= change), hour % HOURS_PER_DAY] += count
        return Spotlight(window.change, window.days, tables[0], tables[1])

    def _shares(self, which: str, dataset_id: str, key: str) -> Counts:
        table = self.cursor.arrow(f"SELECT n FROM place WHERE {which} ORDER BY n")
        seen: Counts = table["n"].to_numpy().astype(np.int64)
        files = self.receipt.files(dataset_id)
        if not files:
            return seen
        (known,) = self.cursor.row(f"SELECT count(*) FROM (SELECT DISTINCT {key} FROM {self._table(files)})")
        return np.concatenate([np.zeros(max(known - seen.size, 0), np.int64), seen])

    def _merchants(self) -> tuple[Merchants, str]:
        by, expected = self._expected()
        found = self.cursor.arrow(f"""
            SELECT merchant_id, coalesce(n, 0)::BIGINT AS arrivals, coalesce(v, 0)::BIGINT AS virtual,
                   coalesce(sites, 0)::BIGINT AS sites, coalesce(edges, 0)::BIGINT AS edges,
                   coalesce(zones, 0)::BIGINT AS zones, coalesce(expected, 0)::DOUBLE AS expected
            FROM (SELECT merchant_id, sum(n) AS n, sum(n) FILTER (is_virtual) AS v,
                         count(*) FILTER (NOT is_virtual) AS sites, count(*) FILTER (is_virtual) AS edges,
                         count(DISTINCT tzid) AS zones
                  FROM place GROUP BY 1)
            FULL JOIN ({expected}) USING (merchant_id)
            ORDER BY arrivals DESC, expected DESC, merchant_id""")
        return Merchants(**{column: found[column].to_numpy() for column in found.column_names}), by

    def _expected(self) -> tuple[str, str]:
        """The column with expected arrivals, and SQL for its sum by merchant."""
        scenario_id = self.published.scenario_id
        counts = locate_files(self.receipt, "s3_bucket_counts_5B", scenario_id=scenario_id)
        candidates = [("s3_bucket_counts_5B", counts, column) for column in ("mu", "lambda_realised")]
        intensity = self.receipt.files("s2_realised_intensity_5B", scenario_id=scenario_id)
        candidates.append(("s2_realised_intensity_5B", tuple(intensity), "lambda_realised"))
        candidates.append(("s3_bucket_counts_5B", counts, "count_N"))
        for dataset_id, files, column in candidates:
            if files and self._states(self._table(files), column):
                # Decimal sums do not depend on the order in which threads add.
                value = f"sum(TRY_CAST({column} AS DECIMAL(38, 9))) AS expected"
                sql = f"SELECT merchant_id::UBIGINT AS merchant_id, {value} FROM {self._table(files)} GROUP BY 1"
                return f"{column} of {dataset_id}", sql
        raise ArrivalError(
            Code.S1_OR_S3_OUTPUT_MISSING,
            f"s3_bucket_counts_5B of {scenario_id} has no column count_N",
            hint="restore the inputs that were sealed",
        )

    def _table(self, files: Sequence[InsidePath]) -> str:
        # A page checks no seal; validation does.
        return self.cursor.parquet([InputFile(path) for path in files])

    def _states(self, relation: str, column: str) -> bool:
        columns = {row[0] for row in self.cursor.rows(f"DESCRIBE SELECT * FROM {relation}")}
        if column not in columns:
            return False
        (missing,) = self.cursor.row(f"SELECT count(*) FILTER ({column} IS NULL) FROM {relation}")
        return not missing

    def _same(self, arrivals: int, found: int) -> None:
        if found != arrivals:
            raise ArrivalError(
                Code.IO_READ_FAILED,
                f"the arrivals of {self.published.scenario_id} changed while they were read: "
                f"{arrivals} rows at first, then {found}",
                hint="wait for the run that writes them, then make the report again",
            )


def is_weekend(day: int) -> bool:
    """Whether a day since 1970, which began on a Thursday, is a Saturday or a Sunday."""
    return (day + 3) % 7 >= 5


def _total(column: str, which: str = "true") -> str:
    return f"coalesce(sum({column}) FILTER ({which}), 0)::BIGINT"


def _hour(instant: str) -> str:
    return f"(({instant} + {_SHIFT_HOURS * HOUR_US}) // {HOUR_US} - {_SHIFT_HOURS})"
