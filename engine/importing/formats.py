"""Formats of files by their content, whatever their names say; those that an import cannot read are refused by name."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.importing.quoting import shell_word

HEAD_BYTES = 1 << 20
PARQUET = b"PAR1"
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\{\s*["}]|\[\s*[\[{"\]]|\[\s*-?[0-9])')
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!doctype|html|[a-z]+[ >])", re.IGNORECASE)
_CSV, _SHEET = "export the table as CSV or Parquet", "save the sheet as CSV (in a spreadsheet: CSV UTF-8)"
_ARROW = "pyarrow.ipc.open_file({0}).read_all()"
# The first bytes of a file, what it then is, and what to do: a text, or the Python expression that reads it with Arrow.
_OTHERS = (
    (b"\xd0\xcf\x11\xe0", "is an old Excel workbook", _SHEET, ""),
    (b"Obj\x01", "is an Avro file", f"{_CSV}, for example with DuckDB's read_avro", ""),
    (b"ORC", "is an ORC file", "", "pyarrow.orc.read_table({0})"),
    (b"ARROW1", "is an Arrow file", "", _ARROW),
    (b"FEA1", "is a Feather file of version 1", _CSV, ""),
    (b"\xff\xff\xff\xff", "is an Arrow stream", "", "pyarrow.ipc.open_stream({0}).read_all()"),
    (b"PARE", "is an encrypted Parquet file", "export the table without encryption", ""),
    (b"SQLite format 3\0", "is an SQLite database", _CSV, ""),
    (b"%PDF", "is a PDF document", _CSV, ""),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", "extract it, and give the tables in it", ""),
    (b"\xfd7zXZ\0", "is compressed with xz", "decompress it: xz -dk {0}", ""),
    (b"\x89HDF", "is an HDF5 file", _CSV, ""),
    (b"\x93NUMPY", "is a NumPy file", _CSV, ""),
)


def compression_of(head: bytes) -> str | None:
    """The compression of a file that begins with these bytes, by Arrow's name, or None."""
    return next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), None)


def head_of(path: Path, compression: str | None) -> bytes:
    """The first bytes of a file, decompressed. Raises OSError."""
    with pa.input_stream(str(path), compression=compression) as stream:
        head: bytes = stream.read(HEAD_BYTES)
    return head


def refuse_other_format(path: Path) -> None:
    """Raise SCHEMA_VIOLATION for a file that is neither Parquet nor text in UTF-8, or is JSON; IO_READ_FAILED."""
    with reading("table", path, also=(pa.ArrowException,)):
        if path.exists() and not path.is_file():
            _refuse(path, "is not a regular file, and tables are read more than once", "write it to a file first")
        head = head_of(path, None)
        compression = compression_of(head)
        text = head_of(path, compression) if compression else head
    if not compression and head.startswith(PARQUET):
        return
    _refuse_binary(path, text, compression)
    if _JSON.match(text):
        # Dates stay texts: DuckDB would turn them into timestamps without their offset.
        code = f'duckdb.read_json({_python(path)}, timestamp_format="%Y", date_format="%Y")'
        _refuse(path, "is JSON", _convert("CSV", "duckdb", f"{code}.write_csv({_python(path, '.csv')})"))
    if _MARKUP.match(text):
        _refuse(path, "is XML or HTML", _CSV)


def _refuse_binary(path: Path, head: bytes, compression: str | None) -> None:
    word = shell_word(str(path))
    if compression and head.startswith(PARQUET):
        _refuse(path, f"is Parquet within {compression}", "decompress it, and give the Parquet file")
    if head.startswith(b"PK\x03\x04"):
        _refuse_zip(path)
    for magic, what, hint, read in _OTHERS:
        if head.startswith(magic):
            _refuse(path, what, hint.format(word) if hint else _to_parquet(path, read))
    if head[257:262] == b"ustar":
        _refuse(path, "is a tar archive", f"extract it, and give the tables in it: tar -xf {word}")
    if head[:2] in _UTF16 or _every_other_is_zero(head[:512]):
        hint = f"save it as UTF-8 (in a spreadsheet: CSV UTF-8): iconv -f UTF-16 -t UTF-8 {word} > "
        _refuse(path, "is UTF-16 text", hint + shell_word(f"{path}.utf8.csv"))
    if b"\0" in head:
        _refuse(path, "is neither CSV nor Parquet", _CSV)


def _every_other_is_zero(sample: bytes) -> bool:
    """Whether these are plain letters in UTF-16 without a byte order mark."""
    zeros = sorted((sample[::2].count(0), sample[1::2].count(0)))
    return zeros[0] == 0 and zeros[1] * 3 > len(sample)


def _refuse_zip(path: Path) -> NoReturn:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        names = []
    if any(name.startswith("xl/") for name in names):
        _refuse(path, "is an Excel workbook", _SHEET)
    if "mimetype" in names and "content.xml" in names:
        _refuse(path, "is an OpenDocument sheet", _SHEET)
    _refuse(path, "is a zip archive", f"extract it, and give the tables in it: unzip {shell_word(str(path))}")


def _to_parquet(path: Path, read: str) -> str:
    module = read.rpartition(".read_table(")[0] or "pyarrow.ipc"
    code = f"pyarrow.parquet.write_table({read.format(_python(path))}, {_python(path, '.parquet')})"
    return _convert("Parquet", f"pyarrow.parquet, {module}", code)


def _convert(form: str, modules: str, code: str) -> str:
    return f"convert it to {form}, and give that in its place: python -c {shell_word(f'import {modules}; {code}')}"


def _python(path: Path, suffix: str = "") -> str:
    """The path with a suffix as a Python text in double quotes, which a shell's single quotes hold as they are."""
    text = f"{path}{suffix}"
    plain = (c if c.isascii() and c.isprintable() and c not in "\"'\\" else f"\\U{ord(c):08x}" for c in text)
    return '"' + "".join(plain) + '"'


def _refuse(path: Path, what: str, hint: str) -> NoReturn:
    raise ArrivalError(Code.SCHEMA_VIOLATION, f"{path} {what}", hint=hint, file=str(path))
