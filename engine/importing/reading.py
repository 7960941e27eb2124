"""A user's table as compact columns: each distinct cell is read once, and errors name their place."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.contracts.plainness import TEXT_BYTES_MAX
from arrival_engine.engine.importing.columns import Column, Layout, Naming, match_header
from arrival_engine.engine.importing.files import open_file
from arrival_engine.engine.importing.folders import files_of
from arrival_engine.engine.importing.frames import open_frame, tables_in
from arrival_engine.engine.importing.numbers import Marks, plain
from arrival_engine.engine.importing.parquet import is_uuid
from arrival_engine.engine.importing.quoting import shell_word
from arrival_engine.engine.importing.room import Room
from arrival_engine.engine.importing.source import Source
from arrival_engine.engine.importing.values import Cell, HalfFloat, Instant, Refused, ShortFloat
from arrival_engine.engine.merchant_names import MerchantNames, told

_DTYPES: Mapping[str, Any] = {"uint64": np.uint64, "int64": np.int64, "float64": np.float64, "text": np.int32}


@dataclass(frozen=True, eq=False)
class Table:
    """Rows in the order of the files. Columns by name, each of `rows` values; text as int32 codes into `texts`.

    names: the texts of merchants; None if merchant ids are numbers.
    """

    layout: Layout
    rows: int
    columns: Mapping[str, npt.NDArray[Any]]
    texts: Mapping[str, tuple[str | None, ...]]
    files: tuple[Source, ...] = ()
    first_rows: tuple[int, ...] = ()
    names: MerchantNames | None = None

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.columns[name]

    def has(self, name: str) -> bool:
        """Whether the user's files have this column."""
        return name in self.columns

    def told(self, merchant_id: Any) -> str:
        """A merchant in a sentence."""
        return told(self.names, int(merchant_id))

    def refuse(self, row: int, what: str, hint: str, *, code: Code | None = None, **context: object) -> NoReturn:
        """Raise the fault of a row, naming its file and line, or its table and row."""
        number = bisect_right(self.first_rows, row) - 1
        place = self.files[number].place(row - self.first_rows[number])
        raise ArrivalError(code or self.layout.code, f"{_told(place)}: {what}", hint=hint, **place, **context)


def empty_table(layout: Layout) -> Table:
    """A table that the user did not give: all columns, no rows."""
    columns = {column.name: np.empty(0, _DTYPES[column.kind]) for column in layout.columns}
    return Table(layout, 0, columns, {column.name: () for column in layout.columns if column.kind == "text"})


def read_table(layout: Layout, given: object, naming: Naming, marks: Marks) -> tuple[Table, list[Notice]]:
    """Everything that was given for a table as one, and notices about it; `marks` explain numbers that are texts.

    given: as a field of `TableRequest`. Raises OPTION_INVALID for what is not a table, SCHEMA_VIOLATION for an invalid
    file, column or value, TIME_GRID_MISMATCH for a time, DST_MAPPING_FAILED for a zone, ROUTING_POLICY_INVALID for a
    mode, the layout's code for a table without rows, IO_READ_FAILED.
    """
    builder = _Builder(layout, marks)
    notices: list[Notice] = []
    with closing(_sources(layout, given)) as sources:
        for source, noticed in sources:
            notices += noticed
            builder.read(source, match_header(layout, source, naming))
    table = builder.table()
    if not table.rows:
        names = ", ".join(file.name for file in table.files)
        raise ArrivalError(
            layout.code,
            f"{names}: {layout.name} have column names but no rows",
            hint="give at least one row",
            files=names,
        )
    return table, notices


def _sources(layout: Layout, given: object) -> Generator[tuple[Source, list[Notice]], None, None]:
    """The files and the tables in memory, each with the notices about it and open until the next."""
    argument = layout.name.replace(" ", "_")
    tables = tables_in(given, argument)
    paths = [path for path in tables if isinstance(path, Path)]
    found, left_out = files_of(paths, layout.name)
    for file in found:
        source, notices = open_file(file)
        yield source, [*left_out, *notices]
        left_out = []
    for number, table in enumerate(tables):
        if not isinstance(table, Path):
            with open_frame(table, argument, number if len(tables) > 1 else None) as frame:
                yield frame, []


def _told(place: Mapping[str, object]) -> str:
    return ", ".join(str(value) if name in ("file", "table") else f"{name} {value}" for name, value in place.items())


