"""Footers of Parquet files that state something else, over pages that stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

_TAIL = 8


def footer_edited(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace a footer by another of any length."""
    data = path.read_bytes()
    size = int.from_bytes(data[-_TAIL:-4], "little")
    pages, footer = data[: -_TAIL - size], data[-_TAIL - size : -_TAIL]
    forged = change(footer)
    assert forged != footer
    path.write_bytes(pages + forged + len(forged).to_bytes(4, "little") + b"PAR1")


def word(value: int) -> bytes:
    """The plain encoding of a number of 64 bits."""
    return (value % (1 << 64)).to_bytes(8, "little")


def restated(path: Path, old: int, new: int) -> None:
    """State another number wherever the statistics of the first row group state this one, of eight bytes."""
    footer_edited(path, lambda footer: footer.replace(b"\x08" + word(old), b"\x08" + word(new)))


def renamed_key(path: Path, old: str, new: str) -> None:
    """Give a key of the metadata another name of as many characters."""
    assert len(old) == len(new)
    footer_edited(path, lambda footer: footer.replace(old.encode(), new.encode()))


def rewritten(path: Path, **options: object) -> None:
    """Write a part again, with further options of pyarrow's writer."""
    pq.write_table(pq.read_table(path, partitioning=None), path, **options)


def restated_arrow(path: Path, key: str, value: str) -> None:
    """Give the stream of an Arrow file another value of a key of its metadata, as long, and leave its footer."""
    data = path.read_bytes()
    with pa.ipc.open_file(path) as reader:
        old = (reader.schema.metadata or {})[key.encode()]
    assert len(old) == len(value)
    at = data.index(old)
    path.write_bytes(data[:at] + value.encode() + data[at + len(old) :])
