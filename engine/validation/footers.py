"""What the footer of a Parquet file states of its values, against the values.

Readers skip the row groups whose stated extremes exclude what they look for. A footer that lies hides rows from them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.thrift import Compact, read_footer
from arrival_engine.engine.rundir.arrow_files import ParquetFile, open_parquet
from arrival_engine.engine.validation.findings import Example

# Field numbers of parquet.thrift. What a run never writes is refused: nothing would check it.
_CHUNK_EXTRAS = {1: "values in another file", 4: "a page index", 6: "a page index"}
_COLUMN_EXTRAS = {14: "a Bloom filter"}
_GROUP_EXTRAS = {4: "a sort order of its own"}
ARROW_SCHEMA = "ARROW:schema"
_MAX, _MIN, _NULLS, _DISTINCT, _MAX_VALUE, _MIN_VALUE = range(1, 7)


class _Column(NamedTuple):
    """A column chunk: its dotted path, the number of values stated, its statistics by field number."""

    path: tuple[str, ...]
    values: int
    statistics: Mapping[int, Any]


class Footer(NamedTuple):
    """The statements of a footer: rows of the file and of each row group, columns of each group, key-value metadata.

    extras: what runs never write, in words.
    """

    rows: int
    groups: Sequence[tuple[int, Sequence[_Column]]]
    pairs: Sequence[tuple[str, str]]
    extras: Sequence[str]


def read_statements(path: InsidePath) -> Footer:
    """The footer of a Parquet file. Raises OSError, and ArrowInvalid for one that is not sound."""
    with path.open("rb") as source:
        try:
            return _footer(Compact(read_footer(source)[1]).struct())
        except (AttributeError, IndexError, LookupError, TypeError, ValueError) as failure:
            raise pa.ArrowInvalid(f"the Parquet footer is damaged: {failure}") from failure


def _footer(stated: Mapping[int, Any]) -> Footer:
    groups, extras = [], set[str]()
    for group in stated[4]:
        extras |= _named(group, _GROUP_EXTRAS)
        columns = []
        for chunk in group[1]:
            facts = chunk[3]
            extras |= _named(chunk, _CHUNK_EXTRAS) | _named(facts, _COLUMN_EXTRAS)
            path = tuple(name.decode() for name in facts[3])
            columns.append(_Column(path, int(facts[5]), dict(facts.get(12, {}))))
        groups.append((int(group[3]), columns))
    pairs = [(_text(pair[1]), _text(pair.get(2, b""))) for pair in stated.get(5, ())]
    return Footer(int(stated[3]), groups, pairs, sorted(extras))


def _text(stated: bytes) -> str:
    return stated.decode("utf-8", "replace")


def _named(entry: Mapping[int, Any], extras: Mapping[int, str]) -> set[str]:
    return {words for number, words in extras.items() if number in entry}


def footer_faults(path: InsidePath) -> list[Example]:
    """Each statement of a Parquet file's footer that its values contradict.

    Reads the columns that have statistics. Raises OSError or pa.ArrowException for a file that cannot be read.
    """
    footer = read_statements(path)
    file = path.name
    faults: list[Example] = [{"file": file, "fault": f"has {extra}"} for extra in footer.extras]
    keys = [key for key, _ in footer.pairs]
    faults += [{"file": file, "fault": f"repeats the key {key}"} for key in sorted(set(keys)) if keys.count(key) > 1]
    if footer.rows != sum(rows for rows, _ in footer.groups):
        faults.append({"file": file, "fault": f"states {footer.rows} rows, its row groups another number"})
    with open_parquet(path) as source:
        # Arrow keeps the metadata a second time, within its own schema, and prefers that.
        twins = {_text(key): _text(value) for key, value in (source.schema_arrow.metadata or {}).items()}
        if twins != {key: value for key, value in footer.pairs if key != ARROW_SCHEMA}:
            faults.append({"file": file, "fault": "states other metadata in its Arrow schema than in its footer"})
        for group, (rows, columns) in enumerate(footer.groups):
            for column, fault in _group_faults(source, group, rows, columns):
                faults.append({"file": file, "row_group": group, "column": column, "fault": fault})
    return faults


def _group_faults(source: ParquetFile, group: int, rows: int, columns: Sequence[_Column]) -> Iterator[tuple[str, str]]:
    for column in columns:
        if column.values != rows:
            yield ".".join(column.path), f"states {column.values} values in {rows} rows"
    judged = [column for column in columns if column.statistics]
    if not judged:
        return
    names = sorted({".".join(column.path) for column in judged})
    table = source.read_row_group(group, columns=names, use_threads=False)
    if table.num_rows != rows:
        yield "", f"states {rows} rows, has {table.num_rows}"
    for column in judged:
        values = _values(table, column.path)
        for fault in _statistics_faults(column.statistics, values):
            yield ".".join(column.path), fault


def _values(table: pa.Table, path: Sequence[str]) -> pa.ChunkedArray:
    values = table[path[0]]
    for name in path[1:]:
        values = pc.struct_field(values, name)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values


def _statistics_faults(stated: Mapping[int, Any], values: pa.ChunkedArray) -> Iterator[str]:
    if _NULLS in stated and stated[_NULLS] != values.null_count:
        yield f"states {stated[_NULLS]} nulls, has {values.null_count}"
    if _DISTINCT in stated and stated[_DISTINCT] != pc.count_distinct(values, mode="only_valid").as_py():
        yield f"states {stated[_DISTINCT]} distinct values, has another number"
    least, greatest = (value if value.is_valid else None for value in pc.min_max(values).values())
    for name, value, fields in (("least", least, (_MIN_VALUE, _MIN)), ("greatest", greatest, (_MAX_VALUE, _MAX))):
        for field in fields:
            if field in stated and not _allows(stated[field], value, name):
                found = "there is none" if value is None else f"it is {value.as_py()}"
                yield f"states the {name} value 0x{_shown(stated[field])}, {found}"


def _allows(stated: object, value: pa.Scalar | None, name: str) -> bool:
    """Whether an extreme may be stated so: as it is, of texts also a bound, which hides no row.

    Arrow takes a text's extremes from the whole dictionary, and other writers cut them off.
    """
    if value is None or not isinstance(stated, bytes):
        return False
    kind = value.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        found = value.as_py().encode("utf-8")
        return bool(stated <= found if name == "least" else stated >= found)
    return stated in _encoded(value)


def _encoded(value: pa.Scalar) -> set[bytes]:
    """The plain encodings of a number or truth value; a zero of a float has either sign."""
    kind = value.type
    if pa.types.is_floating(kind):
        form, number = "<d" if kind.bit_width == 64 else "<f", value.as_py()
        return {struct.pack(form, number), struct.pack(form, -number if number == 0 else number)}
    if pa.types.is_boolean(kind):
        return {bytes([value.as_py()])}
    if not pa.types.is_integer(kind):
        value = value.cast(pa.int64() if kind.bit_width == 64 else pa.int32())
    size = 8 if kind.bit_width == 64 else 4
    return {(value.as_py() % (1 << 8 * size)).to_bytes(size, "little")}


def _shown(stated: object) -> str:
    return stated.hex() if isinstance(stated, bytes) else str(stated)
