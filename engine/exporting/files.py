"""Data files: Parquet, written once, whose bytes depend on the rows and the form of the export alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import pyarrow as pa

from arrival_engine.contracts.oserrors import writing
from arrival_engine.contracts.pandas_metadata import KEY, pandas_metadata
from arrival_engine.contracts.thrift import MAGIC
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.exporting.facts import PREFIX, Facts
from arrival_engine.engine.exporting.row_groups import EncodedGroup, PlacedGroup, encoded, file_end
from arrival_engine.engine.pages.footer import FooterEnds
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.rundir.arrow_files import parquet_in_memory

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from arrival_engine.engine.exporting.sink import Sink

__all__ = ["FILE_ROWS", "PARTITION", "DataFile", "Form", "Group", "Made", "write_files"]

# Some 370 MB at 11 bytes per row, which the columns for people take.
FILE_ROWS = 1 << 25
_TOKEN_DIGITS = 12
# The column that folders are named by.
PARTITION = "day"
_DIGEST = f"{PREFIX}digest"


@dataclass(frozen=True)
class DataFile:
    """A data file as it was written.

    name: relative to the table's root, with `/`. sha256: of its bytes, hexadecimal. digest: of its rows, which its
    key-value metadata state too. day: the UTC day of a partition, as YYYY-MM-DD; None for files of any days.
    """

    name: str
    rows: int
    bytes: int
    sha256: str
    digest: Digest
    footer: pq.FileMetaData
    day: str | None = None


class Made(NamedTuple):
    """The rows of a row group, and their digest."""

    table: pa.Table
    digest: Digest


class Group(NamedTuple):
    """Rows that become a row group, made when a thread has time; day: of their partition, or None."""

    rows: int
    make: Callable[[], Made]
    day: str | None = None


def file_token(facts: Facts) -> str:
    """The beginning of file names: no two exports that differ in arrivals or form have a name in common.

    The digest is not in it, because files are named before all arrivals are known: identity, seal and law decide them.
    """
    told = facts.properties()
    for name in ("digest", "command", "engine_version"):
        del told[f"{PREFIX}{name}"]
    lines = "".join(f"{name}={value}\n" for name, value in sorted(told.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:_TOKEN_DIGITS]


@dataclass(frozen=True)
class Form:
    """The form of data files.

    schema: with a `description` per field, texts plain. facts: of the export; its digest does not matter. advance:
    called with numbers of rows that are written.
    """

    schema: pa.Schema
    facts: Facts
    advance: Callable[[int], object] = lambda _: None

    @cached_property
    def token(self) -> str:
        """The beginning of file names."""
        return file_token(self.facts)

    @cached_property
    def properties(self) -> dict[str, str]:
        """Key-value metadata of each file."""
        return self.facts.properties()


class _Encoded(NamedTuple):
    group: Group
    digest: Digest
    pages: EncodedGroup


def _encode(group: Group) -> _Encoded:
    table, digest = group.make()
    return _Encoded(group, digest, encoded(table))


def write_files(sink: Sink, form: Form, groups: Iterable[Group], threads: int) -> Generator[DataFile, None, None]:
    """Write all groups in their order to data files of a sink, encoded on threads; yield each file when it is complete.

    A file ends before the group that would make it larger than `FILE_ROWS` rows, and with its day. Without groups,
    there is one file without rows. Raises IO_WRITE_FAILED.
    """
    number = 0
    with closing(ordered(_encode, groups, threads, Cancellation())) as done:
        waiting = next(done, None)
        while waiting is not None or number == 0:
            day = waiting.group.day if waiting else None
            with _OpenFile(sink, form, number, day) as file:
                while waiting is not None and file.takes(waiting.group):
                    file.add(waiting)
                    waiting = next(done, None)
                complete = file.complete()
            number += 1
            yield complete


class _OpenFile:
    """A data file that is being written."""

    def __init__(self, sink: Sink, form: Form, number: int, day: str | None) -> None:
        self._form, self._day = form, day
        self._name = f"{f'{PARTITION}={day}/' if day else ''}{form.token}-{number:06d}.parquet"
        self._placed: list[PlacedGroup] = []
        self._rows, self._bytes, self._digest = 0, 0, Digest()
        self._sha256 = hashlib.sha256()
        with writing("data file", self._name):
            self._file = sink.create(self._name)

    def __enter__(self) -> Self:
        self._write(MAGIC)
        return self

    def __exit__(self, *failure: object) -> None:
        with writing("data file", self._name):
            self._file.close()

    def takes(self, group: Group) -> bool:
        return group.day == self._day and (self._rows == 0 or self._rows + group.rows <= FILE_ROWS)

    def add(self, group: _Encoded) -> None:
        # Pages go to the file at once; only what the footer says of them is kept.
        self._placed.append(PlacedGroup(self._bytes, group.pages.without_pages()))
        self._write(group.pages.pages)
        self._rows += group.group.rows
        self._digest += group.digest
        self._form.advance(group.group.rows)

    def complete(self) -> DataFile:
        index, entries = file_end(self._placed, self._bytes)
        for piece in index:
            self._write(piece)
        schema = self._form.schema
        stated = {**self._form.properties, _DIGEST: str(self._digest), KEY: pandas_metadata(schema)}
        ends = FooterEnds(schema.with_metadata(stated))
        end = ends.file_end(self._rows, len(self._placed), entries)
        self._write(end)
        with parquet_in_memory(MAGIC + end) as read:
            footer = read.metadata
        return DataFile(self._name, self._rows, self._bytes, self._sha256.hexdigest(), self._digest, footer, self._day)

    def _write(self, data: bytes | memoryview) -> None:
        with writing("data file", self._name):
            self._file.write(data)
        self._sha256.update(data)
        self._bytes += len(data)
