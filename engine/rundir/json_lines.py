"""JSON Lines logs, which other programs append to as well.

A power cut or a full disk leaves a line that is cut off, and a program that does not look appends its record to it. So
the reader takes each line by itself: what is not a record is set aside by name, and every other line counts.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from arrival_engine.contracts import ArrivalError, Code, Notice, check_document, dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading, writing
from arrival_engine.contracts.schemas import json_schema
from arrival_engine.engine.rundir.strict_json import SIZE_LIMIT, parse_json

Record = dict[str, Any]

# A log of garbage must not hide what else a command says.
_NAMED = 5


class Entry(NamedTuple):
    """A record and the number of its line, from 1."""

    line: int
    record: Record


class SetAside(NamedTuple):
    """A line that is not a record: its number, from 1, and what is wrong with it."""

    line: int
    fault: str


@dataclass(frozen=True)
class Log:
    """The entries of a log that a reader asked for, and the lines set aside. `name`: the path in the run directory."""

    name: str
    entries: tuple[Entry, ...] = ()
    aside: tuple[SetAside, ...] = ()

    @property
    def records(self) -> list[Record]:
        """The records in the order of their lines."""
        return [entry.record for entry in self.entries]

    def has_gap(self, after: int, before: int) -> bool:
        """Whether a line between these two was set aside."""
        return any(after < aside.line < before for aside in self.aside)

    def notices(self) -> tuple[Notice, ...]:
        """Name the lines set aside, the first of them one by one."""
        named = [
            Notice(
                "LOG_LINE_SET_ASIDE",
                f"{self.name}, line {aside.line} is set aside: {aside.fault}; if a record is missing because of it, "
                "`arrivals run` writes that again",
                {"log": self.name, "line": aside.line, "fault": aside.fault},
            )
            for aside in self.aside[:_NAMED]
        ]
        rest = len(self.aside) - len(named)
        if rest:
            message = f"{self.name}: {rest} more {'lines are' if rest > 1 else 'line is'} set aside"
            named.append(Notice("LOG_LINE_SET_ASIDE", message, {"log": self.name, "lines": rest}))
        return tuple(named)


def read_log(path: InsidePath, run_root: InsidePath, dataset_id: str, wanted: Callable[[Record], bool]) -> Log:
    """The records of a dataset's log that are `wanted`, each checked against the schema.

    Records that are not wanted are other programs' and may have any form. Set aside are lines that are not JSON
    objects, and wanted records that break the schema. No file is an empty log. Raises IO_READ_FAILED.
    """
    entries: list[Entry] = []
    aside: list[SetAside] = []
    schema = dataset(dataset_id).schema
    # Schemas of logs describe one record, or the list of all.
    listed = json_schema(schema)["type"] == "array"
    for number, line in raw_lines(path):
        try:
            record = _record(line)
            if wanted(record):
                _check(schema, [record] if listed else record)
                entries.append(Entry(number, record))
        except ValueError as failure:
            aside.append(SetAside(number, str(failure)))
    return Log(path.relative_to(run_root).as_posix(), tuple(entries), tuple(aside))


def raw_lines(path: InsidePath) -> Iterator[tuple[int, bytes]]:
    """Each line that is not blank, without its end, with its number from 1. Raises IO_READ_FAILED.

    Of a line that is longer than any record may be, only the beginning, which shows that.
    """
    last = 0
    for number, piece in line_pieces(path):
        if number != last and piece.strip():
            yield number, piece.removesuffix(b"\n")
        last = number


def copied_lines(path: InsidePath, wanted: Callable[[int], bool]) -> Iterator[bytes]:
    """The bytes of the lines, by number, that are wanted and not blank, each with its end. Raises IO_READ_FAILED."""
    last, kept, piece = 0, False, b"\n"
    for number, piece in line_pieces(path):
        if number != last:
            kept = wanted(number) and bool(piece.strip())
        if kept:
            yield piece
        last = number
    if kept and not piece.endswith(b"\n"):
        yield b"\n"


def line_pieces(path: InsidePath) -> Iterator[tuple[int, bytes]]:
    """The bytes of a log, in pieces of one line each, with the line's number from 1. Raises IO_READ_FAILED.

    A long line comes in several pieces, the first of which is longer than any record may be.
    """
    with reading("log", path):
        if not path.exists():
            return
        with path.open("rb") as file:
            number = 1
            while piece := file.readline(SIZE_LIMIT + 2):
                yield number, piece
                number += piece.endswith(b"\n")


def _record(line: bytes) -> Record:
    if len(line) > SIZE_LIMIT:
        raise ValueError(f"longer than {SIZE_LIMIT} bytes")
    try:
        value = parse_json(line)
    except json.JSONDecodeError as failure:
        raise ValueError(f"cut off or damaged ({failure.msg} at character {failure.pos + 1})") from failure
    except UnicodeDecodeError as failure:
        raise ValueError(f"damaged (not UTF-8 at byte {failure.start + 1})") from failure
    except ValueError as failure:
        raise ValueError(f"damaged ({failure})") from failure
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a fault of the text, as the others are
    return value


def _check(schema: str, document: object) -> None:
    try:
        check_document(schema, document, code=Code.SCHEMA_VIOLATION, where="breaks the contract")
    except ArrivalError as error:
        raise ValueError(error.message) from error


def append_line(what: str, path: InsidePath, data: bytes) -> None:
    """Append `data`, a line with its end, whole or not at all, and flush it to the disk. Raises IO_WRITE_FAILED.

    The line is a new one even if the last of the file was cut off. Appends of several processes and threads follow
    each other. The directory must exist: one that was taken away from an abandoned run must not come back.
    """
    with writing(what, path), path.open("a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file.fileno()).st_size
        begun = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
        _write_whole(file, b"\n" + data if begun else data)


def _write_whole(file: io.FileIO, data: bytes) -> None:
    written = 0
    try:
        # A full disk, or a file at its largest size, takes what still fits without an error; the next write says why.
        while written < len(data):
            written += file.write(data[written:])
        os.fsync(file.fileno())
    except OSError:
        _take_back(file, written)
        raise


def _take_back(file: io.FileIO, written: int) -> None:
    """Cut off what was just written, unless a program that does not lock has appended to it since."""
    end = file.tell()
    if written and os.fstat(file.fileno()).st_size == end:
        file.truncate(end - written)