@dataclass
class _Builder:
    """Collects the files of one table."""

    layout: Layout
    marks: Marks
    files: list[Source] = field(default_factory=list)
    first_rows: list[int] = field(default_factory=list)
    rows: int = 0
    room: Room = field(default_factory=Room.here)
    pieces: dict[str, list[npt.NDArray[Any]]] = field(default_factory=dict)
    texts: dict[str, dict[str | None, int]] = field(default_factory=dict)

    def read(self, file: Source, names: Mapping[str, str]) -> None:
        self._same_columns(file, names)
        self.files.append(file)
        self.first_rows.append(self.rows)
        # In the layout's order, so that the first of several faults in a row is the same in every file.
        columns = [column for column in self.layout.columns if column.name in names]
        keys = self._keys(file, names, columns)
        for batch in file.batches([theirs for theirs in names.values() if theirs in file.header], self.room):
            found = [self._column(file, column, names[column.name], batch, keys) for column in columns]
            for column, values in zip(columns, found, strict=True):
                self.pieces[column.name].append(values)
            self.rows += batch.num_rows

    def _keys(self, file: Source, names: Mapping[str, str], columns: Sequence[Column]) -> dict[str, Any]:
        """The converted partition keys of the file's directories, by our names."""
        texts = {**file.around, **file.keys}
        found = {}
        for column in columns:
            theirs = names[column.name]
            if theirs in texts:
                try:
                    found[column.name] = self._converted(file, column, texts[theirs])
                except Refused as verdict:
                    value = "null" if texts[theirs] is None else repr(texts[theirs])
                    what = f"{file.name}: the partition key {theirs}={value} {verdict.what}"
                    raise ArrivalError(
                        verdict.code, what, hint=verdict.hint, file=file.name, column=theirs, value=value
                    ) from verdict
        return found

    def _same_columns(self, file: Source, names: Mapping[str, str]) -> None:
        if not self.files:
            self.pieces = {column.name: [] for column in self.layout.columns if column.name in names}
        differing = sorted(self.pieces.keys() ^ names.keys())
        if differing:
            has, lacks = (file, self.files[0]) if differing[0] in names else (self.files[0], file)
            raise ArrivalError(
                Code.SCHEMA_VIOLATION,
                f"{has.name} has a column {differing[0]}, {lacks.name} has none",
                hint="give all files of a table the same columns",
                file=file.name,
                column=differing[0],
            )

    def _column(
        self, file: Source, column: Column, theirs: str, batch: pa.RecordBatch, keys: Mapping[str, Any]
    ) -> npt.NDArray[Any]:
        """One column of a batch; each distinct cell is converted once. A partition key has one value for all rows."""
        if theirs not in file.header:
            return np.full(batch.num_rows, self._stored(column, [keys[column.name]])[0], _DTYPES[column.kind])
        self._refuse_long(file, theirs, batch.column(theirs))
        codes, cells = _distinct(file, theirs, batch.column(theirs))
        converted: list[Any] = []
        refused: list[tuple[int, Refused]] = []
        for code, cell in enumerate(cells):
            # Distinct cells are in order of first occurrence, except null, so the first refusal is enough.
            if refused and cell is not None:
                continue
            try:
                value = self._converted(file, column, cell)
                if column.name in keys and value != keys[column.name]:
                    raise _contradiction(theirs, keys[column.name])
                converted.append(value)
            except Refused as verdict:
                converted.append(0)
                refused.append((int(np.argmax(codes == code)), verdict))
        if refused:
            row, first = min(refused, key=lambda item: item[0])
            self._refuse_cell(file, theirs, row, cells[codes[row]], first)
        return np.array(self._stored(column, converted), _DTYPES[column.kind])[codes]

    def _stored(self, column: Column, converted: list[Any]) -> list[Any]:
        """Values as the table holds them: texts as their codes."""
        if column.kind != "text":
            return converted
        vocabulary = self.texts.setdefault(column.name, {})
        return [vocabulary.setdefault(text, len(vocabulary)) for text in converted]

    def _converted(self, file: Source, column: Column, cell: Cell) -> Any:
        if column.number and isinstance(cell, str):
            cell = plain(cell, self.marks, whole=column.kind != "float64", comma_separated=file.delimiter == ",")
        return column.convert(cell)

    def _refuse_long(self, file: Source, theirs: str, array: pa.Array) -> None:
        """Refuse a text that is longer than any name or number, before it is looked at."""
        coded = pa.types.is_dictionary(array.type)
        texts = array.dictionary if coded else array
        if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
            return
        sizes = pc.binary_length(texts)
        if (pc.max(sizes).as_py() or 0) <= TEXT_BYTES_MAX:
            return
        if coded:
            sizes = sizes.take(array.indices)
        row = pc.index(pc.greater(sizes, TEXT_BYTES_MAX), True).as_py()
        if row >= 0:
            what = f"has a text of {sizes[row].as_py():,} bytes, and a cell may have {TEXT_BYTES_MAX:,}"
            hint = "shorten it: ids, time zones, channels and times are short"
            self._refuse_cell(file, theirs, row, None, Refused(what, hint, Code.LIMIT_EXCEEDED))

    def _refuse_cell(self, file: Source, theirs: str, row: int, cell: Cell, verdict: Refused) -> NoReturn:
        place = file.place(self.rows - self.first_rows[-1] + row)
        shown = _shown(cell)
        value = f" {shown}" if shown else ""
        raise ArrivalError(
            verdict.code,
            f"{_told(place)}: {theirs}{value} {verdict.what}",
            hint=verdict.hint,
            **place,
            column=theirs,
            value=shown,
        )

    def table(self) -> Table:
        columns = {
            column.name: np.concatenate([np.empty(0, _DTYPES[column.kind]), *self.pieces[column.name]])
            for column in self.layout.columns
            if column.name in self.pieces
        }
        texts = {name: tuple(vocabulary) for name, vocabulary in self.texts.items()}
        return Table(self.layout, self.rows, columns, texts, tuple(self.files), tuple(self.first_rows))


