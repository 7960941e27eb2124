"""One pass over a part in file order: digest, order of rows and runs of the sequence number, with NumPy alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.validate.findings import EXAMPLES_MAX

Words = NDArray[np.uint64]

_MASK = (1 << 64) - 1
_SECOND_LANE = np.uint64(0xD6E8FEB86659FD93)
# Small enough for the intermediate arrays to stay in the cache of a core.
_BATCH_ROWS = 1 << 16
_TEXTS = ("zone_representation", "channel_group", "tzid_primary", "tzid_settlement")
_COLUMNS = (
    *_TEXTS,
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


def _finalise(value: Words, buffer: Words) -> Words:
    """splitmix64's finaliser, in place, by way of a buffer that is at least as long."""
    shifted = buffer[: value.size]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        np.right_shift(value, np.uint64(shift), out=shifted)
        value ^= shifted
        value *= np.uint64(factor)
    np.right_shift(value, np.uint64(31), out=shifted)
    value ^= shifted
    return value


# K_1 to K_12 of LAW section 7: splitmix64 from state 0, each made odd.
_STATES = np.arange(1, 13, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
_FACTORS = [word | np.uint64(1) for word in _finalise(_STATES, np.empty_like(_STATES))]


class Place(NamedTuple):
    """A row as its neighbours see it."""

    merchant_id: int
    ts_us: int
    zone: str
    channel: str
    arrival_seq: int


@dataclass
class Stream:
    """What one part holds, in its order; digests and counts of several parts add up.

    runs: (merchant_id, first arrival_seq, length) of stretches in which the sequence goes up by one; distinct:
    rows whose instant differs from that of the row before, or whose merchant does.
    """

    rows: int = 0
    a: int = 0
    b: int = 0
    disorder: int = 0
    distinct: int = 0
    misplaced: list[Place] = field(default_factory=list)
    runs: list[NDArray[Any]] = field(default_factory=list)
    first: Place | None = None
    last: Place | None = None

    @property
    def digest(self) -> str:
        """The digest's text form."""
        return f"{self.rows}-{self.a:016x}{self.b:016x}"


RUN = np.dtype([("merchant_id", "u8"), ("first", "i8"), ("length", "i8")])


@dataclass(frozen=True)
class _Batch:
    """Columns of one batch as arrays; nulls are zero or the empty text, which other checks find."""

    merchant: Words
    seq: NDArray[np.int64]
    ts_us: NDArray[np.int64]
    zone: pa.DictionaryArray
    channel: pa.DictionaryArray

    def place(self, row: int) -> Place:
        return Place(
            int(self.merchant[row]),
            int(self.ts_us[row]),
            self.zone[row].as_py() or "",
            self.channel[row].as_py() or "",
            int(self.seq[row]),
        )


def stream_part(path: Path) -> Stream:
    """Read a part once, in order. Raises OSError or pa.ArrowException for a part that cannot be read."""
    result = Stream()
    digester = _Digester()
    for batch in _batches(path):
        if batch.num_rows:
            columns, ordered = _columns(batch)
            digester.add(result, columns, ordered)
            _add_order(result, ordered)
    return result


def table_digest(table: pa.Table) -> str:
    """The digest of arrivals in memory, in any order; of their columns only those that it takes in are needed."""
    result = Stream()
    digester = _Digester()
    for batch in table.combine_chunks().to_batches(max_chunksize=_BATCH_ROWS):
        digester.add(result, *_columns(batch))
    return result.digest


def _columns(batch: pa.RecordBatch) -> tuple[dict[str, pa.Array], _Batch]:
    columns = {column: batch.column(column) for column in _COLUMNS}
    ordered = _Batch(
        _numbers(columns["merchant_id"]).view(np.uint64),
        _numbers(columns["arrival_seq"]).view(np.int64),
        _instants(columns["ts_utc"]),
        _coded(columns["zone_representation"]),
        _coded(columns["channel_group"]),
    )
    return columns, ordered


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path, read_dictionary=list(_TEXTS)) as file:
            yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=list(_COLUMNS), use_threads=False)
        return
    with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
        for index in range(reader.num_record_batches):
            whole = reader.get_batch(index)
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


