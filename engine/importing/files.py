"""Open a user's CSV and Parquet files: their format, their header, and their rows as Arrow batches of cells.

CSV is read in blocks and Parquet in batches, so a file may be larger than memory.
"""

from __future__ import annotations

import csv
import io
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.csv

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.contracts.oserrors import lack_of_memory, reading, reason
from arrival_engine.engine.importing import parquet
from arrival_engine.engine.importing.folders import TableFile
from arrival_engine.engine.importing.formats import HEAD_BYTES, PARQUET, compression_of, head_of, refuse_other_format
from arrival_engine.engine.importing.quoting import shell_word
from arrival_engine.engine.importing.room import Room
from arrival_engine.engine.process import human

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_BLOCK_BYTES = 1 << 22
_EXCEL_LINE = re.compile("sep=.?")
# Arrow's own words. Its handler of such rows cannot be given one that is not UTF-8.
_RAGGED = "CSV parse error: Expected"


@dataclass(frozen=True)
class SourceFile:
    """A file of a table: its name in messages, its header, its partition keys, the delimiter and compression of CSV.

    keys and around: as of a `folders.TableFile`.
    """

    path: Path
    name: str
    header: tuple[str, ...]
    delimiter: str = ""
    compression: str | None = None
    keys: Mapping[str, str | None] = field(default_factory=dict)
    around: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def is_csv(self) -> bool:
        """Whether the file is CSV; otherwise it is Parquet."""
        return bool(self.delimiter)

    def batches(self, columns: Sequence[str], room: Room) -> Iterator[pa.RecordBatch]:
        """The named columns, CSV's as text.

        Raises SCHEMA_VIOLATION for a broken file, LIMIT_EXCEEDED for one with too long lines or texts,
        RESOURCES_INSUFFICIENT for more rows than fit the memory, IO_READ_FAILED.
        """
        return (
            _csv_batches(self, columns, room) if self.is_csv else parquet.batches(self.path, self.name, columns, room)
        )

    def place(self, row: int) -> Mapping[str, object]:
        """The place of data row `row` (from 0): the file, and its line (CSV, from 1) or row (Parquet, from 1)."""
        if not self.is_csv:
            return {"file": self.name, "row": row + 1}
        return {"file": self.name, "line": _line_of(self, row)}


def open_file(found: TableFile) -> tuple[SourceFile, list[Notice]]:
    """The file's form, and notices about it. Raises SCHEMA_VIOLATION, IO_READ_FAILED."""
    file, notices = _open(found.path)
    return replace(file, keys=found.keys, around=found.around), notices


def _open(path: Path) -> tuple[SourceFile, list[Notice]]:
    name = str(path)
    refuse_other_format(path)
    with reading("table", path):
        head = head_of(path, None)
        if head.startswith(PARQUET):
            return SourceFile(path, name, parquet.header_of(path, name)), []
        compression = compression_of(head)
        if compression:
            head = head_of(path, compression)
    if not head.removeprefix(BOM_UTF8).strip():
        _refuse(name, "is empty", "give a header line with column names and one line per row")
    line, *others = head.removeprefix(BOM_UTF8).lstrip(b"\r\n").splitlines()
    if not others and len(head) == HEAD_BYTES:
        _refuse_long(
            name, f"has no line end in its first {human.size(HEAD_BYTES)}", "begin it with a line of column names"
        )
    try:
        text = line.decode()
    except UnicodeDecodeError:
        _refuse(name, "has a header that is not UTF-8", "save it as UTF-8")
    if line.startswith(BOM_UTF8):
        _refuse(name, "has a byte order mark that is not at its beginning", "remove what is above the column names")
    if _EXCEL_LINE.fullmatch(text):
        _refuse(name, f"begins with {text!r}, a line for Excel alone", f"remove it: sed -i 1d {shell_word(name)}")
    delimiter = max(_DELIMITERS, key=text.count)
    try:
        header = next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error:
        _refuse_long(
            name, f"has a column name of more than {csv.field_size_limit()} characters", "check its first line"
        )
    notices = []
    if delimiter != ",":
        message = f"{name} is read as values separated by a {_DELIMITERS[delimiter]}"
        notices.append(Notice("CSV_DELIMITER", message, {"file": name, "delimiter": delimiter}))
    return SourceFile(path, name, tuple(header), delimiter, compression), notices


