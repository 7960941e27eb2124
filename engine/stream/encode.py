"""Record batches to bytes: JSON Lines, CSV, Arrow IPC stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
from numpy.typing import NDArray

from arrival_engine.contracts.options import IdForm, StreamFormat

__all__ = ["ID_COLUMNS", "ArrowEncoder", "Encoded", "Encoder", "TextEncoder", "encoder"]


# How a text begins that a spreadsheet may compute; East Asian spreadsheets take the wide forms for the others.
_FORMULA_MARKS = frozenset("=+-@'\uff1d\uff0b\uff0d\uff20")

# 64-bit ids, which a JSON reader with 53-bit numbers would corrupt.
ID_COLUMNS = ("seed", "merchant_id", "site_id", "edge_id")


class Encoded(NamedTuple):
    """A chunk of bytes; `ends` int64[rows]: the end of each row, or None if the chunk cannot be divided."""

    data: memoryview
    rows: int
    ends: NDArray[np.int64] | None


class Encoder(Protocol):
    """One format: `head`, any number of `rows`, `tail`."""

    def head(self) -> Encoded:
        """The bytes before the first row."""

    def rows(self, batch: pa.RecordBatch) -> Encoded:
        """The rows of a batch."""

    def tail(self) -> Encoded:
        """The bytes after the last row."""


def encoder(file_format: StreamFormat, schema: pa.Schema, ids: IdForm = "number") -> Encoder:
    """The encoder of a format for rows of this schema; `ids` applies to JSON Lines alone."""
    if file_format == "arrow":
        return ArrowEncoder(schema)
    return TextEncoder(_json(schema.names, ids) if file_format == "jsonl" else _csv(schema.names))


class Dialect(NamedTuple):
    """A text format, C columns: row = before[0] cell before[1] cell ... cell before[C].

    quoted: makes a text a cell. mark, id_mark: written before and after a time, an id. null: a cell without value.
    """

    head: str
    before: Sequence[str]
    quoted: Callable[[str], str]
    mark: str
    id_mark: str
    null: str


def _json(names: Sequence[str], ids: IdForm) -> Dialect:
    keys = [f"{',' if at else '{'}{json.dumps(name)}:" for at, name in enumerate(names)]
    id_mark = '"' if ids == "string" else ""
    return Dialect("", [*keys, "}\n"], lambda text: json.dumps(text, ensure_ascii=False), '"', id_mark, "null")


def _csv(names: Sequence[str]) -> Dialect:
    # A lone empty cell would be an empty line, which readers skip.
    null = "" if len(names) > 1 else '""'
    return Dialect(",".join(names) + "\n", ["", *[","] * (len(names) - 1), "\n"], _csv_quoted, "", "", null)


def _csv_quoted(text: str) -> str:
    # A spreadsheet computes a cell that begins like a formula, and takes one that begins with an apostrophe for text.
    # A text's own apostrophe gets another one, so that a reader that removes one always has the text.
    if text[:1] in _FORMULA_MARKS:
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n') or text == "" else text


Piece: TypeAlias = str | pa.Array


class TextEncoder:
    """Rows as lines of text, by Arrow's string kernels: a slice of any size costs the same few calls."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._texts: dict[str, tuple[pa.Array, pa.Array]] = {}

    def head(self) -> Encoded:
        """The header line, if the format has one."""
        return _whole(self._dialect.head.encode())

    def tail(self) -> Encoded:
        """Nothing."""
        return _whole(b"")

    def rows(self, batch: pa.RecordBatch) -> Encoded:
        """One line per row."""
        if batch.num_rows == 0:
            return _whole(b"")
        pieces: list[Piece] = []
        for before, name, column in zip(self._dialect.before[:-1], batch.schema.names, batch.columns, strict=True):
            pieces += [before, *self._cell(name, column)]
        end = self._dialect.before[-1]
        # The last piece is an array even if every column has a single value, or there would be only one line.
        lines = _joined([*pieces, pa.repeat(pa.scalar(end), batch.num_rows)], self._dialect.null)
        _, offsets, data = lines.buffers()
        ends = np.frombuffer(offsets, np.int32)[1 : batch.num_rows + 1].astype(np.int64)
        return Encoded(memoryview(data)[: ends[-1]], batch.num_rows, ends)

    def _cell(self, name: str, column: pa.Array) -> list[Piece]:
        """The pieces to join for a column; nulls stay nulls."""
        kind = column.type
        if column.null_count == len(column):
            return [self._dialect.null]
        if pa.types.is_dictionary(kind):
            texts = self._quoted(name, column.dictionary)
            if len(texts) == 1 and column.null_count == 0:
                return [texts[0].as_py()]
            return [texts.take(column.indices)]
        if pa.types.is_timestamp(kind):
            return _marked(_rfc3339(column), self._dialect.mark, "Z" if kind.tz else "")
        if pa.types.is_string(kind):
            # A time that the output policy stores as text has its final form already.
            return _marked(column, self._dialect.mark)
        text = column.cast(pa.string())
        return _marked(text, self._dialect.id_mark) if name in ID_COLUMNS else [text]

    def _quoted(self, name: str, dictionary: pa.Array) -> pa.Array:
        """The dictionary's texts as cells, cached because it rarely changes between batches."""
        known = self._texts.get(name)
        if known is None or not known[0].equals(dictionary):
            cells = [self._dialect.quoted(text) for text in dictionary.to_pylist()]
            known = self._texts[name] = (dictionary, pa.array(cells, pa.string()))
        return known[1]


def _marked(text: pa.Array, mark: str, suffix: str = "") -> list[Piece]:
    if text.null_count == 0 or not mark + suffix:
        return [mark, text, suffix + mark]
    return [pc.binary_join_element_wise(mark, text, suffix + mark, "")]


def _rfc3339(times: pa.Array) -> pa.Array:
    # A cast writes a blank where RFC 3339 has a T; strftime is correct, but twelve times slower. A column with a zone
    # would be converted to local time first.
    text = times.view(pa.timestamp("us")).cast(pa.string())
    return pc.binary_replace_slice(text, 10, 11, "T")


def _joined(pieces: Sequence[Piece], null: str) -> pa.Array:
    """The pieces of each row joined to one text; adjacent constants are joined once."""
    arguments: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and arguments and isinstance(arguments[-1], str):
            arguments[-1] += piece
        else:
            arguments.append(piece)
    return pc.binary_join_element_wise(*arguments, "", null_handling="replace", null_replacement=null)


class ArrowEncoder:
    """An Arrow IPC stream; each batch is a message, which is useless unless complete."""

    def __init__(self, schema: pa.Schema) -> None:
        self._pending = _Pending()
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._pending, mode="w"), schema)

    def head(self) -> Encoded:
        """The schema."""
        return _whole(self._pending.taken())

    def rows(self, batch: pa.RecordBatch) -> Encoded:
        """One message; the dictionaries come before the first."""
        self._writer.write_batch(batch)
        return _whole(self._pending.taken(), batch.num_rows)

    def tail(self) -> Encoded:
        """The mark of a complete stream."""
        self._writer.close()
        return _whole(self._pending.taken())


class _Pending:
    """A file that keeps written bytes until `taken` returns them."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing to do: `taken` returns everything."""

    def close(self) -> None:
        self.closed = True

    def taken(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def _whole(data: bytes, rows: int = 0) -> Encoded:
    return Encoded(memoryview(data), rows, None)
