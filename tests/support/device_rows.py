"""Comparison of count rows and parts that were made on a device, or by a stand-in for one."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq


def assert_same_rows(rows, wanted):
    """Count rows equal in every value and type."""
    for name, column in rows._asdict().items():
        expected = getattr(wanted, name)
        assert (name, column.dtype, column.tolist()) == (name, expected.dtype, expected.tolist())


def plain(table):
    """Texts as texts: which dictionary they are coded by is no matter."""
    fields = [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in table.schema]
    return table.cast(pa.schema(fields))


def encodings_of(path):
    """The encodings of each column of the first row group."""
    group = pq.read_metadata(path).row_group(0)
    columns = (group.column(index) for index in range(group.num_columns))
    return {column.path_in_schema: set(column.encodings) for column in columns}
