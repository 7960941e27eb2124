"""Tables that are small on disk and endless in memory: refused before they are read, by a limit that has a name."""

from __future__ import annotations

import gc
import gzip
import json
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.parquet_footer import Chunk, RowGroup
from arrival_engine.contracts.plainness import TEXT_BYTES_MAX
from arrival_engine.engine.importing import import_world
from arrival_engine.engine.importing.files import open_file
from arrival_engine.engine.importing.folders import TableFile
from arrival_engine.engine.importing.parquet import _refuse_large_pages
from arrival_engine.engine.importing.room import Room
from tests.support.import_refused import GOOD, LIMIT_BAD, SCHEMA_BAD, refused, request_of

HEADER = "merchant_id,tz,channel,bucket_start,count"
ROW = "1,Europe/Berlin,card,2026-03-29T00:00:00Z,3"
LONG, MIB = "x" * (TEXT_BYTES_MAX + 1), 2**20


def counts(**columns):
    """The counts of GOOD with other columns."""
    plain = {
        "merchant_id": pa.array([1, 1], pa.uint64()),
        "tz": pa.array(["Europe/Berlin"] * 2),
        "channel": pa.array(["card", None]),
        "bucket_start": pa.array(["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"]),
        "count": pa.array([3, 4]),
    }
    return pa.table({**plain, **columns})


def parquet_request(folder, table, **options):
    path = folder / "counts.parquet"
    pq.write_table(table, path, compression="zstd", **options)
    return request_of(folder, {"sites": GOOD["sites"]}, counts=[path]), path


def csv_request(folder, text):
    return request_of(folder, {"sites": GOOD["sites"], "counts": text})


# --- Columns and lines -------------------------------------------------------------------------------


def test_many_columns_are_matched_at_once(tmp_path):
    """60,000 names, each compared with all others, take half a minute."""
    names = [f"c{number}" for number in range(60_000)]
    text = f"{HEADER},{','.join(names)}\n{ROW}{',' * len(names)}\n"
    refused(csv_request(tmp_path, text), SCHEMA_BAD, "has a column 'c0', which counts do not have")
    refused(csv_request(tmp_path, text.replace("c59999", "c0")), SCHEMA_BAD, "has several columns 'c0'")
    refused(csv_request(tmp_path, text.replace(",count,", ",c,")), SCHEMA_BAD, "has a column 'c'")


def test_a_missing_column_is_told_with_the_first_of_many(tmp_path):
    names = [f"c{number}" for number in range(60_000)]
    request = request_of(tmp_path, {**GOOD, "counts": f"tz,{','.join(names)}\n"}, ignore=names)
    error = caught(request)
    assert "has no column merchant_id" in error.message
    assert error.message.endswith("c37, c38 and 59961 more")


def caught(request):
    with pytest.raises(ArrivalError) as failure:
        import_world(request)
    return failure.value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{HEADER},{','.join(f'column_{n}' for n in range(100_000))}\n{ROW}\n", "no line end in its first 1.0 MiB"),
        (f"{HEADER},{'h' * 140_000}\n{ROW},\n", "has a column name of more than 131072 characters"),
        (f"{HEADER}\n{ROW}\n1,{'x' * 9 * MIB},card,2026-03-29T00:00:00Z,3\n", "has a line of more than 4.0 MiB"),
        (f"{HEADER}\n{ROW}\n1,{LONG},card,2026-03-29T00:00:00Z,3\n", "line 3: tz has a text of 1,025 bytes"),
        (
            f"{HEADER}\n{ROW}\n1,Europe/Berlin,card,2026-03-29T00:00:00Z,{'9' * 5000}\n",
            "count has a text of 5,000 bytes",
        ),
    ],
    ids=["header", "name", "line", "zone", "digits"],
)
def test_long_texts_of_a_csv_file_are_refused(tmp_path, text, says):
    refused(csv_request(tmp_path, text), LIMIT_BAD, says)


def held():
    """The bytes that Arrow holds once they have stayed the same for a while."""
    seen: list[int] = []
    # A failure keeps what its traceback refers to.
    gc.collect()
    while len(seen) < 20 or len(set(seen[-20:])) > 1:
        time.sleep(0.02)
        seen.append(pa.total_allocated_bytes())
    return seen[-1]


