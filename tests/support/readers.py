"""What readers return of published parts by their default calls, and the arrival digest of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tests.support.law import DIGEST_FACTORS, text_word

Reader = Callable[[Path], pa.Table]


def _duckdb(folder: Path) -> pa.Table:
    with duckdb.connect() as connection:
        rows = connection.read_parquet(f"{folder}/*.parquet", hive_partitioning=False)
        return rows.to_arrow_table()


def _datafusion(folder: Path) -> pa.Table:
    from datafusion import SessionContext

    return SessionContext().read_parquet(folder).to_arrow_table()


READERS: dict[str, Reader] = {
    "pyarrow": lambda folder: pq.read_table(folder, partitioning=None),
    "duckdb": _duckdb,
    "polars": lambda folder: pl.read_parquet(folder).to_arrow(),
    "polars, streaming": lambda folder: pl.scan_parquet(folder).collect(engine="streaming").to_arrow(),
    "pandas": lambda folder: pa.Table.from_pandas(
        pd.read_parquet(folder, dtype_backend="pyarrow", partitioning=None), preserve_index=False
    ),
    "datafusion": _datafusion,
}


def no_spark_reason() -> str:
    """Why Spark cannot be tried here, or an empty text."""
    if find_spec("pyspark") is None:
        return "pyspark is not installed"
    home = os.environ.get("JAVA_HOME")
    if not shutil.which("java") and not (home and Path(home, "bin", "java").exists()):
        return "no Java"
    return ""


@contextmanager
def spark_session() -> Iterator[Any]:
    """A Spark of this process, on two threads."""
    from pyspark.sql import SparkSession

    settings = {
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()


def by_spark(session: Any, folder: Path) -> pa.Table:
    """The parts as Spark's vectorised reader returns them."""
    assert session.conf.get("spark.sql.parquet.enableVectorizedReader") == "true"
    return session.read.parquet(str(folder)).toArrow()


# --- The digest of a table -----------------------------------------------------------------------------


def digest_of(table: pa.Table) -> str:
    """The arrival digest of law section 7, of ids, times and texts in whatever type a reader gives them."""
    virtual = table["is_virtual"].to_numpy(zero_copy_only=False)
    words = (
        _words(table["merchant_id"]),
        _texts(table["zone_representation"]),
        _texts(table["channel_group"]),
        _words(table["bucket_index"]),
        _words(table["arrival_seq"]),
        _times(table["ts_utc"]),
        virtual.astype(np.uint64),
        np.where(virtual, _words(table["edge_id"]), _words(table["site_id"])),
        _texts(table["tzid_primary"]),
        _times(table["ts_local_primary"]),
        np.where(virtual, _texts(table["tzid_settlement"]), 0),
        np.where(virtual, _times(table["ts_local_settlement"]), 0),
    )
    hashes = np.zeros(table.num_rows, np.uint64)
    for word, factor in zip(words, DIGEST_FACTORS, strict=True):
        hashes += word.astype(np.uint64) * np.uint64(factor)
    lanes = (int(_mixed(lane).sum()) for lane in (hashes, hashes ^ np.uint64(0xD6E8FEB86659FD93)))
    return f"{table.num_rows}-" + "".join(f"{lane:016x}" for lane in lanes)


def _mixed(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _words(column: pa.ChunkedArray) -> np.ndarray:
    """Integers, decimals without a fraction too, as uint64; 0 for a null."""
    assert pa.types.is_integer(column.type) or pa.types.is_decimal(column.type), column.type
    kind = pa.int64() if pa.types.is_signed_integer(column.type) else pa.uint64()
    return pc.fill_null(column.cast(kind), 0).to_numpy().astype(np.uint64)


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    """Digest words of texts, those of the empty text for a null."""
    coded = pc.fill_null(column.cast(pa.string()), "").combine_chunks().dictionary_encode()
    words = np.array([text_word(text) for text in coded.dictionary.to_pylist()], np.uint64)
    return words[coded.indices.to_numpy()] if words.size else np.zeros(0, np.uint64)


def _times(column: pa.ChunkedArray) -> np.ndarray:
    """Microseconds since 1970 of timestamps or of the contract's texts; 0 for a null."""
    if pa.types.is_timestamp(column.type):
        since = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    else:
        texts = pc.replace_substring_regex(column.cast(pa.string()), "Z$", "")
        assert pc.all(pc.match_substring_regex(texts, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$")).as_py() is not False
        since = pc.strptime(pc.utf8_slice_codeunits(texts, 0, 19), "%Y-%m-%dT%H:%M:%S", "us").cast(pa.int64())
        since = pc.add(since, pc.utf8_slice_codeunits(texts, 20, 26).cast(pa.int64()))
    return pc.fill_null(since, 0).to_numpy().astype(np.uint64)
