"""Forged arrivals that agree with every record of their run: what the validation says of them."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.engine.validation.job import validate
from tests.support.forging import CountRows, Rows, copied_run, file_at, parts_of, publish
from tests.support.validating import report_path
from tests.validation.forgeries.conftest import Bases
from tests.validation.forgeries.forged_arrivals import forged_arrivals
from tests.validation.forgeries.registry import ALL, Forgery, quick

FORGERIES = forged_arrivals()
# A forgery that one of these finds is not consistent.
FILES = {"arrival_digest", "counts", "files", "order", "primary_key", "rng_logs", "strangers"}
# The law says what these hold: a forgery that changes their sums is found by them too.
RECORDS = {"anomalies", "rng_draws", "rng_events", "run_report", "summary"}
DATASETS = ["s4_arrival_summary_5B", "s4_arrival_anomalies_5B", "rng_event_arrival_site_pick"]


def cases() -> list[Any]:
    """Every forgery in every world; all but one world of most are slow."""
    found = []
    for number, forgery in enumerate(FORGERIES):
        for world in ALL:
            marks = [] if world == quick(forgery.worlds, number) else [pytest.mark.slow]
            found.append(pytest.param(forgery, world, marks=marks, id=f"{forgery.name}-{world}"))
    return found


def decoded(table: pa.Table) -> pa.Table:
    """The table without dictionaries, of which several hold the same texts."""
    texts = [
        pa.field(field.name, field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(texts))


@pytest.mark.parametrize("world", ALL)
def test_the_forger_with_the_right_law_writes_what_the_engine_wrote(world: str, bases: Bases, tmp_path: Path) -> None:
    base = bases(world)
    forged = copied_run(base.run_root, tmp_path / "run")
    publish(forged, base.honest)
    for found, expected in zip(parts_of(forged), parts_of(base.run_root), strict=True):
        table, stored = (pq.read_table(path, partitioning=None) for path in (found, expected))
        assert table.schema.equals(stored.schema, check_metadata=True)
        assert decoded(table).equals(decoded(stored))
        sizes = [
            [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            for file in map(pq.ParquetFile, (found, expected))
        ]
        assert sizes[0] == sizes[1]
    for dataset_id in (*DATASETS, "rng_event_arrival_edge_pick"):
        tables: list[pa.Table] = [
            pq.read_table(file_at(root, dataset_id), partitioning=None) for root in (forged, base.run_root)
        ]
        assert decoded(tables[0]).equals(decoded(tables[1])), dataset_id
    assert report_path(forged).read_text("ascii") == report_path(base.run_root).read_text("ascii")
    assert validate(forged).passed


@pytest.mark.parametrize(("forgery", "world"), cases())
def test_the_law_finds_what_all_records_agree_with(forgery: Forgery, world: str, bases: Bases, tmp_path: Path) -> None:
    base = bases(world)
    columns = forgery.make(base)
    assert columns.same(base.honest) == (world not in forgery.worlds)
    if world not in forgery.worlds:
        return
    run_root = copied_run(base.run_root, tmp_path / "run")
    publish(run_root, columns)
    assert Rows.of(columns).digest() != Rows.of(base.honest).digest()
    result = validate(run_root)
    failed = {finding.check for finding in result.findings if finding.verdict == "FAIL"}
    assert "law" in failed
    assert not failed & FILES
    if CountRows(columns).same(CountRows(base.honest)):
        assert not failed & RECORDS


def test_every_kind_of_arrivals_has_forgeries_in_every_world() -> None:
    for kind, world in product(range(1, 8), ALL):
        assert sum(forgery.kind == kind and world in forgery.worlds for forgery in FORGERIES) >= 3, (kind, world)
    assert len({forgery.name for forgery in FORGERIES}) == len(FORGERIES)
