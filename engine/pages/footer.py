"""The footer of a part around its row groups, as Arrow writes it for the same table."""

from __future__ import annotations

import pyarrow as pa

from arrival_engine.contracts.thrift import MAGIC, STRUCT, Compact, list_head, text_bytes, zigzag
from arrival_engine.engine.process.version import version
from arrival_engine.engine.rundir.arrow_files import empty_parquet

_CREATED_BY = "arrival-engine version {}"


class FooterEnds:
    """The footer before and after its row groups, as Arrow writes them for a file without rows.

    schema: the contract's, with the key-value metadata of the file.
    """

    def __init__(self, schema: pa.Schema) -> None:
        data = empty_parquet(schema)
        footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
        thrift, starts, before = Compact(footer), {}, 0
        for number, kind in thrift.fields():
            starts[number] = before
            thrift.field(kind)
            before = thrift.at
        # FileMetaData: 3 rows, 4 row groups, 5 key-value metadata, 6 created by, 7 column orders.
        self._schema = footer[: starts[3]]
        self._rest = (footer[starts[5] : starts[6]], footer[starts[7] :])

    def file_end(self, rows: int, row_groups: int, entries: bytes) -> bytes:
        """The end of a file: the footer around the entries of its row groups, its length, and the magic bytes."""
        listed = b"\x16" + zigzag(rows) + b"\x19" + list_head(row_groups, STRUCT) + entries
        made_by = b"\x18" + text_bytes(_CREATED_BY.format(version()))
        footer = b"".join((self._schema, listed, self._rest[0], made_by, self._rest[1]))
        return footer + len(footer).to_bytes(4, "little") + MAGIC
