"""Where data files go: one sink per table format, with one atomic step in which an export becomes visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.exporting.facts import Facts

if TYPE_CHECKING:
    import pyarrow as pa

    from arrival_engine.engine.exporting.files import DataFile

__all__ = ["FileFacts", "Layout", "Numbering", "Output", "Sink", "Standing", "conflict"]


@dataclass(frozen=True)
class Layout:
    """The table that an export fills.

    schema: columns and types of the data files, texts plain; each field's metadata has its `description`. about: a
    sentence on the table. partition: `day`, the column that folders are named by, or None.
    """

    schema: pa.Schema
    about: str
    partition: str | None = None


@dataclass(frozen=True)
class Standing:
    """An export that readers see now.

    fault: what is wrong with its files; empty for a sound one.
    """

    facts: Facts
    fault: str = ""


class FileFacts(NamedTuple):
    """A file of an export that stands: its name below the table's root with `/`, its size, its SHA-256."""

    name: str
    bytes: int
    sha256: str


class Output(Protocol):
    """A data file that is being written."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Write all of the data."""

    def close(self) -> None:
        """End the file; without an error, its bytes will outlast the process and the machine."""


class Sink(Protocol):
    """The place of one export. Calls come from one thread: `standing`, then `create` per file, `commit`, `describe`."""

    @property
    def root(self) -> str:
        """What the names of files have before them, seen from the description: empty, or a name with `/`."""

    def standing(self, *, thorough: bool) -> Standing | None:
        """The export that readers see; None where nothing is. thorough: every byte of it is looked at.

        Raises IO_WRITE_CONFLICT for anything that is not an export of this format.
        """

    def create(self, name: str) -> Output:
        """A new data file that no reader sees yet; it is closed before the next is made.

        name: relative, with `/`; a day's folder is part of it.
        """

    def commit(self, files: Sequence[DataFile], facts: Facts, *, replace: bool) -> Sequence[FileFacts]:
        """Make all files visible in one atomic step; with `replace`, in place of what stands there.

        Returns the files that the export consists of afterwards. Raises IO_WRITE_CONFLICT if something stands there.
        """

    def listed(self) -> Sequence[FileFacts]:
        """The files of the export that stands."""

    def description(self) -> bytes | None:
        """The description beside the export; None where there is none."""

    def describe(self, document: bytes) -> str:
        """Put a description beside the export, in place of another; return its place."""

    def abandon(self) -> None:
        """Remove what no reader sees. Called at the end in any case, also after `commit`."""


@runtime_checkable
class Numbering(Protocol):
    """A sink of tables that know columns by numbers, which the data files have to state."""

    def numbered(self) -> pa.Schema:
        """The schema of the layout with the numbers of the columns, as `PARQUET:field_id` in their metadata."""


def conflict(place: object, problem: str, hint: str) -> ArrivalError:
    """The error for a target that holds something else."""
    return ArrivalError(Code.IO_WRITE_CONFLICT, f"{place} {problem}", hint=hint, path=str(place))
