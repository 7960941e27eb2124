"""What benchmarks are made of: runs in turn, copies of worlds, reference files, and tables of made-up figures."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.rundir.settings import load_settings
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.world.load import load_world
from bench import against, contract, floor, jit, notebook, page_index, pruning
from bench.comparison import in_turn, require_one_digest, side_by_side
from bench.process import BenchError
from bench.product import paths_of
from bench.worlds import copy_inputs, set_output_policy


def a_run(wall, **thread_seconds):
    return {
        "wall_s": wall,
        "cpu_s": 1.5 * wall,
        "peak_rss_bytes": int(wall * 2**20),
        "arrivals": 1000,
        "bytes": int(4000 * wall),
        "phases": {"expand and write": 0.5 * wall, "sync to disk": 0.25 * wall},
        "thread_seconds": thread_seconds,
    }


def test_runs_take_turns_forwards_and_backwards():
    made = []

    def job(name):
        def run():
            made.append(name)
            return {"number": len(made)}

        return run

    taken = list(in_turn({"a": job("a"), "b": job("b")}, 3))
    assert made == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert [(name, run["number"]) for name, run in taken] == list(zip(made, range(1, 9), strict=True))[2:]


def test_runs_of_other_arrivals_are_not_compared():
    runs = {"new": [{"digest": "1-a"}, {"digest": "1-a"}], "old": [{"digest": "1-a"}]}
    require_one_digest(runs)
    runs["old"].append({"digest": "1-b"})
    with pytest.raises(BenchError, match="new and old made different arrivals"):
        require_one_digest(runs)


def test_figures_side_by_side():
    runs = {"new": [a_run(1.0, encode=0.5), a_run(3.0, encode=1.5)], "old": [a_run(4.0, assemble=2.0)]}
    table = side_by_side(runs, "new by old")
    assert table.header == ("whole runs in turn", "new", "old", "new by old")
    assert table.rows == [
        ("wall time, median", "2.00 s", "4.00 s", "0.50"),
        ("wall time, all runs", "1 to 3 s", "4 to 4 s", ""),
        ("processor time", "3.00 s", "6.00 s", "0.50"),
        ("peak resident memory", "3.0 MiB", "4.0 MiB", "0.75"),
        ("bytes per arrival", "4.00", "16.00", "0.25"),
        ("thread time in assemble", "", "2.00 s", ""),
        ("thread time in encode", "1.00 s", "", ""),
        ("phase expand and write", "1.00 s", "2.00 s", "0.50"),
        ("phase sync to disk", "0.50 s", "1.00 s", "0.50"),
    ]


@pytest.mark.slow
def test_a_copy_of_a_world_has_its_inputs_and_a_policy_of_its_own(run_root, tmp_path):
    copy = copy_inputs(run_root, tmp_path / "copy")
    set_output_policy(copy, contract.FORMS[contract.CONTRACT])
    receipt = read_receipt(copy)
    assert not (copy / "logs").exists()
    assert not list(receipt.partitions("arrival_events_5B"))
    seal(copy)
    options = load_settings(receipt).output
    assert (options.timestamp_encoding, options.mirror_dual_clock, options.compression) == ("rfc3339", True, "zstd")
    assert load_world(copy).arrivals == load_world(run_root).arrivals


def test_a_key_that_the_policy_does_not_have_is_an_error(tmp_path):
    with pytest.raises(BenchError, match="0 lines for colour"):
        set_output_policy(tmp_path, {"colour": "blue"})


@pytest.mark.slow
def test_the_reference_files_have_the_arrivals_of_the_run(run_root, tmp_path):
    page_index.write_by_pyarrow(str(run_root), str(tmp_path), threads=2)
    ours, theirs = paths_of(run_root, "arrival_events_5B"), sorted(tmp_path.iterdir())
    assert list(map(decoded, theirs)) == list(map(decoded, ours))
    footers = [pq.read_metadata(path) for path in (ours[0], theirs[0])]
    rows = [[footer.row_group(group).num_rows for group in range(footer.num_row_groups)] for footer in footers]
    assert rows[0] == rows[1]
    has_index = [footer.row_group(0).column(0).has_offset_index for footer in footers]
    assert has_index == [True, False]
    sizes = page_index.sizes_of(str(tmp_path))
    assert sizes["bytes"] == sum(path.stat().st_size for path in theirs)
    assert footers[1].serialized_size < sizes["tail_bytes"] < footers[1].serialized_size + 16


def decoded(path):
    """The rows of a part, texts as such: which codes stand for them is the writer's choice."""
    table = pq.read_table(path)
    is_coded = pa.types.is_dictionary
    return table.cast(
        pa.schema([each.with_type(pa.string()) if is_coded(each.type) else each for each in table.schema])
    )


