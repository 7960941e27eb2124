"""What users and their programs see, word for word: help pages, shapes of JSON results, screens of failures.

`ARRIVALS_UPDATE_SNAPSHOTS=1` writes the files in snapshots/ again instead of comparing with them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from arrival_engine.engine.cli.main import main
from tests.support.commands import COMMANDS
from tests.support.upstream_seal import make_upstream_run

SNAPSHOTS = Path(__file__).with_name("snapshots")
UPDATE = bool(os.environ.get("ARRIVALS_UPDATE_SNAPSHOTS"))


def compare(path: Path, text: str) -> None:
    if UPDATE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def file_of(kind: str, name: str, ending: str) -> Path:
    return SNAPSHOTS / kind / f"{name.replace(' ', '-')}.{ending}"


# --- Help -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", "tz", *COMMANDS])
def test_help(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main([*command.split(), "--help"]) == 0
    compare(file_of("help", command or "arrivals", "txt"), capsys.readouterr().out)


# --- Shapes of JSON ---------------------------------------------------------------------------------


def shape(values: Iterable[Any]) -> object:
    """The one shape of several values: keys sorted, those that some lack with a question mark, types by name."""
    values = list(values)
    kinds = sorted({kind(value) for value in values})
    if kinds == ["object"]:
        keys = sorted({key for value in values for key in value})
        return {
            key if all(key in value for value in values) else f"{key}?": shape(v[key] for v in values if key in v)
            for key in keys
        }
    if kinds == ["array"]:
        items = [item for value in values for item in value]
        return [shape(items)] if items else []
    return " or ".join(kinds)


def kind(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return names.get(type(value), "null")


def test_a_shape_has_keys_and_types_and_no_values():
    values = [{"b": 1, "a": [{"x": None}, {"x": "y", "z": 0.5}]}, {"a": []}]
    assert shape(values) == {"a": [{"x": "null or string", "z?": "number"}], "b?": "integer"}


def json_results(folder: Path):
    """The name and arguments of every command that knows --json; each is sent the result of the one before."""
    world, demo, tables = folder / "world", folder / "demo", folder / "tables"
    merchant = (yield "demo", [demo])["example_merchant"]
    yield "explain", [demo, "--merchant", merchant, "--seq", "1"]
    yield "synth", [world, "--scale", "0.05", "--seed", "7"]
    yield "adopt", [make_upstream_run(folder / "upstream")]
    yield "seal", [world]
    yield "plan", [world, "--backend", "cpu"]
    yield "run", [world, "--backend", "cpu"]
    yield "validate", [world]
    yield "verify", [world]
    yield "report", [world, "--figures", folder / "figures"]
    yield "diff", [world, demo]
    yield "parity", [world, "--right", "cudasim", "--sample-batches", "1"]
    yield "tz build", [world]
    yield "doctor", []
    yield "completion", ["bash"]
    yield "export", [world, folder / "table"]
    yield "stream", [world, "--limit", "1"]
    options = (yield "import --example", [tables])["options"]
    yield "import", [folder / "imported", *(word for option in options.items() for word in option)]


def test_shapes_of_json(tmp_path, capfd):
    steps, seen, result = json_results(tmp_path), set(), None
    with suppress(StopIteration):
        while True:
            command, words = steps.send(result)
            main([*command.split(), *map(str, words), "--json", "--quiet"])
            out, err = capfd.readouterr()
            # The arrivals of a stream are on standard output.
            result = json.loads(err if command == "stream" else out)
            assert "code" not in result, result
            text = json.dumps(shape([result]), indent=2) + "\n"
            compare(file_of("json", command.replace(" --", "-"), "json"), text.replace(str(tmp_path), "FOLDER"))
            seen.add(command)
    assert seen == {*COMMANDS, "import --example"}
