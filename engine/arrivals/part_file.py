"""A part file as it lies on disk, Parquet or Arrow IPC: what its footer says, its rows in pieces, its rows by key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.options import FileFormat
from arrival_engine.contracts.parquet_footer import row_groups
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.rundir.arrow_files import (
    open_arrow,
    open_parquet,
    parquet_metadata,
    parquet_schema,
    sound_batch,
)

DIGEST_KEY = "arrivals.digest"
PIECE_ROWS = 1 << 18


def is_time(column: str) -> bool:
    """Whether a column of the arrivals holds instants or wall-clock times."""
    return column.startswith("ts_")


@dataclass(frozen=True)
class PartFile(ABC):
    """A part file, opened anew by each method. Methods raise OSError or pa.ArrowException for an unreadable file."""

    path: InsidePath
    format: ClassVar[FileFormat]

    @staticmethod
    def at(path: InsidePath) -> PartFile:
        """The part file at `path`, of the format that its suffix names."""
        return (_ParquetPart if path.suffix == ".parquet" else _ArrowPart)(path)

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Columns, types and key-value metadata."""

    @abstractmethod
    def rows(self) -> int:
        """Number of rows, by the footer."""

    @abstractmethod
    def pieces(self) -> Iterator[pa.Table]:
        """All rows, at most PIECE_ROWS at a time; texts are dictionaries where that is cheap."""

    @abstractmethod
    def groups(self) -> Iterator[pa.Table]:
        """All rows, one row group or record batch at a time, with the types of `schema`."""

    @abstractmethod
    def spans(self) -> list[range]:
        """Neighbouring row groups or record batches that have about PIECE_ROWS rows together."""

    @abstractmethod
    def span(self, groups: range) -> pa.Table:
        """The rows of a span; texts are dictionaries where that is cheap."""

    @abstractmethod
    def matching(self, wanted: Mapping[str, int]) -> Iterator[pa.Table]:
        """The rows in which each unsigned column has the wanted value; what cannot hold one is not read."""

    def statements(self) -> dict[str, str]:
        """The key-value metadata."""
        return {key.decode(): value.decode() for key, value in (self.schema().metadata or {}).items()}

    def digest(self) -> Digest:
        """The arrival digest that the file states; raises ValueError where it states none."""
        return Digest.parse((self.schema().metadata or {}).get(DIGEST_KEY.encode(), b"").decode())


class _ParquetPart(PartFile):
    format = "parquet"

    def schema(self) -> pa.Schema:
        return parquet_schema(self.path)

    def rows(self) -> int:
        return int(parquet_metadata(self.path).num_rows)

    def pieces(self) -> Iterator[pa.Table]:
        with open_parquet(self.path, read_dictionary=_texts(self.schema())) as file:
            for batch in file.iter_batches(batch_size=PIECE_ROWS):
                yield pa.Table.from_batches([batch])

    def groups(self) -> Iterator[pa.Table]:
        with open_parquet(self.path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)

    def spans(self) -> list[range]:
        footer = parquet_metadata(self.path)
        return _spans([footer.row_group(group).num_rows for group in range(footer.num_row_groups)])

    def span(self, groups: range) -> pa.Table:
        with open_parquet(self.path, read_dictionary=_texts(self.schema())) as file:
            return file.read_row_groups(groups)

    def matching(self, wanted: Mapping[str, int]) -> Iterator[pa.Table]:
        with self.path.open("rb") as source:
            stated = row_groups(source)
        with open_parquet(self.path) as file:
            for group, (_, chunks) in enumerate(stated):
                if not all(name not in chunks or chunks[name].may_hold(value) for name, value in wanted.items()):
                    continue
                mask = _matches(file.read_row_group(group, columns=list(wanted)), wanted)
                if pc.any(mask).as_py():
                    yield file.read_row_group(group).filter(mask)


class _ArrowPart(PartFile):
    format = "arrow"

    def schema(self) -> pa.Schema:
        with open_arrow(self.path) as reader:
            return reader.schema

    def rows(self) -> int:
        with open_arrow(self.path) as reader:
            return sum(sound_batch(reader, index).num_rows for index in range(reader.num_record_batches))

    def pieces(self) -> Iterator[pa.Table]:
        with open_arrow(self.path) as reader:
            for index in range(reader.num_record_batches):
                batch = sound_batch(reader, index)
                for first in range(0, batch.num_rows, PIECE_ROWS):
                    yield pa.Table.from_batches([batch.slice(first, PIECE_ROWS)])

    def groups(self) -> Iterator[pa.Table]:
        with open_arrow(self.path) as reader:
            for index in range(reader.num_record_batches):
                yield pa.Table.from_batches([sound_batch(reader, index)])

    def spans(self) -> list[range]:
        with open_arrow(self.path) as reader:
            return [range(index, index + 1) for index in range(reader.num_record_batches)]

    def span(self, groups: range) -> pa.Table:
        with open_arrow(self.path) as reader:
            return pa.Table.from_batches([sound_batch(reader, index) for index in groups])

    def matching(self, wanted: Mapping[str, int]) -> Iterator[pa.Table]:
        fields = [self.schema().get_field_index(name) for name in wanted]
        # IPC files have no statistics: the key columns are decoded, the rest only where they match.
        with open_arrow(self.path) as whole, open_arrow(self.path, fields) as keys:
            for index in range(keys.num_record_batches):
                mask = _matches(pa.Table.from_batches([sound_batch(keys, index)]), wanted)
                if pc.any(mask).as_py():
                    yield pa.Table.from_batches([sound_batch(whole, index)]).filter(mask)


def _texts(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if pa.types.is_string(field.type) and not is_time(field.name)]


def _spans(rows: Sequence[int]) -> list[range]:
    """Neighbouring groups, of `rows` each, that have at most PIECE_ROWS together; a larger one is by itself."""
    spans: list[range] = []
    together = 0
    for group, count in enumerate(rows):
        if spans and together + count <= PIECE_ROWS:
            spans[-1] = range(spans[-1].start, group + 1)
            together += count
        else:
            spans.append(range(group, group + 1))
            together = count
    return spans


def _matches(table: pa.Table, wanted: Mapping[str, int]) -> pa.ChunkedArray:
    masks = [pc.equal(table[name], pa.scalar(value, pa.uint64())) for name, value in wanted.items()]
    return pc.fill_null(pc.and_(*masks), False)
