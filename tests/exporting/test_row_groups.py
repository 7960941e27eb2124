"""Row groups that are encoded apart and joined to one file are what a writer makes of the same table."""

from __future__ import annotations

import io

import duckdb
import fastparquet
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts.thrift import MAGIC
from arrival_engine.engine.exporting.row_groups import PlacedGroup, encoded, file_end
from arrival_engine.engine.pages.footer import FooterEnds


def table(rows, seed):
    draw = np.random.default_rng(seed)
    words = pa.array(["", "alpha", "β", "a longer text"])
    codes = pa.array(draw.integers(0, 4, rows).astype(np.int32), mask=draw.random(rows) < 0.3)
    return pa.table(
        {
            "merchant_id": pa.array(draw.integers(0, 2**64, rows, dtype=np.uint64, endpoint=False)),
            "arrival_seq": pa.array(np.arange(rows)),
            "ts_utc": pa.array(np.sort(draw.integers(0, 2**50, rows)), pa.timestamp("us", "UTC")),
            "zone": pa.DictionaryArray.from_arrays(codes, words),
            "flag": pa.array(draw.random(rows) < 0.5),
            "settlement_ts_local": pa.array(
                draw.integers(0, 2**50, rows), pa.timestamp("us"), mask=draw.random(rows) < 0.9
            ),
            "nothing": pa.nulls(rows, pa.int32()),
        }
    )


def joined(tables, schema):
    out, placed = io.BytesIO(MAGIC), []
    out.seek(len(MAGIC))
    for group in map(encoded, tables):
        placed.append(PlacedGroup(out.tell(), group.without_pages()))
        out.write(group.pages)
    index, entries = file_end(placed, out.tell())
    for piece in index:
        out.write(piece)
    out.write(FooterEnds(schema).file_end(sum(part.num_rows for part in tables), len(tables), entries))
    return out.getvalue()


@pytest.fixture(scope="module", params=[(1,), (50_000, 1, 20_000), (300,) * 40])
def made(request, tmp_path_factory):
    tables = [table(rows, seed) for seed, rows in enumerate(request.param)]
    schema = pa.schema([f.with_type(pa.string()) if pa.types.is_dictionary(f.type) else f for f in tables[0].schema])
    path = tmp_path_factory.mktemp("joined") / "file.parquet"
    path.write_bytes(joined(tables, schema))
    return path, pa.concat_tables(tables).cast(schema)


def test_every_reader_finds_the_rows(made):
    path, whole = made
    assert pq.read_table(path).equals(whole)
    assert pl.read_parquet(path).equals(pl.DataFrame(whole))
    assert duckdb.sql(f"FROM read_parquet('{path}')").to_arrow_table().cast(whole.schema).equals(whole)
    with path.open("rb") as file:
        read = fastparquet.ParquetFile(file).to_pandas()
    assert (
        read["ts_utc"].to_numpy("datetime64[us]").astype(int).tolist() == whole["ts_utc"].cast(pa.int64()).to_pylist()
    )
    assert read["merchant_id"].tolist() == whole["merchant_id"].to_pylist()
    assert [text or None for text in read["zone"].tolist()] == [text or None for text in whole["zone"].to_pylist()]


def test_row_groups_and_their_page_index_are_where_the_footer_says(made):
    path, _ = made
    data, footer = path.read_bytes(), pq.ParquetFile(path).metadata
    begin = len(MAGIC)
    for at in range(footer.num_row_groups):
        group = footer.row_group(at)
        for number in range(group.num_columns):
            column = group.column(number)
            assert begin == (column.dictionary_page_offset or column.data_page_offset)
            begin += column.total_compressed_size
            assert column.has_column_index
            assert column.has_offset_index
    assert begin < len(data)


def test_pages_are_skipped_by_their_index(made):
    """A reader that uses the page index finds each row where it is."""
    path, whole = made
    scan = pl.scan_parquet(path, use_statistics=True)
    for at in (0, whole.num_rows // 2, whole.num_rows - 1):
        wanted = whole["ts_utc"][at].value
        found = scan.filter(pl.col("ts_utc").dt.epoch("us") == wanted).collect()
        assert whole["merchant_id"][at].as_py() in found["merchant_id"].to_list()
    from datafusion import SessionContext

    context = SessionContext()
    context.register_parquet("t", path)
    instant = whole["ts_utc"][whole.num_rows - 1].as_py().isoformat()
    query = f"SELECT arrival_seq FROM t WHERE ts_utc = TIMESTAMP '{instant}'"  # noqa: S608
    rows = context.sql(query).to_pydict()["arrival_seq"]
    assert whole["arrival_seq"][whole.num_rows - 1].as_py() in rows