@pytest.mark.parametrize("sign", [pytest.param(b"x", marks=pytest.mark.slow), b"\xff"], ids=["letters", "not UTF-8"])
def test_a_compressed_line_of_a_gigabyte_is_not_unpacked(tmp_path, sign):
    path = tmp_path / "counts.csv.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(f"{HEADER}\n{ROW}\n1,".encode())
        for _ in range(256):
            file.write(sign * MIB)
    request = request_of(tmp_path, {"sites": GOOD["sites"]}, counts=[path])
    # Once before: what is loaded at the first import stays.
    refused(request, LIMIT_BAD, "a line of more than 4.0 MiB")
    before, peak = held(), pa.default_memory_pool().max_memory()
    tracemalloc.start()
    refused(request, LIMIT_BAD, "a line of more than 4.0 MiB")
    assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    tracemalloc.stop()
    # Arrow reads ahead by up to 32 blocks of 4 MiB, on threads of its own that end a moment later.
    assert pa.default_memory_pool().max_memory() <= max(peak, before + 160 * MIB)
    assert held() < before + MIB


# --- Parquet -----------------------------------------------------------------------------------------

# A text that only compression and dictionaries make small: as a whole row, and shared by all rows of a batch.
TEXTS = {
    "one text": (pa.array(["x" * 64 * MIB, "y"]), "takes 64.0 MiB for 2 rows; a cell may have 1,024 bytes"),
    "one id": (pa.array(["1" * 64 * MIB, "2"]), "a cell may have 1,024 bytes"),
    "large": (pa.array(["x" * 2 * MIB, "y"], pa.large_string()), "a cell may have 1,024 bytes"),
    "view": (pa.array(["x" * 2 * MIB, "y"]).cast(pa.string_view()), "a cell may have 1,024 bytes"),
    "dictionary": (pa.array(["x" * 2 * MIB, "y"]).dictionary_encode(), "a cell may have 1,024 bytes"),
    "a little": (pa.array(["y", LONG]), "row 2: channel has a text of 1,025 bytes"),
    "a little, coded": (pa.array(["y", LONG]).dictionary_encode(), "row 2: channel has a text of 1,025 bytes"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_long_texts_of_a_parquet_file_are_refused(tmp_path, name):
    column, says = TEXTS[name]
    ours = "merchant_id" if name == "one id" else "channel"
    request, path = parquet_request(tmp_path, counts(**{ours: column}))
    assert path.stat().st_size < 100_000
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    refused(request, LIMIT_BAD, says)
    assert pool.bytes_allocated() - before < 32 * MIB


def test_the_longest_text_is_taken_in_pages_of_its_own(tmp_path):
    longest = "x" * TEXT_BYTES_MAX
    rows = 3000
    table = pa.table(
        {
            "merchant_id": pa.array([1] * rows, pa.uint64()),
            "tz": ["Europe/Berlin"] * rows,
            "channel": [f"{number:06}{longest[6:]}" for number in range(rows)],
            "bucket_start": ["2026-03-29T00:00:00Z"] * rows,
            "count": [1] * rows,
        }
    )
    options = {"data_page_size": 1, "write_batch_size": 1, "use_dictionary": False}
    path = tmp_path / "counts.parquet"
    pq.write_table(table, path, compression="zstd", **options)
    request = request_of(tmp_path, {"sites": GOOD["sites"]}, counts=[path], bucket="1h")
    chunk = pq.read_metadata(path).row_group(0).column(2)
    assert chunk.total_uncompressed_size > rows * TEXT_BYTES_MAX
    assert import_world(request).arrivals == rows


def test_a_text_that_all_rows_of_a_batch_share_is_not_multiplied(tmp_path):
    rows = 2**17
    codes = pa.array([0], pa.int32()).take(pa.array([0] * rows, pa.int32()))
    shared = pa.DictionaryArray.from_arrays(codes, ["x" * MIB])
    table = pa.table(
        {name: column.take(pa.array([0] * rows)) for name, column in zip(counts().column_names, counts(), strict=True)}
    )
    request, _ = parquet_request(tmp_path, table.set_column(2, "channel", shared))
    peak = pa.default_memory_pool().max_memory
    refused(request, LIMIT_BAD, "row 1: channel has a text of 1,048,576 bytes")
    # Decoded, the column would take 128 GiB.
    assert peak() < 2**31


def test_columns_of_other_kinds_are_refused_before_they_are_read(tmp_path):
    for column in (pa.array([b"x" * 64 * MIB, b""]), pa.array([["x"], []]), pa.array([{"a": "x"}, None])):
        request, _ = parquet_request(tmp_path, counts(channel=column))
        refused(request, SCHEMA_BAD, "column 'channel' has the type")


def test_a_column_that_is_left_out_may_hold_anything(tmp_path):
    request, _ = parquet_request(tmp_path, counts(note=pa.array(["x" * 64 * MIB, ""])))
    refused(request, SCHEMA_BAD, "has a column 'note'")
    assert (
        import_world(request_of(tmp_path, {"sites": GOOD["sites"]}, counts=request.counts, ignore=["note"])).arrivals
        == 7
    )


def claim(rows, size):
    """A footer that says what no writer would."""
    return [RowGroup(rows, {"count": Chunk(size, None, None)})]


@pytest.mark.parametrize(("rows", "size"), [(1, -1), (-1, 2**40), (2**20, 2**33)])
def test_sizes_that_rows_do_not_explain_are_refused(rows, size):
    with pytest.raises(ArrivalError) as failure:
        _refuse_large_pages(claim(rows, size), "counts", ["count"])
    assert failure.value.code == Code.LIMIT_EXCEEDED
    _refuse_large_pages(claim(2**20, 2**31), "counts", ["count"])


# --- Rows --------------------------------------------------------------------------------------------

COLUMNS = ("merchant_id", "tz", "bucket_start", "count")
FITTING = Room(128 * 2**20, "control group", 0)


def equal_rows(folder, rows):
    """A Parquet file of a few hundred kilobytes with this many rows."""
    one = counts().slice(0, 1).take(pa.array(np.zeros(rows // 16, np.int32)))
    path = folder / "counts.parquet"
    with pq.ParquetWriter(path, one.schema, compression="zstd") as writer:
        for _ in range(16):
            writer.write_table(one)
    assert path.stat().st_size < 1_000_000
    return path


def rows_read(path, room):
    (file, _) = open_file(TableFile(path))
    return sum(batch.num_rows for batch in file.batches(COLUMNS, room))


def test_rows_of_parquet_are_compared_with_the_memory_before_they_are_read(tmp_path):
    path = equal_rows(tmp_path, 2**20)
    assert rows_read(path, FITTING) == 2**20
    with pytest.raises(ArrivalError, match=r"1,048,576 rows need about 128\.0 MiB") as failure:
        next(open_file(TableFile(path))[0].batches(COLUMNS, Room(128 * 2**20 - 1, "control group", 0)))
    assert failure.value.code == Code.RESOURCES_INSUFFICIENT
    assert "about 1,048,575 rows fit" in failure.value.hint


def test_rows_of_csv_are_compared_with_the_memory_as_they_come(tmp_path):
    path = tmp_path / "counts.csv.gz"
    with gzip.open(path, "wt", 1) as file:
        file.write(f"{HEADER}\n" + f"{ROW}\n" * 300_000)
    assert path.stat().st_size < 200_000
    assert rows_read(path, FITTING) == 300_000
    with pytest.raises(ArrivalError, match=r"rows need about .* \(machine\)") as failure:
        rows_read(path, Room(128 * 250_000, "machine", 0))
    assert failure.value.code == Code.RESOURCES_INSUFFICIENT


def test_an_import_of_more_rows_than_its_memory_says_so(tmp_path):
    path, sites = equal_rows(tmp_path, 2**24), tmp_path / "sites.csv"
    sites.write_text(GOOD["sites"])
    command = f'ulimit -v {5 * 2**19} && exec "$0" -m arrival_engine import "$1" --counts "$2" --sites "$3" --json'
    words = ["bash", "-c", command, sys.executable, tmp_path / "world", path, sites]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    error = json.loads(done.stdout)
    assert (done.returncode, error["code"]) == (1, "ARRIVALS.RESOURCES_INSUFFICIENT"), done.stderr
    assert "16,777,216 rows need about 2.0 GiB" in error["message"]
    assert "(ulimit -v)" in error["message"]
