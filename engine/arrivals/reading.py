"""Read published arrivals: part files in order, rows in the contract's JSON form, or one row by its key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.moments import utc_text, wall_text
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.arrivals.part_file import PartFile

# What columns of other types, names and values than the contract's lead to.
_FOREIGN = (AttributeError, LookupError, OverflowError, TypeError, ValueError)


def part_files(directory: InsidePath) -> list[InsidePath]:
    """The part files of a partition directory in name order, which is arrival order; none where there is none."""
    with reading_arrivals(directory):
        if not directory.is_dir():
            return []
        return sorted(path for path in directory.iterdir() if path.suffix in (".parquet", ".arrow"))


def read_pieces(path: InsidePath) -> Iterator[pa.Table]:
    """A part file piece by piece, as `PartFile.pieces`. Raises IO_READ_FAILED."""
    with reading_arrivals(path, UnicodeDecodeError):
        yield from PartFile.at(path).pieces()


def find_rows(
    parts: Sequence[InsidePath], merchant_id: int, arrival_seq: int
) -> list[tuple[InsidePath, dict[str, object]]]:
    """Every stored row with this key, in the contract's JSON form, and the part it stands in.

    Row groups and batches that cannot hold the key are not read.
    """
    wanted = {"merchant_id": merchant_id, "arrival_seq": arrival_seq}
    found = []
    for path in parts:
        with reading_arrivals(path, *_FOREIGN):
            part = PartFile.at(path)
            _require_columns(part, wanted)
            found += [(path, row) for table in part.matching(wanted) for row in json_rows(table)]
    return found


def _require_columns(part: PartFile, names: Iterable[str]) -> None:
    present = part.schema().names
    for name in names:
        if name not in present:
            raise ArrivalError(
                Code.SCHEMA_VIOLATION,
                f"{part.path} has no column {name}",
                hint="give a directory of arrival events, as `arrivals run` writes it",
                path=str(part.path),
                column=name,
            )


def json_rows(table: pa.Table | pa.RecordBatch) -> list[dict[str, object]]:
    """Rows in the contract's JSON form: times as its strings, everything else as Python values."""
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*_json_columns(table), strict=True)]


def _json_columns(table: pa.Table | pa.RecordBatch) -> Iterator[list[object]]:
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            text = utc_text if column.type.tz else wall_text
            micros = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).to_pylist()
            yield [None if value is None else text(value) for value in micros]
        else:
            yield column.to_pylist()


@contextmanager
def reading_arrivals(path: InsidePath, *also: type[Exception]) -> Iterator[None]:
    """Turn a failure to read part files, of the kinds `also` too, into IO_READ_FAILED."""
    hint = "the file is damaged, truncated or not readable; run `arrivals run RUN_ROOT --replace`"
    with reading("arrivals", path, hint=hint, also=(pa.ArrowException, *also)):
        try:
            yield
        except FileNotFoundError as failure:
            # A part of one publication has no name in the next.
            raise ArrivalError(
                Code.IO_READ_FAILED,
                f"{path} is no longer there",
                hint="another run has replaced these arrivals; run this command again",
                path=str(path),
            ) from failure
