"""A pass over a part in file order: digest, order of rows, runs of the sequence number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.recomputing.kernel_shapes import Stored
from arrival_engine.engine.recomputing.recount import Pass
from arrival_engine.engine.recomputing.tables import LawTables
from arrival_engine.engine.rundir.arrow_files import open_arrow, open_parquet, sound_batch
from arrival_engine.engine.validation.findings import EXAMPLES_MAX, Example
from arrival_engine.engine.validation.footers import footer_faults, two_schemas
from arrival_engine.engine.validation.kernels import StoredRows, Terms, Words, digest_rows, factors, irregular_rows
from arrival_engine.engine.validation.measures import PassMeasures
from arrival_engine.engine.validation.statements import read_statements

_MASK = (1 << 64) - 1
# Small enough for the intermediate arrays to stay in a core's cache.
_BATCH_ROWS = 1 << 16
_TEXTS = ("zone_representation", "channel_group", "tzid_primary", "tzid_settlement", "tzid_operational")
_COLUMNS = (
    *_TEXTS[:-1],
    "merchant_id",
    "bucket_index",
    "arrival_seq",
    "ts_utc",
    "is_virtual",
    "site_id",
    "edge_id",
    "ts_local_primary",
    "ts_local_settlement",
)


class Place(NamedTuple):
    """The values of a row that decide order between neighbours."""

    merchant_id: int
    ts_us: int
    zone: str
    channel: str
    arrival_seq: int


@dataclass
class Stream:
    """Facts about one part in its order; digests and counts of several parts add up.

    runs: (merchant_id, first arrival_seq, length) of stretches in which the sequence rises by one. distinct: rows whose
    instant or merchant differs from the row before. differing: rows that are not the law's. keys: theirs, or after
    `keep_first` the first of them. statements: those of the file's footer that its values contradict. digests: of
    several parts, that of each.
    """

    rows: int = 0
    a: int = 0
    b: int = 0
    disorder: int = 0
    distinct: int = 0
    virtual: int = 0
    differing: int = 0
    keys: list[NDArray[Any]] = field(default_factory=list)
    misplaced: list[Place] = field(default_factory=list)
    runs: list[NDArray[Any]] = field(default_factory=list)
    statements: list[Example] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    first: Place | None = None
    last: Place | None = None

    @property
    def digest(self) -> str:
        """The digest's text form."""
        return f"{self.rows}-{self.a:016x}{self.b:016x}"

    def keep_first(self) -> None:
        """Keep as many of the differing rows' keys as are shown: all of a large dataset would fill the memory."""
        if self.keys:
            self.keys = [np.sort(np.concatenate(self.keys))[:EXAMPLES_MAX]]


KEY = np.dtype([("merchant_id", "u8"), ("arrival_seq", "i8")])
RUN = np.dtype([("merchant_id", "u8"), ("first", "i8"), ("length", "i8")])


@dataclass(frozen=True)
class _Batch:
    """One batch: its rows, and the texts behind the codes of three columns, null last as the empty text."""

    rows: StoredRows
    zones: list[str]
    channels: list[str]
    primaries: list[str]

    def place(self, row: int) -> Place:
        return Place(
            int(self.rows.merchant[row]),
            int(self.rows.ts_us[row]),
            self.zones[self.rows.zone[row]],
            self.channels[self.rows.channel[row]],
            int(self.rows.seq[row]),
        )


def stream_part(path: InsidePath, law: LawReader | None = None) -> Stream:
    """Read a part once, in order, and compare its rows with the law's.

    Raises OSError or pa.ArrowException for a part that cannot be read.
    """
    result = Stream()
    digester = _Digester()
    passed = PassMeasures(read_statements(path)) if path.suffix == ".parquet" else None
    for encoded in _batches(path, () if passed is None else passed.columns):
        if passed is not None:
            passed.add(encoded)
        if encoded.num_rows:
            batch = digester.add(result, encoded)
            _add_order(result, batch)
            if law is not None:
                _add_differing(result, batch, law)
    result.statements += two_schemas(path) if passed is None else footer_faults(path, passed)
    return result


class LawReader:
    """Compares batches with the law's arrivals, on one thread."""

    def __init__(self, comparing: Pass, tables: LawTables) -> None:
        self._comparing = comparing
        self._zones = {tzid: code for code, tzid in enumerate(tables.tzids)}
        self._channels = {channel: code for code, channel in enumerate(tables.channels)}

    def differing(self, batch: _Batch) -> NDArray[np.int64]:
        """Numbers of the batch's rows that are not the law's."""
        rows = batch.rows
        # A channel is null where the law's is the empty text, and never the empty text itself.
        channels = [_STRANGE if not channel else self._channels.get(channel, _STRANGE) for channel in batch.channels]
        channels[-1] = self._channels.get("", _STRANGE)
        return self._comparing.compare(
            Stored(
                merchant=rows.merchant,
                bucket=rows.bucket,
                seq=rows.seq,
                ts_us=rows.ts_us,
                is_virtual=rows.is_virtual,
                place=rows.place,
                zone=self._coded(batch.zones)[rows.zone],
                channel=np.array(channels, np.int32)[rows.channel],
                primary=self._coded(batch.primaries)[rows.primary],
            )
        )

    def _coded(self, tzids: list[str]) -> NDArray[np.int32]:
        return np.array([self._zones.get(tzid, _STRANGE) for tzid in tzids], np.int32)