class _Digester:
    """Adds up LAW section 7 over stored values, batch by batch, in buffers of its own."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}
        self._term = np.empty(_BATCH_ROWS, np.uint64)

    def add(self, result: Stream, columns: dict[str, pa.Array], batch: _Batch) -> None:
        """Take in one batch of at most _BATCH_ROWS rows."""
        flags = columns["is_virtual"]
        virtual = (flags.fill_null(False) if flags.null_count else flags).to_numpy(zero_copy_only=False)
        settled = np.flatnonzero(virtual)
        place = pc.if_else(flags, columns["edge_id"], columns["site_id"]) if settled.size else columns["site_id"]
        h = batch.merchant * _FACTORS[0]
        self._add_texts(h, 1, batch.zone)
        self._add_texts(h, 2, batch.channel)
        self._add_texts(h, 8, _coded(columns["tzid_primary"]))
        self._add_numbers(h, 3, _numbers(columns["bucket_index"]).view(np.uint64))
        self._add_numbers(h, 4, batch.seq.view(np.uint64))
        self._add_numbers(h, 5, batch.ts_us.view(np.uint64))
        self._add_numbers(h, 7, _numbers(place))
        self._add_numbers(h, 9, _instants(columns["ts_local_primary"]).view(np.uint64))
        if settled.size:
            h[settled] += self._settlement(columns, settled) + _FACTORS[6]
        second = h ^ _SECOND_LANE
        result.rows += h.size
        result.a = (result.a + int(_finalise(h, self._term).sum(dtype=np.uint64))) & _MASK
        result.b = (result.b + int(_finalise(second, self._term).sum(dtype=np.uint64))) & _MASK

    def _add_numbers(self, h: Words, position: int, values: Words) -> None:
        h += np.multiply(values, _FACTORS[position], out=self._term[: h.size])

    def _add_texts(self, h: Words, position: int, column: pa.DictionaryArray) -> None:
        words, codes = self._coded_words(column)
        h += np.take(words * _FACTORS[position], codes, out=self._term[: h.size], mode="clip")

    def _settlement(self, columns: dict[str, pa.Array], rows: NDArray[np.int64]) -> Words:
        """The last two words of virtual rows, which are the few."""
        chosen = pa.array(rows)
        words, codes = self._coded_words(_coded(columns["tzid_settlement"].take(chosen)))
        instants = _instants(columns["ts_local_settlement"].take(chosen)).view(np.uint64)
        terms: Words = (words * _FACTORS[10])[codes] + instants * _FACTORS[11]
        return terms

    def _coded_words(self, column: pa.DictionaryArray) -> tuple[Words, NDArray[np.int32]]:
        """t(s) of LAW section 7 by code, null being the empty text, and the code of each row."""
        texts = [text or "" for text in column.dictionary.to_pylist()]
        words = np.array([self._word(text) for text in (*texts, "")], np.uint64)
        codes = column.indices.fill_null(len(texts)) if column.indices.null_count else column.indices
        return words, codes.to_numpy(zero_copy_only=False)

    def _word(self, text: str) -> int:
        word = self._words.get(text)
        if word is None:
            word = int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "little")
            self._words[text] = word
        return word


def _add_order(result: Stream, batch: _Batch) -> None:
    merchant, seq, ts_us = batch.merchant, batch.seq, batch.ts_us
    plain = (merchant[1:] == merchant[:-1]) & (ts_us[1:] > ts_us[:-1]) & (seq[1:] - seq[:-1] == 1)
    # Where nothing is wrong these are the first rows of merchants, and the rare equal times.
    at = np.flatnonzero(~plain)
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
    """LAW section 5, as far as rows show it: the draw index, which comes last, is not among their columns."""
    if before.merchant_id != after.merchant_id:
        return before.merchant_id < after.merchant_id

    def key(place: Place) -> tuple[int, bytes, bytes]:
        return place.ts_us, place.zone.encode(), place.channel.encode()

    return before.arrival_seq < after.arrival_seq and key(before) <= key(after)


def add_seam(result: Stream, before: Place, after: Place) -> None:
    """Judge two rows that follow each other across batches or parts."""
    if not _follows(before, after):
        result.disorder += 1
        result.misplaced.append(after)
    result.distinct += (before.merchant_id, before.ts_us) != (after.merchant_id, after.ts_us)


def joined(parts: Sequence[Stream]) -> Stream:
    """The streams of all parts, in name order, as one."""
    whole = Stream()
    for part in parts:
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
        whole.misplaced += part.misplaced
        whole.runs += part.runs
    whole.misplaced = sorted(whole.misplaced)[:EXAMPLES_MAX]
    return whole
