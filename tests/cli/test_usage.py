"""What wrong usage says: the fault in plain words, and a guess at what was meant."""

from __future__ import annotations

import os

import click
import pytest

from arrival_engine.engine.cli.main import arrivals, main
from arrival_engine.engine.cli.values import Choice, FilePath, FolderPath, Number, WholeNumber
from tests.support.commands import COMMANDS

BIG = "9" * 5000


@pytest.fixture
def said(capsys):
    """What standard error says of a wrong command line, after "Error: "."""

    def of(*words):
        assert main([*map(str, words)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("Usage: arrivals")
        return err.partition("\nError: ")[2].removesuffix("\n")

    return of


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rnu x", "No such command 'rnu'. Did you mean 'run'?"),
        ("re", "No such command 're'. Did you mean 'report'?"),
        ("fly", "No such command 'fly'."),
        ("tz biuld x", "No such command 'biuld'. Did you mean 'build'?"),
        ("--versoin", "No such option '--versoin'. Did you mean '--version'?"),
        ("--json run x", "No such option '--json'. Options of a command follow its name: arrivals COMMAND --json"),
        ("run x --srtict", "No such option '--srtict'. Did you mean '--strict'?"),
        ("run x --thr 3", "No such option '--thr'. Did you mean '--threads'?"),
        ("run x --batch_arrivals=5", "No such option '--batch_arrivals'. Did you mean '--batch-arrivals'?"),
        ("run x -j", "No such option '-j'. Did you mean '--json'?"),
        ("run x --no-such-option", "No such option '--no-such-option'."),
    ],
)
def test_a_wrong_name_gets_a_guess(line, message, said):
    assert said(*line.split()) == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run x --backend cup", "'--backend': 'cup' is not one of 'auto', 'cpu', 'cuda'; did you mean 'cpu'?"),
        ("run x --rng-events csv", "'--rng-events': 'csv' is not one of 'parquet', 'jsonl'"),
        ("synth x --preset dmeo", "'--preset': 'dmeo' is not one of 'demo', 'reference'; did you mean 'demo'?"),
        (
            "run x --threads two",
            "'--threads': 'two' is not a whole number: write it in digits alone, such as 500000",
        ),
        (
            "run x --batch-arrivals 1e6",
            "'--batch-arrivals': '1e6' is not a whole number: write it in digits alone, such as 500000",
        ),
        ("run x --threads 0", "'--threads': 0 is too small: the least is 1"),
        ("synth x --seed -1", "'--seed': -1 is too small: the least is 0"),
        (
            "synth x --seed 18446744073709551616",
            "'--seed': 18446744073709551616 is too large: the most is 18446744073709551615",
        ),
        (f"run x --threads {BIG}", f"'--threads': {BIG[:40]}... is too large: the most is 9223372036854775807"),
        ("synth x --scale much", "'--scale': 'much' is not a number: write one such as 0.1 or 2"),
        ("synth x --scale nan", "'--scale': 'nan' is not a number: write one such as 0.1 or 2"),
        ("synth x --scale -0.5", "'--scale': -0.5 is too small: it must be above 0"),
        ("run x --scratch {file}", "'--scratch': '{file}' is a file, not a directory"),
        ("report x --out {folder}", "'--out': '{folder}' is a directory, not a file"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(line, message, said, tmp_path):
    places = {"file": tmp_path / "file", "folder": tmp_path}
    places["file"].touch()
    assert said(*line.format(**places).split()) == f"Invalid value for {message.format(**places)}"


def test_a_path_that_is_empty_or_not_utf8_is_refused(said):
    assert said("run", "x", "--scratch", "") == "Invalid value for '--scratch': the path is empty"
    assert "is not UTF-8" in said("run", "x", "--scratch", os.fsdecode(b"\xff"))


def test_an_unknown_column_gets_a_guess(said):
    assert said("stream", "x", "--columns", "ts_utcc").startswith(
        "there is no column 'ts_utcc' (did you mean 'ts_utc'?); there are manifest_fingerprint, "
    )


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (WholeNumber(0), "0", 0),
        (WholeNumber(0), "007", 7),
        (WholeNumber(0), " +1_000 ", 1000),
        (WholeNumber(-5), "-5", -5),
        (WholeNumber(0, 2**64 - 1), str(2**64 - 1), 2**64 - 1),
        (WholeNumber(0), "0" * 5000 + "7", 7),
        (Number(0.0), "1e-3", 0.001),
        (Choice(["a", "b"]), "b", "b"),
    ],
)
def test_a_right_value_is_read(kind, text, value):
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize("text", ["", " ", "-", "1__0", "_1", "1.0", "٣", "0x10", "1 0", "--1"])
def test_a_whole_number_is_digits(text):
    with pytest.raises(click.BadParameter, match="is not a whole number"):
        WholeNumber(0).convert(text, None, None)


def test_no_option_has_a_type_that_click_words_itself():
    own = (Choice, FilePath, FolderPath, Number, WholeNumber)
    of_click = {
        (words, parameter.name)
        for words, command in {**COMMANDS, "": arrivals}.items()
        for parameter in command.params
        if type(parameter.type).__module__ == "click.types"
        and not isinstance(parameter.type, (click.types.StringParamType, click.types.BoolParamType))
    }
    assert of_click == set()
    assert {type(parameter.type) for command in COMMANDS.values() for parameter in command.params} >= set(own)
