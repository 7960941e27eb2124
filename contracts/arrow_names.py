"""Names and time zones in the schema of a file, which Arrow reads without looking at their bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa


def legible(schema: pa.Schema) -> pa.Schema:
    """The schema. Raises ArrowInvalid for one with a name or a time zone that is not UTF-8."""
    try:
        list(_texts(schema))
    except UnicodeDecodeError as failure:
        raise pa.ArrowInvalid(f"a column's name or time zone is not UTF-8: {failure}") from failure
    return schema


def _texts(schema: pa.Schema) -> Iterator[str]:
    pending = list(schema)
    while pending:
        field = pending.pop()
        yield field.name
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_timestamp(kind):
            yield kind.tz or ""
        pending += [kind.field(at) for at in range(kind.num_fields)]
