"""Limits on the tables of a run, checked by what footers state, before a page is read."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.columns import table_shape
from arrival_engine.contracts.oserrors import reading
from arrival_engine.contracts.parquet_footer import RowGroup, row_groups
from arrival_engine.contracts.plainness import TEXT_BYTES_MAX
from arrival_engine.engine.process import human
from arrival_engine.engine.process.machine import memory_in_use_bytes, memory_limit_bytes
from arrival_engine.engine.rundir.sealed_files import InputFile

# A text's length, and the headers of a chunk's pages.
_LENGTH_BYTES, _PAGES_BYTES = 4, 1 << 16
# Rows that are read at once are columns of 8 bytes, of which a table has no more than these.
_ROW_BYTES = 128
# Pages are in memory as they are read, and as the values that they hold.
_PAGE_COPIES = 2
_HINT = "the file is damaged, truncated or not readable; restore it and seal again"


def check_sizes(dataset_id: str, file: InputFile, columns: Collection[str], rows_at_once: int) -> None:
    """Refuse a Parquet file of which a row group would fill the memory of this process.

    rows_at_once: the most rows of a row group that the reader has in memory. Raises LIMIT_EXCEEDED for text columns
    that texts of TEXT_BYTES_MAX do not explain, RESOURCES_INSUFFICIENT for pages that do not fit, IO_READ_FAILED.
    """
    with reading("file", file.path, hint=_HINT, also=(pa.ArrowException,)), file.open() as source:
        groups = row_groups(source)
    texts = [column.name for column in table_shape(dataset_id).columns if column.json_type == "string"]
    needed = 0
    for number, group in enumerate(groups):
        for name in texts:
            if name in columns and name in group.chunks:
                _check_text(dataset_id, file, number, group, name)
        pages = sum(group.chunks[name].uncompressed_bytes for name in columns if name in group.chunks)
        needed = max(needed, _PAGE_COPIES * pages + min(group.rows, rows_at_once) * _ROW_BYTES)
    check_room(f"{file.path}: a row group", needed)


def _check_text(dataset_id: str, file: InputFile, number: int, group: RowGroup, name: str) -> None:
    held = group.chunks[name].uncompressed_bytes
    if 0 <= held <= max(group.rows, 0) * (TEXT_BYTES_MAX + _LENGTH_BYTES) + _PAGES_BYTES:
        return
    raise ArrivalError(
        Code.LIMIT_EXCEEDED,
        f"{file.path}: column {name} of row group {number} takes {human.size(held)}, for {group.rows:,} rows",
        hint=f"a text of {dataset_id} may take {TEXT_BYTES_MAX:,} bytes: write the file again without longer ones, "
        "also without those that no row uses, and seal again",
        dataset=dataset_id,
        path=file.path,
        column=name,
    )


def check_room(what: str, needed: int) -> None:
    """Refuse what needs more memory than this process may have. Raises RESOURCES_INSUFFICIENT with the numbers."""
    limit, source = memory_limit_bytes()
    held = memory_in_use_bytes(source)
    if held + needed <= limit:
        return
    raise ArrivalError(
        Code.RESOURCES_INSUFFICIENT,
        f"{what} needs about {human.size(needed)} besides the {human.size(held)} in use; this process may have "
        f"{human.size(limit)} ({source})",
        hint="raise the limit, or divide the world: give each run fewer merchants or scenarios",
        needed_bytes=held + needed,
        limit_bytes=limit,
    )