def _contradiction(theirs: str, key: object) -> Refused:
    return Refused(
        f"is not the {theirs} of the file's directory, {key!r}",
        f"move the file, or leave both out: --ignore {shell_word(theirs)}",
    )


def _shown(cell: Cell) -> str:
    """A cell as text of a message; empty for an empty cell."""
    if cell is None or cell == "":
        return ""
    if isinstance(cell, Instant):
        moment = np.datetime64(cell.micros, "us")
        return f"{moment}Z" if cell.zoned else str(moment)
    text = repr(cell) if isinstance(cell, str) else str(cell)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _distinct(file: Source, theirs: str, array: pa.Array) -> tuple[npt.NDArray[np.int64], list[Cell]]:
    """Index of each row's cell among the distinct cells (null is one of them), and the distinct cells."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.dictionary_decode(), kind.value_type
    if pa.types.is_timestamp(kind):
        array = _micros(file, theirs, array)
    elif pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        # Arrow cannot look for distinct values of the narrow decimals.
        array = array.cast(pa.decimal128(kind.precision, kind.scale))
    elif is_uuid(kind):
        array = array.storage
    coded = array.dictionary_encode()
    try:
        cells: list[Cell] = list(_cells(coded.dictionary, kind))
    except OverflowError as failure:
        raise ArrivalError(
            Code.TIME_GRID_MISMATCH,
            f"{file.name}: column {theirs!r} has dates that are not in the years 1 to 9999",
            hint="correct the dates, or export the table again",
            file=file.name,
            column=theirs,
        ) from failure
    codes = coded.indices.fill_null(len(cells)).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, [*cells, None] if coded.indices.null_count else cells


def _micros(file: Source, theirs: str, array: pa.Array) -> pa.Array:
    """Timestamps of any unit in microseconds. Raises TIME_GRID_MISMATCH if one does not fit."""
    try:
        return pc.cast(array, pa.timestamp("us", array.type.tz)).cast(pa.int64())
    except pa.ArrowInvalid as failure:
        raise ArrivalError(
            Code.TIME_GRID_MISMATCH,
            f"{file.name}: column {theirs!r} has times that microseconds cannot represent",
            hint="round the times to the starts of their buckets",
            file=file.name,
            column=theirs,
        ) from failure


def _cells(distinct: pa.Array, kind: pa.DataType) -> Iterator[Cell]:
    for value in distinct.to_pylist():
        if value is None:
            yield None
        elif pa.types.is_timestamp(kind):
            yield Instant(value, kind.tz is not None)
        elif isinstance(value, datetime):
            # date64 counts milliseconds, but a date has no time of day.
            yield value.date()
        elif is_uuid(kind):
            yield str(UUID(bytes=value))
        elif pa.types.is_float32(kind):
            yield ShortFloat(value)
        elif pa.types.is_float16(kind):
            yield HalfFloat(value)
        elif isinstance(value, int | float | str | Decimal | date):
            yield value
