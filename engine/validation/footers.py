"""What a Parquet file states of its values, against the values.

Readers skip the row groups and pages whose stated extremes exclude what they look for. A footer or a page index that
lies hides rows from them, or leads them to others.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.schemas import shown
from arrival_engine.engine.rundir.arrow_files import ParquetFile, open_arrow, open_parquet
from arrival_engine.engine.validation import parquet_forms as forms
from arrival_engine.engine.validation.bounds import statistics_faults
from arrival_engine.engine.validation.findings import Example
from arrival_engine.engine.validation.measures import Measures, PassMeasures, column_of, measured
from arrival_engine.engine.validation.page_index import page_faults
from arrival_engine.engine.validation.statements import Column, Fault, Group, as_text, read_statements

ARROW_SCHEMA = "ARROW:schema"
# An Arrow file is these eight bytes, a stream with a schema of its own, and a footer with another.
_ARROW_HEAD = 8


def footer_faults(path: InsidePath, passed: PassMeasures | None = None) -> list[Example]:
    """Each statement of a Parquet file's footer, page headers and page index that its pages or values contradict.

    Reads the columns of which something is stated that a pass over the file has not measured. Raises OSError or
    pa.ArrowException for a file that cannot be read.
    """
    passed = passed or PassMeasures(read_statements(path))
    stated = passed.statements
    file = path.name
    faults: list[Example] = [{"file": file, "fault": f"has {extra}"} for extra in stated.extras]
    keys = [key for key, _ in stated.pairs]
    faults += [
        {"file": file, "fault": f"repeats the key {shown(key)}"} for key in sorted(set(keys)) if keys.count(key) > 1
    ]
    if stated.rows != sum(group.rows for group in stated.groups):
        faults.append({"file": file, "fault": f"states {stated.rows} rows, its row groups another number"})
    with open_parquet(path) as source:
        # Arrow keeps the metadata a second time, within its own schema, and prefers that.
        twins = {as_text(key): as_text(value) for key, value in (source.schema_arrow.metadata or {}).items()}
        if twins != {key: value for key, value in stated.pairs if key != ARROW_SCHEMA}:
            faults.append({"file": file, "fault": "states other metadata in its Arrow schema than in its footer"})
        found = [*stated.faults]
        for number, group in enumerate(stated.groups):
            found += _group_faults(source, number, group, passed)
    faults += [
        {"file": file, "row_group": fault.group, "column": fault.column, "fault": fault.words} for fault in found
    ]
    return faults


def two_schemas(path: InsidePath) -> list[Example]:
    """The fault of an Arrow file whose stream begins with another schema than its footer gives; readers use either."""
    with open_arrow(path) as reader, path.open("rb") as source:
        source.seek(_ARROW_HEAD)
        with pa.ipc.open_stream(pa.PythonFile(source, "r")) as stream:
            same = stream.schema.equals(reader.schema, check_metadata=True)
    return [] if same else [{"file": path.name, "fault": "begins with another schema than its footer gives"}]


def _group_faults(source: ParquetFile, number: int, group: Group, passed: PassMeasures) -> Iterator[Fault]:
    unmeasured = []
    for column in group.columns:
        name = column.name
        if column.values != group.rows:
            yield Fault(number, name, f"states {column.values} values in {group.rows} rows")
        if not column.stated:
            continue
        found = passed.of(number, column)
        if found is None:
            unmeasured.append(column)
            continue
        for fault in _column_faults(column, found):
            yield Fault(number, name, fault)
    if not unmeasured:
        return
    names = sorted({column.name for column in unmeasured})
    table = source.read_row_group(number, columns=names)
    if table.num_rows != group.rows:
        yield Fault(number, "", f"states {group.rows} rows, has {table.num_rows}")
    for column in unmeasured:
        values = column_of(table, column.leaf.path)
        faults = list(_column_faults(column, measured(values, column.first_rows)))
        distinct = column.statistics.get(forms.DISTINCT)
        if distinct is not None and distinct != pc.count_distinct(values, mode="only_valid").as_py():
            faults.append(f"states {distinct} distinct values, has another number")
        for fault in faults:
            yield Fault(number, column.name, fault)


def _column_faults(column: Column, found: Measures) -> Iterator[str]:
    yield from statistics_faults(column.statistics, found.whole, found.kind)
    yield from page_faults(column, found)
