"""The command line as its users meet it: in a process of its own, by exit code, standard output and standard error."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from arrival_engine.contracts import dataset
from arrival_engine.engine.cli.main import _COMMANDS
from arrival_engine.engine.rundir.receipt import read_receipt
from tests.support.commands import COMMANDS
from tests.support.hidden import on_path
from tests.support.model import CountRow
from tests.support.paths import ROOT
from tests.support.processes import halted, parts_written
from tests.support.world_files import write_world
from tests.support.worlds import BERLIN, NEW_YORK, TWO_ZONES, small_world

SCENARIO = "baseline_v1"


def command_line(*arguments):
    return [sys.executable, "-m", "arrival_engine", *map(str, arguments)]


def writing_to(output, *arguments):
    """One command line whose standard output is that file."""
    return subprocess.run(
        command_line(*arguments), env=environment(), stdout=output, stderr=subprocess.PIPE, text=True, check=False
    )


def environment(**changes):
    return {**os.environ, "COLUMNS": "100", **changes}


def arrivals(*arguments, **options):
    return subprocess.run(
        command_line(*arguments),
        env=environment(),
        cwd=options.pop("cwd", ROOT),
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@contextmanager
def running(*arguments):
    """A command at work, killed at the end if it still is."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command_line(*arguments), env=environment(), **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def sealed_world(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("cli") / "world"
    write_world(small_world(), run_root)
    assert arrivals("seal", run_root, "--quiet").returncode == 0
    return run_root


@pytest.fixture(scope="module")
def long_world(tmp_path_factory):
    """Some seconds of work: ten million arrivals in a few hundred count rows."""
    rows = tuple(
        CountRow(TWO_ZONES, zone, channel, bucket, 50_000)
        for zone in (BERLIN, NEW_YORK)
        for channel in ("card_present", "mixed")
        for bucket in range(len(small_world().grid))
    )
    run_root = tmp_path_factory.mktemp("cli-long") / "world"
    write_world(small_world(counts=rows), run_root)
    assert arrivals("seal", run_root, "--quiet").returncode == 0
    return run_root