# The code of a text that the law does not have.
_STRANGE = -2


def _add_differing(result: Stream, batch: _Batch, law: LawReader) -> None:
    found = law.differing(batch)
    if found.size:
        keys = np.empty(found.size, KEY)
        keys["merchant_id"], keys["arrival_seq"] = batch.rows.merchant[found], batch.rows.seq[found]
        result.differing += found.size
        result.keys.append(keys)


def table_digest(table: pa.Table) -> str:
    """The digest of arrivals in memory, in any order; only the columns that enter the digest are needed."""
    result = Stream()
    digester = _Digester()
    for batch in table.combine_chunks().to_batches(max_chunksize=_BATCH_ROWS):
        digester.add(result, batch)
    return result.digest


def _batches(path: InsidePath, further: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """The columns that the digest needs, and of a Parquet file `further` ones."""
    if path.suffix == ".parquet":
        columns = sorted({*_COLUMNS, *further})
        with open_parquet(path, read_dictionary=[name for name in columns if name in _TEXTS]) as file:
            yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=columns)
        return
    with open_arrow(path) as reader:
        for index in range(reader.num_record_batches):
            whole = sound_batch(reader, index)
            for first in range(0, whole.num_rows, _BATCH_ROWS):
                yield whole.slice(first, _BATCH_ROWS)


def _numbers(column: pa.Array) -> NDArray[Any]:
    values = column.fill_null(0) if column.null_count else column
    numbers: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return numbers


