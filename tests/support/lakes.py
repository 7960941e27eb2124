"""Worlds whose arrivals are exported to lakehouse tables, and what stands in a table."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine import run
from arrival_engine.engine.exporting import ExportOptions, export
from arrival_engine.engine.process.progress import Reporter
from tests.support.product import write_sealed
from tests.support.refusals import CPU
from tests.support.worlds import small_world

FORMATS = ("delta", "iceberg")


class Version(NamedTuple):
    """A version of a table: its rows in order of merchant and arrival, and what it states of its export."""

    rows: pa.Table
    facts: dict[str, str]


@pytest.fixture(scope="session")
def run_root(tmp_path_factory):
    """A run directory with published arrivals."""
    return published(tmp_path_factory.mktemp("lake") / "run")


@pytest.fixture(scope="session")
def other_root(tmp_path_factory):
    """A run directory with other arrivals."""
    return published(tmp_path_factory.mktemp("lake") / "other", seed=43)


def published(run_root: Path, **changes) -> Path:
    write_sealed(small_world(**changes), run_root)
    run(run_root, CPU)
    return run_root


def put(run_root: Path, target: Path | str, to: Any, reporter: Reporter | None = None, **options: Any):
    return export(run_root, target, ExportOptions(to=to, threads=2, **options), reporter)


def expected(run_root: Path, folder: Path, **options) -> pa.Table:
    """The rows of a Parquet export with the ids of lakehouse tables."""
    put(run_root, folder, "parquet", **{"ids": "int64", **options})
    return plain(pa.concat_tables(pq.ParquetFile(file).read() for file in sorted(folder.rglob("*.parquet"))))


def plain(rows: pa.Table) -> pa.Table:
    """Rows in order of their key, their schema without metadata."""
    rows = rows.combine_chunks().sort_by([("merchant_id", "ascending"), ("arrival_seq", "ascending")])
    schema = pa.schema([pa.field(field.name, _long(field.type), field.nullable) for field in rows.schema])
    return rows.cast(schema)


def _long(kind: pa.DataType) -> pa.DataType:
    return pa.string() if kind in (pa.large_string(), pa.string_view()) else kind


def versions(target: Path, to: str) -> list[Version]:
    """Every version that the table has, oldest first; none if there is no table."""
    return _delta_versions(target) if to == "delta" else _iceberg_versions(target)


def newest(target: Path, to: str) -> tuple[int, Version | None]:
    """How many versions the table has, and the newest."""
    if to == "delta":
        from deltalake import DeltaTable

        if not DeltaTable.is_deltatable(str(target)):
            return 0, None
        number = DeltaTable(str(target)).version()
        return number + 1, _delta_version(target, number)
    table = iceberg_table(target)
    if table is None:
        return 0, None
    with closing(table.catalog):
        return len(table.snapshots()), _snapshot(table, table.current_snapshot())


def _delta_versions(target: Path) -> list[Version]:
    from deltalake import DeltaTable

    if not DeltaTable.is_deltatable(str(target)):
        return []
    return [_delta_version(target, number) for number in range(DeltaTable(str(target)).version() + 1)]


def _delta_version(target: Path, number: int) -> Version:
    from deltalake import DeltaTable

    table = DeltaTable(str(target), version=number)
    first, *_ = (target / f"_delta_log/{number:020}.json").read_text().splitlines()
    return Version(plain(table.to_pyarrow_table()), _facts(json.loads(first)["commitInfo"]))


def _iceberg_versions(target: Path) -> list[Version]:
    table = iceberg_table(target)
    if table is None:
        return []
    with closing(table.catalog):
        return [_snapshot(table, one) for one in table.snapshots()]


def _snapshot(table, snapshot) -> Version:
    rows = table.scan(snapshot_id=snapshot.snapshot_id).to_arrow()
    return Version(plain(rows), _facts(snapshot.summary.additional_properties))


def iceberg_table(target: Path, name: str = "arrivals.events"):
    """The table in the target's own catalog, which the caller closes; None if there is none."""
    from pyiceberg.exceptions import NoSuchTableError

    from arrival_engine.engine.exporting.iceberg_catalog import open_catalog
    from arrival_engine.engine.exporting.trees import tree_of

    if not (target / "catalog.sqlite").is_file():
        return None
    catalog = open_catalog(None, tree_of(target))
    try:
        return catalog.load_table(name)
    except BaseException as failure:
        catalog.close()
        if isinstance(failure, NoSuchTableError):
            return None
        raise


def _facts(properties) -> dict[str, str]:
    return {name: value for name, value in properties.items() if name.startswith("arrivals.")}


def leftovers(target: Path) -> list[str]:
    """Files in and beside a target that no version of the table names."""
    return sorted(
        str(path.relative_to(target.parent))
        for path in target.parent.rglob("*")
        if path.is_file() and path != _description(target) and path not in _named(target)
    )


def _description(target: Path) -> Path:
    return target.with_name(f"{target.name}.croissant.json")


def _named(target: Path) -> set[Path]:
    if (target / "_delta_log").is_dir():
        return _named_by_delta(target)
    return _named_by_iceberg(target)


def _named_by_delta(target: Path) -> set[Path]:
    from deltalake import DeltaTable

    log = target / "_delta_log"
    found = {log / f"{number:020}.json" for number in range(DeltaTable(str(target)).version() + 1)}
    for number in range(DeltaTable(str(target)).version() + 1):
        actions = pa.table(DeltaTable(str(target), version=number).get_add_actions(flatten=True))
        found |= {target / path for path in actions["path"].to_pylist()}
    return found


def _named_by_iceberg(target: Path) -> set[Path]:
    table = iceberg_table(target)
    found = {target / "catalog.sqlite"}
    if table is None:
        return found
    found |= {Path(table.metadata_location)} | {Path(one.metadata_file) for one in table.metadata.metadata_log}
    for snapshot in table.snapshots():
        found.add(Path(snapshot.manifest_list))
        for manifest in snapshot.manifests(table.io):
            found.add(Path(manifest.manifest_path))
            found |= {Path(one.data_file.file_path) for one in manifest.fetch_manifest_entry(table.io, False)}
    table.catalog.close()
    return found