def test_floor_tables_of_figures_with_one_writer_and_with_both():
    seconds = [{"wall_s": 2.0, "cpu_s": 3.0}]
    cost = {"values": 1000, "bytes": 500, "cpu_s": [1e-6], "wall_s": [1e-6]}
    one = {
        "runs": [a_run(4.0, expand=1.0, write=3.0)],
        "bytes": 8000,
        "disk": seconds,
        "memory": seconds,
        "columns": {"seed": cost},
    }
    floors, columns = floor.tables(one)
    assert floors.rows[0] == ("pyarrow alone, to disk, synced", "2.00 s", "1.00", "8.00")
    assert floors.rows[-2:] == [
        ("the run's expand, write and sync", "3.00 s", "1.50", "16.00"),
        ("the whole run", "4.00 s", "2.00", "16.00"),
    ]
    assert columns.rows == [("seed", "1.0 ns", "0.50")]
    alone = {"own_disk": [{"wall_s": 1.0, "cpu_s": 1.0}], "own_bytes": 7000}
    own = {"own_cpu_s": [2e-7], "own_bytes": 250}
    both = {**one, **alone, "threads": 2, "columns": {"seed": {**cost, **own}}, "own_rest_cpu_s": {"footer": [5e-7]}}
    floors, threads, columns = floor.tables(both)
    assert ("the engine's writer alone, to disk, synced", "1.00 s", "0.50", "7.00") in floors.rows
    assert threads.rows == [
        ("expand", "1.00 s", "1000000.0 ns", "12%"),
        ("write", "3.00 s", "3000000.0 ns", "38%"),
        ("all kinds", "4.00 s", "4000000.0 ns", "50%"),
        ("start, reading, reports, exit and waiting", "4.00 s", "4000000.0 ns", "50%"),
        ("2 threads for the time of the run", "8.00 s", "8000000.0 ns", "100%"),
    ]
    assert columns.rows == [("seed", "1.0 ns", "0.2 ns", "0.50", "0.25"), ("footer", "", "0.5 ns", "", "")]


def test_tables_of_two_kinds_of_runs():
    runs = {contract.DEFAULT: [a_run(2.0)], contract.CONTRACT: [a_run(3.0)]}
    (table,) = contract.tables({"runs": runs})
    assert table.rows[0] == ("wall time, median", "3.00 s", "2.00 s", "1.50")
    versions = {
        against.OURS: {"version": "2.0", "commit": "abc"},
        against.OTHER: {"version": "1.0", "commit": ""},
    }
    runs = {against.OURS: [a_run(1.0)], against.OTHER: [a_run(4.0)]}
    (table,) = against.tables({"versions": versions, "runs": runs})
    assert table.header == ("whole runs in turn", "this version, 2.0 at abc", "the other, 1.0", "this by the other")
    assert table.rows[0] == ("wall time, median", "1.00 s", "4.00 s", "0.25")


def test_the_table_of_a_notebook():
    steps = {name: {"wall_s": [0.5, 0.25, 1.0], "cpu_s": [0.1, 0.2, 0.3]} for name in ("import", "second")}
    (table,) = notebook.tables({"count_rows": 1, "arrivals": 1000, "steps": steps})
    assert table.header[0] == "1,000 arrivals"
    assert table.rows[0] == ("import arrival_engine", "0.5 s", "0.25 to 1 s", "0.2 s")


def test_tables_of_readers_and_of_kernels():
    query = {"name": "one day", "columns": "*", "rows": 1, "bytes_read": 10, "row_groups": 1, "of_row_groups": 2}
    measured = {"bytes": 100, "queries": [{**query, "seconds": 0.5}]}
    (duckdb,) = pruning.tables({**measured, "page_index": None})
    assert duckdb.rows == [("one day, every column", "1", "10.00%", "1 of 2", "0.500 s")]
    kinds = {
        name: {"bytes": 8 * size, "tail_bytes": size, "queries": {"*": {"bytes_scanned": 2 * size}}}
        for name, size in ((page_index.OURS, 1024), (page_index.PYARROW, 2048))
    }
    _, datafusion = pruning.tables({**measured, "page_index": kinds})
    assert datafusion.rows[0] == ("one day of all merchants, every column", "2.0 KiB", "4.0 KiB", "0.50")
    starts = {"cold": {"run": [2.0]}, "warm": {"run": [1.0]}}
    assert len(jit.tables(starts)) == 1
    _, kernels = jit.tables({**starts, "kernels": {"a.fast": 0.25, "a.slow": 1.0}})
    assert kernels.rows == [("a.slow", "1.00 s"), ("a.fast", "0.25 s"), ("all 2", "1.25 s")]
