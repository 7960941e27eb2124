"""Tables: a user's CSV and Parquet files, the Parquet inputs of a run, published parts, anomalies."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.orc
import pyarrow.parquet as pq

from arrival_engine.engine.arrivals.reading import find_rows, json_rows, part_files
from arrival_engine.engine.comparing import diff
from arrival_engine.engine.importing.columns import Naming, Reading, layouts
from arrival_engine.engine.importing.numbers import Marks
from arrival_engine.engine.importing.reading import read_table
from arrival_engine.engine.report.published import find_published
from arrival_engine.engine.report.records import read_anomalies
from arrival_engine.engine.rundir.inputs import read_table as read_input
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.validation.events import find_events
from arrival_engine.engine.world.counts import merge_drawn, read_counts
from arrival_engine.engine.world.grid import load_grid
from tests.fuzz.mutation import TEXTS, Mutate, mutated_bytes, value
from tests.fuzz.sample import SCENARIO, copy_of
from tests.fuzz.target import Opened, Target

CSV = """merchant_id,tz,bucket_start,count,channel
12,Europe/Berlin,2026-03-29T01:00:00Z,7,online
12,Europe/Berlin,2026-03-29T02:00:00+02:00,1000,
18446744073709551615,Etc/UTC,2026-03-29 03:00:00Z,0,"a ""quoted"" one"
"""
_CELLS = (
    *TEXTS,
    '"',
    '""',
    '"a',
    'a"b',
    '"a\nb"',
    '"1,000"',
    "1.000",
    "1,5",
    "01",
    "-1",
    "12.0",
    "9" * 30,
    "9" * 3000,
    "2026-03-29",
)
_HEADS = ("merchant_id", "tz", "count", "Merchant", "", '"', "bucket_index", "count;tz", "\x1b[2J", "=cmd|x", "a" * 500)


def _csv_import(folder: Path) -> Opened:
    """Text as a user's table of counts, plain or compressed."""
    layout, naming = layouts(Reading())["counts"], Naming({}, frozenset())
    file = folder / "counts.csv"

    def read(data: bytes) -> str:
        file.write_bytes(data)
        table, notices = read_table(layout, [file], naming, Marks())
        assert table.rows > 0
        assert {len(table[name]) for name in table.columns} == {table.rows}
        return f"{min(table.rows, 5)} rows {len(notices)}"

    samples = [CSV.encode(), b"\xef\xbb\xbf" + CSV.replace(",", ";").encode(), CSV.replace("\n", "\r\n").encode()]
    samples += [gzip.compress(CSV.encode(), mtime=0), pa.compress(CSV.encode(), "zstd", asbytes=True)]
    samples += [CSV.encode("utf-16"), *_other_formats()]
    return Opened(samples, _mutated_csv, read)


def _other_formats() -> list[bytes]:
    """What people give for a table, and is not one."""
    table = pa.table({"merchant_id": pa.array([1, 2], pa.int64())})
    arrow, orc = io.BytesIO(), io.BytesIO()
    with pa.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table)
    pa.orc.write_table(table, orc)
    archive = b"PK\x03\x04" + bytes(40)
    return [b'{"a":1}\n{"a":2}\n', arrow.getvalue(), orc.getvalue(), archive, b"<html></html>", b"\x89HDF\r\n"]


