"""Files that are not what their names say: read by their content, or refused with a way to a table."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from arrival_engine.engine.importing.columns import Naming, Reading, layouts
from arrival_engine.engine.importing.numbers import Marks
from arrival_engine.engine.importing.reading import read_table
from tests.support.import_refused import SCHEMA_BAD, UNREADABLE, edited, refused, request_of

TEXT = (
    "merchant_id,tz,bucket_start,count\n"
    "18446744073709551615,Europe/Berlin,2026-03-29T02:00:00+02:00,3\n"
    "1,Europe/London,2026-03-29T01:00:00Z,4\n"
)
JSON_LINES = (
    '{"merchant_id": 18446744073709551615, "tz": "Europe/Berlin", "bucket_start": "2026-03-29T02:00:00+02:00",'
    ' "count": 3}\n'
    '{"merchant_id": 1, "tz": "Europe/London", "bucket_start": "2026-03-29T01:00:00Z", "count": 4}\n'
)


def table():
    return pa.table(
        {
            "merchant_id": pa.array([2**64 - 1, 1], pa.uint64()),
            "tz": ["Europe/Berlin", "Europe/London"],
            "bucket_start": ["2026-03-29T02:00:00+02:00", "2026-03-29T01:00:00Z"],
            "count": [3, 4],
        }
    )


def rows(path):
    read, _ = read_table(layouts(Reading())["counts"], [path], Naming({}, frozenset()), Marks())
    zones = [read.texts["tz"][code] for code in read["tz"]]
    columns = (read["merchant_id"].tolist(), zones, read["bucket_start"].tolist(), read["count"].tolist())
    return list(zip(*columns, strict=True))


EXPECTED = [
    (2**64 - 1, "Europe/Berlin", 1_774_742_400_000_000, 3),
    (1, "Europe/London", 1_774_746_000_000_000, 4),
]


def refused_file(path, *says, code=SCHEMA_BAD):
    return refused(request_of(path.parent, edited(counts=None), counts=[path]), code, *says)


def parquet_bytes():
    buffer = io.BytesIO()
    pq.write_table(table(), buffer)
    return buffer.getvalue()


def arrow_compressed(codec):
    return pa.Codec(codec).compress(TEXT.encode(), asbytes=True)


TAKEN = {
    "counts.csv": parquet_bytes(),
    "counts.parquet": TEXT.encode(),
    "counts": TEXT.encode(),
    "gzip.csv": gzip.compress(TEXT.encode()),
    "plain.csv.gz": TEXT.encode(),
    "members.csv.gz": gzip.compress(TEXT[:70].encode()) + gzip.compress(TEXT[70:].encode()),
    "two.csv.bz2": bz2.compress(TEXT[:70].encode()) + bz2.compress(TEXT[70:].encode()),
    "counts.csv.zst": arrow_compressed("zstd"),
    "tabs.csv": TEXT.replace(",", "\t").encode(),
}


@pytest.mark.parametrize("name", TAKEN)
def test_the_content_decides_and_not_the_name(tmp_path, name):
    (tmp_path / name).write_bytes(TAKEN[name])
    assert rows(tmp_path / name) == EXPECTED


def archive_of(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return buffer.getvalue()


def tar_bytes():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("counts.csv"))
    return buffer.getvalue()


def database_bytes(folder):
    with sqlite3.connect(folder / "made.db") as database:
        database.execute("CREATE TABLE counts (merchant_id)")
    database.close()
    return (folder / "made.db").read_bytes()


REFUSED = {
    "JSON array": (b'[\n  {"merchant_id": 1}]', "is JSON", "duckdb.read_json("),
    "JSON lines": (JSON_LINES.encode(), "is JSON", "convert it to CSV, and give that in its place: python -c"),
    "JSON object": (b'\xef\xbb\xbf {\n "counts": []}', "is JSON", ""),
    "JSON rows": (b"[[1, 2], [3, 4]]", "is JSON", ""),
    "compressed JSON": (gzip.compress(JSON_LINES.encode()), "is JSON", ""),
    "XML": (b'<?xml version="1.0"?><a/>', "is XML or HTML", "export the table as CSV"),
    "HTML": (b"\n<table class='x'><tr>", "is XML or HTML", ""),
    "workbook": (archive_of("xl/workbook.xml"), "is an Excel workbook", "CSV UTF-8"),
    "OpenDocument": (archive_of("mimetype", "content.xml"), "is an OpenDocument sheet", "CSV UTF-8"),
    "archive": (archive_of("counts.csv"), "is a zip archive", "unzip "),
    "torn archive": (b"PK\x03\x04\x00\x00rest", "is a zip archive", "unzip "),
    "old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "is an old Excel workbook", "save the sheet as CSV"),
    "Avro": (b"Obj\x01rest", "is an Avro file", "read_avro"),
    "old Feather": (b"FEA1rest", "is a Feather file of version 1", "as CSV or Parquet"),
    "encrypted Parquet": (b"PARErest", "is an encrypted Parquet file", "without encryption"),
    "PDF": (b"%PDF-1.7\n", "is a PDF document", "as CSV or Parquet"),
    "7z": (b"7z\xbc\xaf\x27\x1crest", "is a 7z archive", "extract it"),
    "xz": (b"\xfd7zXZ\x00rest", "is compressed with xz", "xz -dk "),
    "HDF5": (b"\x89HDF\r\n", "is an HDF5 file", ""),
    "NumPy": (b"\x93NUMPY\x01", "is a NumPy file", ""),
    "tar": (tar_bytes(), "is a tar archive", "tar -xf "),
    "compressed tar": (gzip.compress(tar_bytes()), "is a tar archive", "tar -xf "),
    "compressed Parquet": (gzip.compress(parquet_bytes()), "is Parquet within gzip", "decompress it"),
    "UTF-16": (TEXT.encode("utf-16"), "is UTF-16 text", "iconv -f UTF-16 -t UTF-8"),
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), "is UTF-16 text", ""),
    "UTF-16 of the other order": (TEXT.encode("utf-16-be"), "is UTF-16 text", ""),
    "zeros": (b"merchant_id\0tz\0count\0", "is neither CSV nor Parquet", ""),
    "line for Excel": (b"sep=;\nmerchant_id;tz\n", "begins with 'sep=;', a line for Excel", "sed -i 1d"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_another_format_is_refused_by_name(tmp_path, name, suffix):
    content, *says = REFUSED[name]
    (tmp_path / f"data.{suffix}").write_bytes(content)
    refused_file(tmp_path / f"data.{suffix}", f"data.{suffix} {says[0]}", *says[1:])


def test_a_database_is_refused_by_name(tmp_path):
    (tmp_path / "data.csv").write_bytes(database_bytes(tmp_path))
    refused_file(tmp_path / "data.csv", "is an SQLite database")


@pytest.mark.parametrize("cut", [slice(0, -9), slice(0, 60)])
def test_torn_compressed_text_is_refused(tmp_path, cut):
    (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(TEXT.encode() * 1000)[cut])
    refused_file(tmp_path / "torn.csv.gz", "cannot read table", "torn.csv.gz", code=UNREADABLE)


# --- Ways to a table --------------------------------------------------------------------------------


def write_json(path):
    path.write_text(JSON_LINES)


def write_json_array(path):
    path.write_text("[" + ",".join(JSON_LINES.splitlines()) + "]")


def write_stream(path):
    with pa.ipc.new_stream(path, table().schema) as stream:
        stream.write_table(table())


def write_utf16(path):
    path.write_bytes(TEXT.encode("utf-16"))


CONVERTED = {
    "counts.json": write_json,
    'it\'s a "list" $HOME ü.json': write_json_array,
    "counts.arrow": lambda path: pa.feather.write_feather(table(), path),
    "counts.arrows": write_stream,
    "counts.orc": lambda path: pa.orc.write_table(table().set_column(0, "merchant_id", pa.array([7, 1])), path),
    "utf 16.csv": write_utf16,
}


@pytest.mark.parametrize("name", CONVERTED)
def test_the_command_of_the_hint_makes_a_table(tmp_path, name):
    path = tmp_path / name
    CONVERTED[name](path)
    hint = refused_file(path).hint
    command = hint[hint.index("iconv" if name.endswith("csv") else "python -c") :]
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, (command, done.stderr)
    (made,) = [other for other in tmp_path.iterdir() if other.name.startswith(name) and other != path]
    found = rows(made)
    # ORC has no unsigned integers.
    largest = 7 if name.endswith("orc") else 2**64 - 1
    assert found == [(largest, *EXPECTED[0][1:]), EXPECTED[1]]
