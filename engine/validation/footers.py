"""What the footer of a Parquet file states of its values, against the values.

Readers skip the row groups whose stated extremes exclude what they look for. A footer that lies hides rows from them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.schemas import shown
from arrival_engine.contracts.thrift import Compact, read_footer
from arrival_engine.engine.rundir.arrow_files import ParquetFile, open_arrow, open_parquet
from arrival_engine.engine.validation.findings import Example

# Field numbers of parquet.thrift. What a run never writes is refused: nothing would check it.
_CHUNK_EXTRAS = {1: "values in another file", 4: "a page index", 6: "a page index"}
_COLUMN_EXTRAS = {14: "a Bloom filter"}
_GROUP_EXTRAS = {4: "a sort order of its own"}
ARROW_SCHEMA = "ARROW:schema"
# An Arrow file is these eight bytes, a stream with a schema of its own, and a footer with another.
_ARROW_HEAD = 8
_SHOWN_BYTES = 64
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


class Measure(NamedTuple):
    """Of a column in a row group: its nulls, and its least and greatest value, None where it has none."""

    nulls: int
    least: pa.Scalar | None
    greatest: pa.Scalar | None


class Extremes:
    """Measures of the columns of whole numbers that have statistics, from the batches of a pass over the file."""

    def __init__(self, path: InsidePath) -> None:
        self.footer = read_statements(path)
        self._groups = self.footer.groups
        chunks = [chunk for _, chunks in self._groups for chunk in chunks if chunk.statistics]
        self._names = sorted({chunk.path[0] for chunk in chunks if len(chunk.path) == 1})
        self._seen: set[str] = set()
        self._found: dict[tuple[int, str], Measure] = {}
        self._group = self._row = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in the next batch, which has all or some of the file's columns."""
        while batch.num_rows and self._group < len(self._groups):
            left = self._groups[self._group][0] - self._row
            if left <= 0:
                self._group, self._row = self._group + 1, 0
                continue
            piece = batch.slice(0, left)
            self._measure(piece)
            self._row += piece.num_rows
            batch = batch.slice(piece.num_rows)

    def _measure(self, piece: pa.RecordBatch) -> None:
        for name in self._names:
            at = piece.schema.get_field_index(name)
            kind = piece.schema.field(at).type if at >= 0 else pa.null()
            if not (pa.types.is_integer(kind) or pa.types.is_timestamp(kind)):
                continue
            self._seen.add(name)
            values = piece.column(at)
            found = _measured(values if pa.types.is_integer(kind) else values.cast(pa.int64()))
            key = self._group, name
            self._found[key] = _merged(self._found[key], found) if key in self._found else found

    def of(self, group: int, column: _Column) -> Measure | None:
        """What was measured; None of a column that was not."""
        name = column.path[0]
        if len(column.path) > 1 or name not in self._seen or _DISTINCT in column.statistics:
            return None
        key = group, name
        return self._found[key] if key in self._found else Measure(0, None, None)


def _measured(values: pa.Array | pa.ChunkedArray) -> Measure:
    if pa.types.is_integer(values.type) and not values.null_count and len(values):
        # Several times as fast as Arrow.
        numbers = values.to_numpy()
        return Measure(0, *(pa.scalar(int(end), values.type) for end in (numbers.min(), numbers.max())))
    least, greatest = (value if value.is_valid else None for value in pc.min_max(values).values())
    return Measure(values.null_count, least, greatest)


def _merged(one: Measure, other: Measure) -> Measure:
    least = [value for value in (one.least, other.least) if value is not None]
    greatest = [value for value in (one.greatest, other.greatest) if value is not None]
    return Measure(
        one.nulls + other.nulls,
        min(least, key=lambda value: value.as_py(), default=None),
        max(greatest, key=lambda value: value.as_py(), default=None),
    )