def _unpacked(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return b""


def _mutated_csv(data: bytes, draw: Random) -> bytes:
    """One cell, line, quote or separator changed; one in four is damaged as bytes."""
    if data[:2] in (b"\x1f\x8b", b"\x28\xb5") and draw.random() < 0.5:
        return gzip.compress(_mutated_csv(_unpacked(data) or CSV.encode(), draw), 1, mtime=0)
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError:
        return mutated_bytes(data, draw)
    if not draw.randrange(4):
        return mutated_bytes(data, draw)
    at = draw.randrange(len(lines))
    cells = lines[at].split(",")
    column = draw.randrange(len(cells))
    match draw.randrange(8):
        case 0:
            cells[column] = draw.choice(_HEADS)
        case 1:
            del cells[column]
        case 2:
            cells.insert(column, draw.choice(_CELLS))
        case 3:
            lines.insert(draw.randrange(len(lines)), lines[at])
        case 4:
            cells = [draw.choice((";", "\t", "|", ",")).join(cells)]
        case _:
            cells[column] = draw.choice(_CELLS)
    lines[at] = ",".join(cells)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


# --- Parquet ------------------------------------------------------------------------------------------

_TYPES = (
    pa.null(), pa.bool_(), pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
    pa.string(), pa.large_string(), pa.binary(), pa.date32(), pa.date64(), pa.timestamp("ns"), pa.timestamp("s"),
    pa.timestamp("us", "UTC"), pa.time64("us"), pa.duration("us"), pa.decimal128(38, 3), pa.list_(pa.int64()),
    pa.struct([("arrivals", pa.int64())]), pa.dictionary(pa.int32(), pa.string()), pa.map_(pa.string(), pa.int64()),
)  # fmt: skip


def _array(draw: Random, rows: int) -> pa.Array:
    """A column of any type; values that its type does not hold are null."""
    kind = draw.choice(_TYPES)
    if pa.types.is_dictionary(kind):
        return pa.array([draw.choice(("a", "", None)) for _ in range(rows)]).dictionary_encode()
    cells = [_cell(draw, kind) for _ in range(rows)]
    try:
        return pa.array([cell for (cell,) in cells], kind)
    except pa.ArrowException:
        # A struct takes a list of pairs or a dictionary, and not both.
        return pa.nulls(rows, kind)


def _cell(draw: Random, kind: pa.DataType) -> list[Any]:
    found = draw.choice((value(draw), draw.randrange(-300, 300), draw.randrange(2**62), "x", None, 0.5, b"y", [1], {}))
    if pa.types.is_map(kind) and isinstance(found, list):
        # Arrow ends the process at an entry that is null.
        return [None]
    try:
        pa.array([found], kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError):
        return [None]
    return [found]


def _mutated_table(table: pa.Table, draw: Random) -> pa.Table:  # noqa: PLR0911 - one return per kind of change
    """One column replaced, cast, renamed, dropped, repeated or with other cells; or rows repeated, or none."""
    at = draw.randrange(table.num_columns)
    field = table.schema.field(at)
    match draw.randrange(9):
        case 0 | 1:
            return table.set_column(at, field.name, _array(draw, table.num_rows))
        case 2:
            try:
                return table.set_column(at, field.name, table[at].cast(draw.choice(_TYPES)))
            except pa.ArrowException:
                return table
        case 3:
            names = list(table.column_names)
            names[at] = str(draw.choice(TEXTS[:-2]))
            return table.rename_columns([name.encode("utf-8", "replace").decode() for name in names])
        case 4:
            return table.remove_column(at)
        case 5:
            return table.append_column(draw.choice((field.name, "extra", "")), table[at])
        case 6:
            return pa.concat_tables([table, table.slice(0, draw.randrange(table.num_rows + 1))])
        case 7:
            return table.slice(0, draw.choice((0, 1)))
        case _:
            return _with_other_cell(table, at, draw)


def _with_other_cell(table: pa.Table, at: int, draw: Random) -> pa.Table:
    field = table.schema.field(at)
    row = draw.randrange(table.num_rows + 1)
    try:
        cell = pa.array(_cell(draw, field.type), field.type)
        column = pa.chunked_array([*table[at].slice(0, row).chunks, cell, *table[at].slice(row + 1).chunks], field.type)
        return table.set_column(at, field, column.slice(0, table.num_rows))
    except pa.ArrowException:
        return table


def _written(table: pa.Table, draw: Random) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        row_group_size=draw.choice((1, 2, 100)),
        compression=draw.choice(("none", "snappy", "zstd")),
        use_dictionary=draw.random() < 0.5,
        write_statistics=draw.random() < 0.8,
    )
    return sink.getvalue()


