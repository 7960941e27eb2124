"""The scan of a scenario's arrivals: every part once or twice, each on a thread, into small tables of totals.

`found_row`: rows by part, by faults and by place in the bucket. `found`: by count row. `found_place`: by site or edge.
`found_day`: by UTC day and zone. `found_zone`: physical arrivals on days without group weights, also by the count row's
zone. `found_largest`: arrivals of the largest count rows by place in the bucket. `found_hour`: arrivals near a clock
change with a wrong primary clock, by hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.validation.database import Cursor, Database
from arrival_engine.engine.validation.events import Events, Part, reading_part
from arrival_engine.engine.validation.file_order import Stream, stream_part
from arrival_engine.engine.validation.file_order import joined as joined_streams
from arrival_engine.engine.validation.findings import EXAMPLES_MAX, Example
from arrival_engine.engine.validation.rowchecks import RowChecks, beside, joined

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
# A whole number of weeks that makes every instant of the calendar positive, so that division rounds down.
_SHIFT_US = 7 * 200_000 * DAY_US

# Places in a bucket other than the bins that count from 0: no bucket, its first microsecond, its last.
OUTSIDE, AT_START, AT_END = -1, -2, -3

_NAMED_MAX = 1000

_TABLES = {
    "found_row": "part INTEGER, mask INTEGER, bin INTEGER, n BIGINT",
    "found_count": "merchant_id UBIGINT, zone zone_t, channel channel_t, bucket_index INTEGER, n BIGINT, v BIGINT",
    "found_place": "merchant_id UBIGINT, is_virtual BOOLEAN, site_id UBIGINT, edge_id UBIGINT, tzid VARCHAR, n BIGINT",
    "found_day": "merchant_id UBIGINT, day INTEGER, is_virtual BOOLEAN, tzid VARCHAR, n BIGINT",
    "found_zone": "merchant_id UBIGINT, day INTEGER, zone VARCHAR, tzid VARCHAR, n BIGINT",
    "found_largest": "id INTEGER, bin INTEGER, n BIGINT",
    "found_hour": "tzid VARCHAR, instant_us BIGINT, stored INTEGER, expected INTEGER, in_gap BOOLEAN, n BIGINT",
}


@dataclass(frozen=True)
class _Probes:
    """SQL conditions that select the rows of a part for two of the tables."""

    largest: str
    ungrouped: str


@dataclass(frozen=True)
class Scan:
    """The scan's inputs: the database, the parts, the row checks, and the binning of offsets."""

    database: Database
    events: Events
    checks: RowChecks
    clock: str  # SQL of the wall clock by the row `clock_primary`
    bins: int
    largest: int
    threads: int
    reporter: Reporter

    def run(self) -> Stream:
        """Fill the tables and return the parts' streams as one. Raises S5.IO_READ_FAILED."""
        with self.database.cursor() as cursor:
            for table, columns in _TABLES.items():
                cursor.run(f"CREATE OR REPLACE TABLE {table} ({columns})")
            # Ties are broken by the key, so that the choice depends on no order.
            cursor.run(f"""
                CREATE OR REPLACE TABLE largest AS
                SELECT row_number() OVER ()::INTEGER AS id, *
                FROM (SELECT * FROM expected ORDER BY n DESC, merchant_id, bucket_index, zone, channel
                      LIMIT {self.largest})""")
            probes = _Probes(_owners(cursor, "largest"), _owners(cursor, "ungrouped"))
        self.reporter.expect("arrivals", self.events.rows)
        with self.database.one_thread_a_query():
            streams = self._all_parts(probes)
        with self.database.cursor() as cursor:
            # A count row can lie in two parts if these were not cut at whole buckets.
            cursor.run("""
                CREATE OR REPLACE TABLE found AS
                SELECT merchant_id, zone, channel, bucket_index, sum(n)::BIGINT AS n, sum(v)::BIGINT AS v
                FROM found_count GROUP BY 1, 2, 3, 4""")
        return joined_streams(streams)

    def _all_parts(self, probes: _Probes) -> list[Stream]:
        pool = ThreadPoolExecutor(self.threads, "validate")
        try:
            return list(pool.map(lambda item: self._part(item[0], item[1], probes), enumerate(self.events.parts)))
        except BaseException:
            self.database.interrupt()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _part(self, index: int, part: Part, probes: _Probes) -> Stream:
        with self.database.cursor() as cursor, self.events.relation(cursor, part) as rows:
            self._judge(cursor, index, rows)
            for statement in self._statements(rows, probes):
                cursor.run(statement)
        with reading_part(part.path):
            stream = stream_part(part.path)
        self.reporter.advance(part.rows)
        return stream

    def _judge(self, cursor: Cursor, index: int, rows: str) -> None:
        """Fill `found_row`: physical rows by one condition if all are valid, else by every check."""
        bins = f"(ts_us - start_us) * {self.bins} // (end_us - start_us)"
        place = f"CASE WHEN ts_us = start_us THEN {AT_START} WHEN ts_us = end_us - 1 THEN {AT_END} ELSE {bins} END"

        def closely(which: str) -> str:
            return f"""
                INSERT INTO found_row
                SELECT {index}, {self.checks.mask} AS mask,
                       CASE WHEN ts_us >= start_us AND ts_us < end_us THEN {place} ELSE {OUTSIDE} END AS bin, count(*)
                FROM {joined(rows)} WHERE {which} GROUP BY mask, bin"""

        cursor.run(closely("is_virtual IS NOT FALSE"))
        cursor.run(f"""
            CREATE OR REPLACE TEMP TABLE glance AS
            SELECT {self.checks.sound} AS sound, {place} AS bin, count(*) AS n
            FROM {beside(rows)} WHERE is_virtual IS FALSE GROUP BY 1, 2""")
        (doubtful,) = cursor.row("SELECT count(*) FROM glance WHERE NOT sound")
        if doubtful:
            cursor.run(closely("is_virtual IS FALSE"))
        else:
            cursor.run(f"INSERT INTO found_row SELECT {index}, 0, bin, n FROM glance")
        bit = 1 << self.checks.names.index("civil_primary")
        (wrong,) = cursor.row(f"SELECT count(*) FROM found_row WHERE part = {index} AND mask & {bit} <> 0")
        if wrong:
            cursor.run(self._hours(rows))

    def _statements(self, rows: str, probes: _Probes) -> Iterable[str]:
        yield f"""
            INSERT INTO found_count
            SELECT merchant_id, TRY_CAST(zone AS zone_t), TRY_CAST(coalesce(channel, '') AS channel_t), bucket_index,
                   n, v
            FROM (SELECT merchant_id, zone_representation AS zone, channel_group AS channel, bucket_index,
                         count(*) AS n, count(*) FILTER (is_virtual) AS v
                  FROM {rows} GROUP BY 1, 2, 3, 4)"""
        yield f"""
            INSERT INTO found_place
            SELECT merchant_id, is_virtual, site_id, edge_id, tzid_primary, count(*)
            FROM {rows} GROUP BY 1, 2, 3, 4, 5"""
        yield f"""
            INSERT INTO found_day
            SELECT merchant_id, day, is_virtual, tzid_primary, count(*)
            FROM {rows} LEFT JOIN grid USING (bucket_index) GROUP BY 1, 2, 3, 4"""
        yield f"""
            INSERT INTO found_zone
            SELECT merchant_id, day, zone_representation, tzid_primary, count(*)
            FROM (SELECT merchant_id, bucket_index, zone_representation, tzid_primary
                  FROM {rows} WHERE NOT is_virtual AND {probes.ungrouped})
            LEFT JOIN grid USING (bucket_index) SEMI JOIN ungrouped USING (merchant_id, day) GROUP BY 1, 2, 3, 4"""
        yield f"""
            INSERT INTO found_largest
            SELECT id, (ts_us - start_us) * {self.bins} // (end_us - start_us), count(*)
            FROM (SELECT merchant_id, bucket_index, zone_representation AS zone, coalesce(channel_group, '') AS channel,
                         ts_us FROM {rows} WHERE {probes.largest}) AS arrival
            JOIN largest ON largest.merchant_id = arrival.merchant_id AND largest.bucket_index = arrival.bucket_index
                 AND largest.zone::VARCHAR = arrival.zone AND largest.channel::VARCHAR = arrival.channel
            JOIN grid ON grid.bucket_index = largest.bucket_index AND ts_us >= start_us AND ts_us < end_us
            GROUP BY 1, 2"""

    def _hours(self, rows: str) -> str:
        """Arrivals near a clock change with a wrong primary clock, by hour as stored and by tzdata."""
        wrong = self.checks.conditions["civil_primary"]
        return f"""
            INSERT INTO found_hour
            SELECT change.tzid, instant_us, {_hour("local_us")}, {_hour(self.clock)},
                   coalesce(after_us > before_us AND local_us >= instant_us + before_us
                            AND local_us < instant_us + after_us, false),
                   count(*)
            FROM {beside(rows)}
            JOIN change ON change.tzid = tzid_primary
                 AND day BETWEEN {day_of("instant_us")} - 1 AND {day_of("instant_us")} + 1
            WHERE {wrong} AND local_us IS NOT NULL GROUP BY 1, 2, 3, 4, 5"""

    def violations(self, cursor: Cursor) -> dict[str, int]:
        """Bad rows by check."""
        names = self.checks.names
        sums = ", ".join(f"coalesce(sum(n) FILTER (mask & {1 << bit} <> 0), 0)" for bit in range(len(names)))
        return dict(zip(names, map(int, cursor.row(f"SELECT {sums} FROM found_row")), strict=True))

    def examples(self, cursor: Cursor, check: str, columns: Sequence[str]) -> list[Example]:
        """The first bad rows of a row check by (merchant_id, arrival_seq)."""
        bit = self.checks.names.index(check)
        bad = cursor.rows(f"SELECT DISTINCT part FROM found_row WHERE mask & {1 << bit} <> 0 ORDER BY 1")
        condition = list(self.checks.conditions.values())[bit]
        return self.first_rows(cursor, [self.events.parts[part] for (part,) in bad], condition, columns)

    def count_rows(self, cursor: Cursor, part: Part, condition: str) -> int:
        """Number of rows of a part for which a condition over `joined` rows holds."""
        with self.events.relation(cursor, part) as rows:
            (found,) = cursor.row(f"SELECT count(*) FROM {joined(rows)} WHERE {condition}")
        return int(found)

    def weekend_excess(self, cursor: Cursor) -> int:
        """Weekend arrivals by the stored primary clock minus those by tzdata."""
        if not self.violations(cursor)["civil_primary"]:
            return 0
        excess = 0
        for part in self.events.parts:
            with self.events.relation(cursor, part) as rows:
                stored, exact = cursor.row(
                    f"SELECT count(*) FILTER ({_weekend('local_us')}), count(*) FILTER ({_weekend(self.clock)}) "
                    f"FROM {joined(rows)}"
                )
            excess += stored - exact
        return excess

    def first_rows(
        self, cursor: Cursor, parts: Sequence[Part], condition: str, columns: Sequence[str]
    ) -> list[Example]:
        """The first rows, by (merchant_id, arrival_seq), for which a condition over `joined` rows holds."""
        shown = ", ".join(f"{column}::VARCHAR AS {column}" for column in columns)
        found: list[Example] = []
        for part in parts:
            with self.events.relation(cursor, part) as rows:
                found += cursor.records(f"""
                    SELECT merchant_id, arrival_seq, {shown} FROM {joined(rows)} WHERE {condition}
                    ORDER BY merchant_id, arrival_seq LIMIT {EXAMPLES_MAX}""")
            # Parts ascend by merchant and sequence, so later ones hold no smaller keys unless the order is broken.
            if len(found) >= EXAMPLES_MAX:
                break
        return found[:EXAMPLES_MAX]


def _weekend(local: str) -> str:
    # The epoch began on a Thursday, three days after a Monday.
    return f"(({local} + {_SHIFT_US}) // {DAY_US} + 3) % 7 >= 5"


def _hour(local: str) -> str:
    return f"(({local} + {_SHIFT_US}) % {DAY_US}) // {HOUR_US}"


def day_of(instant: str) -> str:
    """SQL for the UTC day, counted from 1970, of an SQL instant in µs."""
    return f"(({instant} + {_SHIFT_US}) // {DAY_US} - {_SHIFT_US // DAY_US})"


def _owners(cursor: Cursor, table: str) -> str:
    """SQL condition: the merchant is one of a table's; true if these are too many to list."""
    listed = [str(merchant) for (merchant,) in cursor.rows(f"SELECT DISTINCT merchant_id FROM {table} ORDER BY 1")]
    if len(listed) > _NAMED_MAX:
        return "true"
    return f"merchant_id IN ({', '.join(listed)})" if listed else "false"
