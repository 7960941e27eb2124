"""`arrivals import` as its users meet it: exit codes, what it prints, and the way on to a validated run."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest

TABLES = ("counts", "sites", "virtual_merchants", "edges")


def arrivals(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "arrival_engine", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "100"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def coffee(tmp_path_factory):
    """A directory with the example's tables in it, written by the command."""
    folder = tmp_path_factory.mktemp("coffee")
    done = arrivals("import", "--example", "coffee", cwd=folder)
    assert done.returncode == 0, done.stderr
    (told,) = [line for line in done.stdout.splitlines() if " import world " in line]
    return folder, told.split(" import ", 1)[1]


def test_from_example_to_a_validated_run_by_the_commands_it_prints(coffee):
    folder, told = coffee
    done = arrivals("import", *shlex.split(told), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "world written: 9,579 arrivals to expect" in done.stdout
    assert "240 of 1 h, 2026-03-24T00:00:00Z to 2026-04-03T00:00:00Z" in done.stdout
    following = done.stdout.split("Next:\n")[1].splitlines()
    words = [line.split()[-2:] for line in following]
    assert words == [["seal", "world"], ["run", "world"], ["validate", "world"]]
    for command in words:
        done = arrivals(*command, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    again = arrivals("import", *shlex.split(told), "--json", cwd=folder)
    document = json.loads(again.stdout)
    assert (again.returncode, document["status"], document["reused"]) == (0, "PASS", True)
    assert document["arrivals"] == 9579
    other = arrivals("import", *shlex.split(told), "--seed", 7, cwd=folder)
    assert (other.returncode, "holds another run" in other.stderr) == (1, True)


def test_a_refusal_names_the_line_and_leaves_nothing(coffee, tmp_path):
    folder, _ = coffee
    for name in TABLES:
        (tmp_path / f"{name}.csv").write_bytes((folder / "coffee" / f"{name}.csv").read_bytes())
    sites = tmp_path / "sites.csv"
    sites.write_text(sites.read_text().replace("Europe/Lisbon", "Europe/Lissabon"))
    done = arrivals("import", "world", "--counts", "counts.csv", "--sites", "sites.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "sites.csv, line 5: tz 'Europe/Lissabon' is not a time zone" in done.stderr
    assert "did you mean Europe/Lisbon" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "world").exists()
    failed = arrivals("import", "world", "--counts", "counts.csv", "--sites", "sites.csv", "--json", cwd=tmp_path)
    document = json.loads(failed.stdout)
    assert document["code"] == "5B.S4.DST_MAPPING_FAILED"
    assert document["context"] == {"file": "sites.csv", "line": 5, "column": "tz", "value": "'Europe/Lissabon'"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("import",), "Missing argument 'RUN_ROOT'"),
        (("import", "world"), "Missing option '--counts'"),
        (("import", "world", "--counts", "c.csv"), "Missing option '--sites'"),
        (("import", "world", "--example", "coffee"), "--example takes no other arguments"),
        (("import", "--example", "coffee", "--seed", "7"), "--example takes no other arguments"),
        (("import", "world", "--counts", "c", "--sites", "s", "--rename", "tz"), "THEIRS=OURS"),
        (("import", "world", "--counts", "c", "--sites", "s", "--zones", "here"), "'here' is not one of"),
    ],
)
def test_bad_usage_exits_with_two(tmp_path, arguments, says):
    done = arrivals(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_every_column():
    from arrival_engine.engine.cli.import_ import command
    from arrival_engine.engine.importing.columns import Reading, layouts

    help_text = command.help
    for layout in layouts(Reading()).values():
        (line,) = [line for line in help_text.splitlines() if line.startswith(f"{layout.name}  ")]
        assert all(column.name in line for column in layout.columns)


DAILY = (
    "merchant_id,tz,bucket_start,count\n"
    "1,Europe/Berlin,2026-03-27T00:00+01:00,2400\n"
    "1,Europe/Berlin,2026-03-28T00:00+01:00,2400\n"
    "1,Europe/Berlin,2026-03-29T00:00+01:00,2400\n"
    "1,Europe/Berlin,2026-03-30T00:00+02:00,2400\n"
)


def test_counts_of_days_are_refused_until_they_are_said_to_be_days(tmp_path):
    counts, sites = tmp_path / "counts.csv", tmp_path / "sites.csv"
    counts.write_text(DAILY)
    sites.write_text("merchant_id,tz,country,weight\n1,Europe/Berlin,DE,1\n")
    words = ("import", "world", "--counts", "counts.csv", "--sites", "sites.csv")
    done = arrivals(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "TIME_GRID_MISMATCH" in done.stderr
    assert "counts.csv are usually 1 d apart" in done.stderr
    assert "give --bucket local-day if every count is of one local day" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "world").exists()
    done = arrivals(*words, "--bucket", "local-day", cwd=tmp_path)
    assert "  days         4 local days of 23 to 24 h in Europe/Berlin\n" in done.stdout
    assert "divided" not in done.stdout
    counts.write_text(f"{DAILY}1,Asia/Kolkata,2026-03-28,900\n")
    done = arrivals("import", "zones", *words[2:], "--bucket", "local-day", cwd=tmp_path)
    assert "  days         4 local days of 23 to 24 h in Asia/Kolkata, Europe/Berlin\n" in done.stdout
    told = "  divided      5 of the days' counts, 10,500 arrivals, drawn evenly by time over up to 2 buckets each\n"
    assert told in done.stdout