def _csv_batches(file: SourceFile, columns: Sequence[str], room: Room) -> Iterator[pa.RecordBatch]:
    rows = 0
    try:
        with (
            reading("table", file.path),
            pa.input_stream(str(file.path), compression=file.compression) as stream,
            pa.csv.open_csv(
                stream,
                read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=pa.csv.ParseOptions(delimiter=file.delimiter),
                convert_options=pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(file.header, pa.string()),
                    include_columns=list(columns),
                    strings_can_be_null=False,
                ),
            ) as reader,
        ):
            for batch in reader:
                rows += batch.num_rows
                room.check(rows, file.name)
                yield batch
    except (pa.ArrowInvalid, pa.ArrowKeyError) as failure:
        if lack_of_memory(failure):
            raise
        _explain(file, failure)


def _explain(file: SourceFile, failure: Exception) -> NoReturn:
    """Name the line at which Arrow's reader failed."""
    line, values = _first_ragged(file) if _RAGGED in str(failure) else (0, 0)
    if line:
        hint = "quote values that contain the separator, and leave out titles, totals and notes"
        what = f"line {line} has {values} values, but the header has {len(file.header)} columns"
        raise ArrivalError(Code.SCHEMA_VIOLATION, f"{file.name}: {what}", hint=hint, file=file.name, line=line)
    if "UTF8" in str(failure) or "UTF-8" in str(failure):
        line = _first_undecodable(file)
        what = f"line {line} is not UTF-8"
        raise ArrivalError(
            Code.SCHEMA_VIOLATION, f"{file.name}: {what}", hint="save it as UTF-8", file=file.name, line=line
        )
    if "straddling object" in str(failure):
        _refuse_long(file.name, f"has a line of more than {human.size(_BLOCK_BYTES)}", "check its quotes and line ends")
    if "out of sync" in str(failure):
        _refuse(file.name, "has a value that spans several lines", "write each row in one line, and check the quotes")
    _refuse(file.name, f"cannot be read as CSV: {reason(failure)}", "check the export")


# --- Second pass over a file that is refused ---------------------------------------------------------


def _records(file: SourceFile) -> Iterator[tuple[int, list[str]]]:
    """(last line, values) of each record that is not blank, including the header."""
    with pa.input_stream(str(file.path), compression=file.compression) as stream:
        text = io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8-sig", errors="replace", newline="")
        reader = csv.reader(text, delimiter=file.delimiter)
        # A value longer than the module's limit ends the search; the message then has no line.
        with suppress(csv.Error):
            for values in reader:
                if values:
                    yield reader.line_num, values


def _line_of(file: SourceFile, row: int) -> int:
    for number, (line, _) in enumerate(_records(file)):
        if number == row + 1:
            return line
    return row + 2


def _first_ragged(file: SourceFile) -> tuple[int, int]:
    """Line and number of values; zeros if all records are whole, as with a value that spans lines."""
    for line, values in _records(file):
        if len(values) != len(file.header):
            return line, len(values)
    return 0, 0


def _first_undecodable(file: SourceFile) -> int:
    with pa.input_stream(str(file.path), compression=file.compression) as stream:
        for line, data in enumerate(io.BufferedReader(stream), 1):
            try:
                data.decode("utf-8")
            except UnicodeDecodeError:
                return line
    return 0


def _refuse_long(file: str, what: str, hint: str) -> NoReturn:
    raise ArrivalError(Code.LIMIT_EXCEEDED, f"{file} {what}", hint=hint, file=file)


def _refuse(file: str, what: str, hint: str) -> NoReturn:
    raise ArrivalError(Code.SCHEMA_VIOLATION, f"{file} {what}", hint=hint, file=file)
