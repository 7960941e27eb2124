"""Completion in shells: by a real bash on a terminal of its own, and the answers that scripts of shells get."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

from arrival_engine.engine.cli.main import _COMMANDS, arrivals, main
from tests.support.commands import COMMANDS

VARIABLE = "_ARRIVALS_COMPLETE"
TAB, START_OF_LINE = "\t", "\x01"
HEAVY = ("numpy", "numba", "pyarrow", "duckdb", "rich", "jsonschema", "psutil", "yaml")


class Bash:
    """An interactive bash that completes `arrivals`; closed at the end of a `with` block."""

    def __init__(self, folder: Path) -> None:
        program = folder / "bin" / "arrivals"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m arrival_engine "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "TERM": "dumb",
            "INPUTRC": "/dev/null",
            "PS1": r"READY \#> ",  # with the number of the command, because editing a line shows its prompt again
        }
        self.terminal, other = pty.openpty()
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-i"],
            env=environment,
            cwd=folder,
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)
        self.lines = 0
        self._read()
        self.say('eval "$(arrivals completion bash)"')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)

    def say(self, keys: str) -> str:
        """The output up to the next prompt after some keys and Enter."""
        os.write(self.terminal, f"{keys}\n".encode())
        return self._read()

    def completed(self, line: str) -> list[str]:
        """The words of the command line after TAB at its end."""
        out = self.say(f"{line}{TAB}{START_OF_LINE}printf '<%s>\\n' ")
        return [word for word in re.findall(r"^<(.*)>\r?$", out, re.MULTILINE) if word != "%s"][1:]

    def _read(self) -> str:
        self.lines += 1
        out, until = b"", time.monotonic() + 60
        while not out.endswith(f"READY {self.lines}> ".encode()):
            ready, _, _ = select.select([self.terminal], [], [], until - time.monotonic())
            assert ready, out
            out += os.read(self.terminal, 4096)
        return out.decode()


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    if shutil.which("bash") is None:
        pytest.skip("this machine has no bash")
    folder = tmp_path_factory.mktemp("completion")
    (folder / "worlds" / "small").mkdir(parents=True)
    (folder / "worlds.txt").touch()
    (folder / "counts.csv").touch()
    with Bash(folder) as shell:
        yield shell


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("arrivals sy", ["synth"]),
        ("arrivals tz b", ["tz", "build"]),
        ("arrivals completion f", ["completion", "fish"]),
        ("arrivals run --batch", ["run", "--batch-arrivals"]),
        ("arrivals run worlds --sch", ["run", "worlds", "--scheduler"]),
        ("arrivals run worlds --backend cu", ["run", "worlds", "--backend", "cuda"]),
        ("arrivals run worlds --backend=cu", ["run", "worlds", "--backend=cuda"]),
        ("arrivals synth x --preset r", ["synth", "x", "--preset", "reference"]),
        # A directory, of which there is one; for a table, files count too.
        ("arrivals run wor", ["run", "worlds/"]),
        ("arrivals run worlds/s", ["run", "worlds/small/"]),
        ("arrivals run x --scratch wor", ["run", "x", "--scratch", "worlds/"]),
        ("arrivals import x --counts cou", ["import", "x", "--counts", "counts.csv"]),
        ("arrivals import x --counts wor", ["import", "x", "--counts", "worlds"]),
        ("arrivals --vers", ["--version"]),
        ("arrivals --version syn", ["--version", "synth"]),
        ("arrivals fly --x", ["fly", "--x"]),
    ],
)
def test_bash_completes(bash, line, words):
    assert bash.completed(line) == words


def answer(capsys, monkeypatch, shell, *words):
    """What the script of a shell is told for a command line whose last word is not complete."""
    separator = " " if shell == "fish" else "\n"
    monkeypatch.setenv(VARIABLE, f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", separator.join(["arrivals", *(words[:-1] if shell == "fish" else words)]))
    monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words)))
    monkeypatch.setattr(sys, "argv", ["arrivals"])
    assert main() == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_every_command(shell, capsys, monkeypatch):
    told = "\n".join(answer(capsys, monkeypatch, shell, ""))
    assert all(re.search(rf"(^|,){name}$|(^|,){name}\W", told, re.MULTILINE) for name in _COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_and_choice_of_every_command_is_completed(words, capsys, monkeypatch):
    command = COMMANDS[words]
    told = answer(capsys, monkeypatch, "bash", *words.split(), "--")
    names = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    assert {line.removeprefix("plain,") for line in told} == {*names, "--help"}
    for parameter in command.params:
        choices = getattr(parameter.type, "choices", None)
        if choices and parameter.param_type_name == "option":
            offered = answer(capsys, monkeypatch, "bash", *words.split(), parameter.opts[0], "")
            assert len(offered) == len(choices)


def test_values_that_bash_would_read_otherwise_are_quoted(capsys, monkeypatch):
    offered = answer(capsys, monkeypatch, "bash", "import", "x", "--thousands", "")
    assert offered == ["plain,.", "plain,,", "plain,''\"'\"''", "plain,' '"]


def test_a_shell_completes_paths_itself(capsys, monkeypatch):
    for command in COMMANDS.values():
        for parameter in command.params:
            if parameter.name in ("run_root", "scratch", "figures", "a", "b", "directory"):
                (item,) = parameter.type.shell_complete(None, parameter, "x")
                assert (item.value, item.type) == ("x", "dir")
    assert answer(capsys, monkeypatch, "zsh", "report", "x", "--out", "p") == ["file", "p", "_"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell, capsys, monkeypatch):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"{VARIABLE}={shell}_complete" in script
    assert main(["completion", shell, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"status": "PASS", "shell": shell, "script": script}
    monkeypatch.setenv(VARIABLE, f"{shell}_source")
    monkeypatch.setattr(sys, "argv", ["arrivals"])
    assert main() == 0
    assert capsys.readouterr().out == script


@pytest.mark.parametrize(
    ("instruction", "words", "said"),
    [
        ("foo", {}, f"{VARIABLE} is 'foo', which is not one of bash_source"),
        ("bash_fly", {}, "is 'bash_fly'"),
        ("powershell_source", {}, "is 'powershell_source'"),
        ("bash_complete", {}, "sets COMP_WORDS and COMP_CWORD"),
        ("zsh_complete", {"COMP_WORDS": "arrivals", "COMP_CWORD": "x"}, "`arrivals completion zsh`, which sets"),
    ],
)
def test_a_wrong_request_is_wrong_usage(instruction, words, said, capsys, monkeypatch):
    for name, value in {"COMP_WORDS": None, "COMP_CWORD": None, VARIABLE: instruction, **words}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["arrivals"])
    assert main() == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("Error: "), said in err) == ("", True, True)


def test_the_request_is_for_the_process_alone(capsys, monkeypatch):
    monkeypatch.setenv(VARIABLE, "bash_source")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("arrivals ")
    assert arrivals.name == "arrivals"


@pytest.mark.parametrize("words", ["", "run x --b", "import x --counts ", "explain x --s"])
def test_completion_loads_nothing_heavy(words):
    script = (
        "import sys\n"
        "from arrival_engine.engine.cli.main import main\n"
        "sys.argv = ['arrivals']\n"
        "assert main() == 0\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    typed = ["arrivals", *words.split(" ")]
    environment = {VARIABLE: "bash_complete", "COMP_WORDS": "\n".join(typed), "COMP_CWORD": str(len(typed) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
