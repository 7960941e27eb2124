"""The benchmarks work, measure what they say, and the documentation shows what is recorded."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import arrow_schema
from arrival_engine.cpu_fallback.law import NON_VIRTUAL, VIRTUAL_ONLY
from arrival_engine.cpu_fallback.tables import RowTotals
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.expand.batch_checks import check_batch
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.world.load import load_world
from bench import __main__ as command
from bench import catalogue, column_costs, environment, results, scaling, table, tabular
from bench.contract import CONTRACT, DEFAULT
from bench.numpy_rival import NumpyExpander
from bench.polars_rival import PolarsExpander
from bench.process import BenchError, in_process, run_process
from bench.product import paths_of, phase_seconds
from bench.results import Result

MIB = 2**20


@pytest.fixture(scope="module")
def planned(run_root):
    return plan(load_world(run_root), batch_arrivals=20_000)


@pytest.fixture(scope="module")
def expanded(planned):
    with choose_backend("cpu").open(planned, Reporter()) as expand:
        return [expand(batch) for batch in planned.batches]


def a_result(name: str = "phases", date: str = "2026-11-23", **measured: object) -> Result:
    surroundings = {
        "date": date,
        "commit": "0123456789ab",
        "processor": "Some(R) CPU 9000 @ 2.00GHz",
        "cores": 2,
        "memory_bytes": 24 * 2**30,
        "python": "3.11.7",
        "packages": {"numpy": "2.4.6"},
    }
    return Result(name, f"python -m bench {name}", surroundings, measured)


def a_run(wall: float) -> dict[str, object]:
    return {
        "wall_s": wall,
        "cpu_s": 2.0,
        "peak_rss_bytes": 100 * MIB,
        "arrivals": 1000,
        "bytes": 9000,
        "parts": 1,
        "phases": {"read": 0.25 * wall, "start and exit": 0.75 * wall},
        "thread_seconds": {"expand": 0.5},
    }


# ---------------------------------------------------------------- documentation


def test_the_document_shows_exactly_the_committed_results():
    document = table.DOCUMENT.read_text(encoding="utf-8")
    assert table.render(document, results.newest(command.RESULTS)) == document


def test_every_benchmark_is_described():
    document = table.DOCUMENT.read_text(encoding="utf-8")
    for name, entry in catalogue.CATALOGUE.items():
        assert f"| `{name}` |" in document
        assert Path(environment.ROOT, *entry.module.split(".")).with_suffix(".py").is_file()


def test_documented_commands_are_accepted():
    document = table.DOCUMENT.read_text(encoding="utf-8")
    commands = re.findall(r"^(?:\$ )?python -m bench (.*?)(?: +#.*)?$", document, re.MULTILINE)
    assert len(commands) >= 4
    for words in commands:
        command.parse(words.split())


@pytest.mark.parametrize("name", command.SEPARATE)
def test_a_measurement_with_options_of_its_own_has_the_same_entry(name, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m bench {name} ")


def test_a_result_becomes_a_section(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    results.save(a_result(runs=[a_run(2.0), a_run(4.0), a_run(3.0)]), tmp_path)
    assert table.update(tmp_path, path)
    page = path.read_text()
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert "old" not in page
    assert "### One run, phase by phase" in page
    assert "| wall time, median | 3.00 s |" in page
    assert "| wall time, all runs | 2 to 4 s |" in page
    assert "| read | 0.750 s | 25.0% |" in page
    assert "commit 0123456789ab" in page
    assert not table.update(tmp_path, path)


def test_a_document_without_markers_is_refused():
    with pytest.raises(BenchError, match="no lines"):
        table.render("nothing here", [])


# ---------------------------------------------------------------- results


def test_a_result_is_read_back_as_it_was(tmp_path):
    result = a_result(runs=[a_run(1.5)])
    path = results.save(result, tmp_path / "made")
    assert path.name == "phases-some-9000-2c-2026-11-23.json"
    assert results.load(path) == result


def test_the_newest_result_of_a_machine_counts(tmp_path):
    for date in ("2026-11-23", "2027-01-02", "2026-12-24"):
        results.save(a_result(date=date), tmp_path)
    results.save(a_result("jit"), tmp_path)
    other = a_result()
    results.save(replace(other, environment={**other.environment, "cores": 64}), tmp_path)
    found = [(result.name, result.machine, result.environment["date"]) for result in results.newest(tmp_path)]
    assert found == [
        ("jit", "some-9000-2c", "2026-11-23"),
        ("phases", "some-9000-2c", "2027-01-02"),
        ("phases", "some-9000-64c", "2026-11-23"),
    ]


def test_the_environment_names_machine_and_versions():
    here = environment.describe()
    assert here["cores"] >= 1
    assert here["memory_bytes"] > MIB
    assert here["packages"]["pyarrow"]
    assert re.fullmatch(r"[a-z0-9-]+-\d+c", environment.machine_tag(here))
    json.dumps(here)


def test_tables_as_markdown_and_as_text():
    made = tabular.Table(("what", "figure"), [("a", "10 s"), ("longer", "1 s")])
    assert tabular.markdown(made) == "| what | figure |\n| --- | ---: |\n| a | 10 s |\n| longer | 1 s |\n"
    assert tabular.text(made) == "  what    figure\n  a         10 s\n  longer     1 s"


# ---------------------------------------------------------------- processes


def test_peak_memory_is_the_childs_own():
    ballast = np.ones(400 * MIB, np.uint8)
    finished = run_process([sys.executable, "-c", "b = bytearray(64 << 20); import time; time.sleep(0.2)"])
    assert 64 * MIB <= finished.peak_rss_bytes < 200 * MIB < ballast.size
    assert finished.wall_s >= 0.2


def test_a_failing_process_says_why():
    with pytest.raises(BenchError, match="no such luck"):
        run_process([sys.executable, "-c", "raise SystemExit('no such luck')"])


def test_a_function_in_a_process_of_its_own(run_root):
    files = [str(path) for path in paths_of(run_root, "arrival_events_5B")]
    from bench.rivals import parquet_size

    size = in_process(parquet_size, files=files)
    assert size == parquet_size(files)
    assert size["columns"] == 21
    assert size["rows"] == sum(pq.ParquetFile(path).metadata.num_rows for path in files) > 0


def test_only_outermost_phases_count():
    lines = [
        {"event": "phase", "name": "seal check", "state": "started"},
        {"event": "phase", "name": "verify seal", "state": "started"},
        {"event": "message", "text": "hello"},
        {"event": "phase", "name": "verify seal", "state": "done", "seconds": 0.5},
        {"event": "phase", "name": "seal check", "state": "done", "seconds": 0.75},
        {"event": "phase", "name": "read", "state": "started"},
        {"event": "phase", "name": "read", "state": "done", "seconds": 1.0},
    ]
    assert phase_seconds(map(json.dumps, lines)) == {"seal check": 0.75, "read": 1.0}


# ---------------------------------------------------------------- rivals


def test_numpy_does_the_same_work(planned, expanded):
    expand = NumpyExpander(planned)
    for ours in expanded:
        theirs = expand(ours.batch)
        rows = ours.batch.rows[1] - ours.batch.rows[0]
        virtual = np.bincount(theirs.columns.row, theirs.columns.is_virtual, rows).astype(np.int32)
        check_batch(planned, replace(theirs, row_totals=RowTotals(virtual, virtual, virtual)))
        assert [column.dtype for column in theirs.columns] == [column.dtype for column in ours.columns]
        assert np.array_equal(theirs.columns.arrival_seq, ours.columns.arrival_seq)
        _check_routes(planned, theirs)
    assert Assembler(planned.world).whole(theirs).num_rows == theirs.batch.arrivals


def _check_routes(planned, result):
    """Modes obeyed, places of the right merchant, and local times by the law's own tables."""
    tables, columns = planned.world.tables, result.columns
    merchant = tables.entities.merchant[planned.world.rows.entity[slice(*result.batch.rows)]][columns.row]
    mode, has_edges = tables.merchants.mode[merchant], np.diff(tables.merchants.edge_start)[merchant] > 0
    assert columns.is_virtual[(mode == VIRTUAL_ONLY) & has_edges].all()
    assert not columns.is_virtual[(mode == NON_VIRTUAL) | ~has_edges].any()
    ordered = merchant[1:] == merchant[:-1]
    assert (np.diff(columns.ts_us)[ordered] >= 0).all()
    zones = tables.zones
    for zone in np.unique(columns.primary):
        own = slice(zones.start[zone], zones.start[zone + 1])
        of_zone = columns.primary == zone
        change = np.searchsorted(zones.instant[own], columns.ts_us[of_zone] // 1_000_000, side="right") - 1
        assert np.array_equal((columns.local_us - columns.ts_us)[of_zone], zones.offset_us[own][change])


def test_polars_does_the_same_work(planned, expanded, tmp_path):
    expander, assembler = PolarsExpander(planned), Assembler(planned.world)
    for ours in expanded:
        path = tmp_path / "part.parquet"
        expander.write(ours.batch, path)
        theirs, expected = pl.read_parquet(path), pl.DataFrame(assembler.whole(ours))
        assert theirs.columns == expected.columns
        for name in ("merchant_id", "bucket_index", "arrival_seq", "seed"):
            assert theirs[name].equals(expected[name]), name
        for name in ("zone_representation", "scenario_id", "channel_group"):
            key = ["merchant_id", "bucket_index", name]
            counted = [
                frame.with_columns(pl.col(name).cast(pl.String)).group_by(key).len() for frame in (theirs, expected)
            ]
            assert counted[0].sort(key).equals(counted[1].sort(key)), name
        gaps = theirs.select(pl.col("ts_utc").diff().over("merchant_id"))["ts_utc"].drop_nulls()
        assert gaps.is_empty() or gaps.min().total_seconds() >= 0
        assert (theirs["site_id"].is_null() == theirs["is_virtual"]).all()
        assert (theirs["edge_id"].is_null() != theirs["is_virtual"]).all()
        _check_same_clocks(theirs, expected)


def _check_same_clocks(theirs, expected):
    """Whatever a zone's UTC offsets are in one result, they are in the other."""
    offset = (pl.col("ts_local_primary") - pl.col("ts_utc").dt.replace_time_zone(None)).alias("offset")
    key = [pl.col("tzid_primary").cast(pl.String), pl.col("ts_utc").dt.truncate("1h"), offset]
    a, b = (frame.select(key).unique() for frame in (theirs, expected))
    both = a.join(b, on=["tzid_primary", "ts_utc"])
    assert (both["offset"] == both["offset_right"]).all()
    assert both.height > 0


# ---------------------------------------------------------------- worlds


@pytest.mark.parametrize("varied", ["arrivals", "zero rows"])
def test_one_size_is_varied_alone(varied, tmp_path, monkeypatch):
    from arrival_engine.engine.synth import presets

    monkeypatch.setattr(presets, "PRESETS", dict(presets.PRESETS))
    worlds = {}
    for factor in (1, 4):
        root = tmp_path / str(factor)
        scaling.make_world(str(root), varied, factor, "demo", 1.0, 1)
        worlds[factor] = load_world(root)
    small, large = worlds[1], worlds[4]
    assert small.tables.merchants.id.size == large.tables.merchants.id.size
    if varied == "arrivals":
        assert large.input_rows == small.input_rows
        assert 3 < large.arrivals / small.arrivals < 5
    else:
        assert 2 * large.zero_rows == 5 * small.zero_rows > 0
        assert (small.arrivals, small.rows.entity.size) == (large.arrivals, large.rows.entity.size)


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize(
    "words", [["nope"], ["phases", "table"], ["phases", "--repeats", "0"], ["--preset", "no"], ["against"]]
)
def test_bad_usage_ends_with_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_world_that_cannot_be_run_is_named(tmp_path, capsys):
    assert command.main(["phases", "--world", str(tmp_path), "--work", str(tmp_path / "work")]) == 1
    assert "S0_GATE_MISSING_OR_INVALID" in capsys.readouterr().err


def measured(name: str, run_root: Path, tmp_path: Path, *more: str) -> Result:
    words = [name, "--world", str(run_root), "--repeats", "2", "--threads", "2", "--work", str(tmp_path / "work")]
    assert command.main([*words, *more, "--out", str(tmp_path / "out")]) == 0
    (result,) = results.newest(tmp_path / "out")
    for made in catalogue.load(name).tables(result.measured):
        assert made.rows
        assert {len(row) for row in made.rows} == {len(made.header)}
    assert not any((tmp_path / "work").iterdir())
    assert str(run_root) not in json.dumps(result.measured)
    return result


def test_phases(run_root, tmp_path, capsys):
    result = measured("phases", run_root, tmp_path)
    runs = result.measured["runs"]
    assert len(runs) == 2
    assert result.measured["world"]["n_arrivals_total"] == runs[0]["arrivals"] == load_world(run_root).arrivals
    for one in runs:
        assert sum(one["phases"].values()) == pytest.approx(one["wall_s"])
        assert {"seal check", "read", "expand and write", "publish"} < one["phases"].keys()
    assert "wall time, median" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kernel", "rivals", "validate", "hostile"])
def test_benchmark(name, run_root, tmp_path):
    measured(name, run_root, tmp_path)


@pytest.mark.slow
def test_floor(run_root, tmp_path):
    found = measured("floor", run_root, tmp_path).measured
    names = arrow_schema("arrival_events_5B").names
    assert found["own_bytes"] == found["plain_bytes"] == found["runs"][0]["bytes"]
    assert list(found["columns"]) == names
    assert all(len(cost["own_cpu_s"]) == len(cost["cpu_s"]) == 2 for cost in found["columns"].values())
    assert set(found["own_rest_cpu_s"]) == {column_costs.FRAME, column_costs.REST}
    assert all(len(found[place]) == 2 for place in ("disk", "memory", "own_disk", "own_memory", "plain_disk"))


@pytest.mark.slow
def test_contract(run_root, tmp_path):
    found = measured("contract", run_root, tmp_path).measured
    default, contract = found["runs"][DEFAULT], found["runs"][CONTRACT]
    assert {len(default), len(contract)} == {2}
    assert default[0]["bytes"] < contract[0]["bytes"]


@pytest.mark.slow
def test_against(run_root, tmp_path):
    found = measured("against", run_root, tmp_path, "--other", sys.executable).measured
    ours, other = found["versions"].values()
    assert ours == other
    assert ours["packages"]["numba"]
    assert [len(runs) for runs in found["runs"].values()] == [2, 2]


@pytest.mark.slow
def test_jit(run_root, tmp_path):
    # Each repeat compiles everything twice.
    kernels = measured("jit", run_root, tmp_path, "--repeats", "1").measured["kernels"]
    folders = {name.rpartition(".")[0].rpartition(".")[0] for name in kernels}
    assert folders == {"cpu_fallback", "cpu_fallback.pages"}
    assert min(kernels.values()) > 0


@pytest.mark.slow
def test_pruning(run_root, tmp_path):
    found = measured("pruning", run_root, tmp_path).measured["page_index"]
    ours, theirs = (each["queries"] for each in found.values())
    assert ours.keys() == theirs.keys()
    for columns, query in ours.items():
        assert query["rows"] == theirs[columns]["rows"] > 0
        assert 0 < query["bytes_scanned"] < theirs[columns]["bytes_scanned"]


@pytest.mark.slow
def test_scaling(tmp_path, run_root, monkeypatch):
    monkeypatch.setattr(scaling, "FACTORS", (1, 2))
    monkeypatch.setattr(scaling, "ZERO_FACTORS", (0, 1))
    measured("scaling", run_root, tmp_path)
