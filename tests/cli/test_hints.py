"""Hints with commands: the commands exist, have the options and arguments they need, and can be pasted into a shell."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys

import click
import pytest

from arrival_engine.engine.cli.main import main
from tests.cli.test_snapshots import SNAPSHOTS
from tests.support.commands import COMMANDS
from tests.support.paths import ROOT
from tests.support.world_files import write_world
from tests.support.worlds import small_world

QUOTED = re.compile(r"`(arrivals [^`]*)`")
FOLDERS = ("contracts", "config", "cpu_fallback", "gpu_kernels", "engine")


def texts(node):
    """The texts of one file, a formatted value standing as VALUE; without docstrings."""
    docstrings = {
        id(parent.body[0].value)
        for parent in ast.walk(node)
        if isinstance(parent, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and parent.body
        and isinstance(parent.body[0], ast.Expr)
    }
    inside = {id(value) for found in ast.walk(node) if isinstance(found, ast.JoinedStr) for value in found.values}
    for found in ast.walk(node):
        if isinstance(found, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "VALUE" for part in found.values)
        elif isinstance(found, ast.Constant) and isinstance(found.value, str) and id(found) not in docstrings | inside:
            yield found.value


def commands_in_code():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
                for line in QUOTED.findall(text):
                    yield f"{path.relative_to(ROOT)}: {line}"


def check(line):
    """Raise unless the words of a command line are a command and options that it has."""
    words = shlex.split(line)[1:]
    if words in (["COMMAND", "--help"], ["tz"]):
        return
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    assert name in COMMANDS, line
    options = {option: parameter for parameter in COMMANDS[name].params for option in parameter.opts}
    rest = words[len(name.split()) :]
    for word in rest:
        if word.startswith("--"):
            assert word in options, line
    takes_value = [word for word in rest if word.startswith("--") and not getattr(options[word], "is_flag", False)]
    arguments = [word for word in rest if not word.startswith("--")]
    needed = [item for item in COMMANDS[name].params if isinstance(item, click.Argument) and item.required]
    # Without an argument it is a mention of a command or option, with one it is to be typed.
    if arguments:
        assert len(arguments) >= len(needed) + sum(word != "--rng-events" for word in takes_value), line


@pytest.mark.parametrize("place", sorted(set(commands_in_code())))
def test_a_command_in_a_text_exists(place):
    check(place.partition(": ")[2])


def test_there_are_such_commands():
    assert len(set(commands_in_code())) > 30


@pytest.mark.parametrize("path", sorted((SNAPSHOTS / "failures").iterdir()), ids=lambda path: path.stem)
def test_a_command_on_a_screen_can_be_pasted(path):
    for line in re.findall(r"`([^`]*)`", path.read_text(encoding="utf-8")):
        assert not re.search(r"RUN_ROOT|URL|\bID\b|FILE|DIR", line), line
        if line.startswith("arrivals "):
            check(line)


# A world without the step before, the command, and what to type then.
STEPS = [
    ("plan", "seal"),
    ("run", "seal"),
    ("stream", "seal"),
    ("validate", "seal"),
    ("parity", "seal"),
    ("report", "run"),
    ("export", "run"),
    ("verify", "validate"),
]


@pytest.mark.parametrize(("command", "step"), STEPS)
def test_the_hint_of_a_missing_step_is_the_step(command, step, tmp_path, capsys):
    root = tmp_path / "it's a world"
    write_world(small_world(), root)
    target = [str(tmp_path / "table")] if command == "export" else []
    assert main([command, str(root), *target, "--json", "--quiet"]) == 1
    out, err = capsys.readouterr()
    hint = json.loads(out or err)["hint"]
    line = re.findall(r"`([^`]*)`", hint)[0]
    assert shlex.split(line) == ["arrivals", step, str(root)]
    assert "away" not in hint


def test_a_pasted_hint_does_what_it_says(tmp_path):
    write_world(small_world(), tmp_path / "it's a world")
    script = 'arrivals() { "$PYTHON" -m arrival_engine "$@"; }; '
    line, environment = "arrivals verify './it'\\''s a world' --json --quiet", {"PYTHON": sys.executable}
    for _ in range(12):
        done = subprocess.run(
            ["bash", "-c", script + line],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 and line.startswith("arrivals verify"):
            return
        hint = "" if done.returncode == 0 else json.loads(done.stdout)["hint"]
        found = re.findall(r"`(arrivals [^`]*)`", hint)
        line = f"{found[0]} --json --quiet" if found else "arrivals verify './it'\\''s a world' --json --quiet"
    pytest.fail("following the hints does not lead to a bundle")
