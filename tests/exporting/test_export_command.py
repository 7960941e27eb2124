"""`arrivals export` as it is typed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from arrival_engine.engine.cli.main import main
from tests.support import exports


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return exports.published(tmp_path_factory.mktemp("exported") / "it's a run", factor=1)


@pytest.mark.parametrize("to", ["parquet", "duckdb"])
def test_the_first_rows_are_shown_by_the_command_that_it_prints(world, tmp_path, capsys, to):
    target = tmp_path / "it's a $table"
    assert main(["export", str(world[0]), str(target), "--to", to]) == 0
    said = capsys.readouterr().out
    assert "none stated; --license SPDX|URL states one" in said
    line = said.rstrip().splitlines()[-1].strip().replace("python ", f"{sys.executable} ", 1)
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert "merchant" in done.stdout


def test_a_conflict_is_ended_by_the_command_in_its_hint(world, tmp_path, capsys):
    target = tmp_path / "it's a table"
    words = ["export", str(world[0]), str(target)]
    assert main([*words, "--quiet"]) == 0
    assert main([*words, "--ids", "text", "--license", "CC BY", "--no-publish", "--json", "--quiet"]) == 1
    (line,) = re.findall("`(.*)`", json.loads(capsys.readouterr().out)["hint"])
    assert main([*shlex.split(line)[1:], "--quiet"]) == 0
    assert pq.read_table(target)["merchant_id"].type == "string"
    assert exports.digest_of(pq.read_table(target)) == world[1].digest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--partitioned"], "--partitioned needs --cluster-by day"),
        (["--catalog", "sqlite:///x"], "are for iceberg"),
        (["--to", "delta", "--ids", "uint64"], "int64 is the same bits"),
        (["--to", "deltalake"], "did you mean"),
        (["--accept-tz-cache"], "--accept-tz-cache is for --no-publish"),
        (["--license", ""], "--license must be"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(world, tmp_path, capsys, words, said):
    assert main(["export", str(world[0]), str(tmp_path / "table"), *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_empty_target_is_wrong_usage(world, capsys):
    assert main(["export", str(world[0]), ""]) == 2
    assert "the path is empty" in capsys.readouterr().err


def test_a_run_directory_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["export", str(tmp_path / "nowhere"), str(tmp_path / "table")]) == 1
    assert str(tmp_path / "nowhere") in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_target_where_nothing_can_be_written_is_named(world, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["export", str(world[0]), str(tmp_path / "file" / "table")]) == 1
    assert "5B.S4.IO_" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "options", ["--cluster-by day", *(pytest.param(words, marks=pytest.mark.slow) for words in ("", "--to duckdb"))]
)
def test_a_full_disk_leaves_nothing(world, tmp_path, options):
    """The largest file that the process may write stands in for the disk."""
    program = f"ulimit -f 16; {sys.executable} -m arrival_engine export {shlex.quote(str(world[0]))}"
    line = f"{program} {tmp_path}/table {options}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
