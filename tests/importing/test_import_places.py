"""Where imported worlds go, and the example: it imports, runs and validates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.engine.importing import ImportRequest, import_world
from arrival_engine.engine.importing.example import write_example
from arrival_engine.engine.validation.job import validate
from tests.support.imported import sealed_run
from tests.support.importing import (
    Form,
    imported,
    small_tables,
)
from tests.support.paths import ROOT


def test_the_same_world_is_left_alone_and_anything_else_refused(tmp_path):
    tables = small_tables()
    root = tmp_path / "world"
    imported(tables, root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "import.lock"}
    again = imported(tables, root, Form("parquet", shuffle=3))
    assert again.reused
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "import.lock"}
    with pytest.raises(ArrivalError, match="holds another run") as caught:
        imported(replace(tables, seed=7), root)
    assert caught.value.code == Code.IO_WRITE_CONFLICT
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ArrivalError, match=r"notes\.txt"):
        imported(tables, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_the_example_runs_and_validates(tmp_path):
    example = write_example(tmp_path / "coffee")
    assert sum(path.stat().st_size for path in example.files) < 100_000
    options = {option.removeprefix("--").replace("-", "_"): [path] for option, path in example.options.items()}
    result = import_world(ImportRequest(tmp_path / "world", **dict[str, Any](options)))
    assert (result.hybrid_merchants, result.virtual_merchants, result.notices) == (1, 1, ())
    (scenario,) = sealed_run(tmp_path / "world").scenarios
    assert scenario.arrivals == result.arrivals
    assert not any(scenario.fallbacks.values())
    report = validate(tmp_path / "world")
    assert report.passed
    # The opening hour moves by one UTC hour with the clock, on 29 March in Berlin.
    counts = pq.read_table(
        dataset("s3_bucket_counts_5B").locate(
            tmp_path / "world", result.identity.tokens(scenario_id=result.scenario_id)
        ),
        partitioning=None,
    ).to_pylist()
    first = {}
    for row in counts:
        if row["zone_representation"] == "Europe/Berlin":
            day = row["bucket_index"] // 24
            first[day] = min(first.get(day, 99), row["bucket_index"] % 24)
    assert list(first.values()) == [6] * 5 + [5] * 5


def test_example_tables_are_never_written_over_others(tmp_path):
    first = write_example(tmp_path / "coffee")
    assert write_example(tmp_path / "coffee") == first
    (tmp_path / "coffee" / "sites.csv").write_text("mine")
    (tmp_path / "coffee" / "counts.csv").unlink()
    with pytest.raises(ArrivalError, match=r"sites\.csv is there already") as caught:
        write_example(tmp_path / "coffee")
    assert caught.value.code == Code.IO_WRITE_CONFLICT
    assert not (tmp_path / "coffee" / "counts.csv").exists()


def test_the_example_is_what_its_script_writes(tmp_path):
    import runpy

    root = ROOT
    script = runpy.run_path(str(root / "examples" / "make_coffee.py"))
    script["main"](tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    packaged = {path.name: path.read_bytes() for path in (root / "engine/importing/example").glob("*.csv")}
    assert written == packaged
