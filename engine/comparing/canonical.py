"""Arrivals of any file format in one form: arrays of integers that can be compared column by column.

Texts are codes in a vocabulary that both sides share; times are microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code, arrow_schema
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.moments import utc_text, wall_text
from arrival_engine.contracts.oserrors import reason
from arrival_engine.cpu_fallback.identifiers import text_word
from arrival_engine.engine.arrivals.part_file import is_time
from arrival_engine.engine.arrivals.reading import read_pieces

COLUMNS: tuple[str, ...] = tuple(arrow_schema("arrival_events_5B").names)
_TEXT = frozenset(field.name for field in arrow_schema("arrival_events_5B") if pa.types.is_dictionary(field.type))
_UNSIGNED = frozenset(field.name for field in arrow_schema("arrival_events_5B") if field.type == pa.uint64())
# The column that a further clock's column repeats on physical rows, where the output policy has it mirrored.
_PRIMARY = {
    "tzid_settlement": "tzid_primary",
    "ts_local_settlement": "ts_local_primary",
    "tzid_operational": "tzid_primary",
    "ts_local_operational": "ts_local_primary",
}
_NO_TEXT = 0


class Vocabulary:
    """Codes of texts, the same for both sides; code 0 is the empty text, which also stands for null."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {"": _NO_TEXT}
        self._texts = [""]
        self._words = np.array([text_word("")], np.uint64)

    def encode(self, column: pa.ChunkedArray) -> NDArray[np.int32]:
        """Code of each value of a text column, plain or dictionary."""
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        parts = [np.empty(0, np.int32)]
        for chunk in column.chunks:
            known = np.array([self._code(text or "") for text in chunk.dictionary.to_pylist()] + [_NO_TEXT], np.int32)
            indices = chunk.indices.fill_null(known.size - 1) if chunk.null_count else chunk.indices
            parts.append(known[indices.to_numpy()])
        return np.concatenate(parts)

    def _code(self, text: str) -> int:
        if text not in self._codes:
            self._codes[text] = len(self._texts)
            self._texts.append(text)
            self._words = np.append(self._words, np.uint64(text_word(text)))
        return self._codes[text]

    def text(self, code: int) -> str:
        """The text of a code."""
        return self._texts[code]

    def digest_words(self, codes: NDArray[np.int32]) -> NDArray[np.uint64]:
        """t(s) of the digest for each code (LAW section 7)."""
        return self._words[codes]


class Column(NamedTuple):
    """Values with 0 where there is none, and which there are (None: all)."""

    values: NDArray[Any]
    valid: NDArray[np.bool_] | None

    def part(self, rows: slice | NDArray[np.bool_]) -> Column:
        """Some of the rows."""
        return Column(self.values[rows], None if self.valid is None else self.valid[rows])

    def differs(self, other: Column) -> NDArray[np.bool_]:
        """Where two columns of equal length do not say the same."""
        unequal: NDArray[np.bool_] = self.values != other.values
        if self.valid is not None or other.valid is not None:
            unequal |= self.present() != other.present()
        return unequal

    def present(self) -> NDArray[np.bool_]:
        """Where there is a value."""
        return np.ones(self.values.size, np.bool_) if self.valid is None else self.valid


@dataclass(frozen=True)
class Rows:
    """Some arrivals in key order."""

    columns: dict[str, Column]

    @property
    def merchant_id(self) -> NDArray[np.uint64]:
        """The first part of the key."""
        return self.columns["merchant_id"].values

    @property
    def arrival_seq(self) -> NDArray[np.int64]:
        """The second part of the key."""
        return self.columns["arrival_seq"].values

    @property
    def size(self) -> int:
        """How many."""
        return int(self.merchant_id.size)

    def part(self, rows: slice | NDArray[np.bool_]) -> Rows:
        """Some of them."""
        return Rows({name: column.part(rows) for name, column in self.columns.items()})

    def physical(self) -> NDArray[np.bool_]:
        """Which of them are physical."""
        virtual: NDArray[np.bool_] = self.columns["is_virtual"].values != 0
        return ~virtual

    def differs(self, other: Rows, name: str) -> NDArray[np.bool_]:
        """Where two columns do not say the same; a physical row's copy of its primary clock is as good as a null."""
        unequal = self.columns[name].differs(other.columns[name])
        if name in _PRIMARY and unequal.any():
            one_copies = (self._absent(name) & other._copies(name)) | (self._copies(name) & other._absent(name))
            unequal &= ~(self.physical() & other.physical() & one_copies)
        return unequal

    def _absent(self, clock: str) -> NDArray[np.bool_]:
        return ~self.columns[clock].present()

    def _copies(self, clock: str) -> NDArray[np.bool_]:
        own, primary = self.columns[clock], self.columns[_PRIMARY[clock]]
        copies: NDArray[np.bool_] = own.present() & (own.values == primary.values)
        return copies

    def shown(self, row: int, name: str, vocabulary: Vocabulary) -> object:
        """One value in the contract's JSON form."""
        column = self.columns[name]
        value = column.values[row]
        if column.valid is not None and not column.valid[row]:
            return None
        if name in _TEXT:
            return vocabulary.text(int(value)) or None
        if is_time(name):
            return utc_text(int(value)) if name == "ts_utc" else wall_text(int(value))
        return bool(value) if name == "is_virtual" else int(value)


def read_rows(parts: Sequence[InsidePath], vocabulary: Vocabulary) -> Iterator[Rows]:
    """The arrivals of part files in their order, piece by piece; raises SCHEMA_VIOLATION, IO_READ_FAILED."""
    for path in parts:
        for table in read_pieces(path):
            if table.num_rows:
                yield _canonical(table, path, vocabulary)


def _canonical(table: pa.Table, path: InsidePath, vocabulary: Vocabulary) -> Rows:
    if sorted(table.column_names) != sorted(COLUMNS):
        odd = sorted(set(table.column_names) ^ set(COLUMNS))
        raise _refused(path, f"has other columns than arrival events: {', '.join(odd)}")
    columns: dict[str, Column] = {}
    for name in COLUMNS:
        try:
            columns[name] = _column(name, table[name], vocabulary)
        except (pa.ArrowException, AttributeError, LookupError, OverflowError, TypeError, ValueError) as failure:
            raise _refused(path, f"column {name}, {table[name].type}: {reason(failure)}") from failure
    return Rows(columns)


def _column(name: str, values: pa.ChunkedArray, vocabulary: Vocabulary) -> Column:
    valid = values.is_valid().to_numpy() if values.null_count else None
    if name in _TEXT:
        # The null channel is the empty text.
        return Column(vocabulary.encode(values), None if name == "channel_group" else valid)
    if is_time(name):
        if not pa.types.is_timestamp(values.type):
            values = values.cast(pa.timestamp("us", "UTC" if name == "ts_utc" else None))
        values = values.cast(pa.timestamp("us", values.type.tz)).cast(pa.int64())
    elif name == "is_virtual":
        values = values.cast(pa.bool_()).cast(pa.int8())
    else:
        values = values.cast(pa.uint64() if name in _UNSIGNED else pa.int64())
    return Column((values.fill_null(0) if valid is not None else values).to_numpy(), valid)


def _refused(path: InsidePath, problem: str) -> ArrivalError:
    return ArrivalError(
        Code.SCHEMA_VIOLATION,
        f"{path} {problem}",
        hint="only arrival events can be compared: `arrivals validate` says what is wrong with a run's",
        path=str(path),
    )
