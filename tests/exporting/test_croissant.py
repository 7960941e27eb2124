"""The Croissant description of an export: valid, the same for the same export, and true."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from arrival_engine import ExportOptions, export
from tests.support import exports

# mlcroissant misses these; none of them is known of an export, unless a licence is stated.
RECOMMENDED = {"citeAs", "datePublished", "license", "version"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return exports.published(tmp_path_factory.mktemp("exported") / "run", factor=1)


def described(target):
    return json.loads(target.with_name(f"{target.name}.croissant.json").read_bytes())


# In a process of its own: rdflib, under it, warns of its own functions. A database has no rows for mlcroissant.
JUDGE = """
import json, logging, sys
logging.disable(logging.CRITICAL)
import mlcroissant
for path in sys.argv[1:]:
    data = mlcroissant.Dataset(jsonld=path)
    issues = data.metadata.ctx.issues
    rows = None if ".duckdb" in path else sum(1 for _ in data.records("arrivals"))
    print(json.dumps([sorted(issues.errors), sorted(issues.warnings), rows]))
"""


def judged(*targets):
    """Errors, warnings and number of rows, as mlcroissant finds them."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", JUDGE, *(f"{target}.croissant.json" for target in targets)],
        capture_output=True,
        check=True,
        text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_mlcroissant_accepts_it_and_reads_the_rows(world, tmp_path, monkeypatch):
    monkeypatch.setattr("arrival_engine.engine.exporting.chunks.CHUNK_ROWS", 500)
    monkeypatch.setattr("arrival_engine.engine.exporting.files.FILE_ROWS", 1000)
    root, made = world
    empty, _ = exports.published(tmp_path / "run", factor=0)
    licensed = ExportOptions(cluster_by="day", partitioned=True, license="CC-BY-4.0")
    assert export(root, tmp_path / "licensed", licensed).files > 1
    assert export(root, tmp_path / "plain", ExportOptions(ids="decimal")).files > 1
    export(root, tmp_path / "arrivals.duckdb", ExportOptions(to="duckdb"))
    export(empty, tmp_path / "empty")
    found = judged(*(tmp_path / name for name in ("licensed", "plain", "arrivals.duckdb", "empty")))
    assert [(errors, rows) for errors, _, rows in found] == [
        ([], made.arrivals),
        ([], made.arrivals),
        ([], None),
        ([], 0),
    ]
    missing = [{warning.split('"')[1].rpartition("/")[2] for warning in warnings} for _, warnings, _ in found]
    assert missing == [RECOMMENDED - {"license"}, RECOMMENDED, RECOMMENDED, RECOMMENDED]


def test_it_states_what_was_exported(world, tmp_path):
    root, made = world
    result = export(root, tmp_path / "table", ExportOptions(license="CC0-1.0", cluster_by="day"))
    told = described(tmp_path / "table")
    assert result.description == f"{tmp_path / 'table'}.croissant.json"
    assert told["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert told["arrivals:digest"] == made.digest
    assert told["license"] == "CC0-1.0"
    assert "datePublished" not in told
    assert told["arrivals:command"] in told["description"]
    assert str(root) not in json.dumps(told)
    for entry in told["distribution"]:
        if entry["@type"] == "cr:FileObject":
            data = (tmp_path / entry["contentUrl"]).read_bytes()
            assert entry["sha256"] == hashlib.sha256(data).hexdigest()
            assert entry["contentSize"] == f"{len(data)} B"
    (rows,) = told["recordSet"]
    (path,) = (tmp_path / "table").iterdir()
    assert [field["name"] for field in rows["field"]] == pq.ParquetFile(path).schema_arrow.names
    assert all(field["description"] for field in rows["field"])


def test_no_licence_is_invented(world, tmp_path):
    export(world[0], tmp_path / "table")
    assert "license" not in described(tmp_path / "table")


def test_the_command_in_it_makes_the_same_bytes(world, tmp_path):
    """With the places that it leaves open."""
    from arrival_engine.engine.cli.main import main

    export(world[0], tmp_path / "table", ExportOptions(cluster_by="day", ids="text", license="CC BY 4.0"))
    command = described(tmp_path / "table")["arrivals:command"]
    again = command.replace("RUN_ROOT", str(world[0])).replace("TARGET", str(tmp_path / "again"))
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {again}"], capture_output=True, check=True, text=True)
    assert main([*words.stdout.split("\0")[1:-1], "--quiet"]) == 0
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("table", "again"))
    assert [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