def _mutated_parquet(tables: list[pa.Table], first: int) -> Mutate:
    """Of `first` leading bytes and a Parquet file: half are well-formed files of changed tables, half are damaged."""

    def mutate(data: bytes, draw: Random) -> bytes:
        if draw.random() < 0.5:
            return data[:first] + mutated_bytes(data[first:], draw)
        at = draw.randrange(len(tables))
        head = bytes([at]) if first else b""
        table = tables[at]
        for _ in range(draw.choice((1, 1, 2))):
            table = _mutated_table(table, draw)
            if not table.num_columns:
                return data
        try:
            return head + _written(table, draw)
        except (pa.ArrowException, OSError):
            # A type that Parquet does not have.
            return data

    return mutate


def _parquet_import(folder: Path) -> Opened:
    """Parquet as a user's table of counts, and of sites; the first byte chooses."""
    known = layouts(Reading(assume_utc=True))
    file = folder / "table.parquet"
    start = pa.array(np.array(["2026-03-29T01", "2026-03-29T02"], "M8[us]"), pa.timestamp("us", "UTC"))
    ids, zones = pa.array([1, 2**63], pa.uint64()), ["Europe/Berlin", "Etc/UTC"]
    counts = pa.table({"merchant_id": ids, "tz": zones, "bucket_start": start, "count": [3, 4]})
    sites = pa.table({"merchant_id": ["1", "2"], "tz": zones, "weight": [0.5, 1.0], "country": ["DE", "FR"]})

    def read(data: bytes) -> str:
        name = ("counts", "sites")[(data or b"\0")[0] % 2]
        file.write_bytes(data[1:])
        table, _ = read_table(known[name], [file], Naming({}, frozenset()), Marks())
        assert {len(table[column]) for column in table.columns} == {table.rows}
        return f"{name} {min(table.rows, 5)}"

    draw = Random(0)
    samples = [bytes([at]) + _written(table, draw) for at, table in enumerate((counts, sites))]
    return Opened(samples, _mutated_parquet([counts, sites], 1), read)


_INPUTS = {
    "site_timezones": ("merchant_id", "legal_country_iso", "site_order", "tzid"),
    "s4_group_weights": ("merchant_id", "utc_day", "tz_group_id", "p_group"),
    "virtual_classification_3B": ("merchant_id", "virtual_mode"),
    "edge_catalogue_3B": ("merchant_id", "edge_id", "edge_seq_index", "tzid_operational", "edge_weight"),
}


def _parquet_input(folder: Path) -> Opened:
    """Parquet inputs of a run: counts, grid, and tables about merchants; the first byte chooses."""
    names = ("s3_bucket_counts_5B", "s1_time_grid_5B", *_INPUTS)
    root = copy_of(folder, *names)
    receipt = read_receipt(root)
    files = [_only_file(receipt, name) for name in names]
    tables = [pq.read_table(file, partitioning=None).slice(0, 6) for file in files]
    for file, table in zip(files, tables, strict=True):
        pq.write_table(table, file)
    sound = [file.read_bytes() for file in files]

    def read(data: bytes) -> str:
        at = (data or b"\0")[0] % len(names)
        files[at].write_bytes(data[1:])
        try:
            return _read_input(receipt, names[at])
        finally:
            files[at].write_bytes(sound[at])

    return Opened([bytes([at]) + data for at, data in enumerate(sound)], _mutated_parquet(tables, 1), read)


def _only_file(receipt: Receipt, name: str) -> Path:
    """The dataset's first file; further ones are removed."""
    first, *further = (path.outside for path in receipt.files(name, scenario_id=SCENARIO))
    for path in further:
        path.unlink()
    return first


