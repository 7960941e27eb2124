"""Published arrivals read back: part files in order, row by row in the contract's JSON form, or one row by its key."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.engine.rundir.receipt import Receipt

BATCH_ROWS = 1 << 18
KEY = ("merchant_id", "arrival_seq")
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - wall clocks have no zone


def events_directory(receipt: Receipt, scenario_id: str) -> Path:
    """Where a scenario's arrivals are published."""
    return dataset("arrival_events_5B").locate(receipt.run_root, receipt.identity.tokens(scenario_id=scenario_id))


def part_files(directory: Path) -> list[Path]:
    """The part files of a partition directory in name order, which is arrival order; none where there is none."""
    with _readable(directory):
        if not directory.is_dir():
            return []
        return sorted(path for path in directory.iterdir() if path.suffix in (".parquet", ".arrow"))


def read_pieces(path: Path) -> Iterator[pa.Table]:
    """A part file piece by piece, at most BATCH_ROWS rows at a time; texts are dictionaries where that is cheap."""
    with _readable(path):
        if path.suffix == ".parquet":
            schema = pq.read_schema(path)
            texts = [field.name for field in schema if pa.types.is_string(field.type) and not is_time(field.name)]
            with pq.ParquetFile(path, read_dictionary=texts) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS):
                    yield pa.Table.from_batches([batch])
        else:
            with pa.OSFile(str(path)) as source:
                reader = pa.ipc.open_file(source)
                for index in range(reader.num_record_batches):
                    batch = reader.get_batch(index)
                    for first in range(0, batch.num_rows, BATCH_ROWS):
                        yield pa.Table.from_batches([batch.slice(first, BATCH_ROWS)])


def is_time(column: str) -> bool:
    """Whether a column of the arrivals holds instants or wall-clock times."""
    return column.startswith("ts_")


def find_rows(parts: Sequence[Path], merchant_id: int, arrival_seq: int) -> list[tuple[Path, dict[str, object]]]:
    """Every stored row with this key, in the contract's JSON form, and the part it stands in.

    Row groups and batches that cannot hold the key are not read.
    """
    wanted = {"merchant_id": merchant_id, "arrival_seq": arrival_seq}
    found = []
    for path in parts:
        with _readable(path):
            _require_key(path)
            tables = _parquet_rows(path, wanted) if path.suffix == ".parquet" else _arrow_rows(path, wanted)
            found += [(path, row) for table in tables for row in json_rows(table)]
    return found


def _require_key(path: Path) -> None:
    if path.suffix == ".parquet":
        names = pq.read_schema(path).names
    else:
        with pa.OSFile(str(path)) as source:
            names = pa.ipc.open_file(source).schema.names
    for name in KEY:
        if name not in names:
            raise ArrivalError(
                Code.SCHEMA_VIOLATION,
                f"{path} has no column {name}",
                hint="give a directory of arrival events, as `arrivals run` writes it",
                path=str(path),
                column=name,
            )


def _parquet_rows(path: Path, wanted: Mapping[str, int]) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            if not _may_match(file.metadata.row_group(group), wanted):
                continue
            mask = _matches(file.read_row_group(group, columns=list(wanted)), wanted)
            if pc.any(mask).as_py():
                yield file.read_row_group(group).filter(mask)


def _may_match(group: pq.RowGroupMetaData, wanted: Mapping[str, int]) -> bool:
    columns = [group.column(index) for index in range(group.num_columns)]
    known = {column.path_in_schema: column.statistics for column in columns if column.path_in_schema in wanted}
    return all(
        known[name] is None or not known[name].has_min_max or known[name].min <= value <= known[name].max
        for name, value in wanted.items()
    )


def _arrow_rows(path: Path, wanted: Mapping[str, int]) -> Iterator[pa.Table]:
    with pa.OSFile(str(path)) as source, pa.OSFile(str(path)) as again:
        whole = pa.ipc.open_file(source)
        fields = [whole.schema.get_field_index(name) for name in wanted]
        # IPC files have no statistics: the two key columns are decoded, the rest only where they match.
        keys = pa.ipc.open_file(again, options=pa.ipc.IpcReadOptions(included_fields=fields))
        for index in range(keys.num_record_batches):
            mask = _matches(pa.Table.from_batches([keys.get_batch(index)]), wanted)
            if pc.any(mask).as_py():
                yield pa.Table.from_batches([whole.get_batch(index)]).filter(mask)


def _matches(table: pa.Table, wanted: Mapping[str, int]) -> pa.ChunkedArray:
    masks = [pc.equal(table[name], pa.scalar(value, pa.uint64())) for name, value in wanted.items()]
    return pc.fill_null(pc.and_(*masks), False)


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


def utc_text(ts_us: int) -> str:
    """An instant in microseconds since 1970 as the contract's rfc3339_micros."""
    return wall_text(ts_us) + "Z"


def wall_text(local_us: int) -> str:
    """Wall-clock microseconds as the contract's local_wall_timestamp_micros; a number beyond what a calendar has."""
    try:
        return (_EPOCH + dt.timedelta(microseconds=local_us)).isoformat(timespec="microseconds")
    except OverflowError:
        return f"{local_us} us after 1970"


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as failure:
        detail = str(failure).splitlines()[0] if str(failure) else type(failure).__name__
        raise ArrivalError(
            Code.IO_READ_FAILED,
            f"cannot read arrivals at {path}: {detail}",
            hint="the file is damaged, truncated or not readable; run `arrivals run RUN_ROOT --replace`",
            path=str(path),
        ) from failure
