"""What is at a target: nothing is done twice, nothing of another's is touched, and readers see all or nothing."""

from __future__ import annotations

import os
import threading

import duckdb
import pyarrow.parquet as pq
import pytest

from arrival_engine import ArrivalError, Code, ExportOptions, RunOptions, export, run
from arrival_engine.engine.exporting import parquet_folder
from arrival_engine.engine.exporting.source import open_source
from tests.support import exports

FORMATS = ("parquet", "duckdb")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return exports.published(tmp_path_factory.mktemp("exported") / "run", factor=1)


def state(folder):
    """Every file below a folder, with its bytes and the time of its last change."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(root, target, code=Code.IO_WRITE_CONFLICT, **options):
    with pytest.raises(ArrivalError) as failure:
        export(root, target, ExportOptions(**options))
    assert failure.value.code is code
    return failure.value


@pytest.mark.parametrize("to", FORMATS)
def test_a_second_export_of_the_same_arrivals_changes_nothing(world, tmp_path, to):
    root, _ = world
    first = export(root, tmp_path / "table", ExportOptions(to=to))
    before = state(tmp_path)
    for options in ({}, {"replace": True}, {"publish": False, "threads": 1}):
        again = export(root, tmp_path / "table", ExportOptions(to=to, **options))
        assert again.outcome == "identical"
        assert (again.digest, again.files, again.bytes) == (first.digest, first.files, first.bytes)
        assert state(tmp_path) == before


@pytest.mark.parametrize(
    ("to", "other"),
    [
        ("parquet", {"ids": "text"}),
        ("parquet", {"cluster_by": "day"}),
        ("parquet", {"columns": "contract"}),
        ("parquet", {"license": "MIT"}),
        ("duckdb", {"cluster_by": "day"}),
    ],
)
def test_another_export_needs_replace(world, tmp_path, to, other):
    root, made = world
    export(root, tmp_path / "table", ExportOptions(to=to))
    before = state(tmp_path)
    failure = refused(root, tmp_path / "table", to=to, **other)
    (name,) = other
    assert f"differs in {name}" in failure.message
    assert f"arrivals export RUN_ROOT {tmp_path}/table --to {to}" in failure.hint
    assert failure.hint.endswith("--replace`")
    assert state(tmp_path) == before
    assert export(root, tmp_path / "table", ExportOptions(to=to, replace=True, **other)).outcome == "replaced"
    assert exports.seen(to, tmp_path / "table") == made.digest
    assert export(root, tmp_path / "table", ExportOptions(to=to, **other)).outcome == "identical"
    assert exports.hidden(tmp_path / "table") == []


@pytest.mark.parametrize("to", ["parquet", pytest.param("duckdb", marks=pytest.mark.slow)])
def test_arrivals_of_another_seed_need_replace(world, tmp_path, to):
    root, _ = world
    other, made = exports.published(tmp_path / "run", factor=2)
    export(root, tmp_path / "table", ExportOptions(to=to))
    assert "differs in digest" in refused(other, tmp_path / "table", to=to).message
    assert "differs in digest" in refused(other, tmp_path / "table", to=to, publish=False).message
    export(other, tmp_path / "table", ExportOptions(to=to, replace=True))
    assert exports.seen(to, tmp_path / "table") == made.digest


def folder_with_a_file(path):
    path.mkdir()
    (path / "notes.txt").write_text("mine")


def folder_with_parquet(path):
    path.mkdir()
    pq.write_table(duckdb.sql("SELECT 1 AS a").to_arrow_table(), path / "mine.parquet")


def folder_with_parquet_named_like_ours(path):
    path.mkdir()
    pq.write_table(duckdb.sql("SELECT 1 AS a").to_arrow_table(), path / "0123456789ab-000000.parquet")


def database(path):
    with duckdb.connect(str(path)) as mine:
        mine.execute("CREATE TABLE arrivals AS SELECT 1 AS a")


def link_in_a_folder(path):
    path.mkdir()
    (path / "0123456789ab-000000.parquet").symlink_to("/etc/hostname")


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        folder_with_a_file,
        folder_with_parquet,
        folder_with_parquet_named_like_ours,
        link_in_a_folder,
        database,
        lambda path: path.write_text("mine"),
        lambda path: path.write_bytes(b""),
        os.mkfifo,
    ],
)
def test_what_is_not_an_export_is_refused_and_not_touched(world, tmp_path, to, replace, make):
    target = tmp_path / "table"
    make(target)
    before = state(tmp_path) if not target.is_fifo() else None
    refused(world[0], target, to=to, replace=replace)
    assert before is None or state(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table"]


def test_an_export_of_another_format_is_refused(world, tmp_path):
    export(world[0], tmp_path / "folder", ExportOptions())
    export(world[0], tmp_path / "file", ExportOptions(to="duckdb"))
    refused(world[0], tmp_path / "folder", to="duckdb", replace=True)
    refused(world[0], tmp_path / "file", to="parquet", replace=True)


def test_an_empty_folder_is_a_place_for_an_export(world, tmp_path):
    (tmp_path / "table").mkdir()
    assert export(world[0], tmp_path / "table").outcome == "written"


def test_folders_on_the_way_are_made_and_links_are_followed(world, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    result = export(world[0], tmp_path / "link" / "deep" / "table")
    assert exports.seen("parquet", tmp_path / "real" / "deep" / "table") == result.digest
    (tmp_path / "last").symlink_to("real/deep/table")
    assert export(world[0], tmp_path / "last").outcome == "identical"


def test_the_root_of_the_file_system_is_no_target(world):
    refused(world[0], "/")


@pytest.mark.parametrize("to", FORMATS)
def test_a_damaged_export_is_found_with_replace_and_written_again(world, tmp_path, to):
    root, made = world
    export(root, tmp_path / "table", ExportOptions(to=to))
    whole = state(tmp_path)
    path = tmp_path / "table" if to == "duckdb" else next((tmp_path / "table").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert export(root, tmp_path / "table", ExportOptions(to=to, replace=True)).outcome == "replaced"
    assert exports.seen(to, tmp_path / "table") == made.digest
    if to == "parquet":
        assert {name: data for name, (data, _) in state(tmp_path).items()} == {
            name: data for name, (data, _) in whole.items()
        }


def test_a_missing_file_is_found_without_replace(world, tmp_path, monkeypatch):
    monkeypatch.setattr("arrival_engine.engine.exporting.chunks.CHUNK_ROWS", 500)
    monkeypatch.setattr("arrival_engine.engine.exporting.files.FILE_ROWS", 1000)
    export(world[0], tmp_path / "table")
    sorted((tmp_path / "table").iterdir())[1].unlink()
    failure = refused(world[0], tmp_path / "table")
    assert "digest" in failure.message
    export(world[0], tmp_path / "table", ExportOptions(replace=True))
    assert exports.seen("parquet", tmp_path / "table") == world[1].digest


@pytest.mark.parametrize("to", FORMATS)
def test_a_lost_description_comes_back(world, tmp_path, to):
    export(world[0], tmp_path / "table", ExportOptions(to=to))
    path = tmp_path / "table.croissant.json"
    told = path.read_bytes()
    for damage in (path.unlink, lambda: path.write_text("{}"), lambda: path.write_text("[")):
        damage()
        assert export(world[0], tmp_path / "table", ExportOptions(to=to)).outcome == "identical"
        assert path.read_bytes() == told


@pytest.mark.parametrize("to", ["parquet", pytest.param("duckdb", marks=pytest.mark.slow)])
def test_of_two_exports_at_once_one_is_seen(world, tmp_path, to):
    """Neither fails, or the one that comes second says that another was quicker."""
    outcomes = []

    def work(ids):
        try:
            outcomes.append(str(export(world[0], tmp_path / "table", ExportOptions(to=to, ids=ids)).outcome))
        except ArrivalError as failure:
            outcomes.append(str(failure.code))

    threads = [threading.Thread(target=work, args=(ids,)) for ids in ("uint64", "int64", "decimal")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == sorted(["written", *[str(Code.IO_WRITE_CONFLICT)] * 2])
    assert exports.seen(to, tmp_path / "table") == world[1].digest
    assert exports.hidden(tmp_path / "table") == []


def test_what_another_process_puts_in_place_meanwhile_stays(world, tmp_path, monkeypatch):
    target = tmp_path / "table"
    put = parquet_folder._ParquetFolder._put

    def late(sink, staged, **options):
        folder_with_a_file(target)
        put(sink, staged, **options)

    monkeypatch.setattr(parquet_folder._ParquetFolder, "_put", late)
    refused(world[0], target)
    assert (target / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table"]


def test_damaged_part_files_are_not_exported(tmp_path):
    root, made = exports.published(tmp_path / "run", factor=1)
    (path,) = root.rglob("arrival_events/**/part-*.parquet")
    table = pq.read_table(path, partitioning=None)
    at = table.column_names.index("bucket_index")
    pq.write_table(
        table.set_column(
            at, table.schema.field(at), table["bucket_index"].combine_chunks().take(list(range(table.num_rows))[::-1])
        ),
        path,
    )
    for options in ({}, {"cluster_by": "day"}):
        failure = refused(root, tmp_path / "table", Code.IO_READ_FAILED, **options)
        assert made.digest in failure.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_arrivals_that_are_replaced_meanwhile_are_not_exported_half(tmp_path, monkeypatch):
    root, _ = exports.published(tmp_path / "run", factor=1, batch_arrivals=1)

    def late(*arguments):
        source = open_source(*arguments)
        run(root, RunOptions(backend="cpu", replace=True))
        return source

    monkeypatch.setattr("arrival_engine.engine.exporting.job.open_source", late)
    failure = refused(root, tmp_path / "table", Code.IO_READ_FAILED)
    assert "another run has replaced" in failure.hint
    assert not (tmp_path / "table").exists()


def test_scenarios_are_chosen_by_name(world, tmp_path):
    assert (
        "no arrivals of 'stress'" in refused(world[0], tmp_path / "t", Code.OPTION_INVALID, scenario="stress").message
    )
    assert export(world[0], tmp_path / "t", ExportOptions(scenario="baseline_v1")).scenario_id == "baseline_v1"


@pytest.mark.parametrize(
    "options",
    [
        {"to": "csv"},
        {"ids": "float"},
        {"columns": "some"},
        {"cluster_by": "zone"},
        {"threads": 0},
        {"partitioned": True},
        {"partitioned": True, "cluster_by": "day", "to": "duckdb"},
        {"to": "delta", "ids": "uint64"},
        {"catalog": "sqlite:///x"},
        {"table": "a.b"},
        {"to": "iceberg", "table": "nope"},
        {"license": " "},
        {"license": "MIT\n"},
        {"accept_tz_cache": True},
    ],
)
def test_options_that_do_not_go_together_are_refused(options):
    with pytest.raises(ValueError, match=r"must|not possible|needs|is for|are for"):
        ExportOptions(**options)