def _read_input(receipt: Receipt, name: str) -> str:
    if name == "s1_time_grid_5B":
        return f"{name} {min(load_grid(receipt, SCENARIO, 10**6).start_us.size, 4)}"
    if name == "s3_bucket_counts_5B":
        drawn = read_counts(receipt, SCENARIO, 200, 10**6, 1)
        counts = merge_drawn(drawn, 200, 10**6)
        assert counts.input_rows >= counts.zero_rows
        return f"{name} {min(counts.rows.arrivals.size, 4)}"
    return f"{name} {min(len(read_input(receipt, name, _INPUTS[name])), 4)}"


# --- What a run writes --------------------------------------------------------------------------------


def _parts(suffix: str) -> Target:
    def opened(folder: Path) -> Opened:
        root = copy_of(folder, "arrival_events_5B")
        other = copy_of(folder / "other", "arrival_events_5B")
        receipt, beside = read_receipt(root), read_receipt(other)
        parts = receipt.path("arrival_events_5B", scenario_id=SCENARIO)
        directory = parts.outside
        reference = beside.path("arrival_events_5B", scenario_id=SCENARIO).outside
        rows = pq.read_table(min(directory.iterdir()), partitioning=None).slice(0, 8)
        for place in (directory, reference):
            for path in place.iterdir():
                path.unlink()
        pq.write_table(rows, reference / "part-000000.parquet")
        file = directory / f"part-000000.{suffix}"

        def read(data: bytes) -> str:
            file.write_bytes(data)
            found = find_published(receipt, ())
            events = find_events(
                receipt.path("arrival_events_5B", scenario_id=SCENARIO), SCENARIO, "timestamp", mirrored=False
            )
            events.schema_faults()
            key = rows.slice(0, 1).to_pylist()[0]
            stored = find_rows(found[0].parts, key["merchant_id"], key["arrival_seq"])
            assert len(json_rows(rows)) == rows.num_rows
            result = diff(root, other)
            return f"{min(events.rows, 9)} {min(len(stored), 2)} {result.identical}"

        draw = Random(1)
        sound = _written(rows, draw) if suffix == "parquet" else _ipc(rows)
        damaged = _mutated_parquet([rows], 0) if suffix == "parquet" else _mutated_ipc(rows)
        assert part_files(receipt.path("arrival_events_5B", scenario_id=SCENARIO)) == []
        return Opened([sound], damaged, read)

    return Target(f"part_{suffix}", f"published {suffix} parts, as every command opens them", opened)


def _ipc(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _mutated_ipc(rows: pa.Table) -> Mutate:
    def mutate(data: bytes, draw: Random) -> bytes:
        if draw.random() < 0.5:
            return mutated_bytes(data, draw)
        table = _mutated_table(rows, draw)
        try:
            return _ipc(table.combine_chunks()) if table.num_columns else data
        except pa.ArrowException:
            # A table that cannot be written.
            return data

    return mutate


def _anomalies(folder: Path) -> Opened:
    """The anomalies dataset, as the page for people reads it."""
    root = copy_of(folder, "s4_arrival_anomalies_5B")
    receipt = read_receipt(root)
    file = receipt.path("s4_arrival_anomalies_5B", scenario_id=SCENARIO).outside
    table = pq.read_table(file, partitioning=None).slice(0, 4)
    texts = pa.array(['{"arrivals": 3}', "[]", "{", "null"][: len(table)])
    older = table.set_column(table.schema.get_field_index("context"), "context", texts)

    def read(data: bytes) -> str:
        file.write_bytes(data)
        found = read_anomalies(receipt, SCENARIO)
        assert found is not None
        return f"{len(found)}"

    draw = Random(2)
    samples = [_written(table, draw), _written(older, draw)]
    return Opened(samples, _mutated_parquet([table, older], 0), read)


TARGETS = (
    Target("csv_import", "a user's counts as CSV, plain or compressed", _csv_import),
    Target("parquet_import", "a user's counts and sites as Parquet", _parquet_import),
    Target("parquet_input", "Parquet inputs of a run", _parquet_input),
    _parts("parquet"),
    _parts("arrow"),
    Target("anomalies", "anomalies, as the page for people reads them", _anomalies),
)
