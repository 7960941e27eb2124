"""Exports that are clustered by day: what one day costs."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from arrival_engine import ExportOptions, ImportRequest, RunOptions, export, import_world, run, seal
from arrival_engine.engine.exporting import chunks, days

FIRST, DAYS = dt.date(2026, 2, 1), 90
SHARE = 0.03


@pytest.fixture(scope="module")
def quarter(tmp_path_factory):
    """A world of 90 days with as many arrivals on each."""
    folder = tmp_path_factory.mktemp("quarter")
    counts = [
        f"{merchant},Europe/Berlin,{FIRST + dt.timedelta(days=day)}T00:00:00Z,100"
        for merchant in range(1, 13)
        for day in range(DAYS)
    ]
    sites = [f"{merchant},Europe/Berlin,DE,1" for merchant in range(1, 13) for _ in range(3)]
    (folder / "counts.csv").write_text("\n".join(["merchant_id,tz,bucket_start,count", *counts]))
    (folder / "sites.csv").write_text("\n".join(["merchant_id,tz,country,weight", *sites]))
    import_world(ImportRequest(folder / "run", [folder / "counts.csv"], [folder / "sites.csv"], bucket="1d"))
    seal(folder / "run")
    run(folder / "run", RunOptions(backend="cpu"))
    export(folder / "run", folder / "day", ExportOptions(cluster_by="day"))
    return folder


class Counting(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Local files whose bytes are counted as they are read."""

    cachable = False

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def _open(self, *arguments, **options):
        return _CountedFile(super()._open(*arguments, **options), self)


class _CountedFile:
    def __init__(self, file, system):
        self._file, self._system = file, system

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self._file.close()

    def read(self, size=-1):
        data = self._file.read(size)
        self._system.bytes += len(data)
        return data


def bounds(day):
    return (dt.datetime.combine(day + dt.timedelta(days=after), dt.time(), dt.UTC) for after in (0, 1))


def parquet_bytes(folder):
    """Bytes of a folder's files, and of its footers."""
    paths = list(folder.rglob("*.parquet"))
    footers = sum(pq.ParquetFile(path).metadata.serialized_size for path in paths)
    return sum(path.stat().st_size for path in paths), footers


def test_the_statistics_of_row_groups_narrow_each_day(quarter):
    whole, _ = parquet_bytes(quarter / "day")
    groups = []
    for path in sorted((quarter / "day").iterdir()):
        footer = pq.ParquetFile(path).metadata
        column = footer.schema.names.index("ts_utc")
        for index in range(footer.num_row_groups):
            group = footer.row_group(index)
            told = group.column(column).statistics
            size = sum(group.column(at).total_compressed_size for at in range(group.num_columns))
            groups.append((told.min.date(), told.max.date(), size))
    for day in range(DAYS):
        date = FIRST + dt.timedelta(days=day)
        assert 0 < sum(size for first, last, size in groups if first <= date <= last) <= SHARE * whole


def test_a_day_costs_little_to_read(quarter):
    """Bytes that are read besides the footers, which are an eighth of a table this small."""
    whole, _ = parquet_bytes(quarter / "day")
    system = Counting()
    begin, end = bounds(FIRST + dt.timedelta(days=44))
    data = ds.dataset(str(quarter / "day"), filesystem=pa.fs.PyFileSystem(pa.fs.FSSpecHandler(system)))
    for fragment in data.get_fragments():
        fragment.ensure_complete_metadata()
    system.bytes = 0
    table = data.to_table(filter=(pc.field("ts_utc") >= begin) & (pc.field("ts_utc") < end))
    assert table.num_rows == 1200
    assert set(table["ts_utc"].cast(pa.date32()).to_pylist()) == {begin.date()}
    assert 0 < system.bytes <= SHARE * whole


def test_days_are_divided_and_joined_alike_for_any_number_of_threads(quarter, tmp_path, monkeypatch):
    for module in (chunks, days):
        monkeypatch.setattr(module, "CHUNK_ROWS", 5000)
    found = []
    for threads in (1, 3):
        target = tmp_path / str(threads)
        export(quarter / "run", target, ExportOptions(cluster_by="day", threads=threads))
        found.append({path.name: path.read_bytes() for path in target.rglob("*.parquet")})
    assert found[0] == found[1]
    rows = [
        group.num_rows
        for data in found[0].values()
        for footer in [pq.ParquetFile(pa.BufferReader(data)).metadata]
        for group in map(footer.row_group, range(footer.num_row_groups))
    ]
    assert rows == [1200] * DAYS


@pytest.mark.parametrize(
    ("rows", "most", "limit", "spans"),
    [
        ([], 5, 10, []),
        ([3, 3, 3], 6, 10, [(0, 2), (2, 3)]),
        ([3, 3, 3], 0, 10, [(0, 1), (1, 2), (2, 3)]),
        ([20, 1, 1], 5, 20, [(0, 1), (1, 3)]),
    ],
)
def test_small_days_share_a_row_group(monkeypatch, rows, most, limit, spans):
    monkeypatch.setattr(days, "CHUNK_ROWS", limit)
    blocks = np.zeros(len(rows), days._BLOCK)
    blocks["day"], blocks["rows"] = range(len(rows)), rows
    assert list(days._spans(blocks, most)) == spans


def test_a_large_day_is_cut_between_blocks(monkeypatch):
    monkeypatch.setattr(days, "CHUNK_ROWS", 10)
    blocks = np.zeros(5, days._BLOCK)
    blocks["day"], blocks["rows"] = [1, 1, 1, 1, 2], [4, 4, 4, 10, 1]
    assert list(days._spans(blocks, 10)) == [(0, 2), (2, 3), (3, 4), (4, 5)]
