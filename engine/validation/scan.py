"""The scan of a scenario's arrivals: every part, each on a thread, into small tables of totals.

A pass in file order compares the rows with the law's arrivals and tallies those that agree. SQL states the conditions
of single rows, and looks closely at the rows that do not agree.

`found_row`: rows by part and by faults. `found_place`: by site or edge. `found_day`: by UTC day and zone.
`found_group`: by merchant, UTC day and tz group drawn. `found_bin`: by place in the bucket, `found_end` at its ends.
`found_largest`: by place in the bucket for the largest count rows. `differing_day` and `differing_zone`: rows that do
not agree with the law, by day and by zones. `found_hour`: arrivals near a clock change with a wrong primary clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

import numpy as np
import pyarrow as pa

from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.validation.database import Cursor, Database
from arrival_engine.engine.validation.events import Events, Part, reading_part
from arrival_engine.engine.validation.file_order import KEY, LawReader, Stream, stream_part
from arrival_engine.engine.validation.file_order import joined as joined_streams
from arrival_engine.engine.validation.findings import EXAMPLES_MAX, Example
from arrival_engine.engine.validation.recomputed import Recomputed
from arrival_engine.engine.validation.rowchecks import RowChecks, beside, joined

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
# A whole number of weeks that makes every instant of the calendar positive, so that division rounds down.
_SHIFT_US = 7 * 200_000 * DAY_US

_PLACES = "merchant_id UBIGINT, is_virtual BOOLEAN, site_id UBIGINT, edge_id UBIGINT, tzid VARCHAR, n BIGINT"
_TABLES = {
    "found_row": "part INTEGER, mask INTEGER, n BIGINT",
    "found_place": _PLACES,
    "differing_day": "merchant_id UBIGINT, day INTEGER, is_virtual BOOLEAN, tzid VARCHAR, n BIGINT",
    "differing_zone": "merchant_id UBIGINT, day INTEGER, zone VARCHAR, tzid VARCHAR, n BIGINT",
    "found_hour": "tzid VARCHAR, instant_us BIGINT, stored INTEGER, expected INTEGER, in_gap BOOLEAN, n BIGINT",
}


@dataclass(frozen=True)
class Scan:
    """The scan's inputs: the database, the parts, the row checks, and the law's arrivals if it makes any."""

    database: Database
    events: Events
    checks: RowChecks
    clock: str  # SQL of the wall clock by the row `clock_primary`
    law: Recomputed | None
    threads: int
    reporter: Reporter

    def run(self) -> Stream:
        """Fill the tables and return the parts' streams as one. Raises S5.IO_READ_FAILED."""
        with self.database.cursor() as cursor:
            for table, columns in _TABLES.items():
                cursor.run(f"CREATE OR REPLACE TABLE {table} ({columns})")
        self.reporter.expect("arrivals", self.events.rows)
        with self.database.one_thread_a_query():
            streams = self._all_parts()
        if self.law is not None:
            with self.database.cursor() as cursor:
                self.law.store_tallies(cursor)
        return joined_streams(streams)

    def _all_parts(self) -> list[Stream]:
        readers: SimpleQueue[LawReader | None] = SimpleQueue()
        for _ in range(self.threads):
            readers.put(None if self.law is None else self.law.reader())
        pool = ThreadPoolExecutor(self.threads, "validate")
        try:
            work = partial(self._part, readers)
            return list(pool.map(work, range(len(self.events.parts)), self.events.parts))
        except BaseException:
            self.database.interrupt()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _part(self, readers: SimpleQueue[LawReader | None], index: int, part: Part) -> Stream:
        reader = readers.get()
        try:
            with reading_part(part.path):
                stream = stream_part(part.path, reader)
        finally:
            # The next part waits for a reader, even if all that is left to do is to stop.
            readers.put(reader)
        with self.database.cursor() as cursor, self.events.relation(cursor, part) as rows:
            self._judge(cursor, index, rows)
            for statement in self._statements(cursor, rows, stream):
                cursor.run(statement)
        stream.keep_first()
        self.reporter.advance(part.rows)
        return stream

    def _judge(self, cursor: Cursor, index: int, rows: str) -> None:
        """Fill `found_row`: physical rows by one condition if all are valid, else by every check."""

        def closely(which: str) -> str:
            return f"""
                INSERT INTO found_row
                SELECT {index}, {self.checks.mask} AS mask, count(*)
                FROM {joined(rows)} WHERE {which} GROUP BY mask"""

        cursor.run(closely("is_virtual IS NOT FALSE"))
        sound, doubtful = cursor.row(f"""
            SELECT count(*) FILTER ({self.checks.sound}), count(*) FILTER (NOT {self.checks.sound})
            FROM {beside(rows)} WHERE is_virtual IS FALSE""")
        if doubtful:
            cursor.run(closely("is_virtual IS FALSE"))
        else:
            cursor.run(f"INSERT INTO found_row VALUES ({index}, 0, {sound})")
        bit = 1 << self.checks.names.index("civil_primary")
        (wrong,) = cursor.row(f"SELECT count(*) FROM found_row WHERE part = {index} AND mask & {bit} <> 0")
        if wrong:
            cursor.run(self._hours(rows))

    def _statements(self, cursor: Cursor, rows: str, stream: Stream) -> Iterable[str]:
        """What to count of the rows that are not the law's; of all rows if the law makes no arrivals."""
        if self.law is not None:
            if not stream.differing:
                return
            keys = np.concatenate(stream.keys)
            cursor.attach("differing", pa.table({name: pa.array(keys[name].copy()) for name in KEY.names or ()}))
            rows = f"(SELECT arrival.* FROM {rows} AS arrival SEMI JOIN differing USING (merchant_id, arrival_seq))"
        yield f"""
            INSERT INTO found_place
            SELECT merchant_id, is_virtual, site_id, edge_id, tzid_primary, count(*)
            FROM {rows} GROUP BY 1, 2, 3, 4, 5"""
        yield f"""
            INSERT INTO differing_day
            SELECT merchant_id, day, is_virtual, tzid_primary, count(*)
            FROM {rows} LEFT JOIN grid USING (bucket_index) GROUP BY 1, 2, 3, 4"""
        yield f"""
            INSERT INTO differing_zone
            SELECT merchant_id, day, zone_representation, tzid_primary, count(*)
            FROM (SELECT merchant_id, bucket_index, zone_representation, tzid_primary FROM {rows} WHERE NOT is_virtual)
            LEFT JOIN grid USING (bucket_index) SEMI JOIN ungrouped USING (merchant_id, day) GROUP BY 1, 2, 3, 4"""

    def count_rows(self, cursor: Cursor) -> None:
        """Make `found`: the arrivals of each count row, and how many are virtual, by the stored rows themselves."""
        cursor.run(
            "CREATE OR REPLACE TEMP TABLE found_in_part (merchant_id UBIGINT, zone VARCHAR, channel VARCHAR, "
            "bucket_index BIGINT, n BIGINT, v BIGINT)"
        )
        for part in self.events.parts:
            with self.events.relation(cursor, part) as rows:
                cursor.run(f"""
                    INSERT INTO found_in_part
                    SELECT merchant_id, zone_representation, channel_group, bucket_index, count(*),
                           count(*) FILTER (is_virtual)
                    FROM {rows} GROUP BY 1, 2, 3, 4""")
        # A count row can lie in two parts if these were not cut at whole buckets.
        cursor.run("""
            CREATE OR REPLACE TEMP TABLE found AS
            SELECT merchant_id, TRY_CAST(zone AS zone_t) AS zone,
                   TRY_CAST(coalesce(channel, '') AS channel_t) AS channel, bucket_index, sum(n)::BIGINT AS n,
                   sum(v)::BIGINT AS v
            FROM found_in_part GROUP BY 1, 2, 3, 4;
            DROP TABLE found_in_part""")

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

    def number(self, cursor: Cursor, part: Part, condition: str) -> int:
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
