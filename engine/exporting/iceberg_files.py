"""Data files as entries of an Iceberg manifest, with metrics from their Parquet footers.

The footers are those that the writer kept, so that no file is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from arrival_engine.engine.exporting.files import DataFile

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.manifest import DataFile as Entry
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.metadata import TableMetadata

__all__ = ["day_spec", "entries", "evolve", "numbered", "table_schema"]

# With these two columns, a row is found.
_KEY = ("merchant_id", "arrival_seq")
_DAY = "ts_utc_day"


def table_schema(columns: pa.Schema) -> Schema:
    """The Iceberg schema of the columns, with their descriptions, and the key of a row as identifier fields."""
    import pyarrow as pa
    from pyiceberg.io.pyarrow import pyarrow_to_schema
    from pyiceberg.schema import Schema

    fields = []
    for number, field in enumerate(columns, 1):
        words = (field.metadata or {}).get(b"description", b"").decode()
        fields.append(field.with_metadata({"PARQUET:field_id": str(number), **({"doc": words} if words else {})}))
    schema = pyarrow_to_schema(pa.schema(fields))
    return Schema(*schema.fields, identifier_field_ids=[schema.find_field(name).field_id for name in _KEY])


def numbered(columns: pa.Schema, schema: Schema) -> pa.Schema:
    """The columns with the table's field ids, which the data files state."""
    import pyarrow as pa

    numbers = {field.name: str(field.field_id) for field in schema.fields}
    told = {field.name: {**(field.metadata or {}), "PARQUET:field_id": numbers[field.name]} for field in columns}
    return pa.schema([field.with_metadata(told[field.name]) for field in columns])


def day_spec(schema: Schema, partition: str | None) -> PartitionSpec:
    """Partitioned by the UTC day of ts_utc, or not at all."""
    from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
    from pyiceberg.transforms import DayTransform

    if partition is None:
        return UNPARTITIONED_PARTITION_SPEC
    return PartitionSpec(PartitionField(schema.find_field("ts_utc").field_id, 1000, DayTransform(), _DAY))


def evolve(transaction: Transaction, wanted: Schema, partition: str | None) -> None:
    """Give a table the wanted columns and partitions; a column of the same name and type stays the same one."""
    from pyiceberg.transforms import DayTransform

    if _shape(transaction.table_metadata.schema()) != _shape(wanted):
        _reshape(transaction, wanted)
    is_daily = bool(transaction.table_metadata.spec().fields)
    if is_daily != (partition is not None):
        with transaction.update_spec() as change:
            if partition is None:
                change.remove_field(_DAY)
            else:
                change.add_field("ts_utc", DayTransform(), _DAY)


def _reshape(transaction: Transaction, wanted: Schema) -> None:
    theirs = {field.name: field for field in transaction.table_metadata.schema().fields}
    kept = {field.name for field in wanted.fields if field.name in theirs and _same(theirs[field.name], field)}
    # In two steps: in one, pyiceberg cannot move a column that takes the name of another.
    with transaction.update_schema(allow_incompatible_changes=True) as update:
        update.set_identifier_fields()
        for name in theirs.keys() - kept:
            update.delete_column(name)
    with transaction.update_schema(allow_incompatible_changes=True) as update:
        for field in wanted.fields:
            if field.name not in kept:
                update.add_column(field.name, field.field_type, field.doc, field.required)
            elif theirs[field.name].doc != field.doc:
                update.update_column(field.name, doc=field.doc)
        update.move_first(wanted.fields[0].name)
        for before, field in pairwise(wanted.fields):
            update.move_after(field.name, before.name)
        update.set_identifier_fields(*_KEY)


def _shape(schema: Schema) -> list[tuple[object, ...]]:
    return [(field.name, field.field_type, field.required, field.doc) for field in schema.fields]


def _same(one: object, other: object) -> bool:
    return (one.field_type, one.required) == (other.field_type, other.required)  # type: ignore[attr-defined]


def entries(metadata: TableMetadata, folder: str, files: Iterable[DataFile]) -> Iterator[Entry]:
    """One manifest entry per data file below `folder`, a full location."""
    from pyiceberg.io.pyarrow import (
        compute_statistics_plan,
        data_file_statistics_from_parquet_metadata,
        parquet_path_to_id_mapping,
    )
    from pyiceberg.manifest import DataFile as Entry
    from pyiceberg.manifest import DataFileContent, FileFormat

    schema, spec = metadata.schema(), metadata.spec()
    plan, numbers = compute_statistics_plan(schema, metadata.properties), parquet_path_to_id_mapping(schema)
    for file in files:
        # The only file of an export without rows: it is in no partition, and pyiceberg warns of its lack of bounds.
        if not file.rows:
            continue
        found = data_file_statistics_from_parquet_metadata(file.footer, plan, numbers)
        yield Entry.from_args(
            content=DataFileContent.DATA,
            file_path=f"{folder}/{file.name}",
            file_format=FileFormat.PARQUET,
            partition=found.partition(spec, schema),
            file_size_in_bytes=file.bytes,
            sort_order_id=None,
            spec_id=spec.spec_id,
            equality_ids=None,
            key_metadata=None,
            **found.to_serialized_dict(),
        )


def named_files(table: Table) -> set[str]:
    """The locations of the data files of every snapshot that the table has."""
    found: set[str] = set()
    seen: set[str] = set()
    for snapshot in table.snapshots():
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path not in seen:
                seen.add(manifest.manifest_path)
                found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io, False)}
    return found


def live_files(table: Table) -> Sequence[Entry]:
    """The data files of the table's present snapshot."""
    return [task.file for task in table.scan().plan_files()]