def published_directory(run_root):
    tokens = read_receipt(run_root).identity.tokens(scenario_id=SCENARIO)
    return dataset("arrival_events_5B").locate(run_root, tokens)


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_explains_itself_with_an_example(self, command):
        done = arrivals(*command.split(), "--help")
        assert done.returncode == 0
        assert "Usage: arrivals " + command in done.stdout
        assert f"Example: arrivals {command}" in done.stdout
        assert done.stderr == ""

    def test_the_first_page_lists_every_command(self):
        done = arrivals("--help")
        listed = [line.split()[0] for line in done.stdout.split("Commands:")[1].splitlines() if line.strip()]
        assert [name for name in listed if name in _COMMANDS] == list(_COMMANDS)

    def test_help_loads_nothing_heavy(self):
        heavy = ("numpy", "numba", "pyarrow", "duckdb", "rich", "jsonschema", "psutil")
        script = (
            "import sys\n"
            "from arrival_engine.engine.cli.main import main\n"
            "assert main(['--help']) == 0\n"
            f"loaded = [name for name in {heavy!r} if name in sys.modules]\n"
            "assert not loaded, loaded\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def test_settings_of_the_process_are_made_only_where_it_is_ours(self):
        script = (
            "import gc, os, sys\n"
            "from arrival_engine.engine.cli.main import main\n"
            "settings = lambda: (gc.get_threshold(), os.environ.get('OPENBLAS_NUM_THREADS'))\n"
            "before = settings()\n"
            "assert main(['--version']) == 0 and settings() == before\n"
            "sys.argv = ['arrivals', '--version']\n"
            "assert main() == 0\n"
            "assert settings() == ((10_000, *before[0][1:]), before[1] or '1')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def test_version(self):
        done = arrivals("--version")
        assert done.returncode == 0
        assert done.stdout.startswith("arrivals ")


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("fly",),
            ("run",),
            ("run", "x", "--backend", "abacus"),
            ("run", "x", "--threads", "0"),
            ("run", "x", "--batch-arrivals", "0"),
            ("run", "x", "--batch-arrivals", "9" * 30),
            ("synth", ""),
            ("run", "x", "--format", "csv"),
            ("run", "x", "--no-such-option"),
            ("synth", "x", "--preset", "huge"),
            ("synth", "x", "--seed", "-1"),
            ("synth", "x", "--seed", str(2**64)),
            ("synth", "x", "--scale", "0"),
            ("tz",),
        ],
        ids=" ".join,
    )
    def test_bad_usage_exits_2_and_explains_on_standard_error(self, arguments, tmp_path):
        done = arrivals(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stdout == ""
        assert "Usage: arrivals" in done.stderr
        assert list(tmp_path.iterdir()) == []

    def test_bad_usage_is_json_for_machines(self, tmp_path):
        done = arrivals("run", tmp_path, "--json", "--threads", "0")
        assert (done.returncode, done.stderr) == (2, "")
        document = json.loads(done.stdout)
        assert (document["status"], document["code"]) == ("FAIL", "USAGE")
        assert "threads" in document["message"]


class TestFailure:
    def test_a_named_failure_exits_1_with_what_where_and_what_to_do(self, tmp_path):
        done = arrivals("run", tmp_path / "absent")
        assert done.returncode == 1
        assert done.stdout == ""
        assert "error 5B.S4.IO_READ_FAILED" in done.stderr
        assert str(tmp_path / "absent") in done.stderr
        assert "Traceback" not in done.stderr
        shown = [line.split()[0] for line in done.stderr.splitlines() if line.startswith("  ")]
        assert shown[0] == "what"
        assert shown[-1] == "do"

    def test_debug_shows_the_traceback_too(self, tmp_path):
        for arguments in (("--debug", "seal", tmp_path), ("seal", tmp_path, "--debug")):
            done = arrivals(*arguments)
            assert done.returncode == 1
            assert "Traceback (most recent call last)" in done.stderr
            assert "error 5B.S4." in done.stderr

    def test_json_gives_the_failure_as_an_object(self, tmp_path):
        done = arrivals("seal", tmp_path / "absent", "--json")
        assert (done.returncode, done.stderr) == (1, "")
        document = json.loads(done.stdout)
        assert document["status"] == "FAIL"
        assert document["code"] == "5B.S4.IO_READ_FAILED"
        assert document["hint"]
        assert document["context"]["path"] == str(tmp_path / "absent")

    def test_a_defect_gets_a_name_and_a_hint(self, tmp_path):
        # A library that breaks while it loads stands for a defect that no code foresees.
        (tmp_path / "yaml.py").write_text("raise RuntimeError('no parser today')", encoding="utf-8")
        done = subprocess.run(
            command_line("synth", tmp_path / "world"),
            env=environment(PYTHONPATH=on_path(tmp_path)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert "5B.S4.UNEXPECTED_INTERNAL_ERROR" in done.stderr
        assert "RuntimeError: no parser today" in done.stderr
        assert "--debug" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_full_standard_output_gets_a_name_and_no_traceback(self):
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            done = writing_to(full, "--help")
        assert done.returncode == 1
        assert done.stderr.startswith(
            "error 5B.S4.IO_WRITE_FAILED\n  what  standard output cannot be written: No space"
        )

    def test_cuda_without_a_device_is_refused_with_the_reason(self, sealed_world):
        from arrival_engine.gpu_kernels.driver import cuda_state

        if cuda_state().devices:
            pytest.skip("this machine has a CUDA device")
        done = arrivals("run", sealed_world, "--backend", "cuda", "--json")
        assert done.returncode == 1
        assert json.loads(done.stdout)["code"] == "ARRIVALS.BACKEND_UNAVAILABLE"


class TestBrokenPipe:
    @pytest.mark.parametrize("arguments", [("--help",), ("doctor",), ("doctor", "--json")], ids=" ".join)
    def test_nobody_reading_the_output_is_no_error_message(self, arguments):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as torn:
            done = writing_to(torn, *arguments)
        assert (done.returncode, done.stderr) == (141, "")

    def test_a_run_whose_output_nobody_reads_is_published_all_the_same(self, sealed_world):
        shutil.rmtree(published_directory(sealed_world), ignore_errors=True)
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as torn:
            done = writing_to(torn, "run", sealed_world, "--json")
        assert done.returncode == 141
        assert "Traceback" not in done.stderr
        assert list(published_directory(sealed_world).glob("*.parquet"))


class TestRun:
    def test_a_run_says_what_it_did_and_repeating_it_changes_nothing(self, sealed_world):
        first = arrivals("run", sealed_world, "--replace")
        assert first.returncode == 0, first.stderr
        for text in (
            "3,279 arrivals",
            "digest",
            "arrivals/s",
            "expand and write",
            str(published_directory(sealed_world)),
        ):
            assert text in first.stdout
        assert "expand and write: done in" in first.stderr

        again = arrivals("run", sealed_world, "--json", "--threads", "1", "--batch-arrivals", "1000")
        assert again.returncode == 0, again.stderr
        document = json.loads(again.stdout)
        (scenario,) = document["scenarios"]
        assert document["status"] == "PASS"
        assert scenario["published"] == "identical"
        assert scenario["arrivals"] == 3279
        assert scenario["digest"] in first.stdout
        events = [json.loads(line) for line in again.stderr.splitlines()]
        assert {event["event"] for event in events} >= {"phase", "message"}
        assert {"expand and write", "publish"} <= {e["name"] for e in events if e["event"] == "phase"}

    def test_quiet_says_nothing_when_all_is_well(self, sealed_world):
        done = arrivals("run", sealed_world, "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_an_unknown_scenario_is_named(self, sealed_world):
        done = arrivals("run", sealed_world, "--scenario", "no_such_scenario")
        assert done.returncode == 1
        assert "no_such_scenario" in done.stderr

    def test_strict_refuses_what_a_policy_would_fall_back_on(self, sealed_world):
        done = arrivals("run", sealed_world, "--strict", "--json", "--quiet")
        assert done.returncode == 1
        assert json.loads(done.stdout)["code"].startswith("5B.S4.")


class TestSeal:
    def test_sealing_twice_says_so_and_keeps_the_bytes(self, sealed_world):
        done = arrivals("seal", sealed_world, "--json")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert document["status"] == "PASS"
        assert document["changed"] is False
        assert "was sealed already" in arrivals("seal", sealed_world).stdout


class TestValidate:
    def test_quiet_says_nothing_when_all_is_well(self, sealed_world):
        # DuckDB's binding speaks up on standard error when its objects outlive the interpreter.
        assert arrivals("run", sealed_world, "--quiet").returncode == 0
        done = arrivals("validate", sealed_world, "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class TestTzBuild:
    def test_writes_the_cache_once_and_refuses_another(self, tmp_path):
        write_world(small_world(), tmp_path)
        refused = arrivals("tz", "build", tmp_path)
        assert refused.returncode == 1
        assert "--replace" in refused.stderr
        written = arrivals("tz", "build", tmp_path, "--replace", "--zone", BERLIN, "--zone", NEW_YORK, "--json")
        assert written.returncode == 0, written.stderr
        document = json.loads(written.stdout)
        assert (document["zones"], document["changed"]) == (2, True)
        again = arrivals("tz", "build", tmp_path, "--zone", BERLIN, "--zone", NEW_YORK)
        assert again.returncode == 0
        assert "was there already" in again.stdout


class TestDoctor:
    def test_one_line_per_fact(self):
        done = arrivals("doctor")
        assert done.returncode == 0, done.stdout
        for name in ("Python", "packages", "cores", "memory", "CUDA", "cuDF", "JIT cache", "tzdata"):
            assert any(line.startswith(name) for line in done.stdout.splitlines()), name

    def test_json(self):
        document = json.loads(arrivals("doctor", "--json").stdout)
        assert document["status"] == "PASS"
        assert {"name", "value", "state", "advice"} == set(document["facts"][0])

    def test_a_closed_standard_output_does_no_harm(self):
        done = subprocess.run(
            ["bash", "-c", f"{' '.join(command_line('doctor'))} >&-"],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


class TestSynth:
    def test_a_world_from_nothing_to_arrivals(self, tmp_path):
        root = tmp_path / "world"
        made = arrivals("synth", root, "--seed", "7", "--scale", "0.05")
        assert made.returncode == 0, made.stderr
        assert f" seal {root}" in made.stdout.split("Next:")[1]
        assert arrivals("seal", root, "--quiet").returncode == 0
        document = json.loads(arrivals("run", root, "--json").stdout)
        assert document["status"] == "PASS"
        assert document["scenarios"][0]["arrivals"] > 1000


class TestDemo:
    def test_the_demo_and_each_command_it_recommends(self, tmp_path):
        root = tmp_path / "a demo"
        done = arrivals("demo", root)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("  ok   ") == 9
        assert "FAIL" not in done.stdout
        commands = [line.strip() for line in done.stdout.split("Next:")[1].splitlines() if line.strip()]
        assert len(commands) == 3
        for command in commands:
            shell = command.replace("arrivals ", f"{sys.executable} -m arrival_engine ")
            tried = subprocess.run(
                ["bash", "-c", shell],
                env=environment(),
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert tried.returncode == 0, (command, tried.stderr)

        again = json.loads(arrivals("demo", root, "--json").stdout)
        assert (again["status"], again["reused"]) == ("PASS", True)
        assert {scenario["published"] for scenario in again["scenarios"]} == {"identical"}

    def test_refuses_a_directory_of_other_files(self, tmp_path):
        mine = tmp_path / "letter.txt"
        mine.write_text("dear reader", encoding="utf-8")
        done = arrivals("demo", tmp_path)
        assert done.returncode == 1
        assert "IO_WRITE_CONFLICT" in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


class TestInterruption:
    @pytest.mark.parametrize(
        ("sent", "code", "word"),
        [
            (signal.SIGINT, 130, "interrupted"),
            (signal.SIGTERM, 143, "terminated"),
            (signal.SIGHUP, 129, "terminated"),
        ],
        ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
    )
    def test_a_run_stops_at_once_and_cleans_up(self, long_world, sent, code, word):
        with running("run", long_world, "--json", "--batch-arrivals", "200000") as process:
            with halted(parts_written, process, long_world):
                process.send_signal(sent)
            out, err = process.communicate(timeout=120)
        assert process.returncode == code
        assert json.loads(out) == {
            "status": "FAIL",
            "code": word.upper(),
            "message": "nothing half-written was published",
        }
        assert json.loads(err.splitlines()[-1])["state"] == "stopped"
        assert not published_directory(long_world).exists()
        assert list((long_world / "tmp").glob("arrivals-*")) == []