def _instants(column: pa.Array) -> NDArray[np.int64]:
    if not pa.types.is_timestamp(column.type):
        text = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        form = pc.match_substring_regex(text, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z?$")
        text = pc.if_else(form, pc.utf8_slice_codeunits(text, 0, 26), None)
        column = pc.strptime(pc.utf8_slice_codeunits(text, 0, 19), "%Y-%m-%dT%H:%M:%S", "us", error_is_null=True)
        micros = pc.utf8_slice_codeunits(text, 20, 26).cast(pa.int64())
        column = pc.add(column.cast(pa.int64()), micros)
    return _numbers(column.cast(pa.int64())).astype(np.int64, copy=False)


def _coded(column: pa.Array) -> pa.DictionaryArray:
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def _frozen(rows: StoredRows) -> StoredRows:
    """The same arrays, all read-only like Arrow's: compiled code is typed by mutability."""
    views = [np.ascontiguousarray(array).view() for array in rows]
    for view in views:
        view.flags.writeable = False
    return StoredRows._make(views)


class _Digester:
    """Adds up LAW section 7 over stored values, batch by batch."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}
        self._factors = factors()

    def add(self, result: Stream, batch: pa.RecordBatch) -> _Batch:
        """Add one batch; return its columns as arrays."""
        columns = {column: batch.column(column) for column in _COLUMNS}
        zones, zone_terms, zone = self._text(columns["zone_representation"], 1)
        channels, channel_terms, channel = self._text(columns["channel_group"], 2)
        primaries, primary_terms, primary = self._text(columns["tzid_primary"], 8)
        flags = columns["is_virtual"]
        virtual = _numbers(flags.fill_null(False) if flags.null_count else flags)
        settled = np.flatnonzero(virtual)
        place = pc.if_else(flags, columns["edge_id"], columns["site_id"]) if settled.size else columns["site_id"]
        rows = _frozen(
            StoredRows(
                merchant=_numbers(columns["merchant_id"]).view(np.uint64),
                bucket=_numbers(columns["bucket_index"]).view(np.uint64),
                seq=_numbers(columns["arrival_seq"]).view(np.int64),
                ts_us=_instants(columns["ts_utc"]),
                local_us=_instants(columns["ts_local_primary"]),
                is_virtual=virtual,
                place=_numbers(place),
                zone=zone,
                channel=channel,
                primary=primary,
            )
        )
        settlement = self._settlement(columns, settled) if settled.size else np.empty(0, np.uint64)
        sums = np.zeros(2, np.uint64)
        digest_rows(rows, Terms(zone_terms, channel_terms, primary_terms, settlement), self._factors, sums)
        result.rows += batch.num_rows
        result.a = (result.a + int(sums[0])) & _MASK
        result.b = (result.b + int(sums[1])) & _MASK
        result.virtual += int(np.count_nonzero(virtual))
        return _Batch(rows, zones, channels, primaries)

    def _settlement(self, columns: dict[str, pa.Array], rows: NDArray[np.int64]) -> Words:
        """The last two terms of virtual rows, which are few."""
        chosen = pa.array(rows)
        _, terms, codes = self._text(columns["tzid_settlement"].take(chosen), 10)
        instants = _instants(columns["ts_local_settlement"].take(chosen)).view(np.uint64)
        both: Words = terms[codes] + instants * self._factors[11]
        return both

    def _text(self, column: pa.Array, position: int) -> tuple[list[str], Words, NDArray[np.int32]]:
        """Texts by code, the empty one last for null; their words t(s) times a factor; the code of each row."""
        coded = _coded(column)
        texts = [text or "" for text in (*coded.dictionary.to_pylist(), "")]
        indices = coded.indices.fill_null(len(texts) - 1) if coded.indices.null_count else coded.indices
        words = np.array([self._word(text) for text in texts], np.uint64)
        return texts, words * self._factors[position], indices.to_numpy(zero_copy_only=False)

    def _word(self, text: str) -> int:
        word = self._words.get(text)
        if word is None:
            word = int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "little")
            self._words[text] = word
        return word


def _add_order(result: Stream, batch: _Batch) -> None:
    merchant, seq, ts_us = batch.rows.merchant, batch.rows.seq, batch.rows.ts_us
    found = np.empty(merchant.size, np.int64)
    # In a valid part, these are the first rows of merchants, and the rare equal times.
    at = found[: irregular_rows(batch.rows, found)]
    same = merchant[at + 1] == merchant[at]
    ties = same & (ts_us[at + 1] == ts_us[at])
    ascends = np.where(same, (ts_us[at + 1] > ts_us[at]) & (seq[at + 1] > seq[at]), merchant[at + 1] > merchant[at])
    for place in np.flatnonzero(ties):
        row = int(at[place])
        ascends[place] = _follows(batch.place(row), batch.place(row + 1))
    first = batch.place(0)
    if result.last is None:
        result.first = first
        result.distinct += 1
    else:
        add_seam(result, result.last, first)
    result.distinct += merchant.size - 1 - int(np.count_nonzero(ties))
    wrong = at[~ascends]
    result.disorder += int(wrong.size)
    room = EXAMPLES_MAX - len(result.misplaced)
    result.misplaced += [batch.place(int(row) + 1) for row in wrong[: max(0, room)]]
    result.last = batch.place(merchant.size - 1)
    breaks = at[~(same & (seq[at + 1] - seq[at] == 1))] + 1
    result.runs.append(_runs(merchant, seq, breaks))


def _runs(merchant: Words, seq: NDArray[np.int64], breaks: NDArray[np.int64]) -> NDArray[Any]:
    starts = np.append(0, breaks)
    runs = np.empty(starts.size, RUN)
    runs["merchant_id"], runs["first"] = merchant[starts], seq[starts]
    runs["length"] = np.diff(np.append(starts, merchant.size))
    return runs


def _follows(before: Place, after: Place) -> bool:
    """Whether two rows are in the order of LAW section 5, except for the draw index, which is not a column."""
    if before.merchant_id != after.merchant_id:
        return before.merchant_id < after.merchant_id

    def key(place: Place) -> tuple[int, bytes, bytes]:
        return place.ts_us, place.zone.encode(), place.channel.encode()

    return before.arrival_seq < after.arrival_seq and key(before) <= key(after)


def add_seam(result: Stream, before: Place, after: Place) -> None:
    """Check two rows that follow each other across batches or parts."""
    if not _follows(before, after):
        result.disorder += 1
        result.misplaced.append(after)
    result.distinct += (before.merchant_id, before.ts_us) != (after.merchant_id, after.ts_us)


def joined(parts: Sequence[Stream]) -> Stream:
    """The streams of all parts, in name order, as one."""
    whole = Stream(digests=[part.digest for part in parts])
    for part in parts:
        whole.statements += part.statements
        if part.first is None or part.last is None:
            continue
        if whole.last is not None:
            # The part counted its own first row as distinct.
            whole.distinct -= 1
            add_seam(whole, whole.last, part.first)
        whole.first = whole.first or part.first
        whole.last = part.last
        whole.rows += part.rows
        whole.a, whole.b = (whole.a + part.a) & _MASK, (whole.b + part.b) & _MASK
        whole.disorder += part.disorder
        whole.distinct += part.distinct
        whole.virtual += part.virtual
        whole.differing += part.differing
        whole.keys += part.keys
        whole.misplaced += part.misplaced
        whole.runs += part.runs
    whole.misplaced = sorted(whole.misplaced)[:EXAMPLES_MAX]
    return whole
