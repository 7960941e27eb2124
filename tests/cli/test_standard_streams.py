"""Commands whose standard output or standard error cannot be written: full, closed, or without a reader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arrival_engine.engine.cli.main import main
from arrival_engine.engine.sealing import seal
from tests.support.commands import COMMANDS
from tests.support.world_files import write_world
from tests.support.worlds import small_world

FULL = Path("/dev/full")
SAID = "standard output cannot be written: No space left on device"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("streams") / "world"
    write_world(small_world(), root)
    seal(root)
    return root


@pytest.fixture
def failing(monkeypatch, capfd):
    """The exit code and standard error of a command in this process whose standard output is a full device."""

    def run(*words):
        with FULL.open("w", encoding="utf-8") as full, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", full)
            code = main([str(word) for word in words])
        return code, capfd.readouterr().err

    return run


def shell(command, *words, output=""):
    """A command line run by bash with the given redirections."""
    program = [sys.executable, "-m", "arrival_engine", command, *map(str, words)]
    script = f'set -o pipefail; "$@" {output}'
    return subprocess.run(["bash", "-c", script, "bash", *program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_every_command_on_a_full_output(command, failing):
    code, said = failing(*command.split(), "--help")
    assert (code, said.splitlines()[:2]) == (1, ["error 5B.S4.IO_WRITE_FAILED", f"  what  {SAID}"])


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_usage_of_every_command_for_a_machine_on_a_full_output(command, failing):
    code, said = failing(*command.split(), "--json", "--no-such-option")
    told = json.loads(said)
    assert (code, told["status"], told["code"]) == (2, "FAIL", "USAGE")


@pytest.mark.parametrize("line", ["seal {world}", "plan {world}", "run {world}", "doctor"])
def test_a_result_on_a_full_output(line, world, failing):
    words = line.format(world=world).split()
    code, said = failing(*words, "--quiet", "--json")
    told = json.loads(said)
    assert (code, told["code"], told["message"]) == (1, "5B.S4.IO_WRITE_FAILED", SAID)
    code, said = failing(*words)
    assert code == 1
    assert f"error 5B.S4.IO_WRITE_FAILED\n  what  {SAID}\n  do    check what standard output" in said
    assert "defect" not in said


def test_a_failure_for_a_machine_on_a_full_output_keeps_its_own_code(tmp_path, failing):
    code, said = failing("seal", tmp_path / "absent", "--json")
    assert (code, json.loads(said)["code"]) == (1, "5B.S4.IO_READ_FAILED")


@pytest.mark.parametrize("line", ["seal {world}", "run --json --no-such-option"])
def test_a_missing_stream_changes_no_exit_code(line, world):
    words = line.format(world=world).split()
    usual = shell(*words)
    for output in ("2>/dev/full", "2>&-", ">&-", ">&- 2>&-", "<&- >&-"):
        done = shell(*words, output=output)
        assert (output, done.returncode) == (output, usual.returncode)
        assert done.stdout == ("" if ">&-" in output.replace("2>&-", "") else usual.stdout)
        told, before = (
            [row for row in text.splitlines() if not row.startswith("[")] for text in (done.stderr, usual.stderr)
        )
        assert told == ([] if "2>" in output else before)


def test_a_stream_into_a_closed_output_is_refused(world):
    done = shell("stream", world, output=">&-")
    assert done.returncode == 1
    assert "what  standard output cannot be written: it is closed" in done.stderr


def test_no_file_takes_the_number_of_a_closed_stream():
    script = (
        "import os, sys\n"
        "from arrival_engine.engine.process.streams import standard_streams\n"
        "with standard_streams():\n"
        "    opened = os.open(os.devnull, os.O_RDONLY)\n"
        "sys.exit(opened)\n"
    )
    done = subprocess.run(
        ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", sys.executable, "-c", script], check=False, env={**os.environ}
    )
    assert done.returncode > 2


def spoken(name, *options):
    """Standard output, ASCII alone, of sealing a directory of that name."""
    done = subprocess.run(
        [sys.executable, "-m", "arrival_engine", "seal", str(name), *options],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode("ascii"), done.stderr.decode("ascii")


def test_letters_that_the_output_cannot_encode_are_escaped(world):
    name = world.rename(world.with_name("wörld"))
    try:
        code, out, _ = spoken(name)
        assert (code, "w\\xf6rld" in out) == (0, True)
        code, out, _ = spoken(name, "--json")
        assert (code, "/wörld/" in json.loads(out)["gate_path"]) == (0, True)
    finally:
        name.rename(world)


def test_a_path_that_is_not_utf8_is_bad_usage(tmp_path):
    code, out, err = spoken(tmp_path / "w\udcff")
    assert (code, out) == (2, "")
    assert "w\\udcff' is not UTF-8: rename the directory" in err