def footer_faults(path: InsidePath, passed: Extremes | None = None) -> list[Example]:
    """Each statement of a Parquet file's footer that its values contradict.

    Reads the columns that have statistics and that a pass over the file has not measured. Raises OSError or
    pa.ArrowException for a file that cannot be read.
    """
    footer = read_statements(path) if passed is None else passed.footer
    file = path.name
    faults: list[Example] = [{"file": file, "fault": f"has {extra}"} for extra in footer.extras]
    keys = [key for key, _ in footer.pairs]
    faults += [
        {"file": file, "fault": f"repeats the key {shown(key)}"} for key in sorted(set(keys)) if keys.count(key) > 1
    ]
    if footer.rows != sum(rows for rows, _ in footer.groups):
        faults.append({"file": file, "fault": f"states {footer.rows} rows, its row groups another number"})
    with open_parquet(path) as source:
        # Arrow keeps the metadata a second time, within its own schema, and prefers that.
        twins = {_text(key): _text(value) for key, value in (source.schema_arrow.metadata or {}).items()}
        if twins != {key: value for key, value in footer.pairs if key != ARROW_SCHEMA}:
            faults.append({"file": file, "fault": "states other metadata in its Arrow schema than in its footer"})
        for group, (rows, columns) in enumerate(footer.groups):
            for column, fault in _group_faults(source, group, rows, columns, passed):
                faults.append({"file": file, "row_group": group, "column": column, "fault": fault})
    return faults


def two_schemas(path: InsidePath) -> list[Example]:
    """The fault of an Arrow file whose stream begins with another schema than its footer gives; readers use either."""
    with open_arrow(path) as reader, path.open("rb") as source:
        source.seek(_ARROW_HEAD)
        with pa.ipc.open_stream(pa.PythonFile(source, "r")) as stream:
            same = stream.schema.equals(reader.schema, check_metadata=True)
    return [] if same else [{"file": path.name, "fault": "begins with another schema than its footer gives"}]


def _group_faults(
    source: ParquetFile, group: int, rows: int, columns: Sequence[_Column], passed: Extremes | None
) -> Iterator[tuple[str, str]]:
    unmeasured = []
    for column in columns:
        name = ".".join(column.path)
        if column.values != rows:
            yield name, f"states {column.values} values in {rows} rows"
        if not column.statistics:
            continue
        measured = passed.of(group, column) if passed is not None else None
        if measured is None:
            unmeasured.append(column)
            continue
        for fault in _statistics_faults(column.statistics, measured):
            yield name, fault
    if not unmeasured:
        return
    names = sorted({".".join(column.path) for column in unmeasured})
    table = source.read_row_group(group, columns=names)
    if table.num_rows != rows:
        yield "", f"states {rows} rows, has {table.num_rows}"
    for column in unmeasured:
        values = _values(table, column.path)
        faults = list(_statistics_faults(column.statistics, _measured(values), text=_is_text(values.type)))
        stated = column.statistics.get(_DISTINCT)
        if stated is not None and stated != pc.count_distinct(values, mode="only_valid").as_py():
            faults.append(f"states {stated} distinct values, has another number")
        for fault in faults:
            yield ".".join(column.path), fault


def _values(table: pa.Table, path: Sequence[str]) -> pa.ChunkedArray:
    values = table[path[0]]
    for name in path[1:]:
        values = pc.struct_field(values, name)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values


def _statistics_faults(stated: Mapping[int, Any], found: Measure, *, text: bool = False) -> Iterator[str]:
    if _NULLS in stated and stated[_NULLS] != found.nulls:
        yield f"states {stated[_NULLS]} nulls, has {found.nulls}"
    # Of texts that are all null, Arrow states the extremes of the dictionary. Bounds of no value hide no row.
    if text and found.least is None:
        return
    extremes = (("least", found.least, (_MIN_VALUE, _MIN)), ("greatest", found.greatest, (_MAX_VALUE, _MAX)))
    for name, value, fields in extremes:
        for field in fields:
            if field in stated and not _allows(stated[field], value, name):
                right = "there is none" if value is None else f"it is {shown(value.as_py())}"
                yield f"states the {name} value 0x{_shown(stated[field])}, {right}"


def _allows(stated: object, value: pa.Scalar | None, name: str) -> bool:
    """Whether an extreme may be stated so: as it is, of texts also a bound, which hides no row.

    Arrow takes a text's extremes from the whole dictionary, and other writers cut them off.
    """
    if value is None or not isinstance(stated, bytes):
        return False
    if _is_text(value.type):
        found = value.as_py().encode("utf-8")
        return bool(stated <= found if name == "least" else stated >= found)
    return stated in _encoded(value)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


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
    return stated[:_SHOWN_BYTES].hex() if isinstance(stated, bytes) else str(stated)
