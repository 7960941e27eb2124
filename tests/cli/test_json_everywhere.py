"""`--json` on every command: the option, its help, and wrong usage as an object."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from arrival_engine.engine.cli.main import main
from arrival_engine.engine.sealing import seal
from tests.support.commands import COMMANDS
from tests.support.world_files import write_world
from tests.support.worlds import small_world


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_the_output_options(words):
    options = {option for parameter in COMMANDS[words].params for option in parameter.opts}
    assert {"--json", "--quiet", "--debug"} <= options


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("json_first", [True, False])
def test_wrong_usage_of_every_command_is_an_object(words, json_first, capsys):
    options = ["--json", "--no-such-option"]
    assert main([*words.split(), *(options if json_first else reversed(options))]) == 2
    out, err = capsys.readouterr()
    told, other = (err, out) if words == "stream" else (out, err)
    assert other == ""
    assert json.loads(told)["code"] == "USAGE"


def test_an_argument_that_looks_like_the_option_is_none(capsys):
    assert main(["run", "--no-such-option", "--", "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: arrivals run")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("json") / "world"
    write_world(small_world(), root)
    seal(root)
    return root


@pytest.mark.parametrize(
    ("options", "reader", "facts"),
    [
        ("--limit 7", "cat", {"reader_left": False, "rows": 7, "digest": None}),
        ("--format arrow", "cat", {"reader_left": False, "rows": 3279}),
        ("--speed 60x", "head -n 1", {"reader_left": True}),
    ],
)
def test_a_stream_ends_with_an_object_beside_its_rows(world, options, reader, facts):
    program = f"{sys.executable} -m arrival_engine stream {world} --json {options} | {reader}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, check=False)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert {event.get("event") for event in events[:-1]} >= {"phase", "message"}
    assert events[-1] == {**events[-1], "status": "PASS", **facts}
    if "arrow" not in options:
        assert [json.loads(line)["arrival_seq"] for line in done.stdout.splitlines()]
