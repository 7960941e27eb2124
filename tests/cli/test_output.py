"""What the screen of a failure leaves out: values that say nothing, and those that its message or hint says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.cli.output import show_failure
from arrival_engine.engine.cli.session import Session


@pytest.fixture
def rows(capsys):
    """The rows of a failure's screen, as (name, value)."""

    def shown(message, hint="", **context):
        show_failure(ArrivalError(Code.IO_READ_FAILED, message, hint=hint, **context), Session())
        head, *lines = capsys.readouterr().err.splitlines()
        assert head == "error 5B.S4.IO_READ_FAILED"
        return [tuple(line.split(maxsplit=1)) for line in lines]

    return shown


def test_values_that_are_not_known_are_left_out(rows):
    assert rows("wrong", key=None, other="", zero=0, no=False) == [("what", "wrong"), ("zero", "0"), ("no", "no")]


def test_what_message_or_hint_say_is_not_said_again(rows):
    path = Path("/a/world/part.parquet")
    said = [("what", f"cannot read {path}: row 7."), ("do", "restore manifest.json")]
    assert rows(said[0][1], said[1][1], path=path, row=7, file="manifest.json") == said


@pytest.mark.parametrize(
    "other", ["/a/world", "/a/world/part", "part.parquet", "x/a/world/part.parquet", "17", "cannot r"]
)
def test_a_part_of_a_longer_path_or_number_is_not_that_path_or_number(rows, other):
    assert ("value", other) in rows("cannot read /a/world/part.parquet: row 170", value=other)


def test_more_values_than_fit_are_counted(rows):
    shown = rows("wrong", known="wrong", **{f"name{number}": number for number in range(20)})
    assert len(shown) == 1 + 12 + 1
    assert shown[-1] == ("...", "8 more with --json")
    assert rows("wrong", long="x" * 400)[-1] == ("long", f"{'x' * 300}... (400 characters)")


@pytest.mark.parametrize(
    "value",
    [
        ["a/b", "c"],
        [],
        {"1A": "FAIL", "2B": "PASS"},
        [{"artefact": "a/b", "sealed": "0f", "found": "absent"}],
        [{"artefact": "a/b"}, {"artefact": "c", "rows": 1234567}],
        ({"1A"}, ["0f", None]),
    ],
    ids=str,
)
def test_lists_and_objects_that_the_message_says_are_left_out(rows, value):
    said = [("what", "a/b: sealed 0f, now absent; c: 1,234,567 rows; 1A is FAIL, 2B is PASS")]
    assert rows(said[0][1], value=value) == said


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (["a", "d"], "a, d"),
        (("a", 7, None, True), "a, 7, none, yes"),
        ({"a": "d", "b": 7}, "a d, b 7"),
        ({"other": "a"}, "other a"),
        ([{"name": "a", "rows": 7}, {"name": "d", "rows": 0.5}], "name a, rows 7; name d, rows 0.5"),
        ({Path("/a"): {"b"}}, "/a b"),
        (float("nan"), "nan"),
    ],
    ids=str,
)
def test_values_are_told_in_words(rows, value, shown):
    assert rows("a is wrong", value=value) == [("what", "a is wrong"), ("value", shown)]


def test_amounts_of_memory_have_units(rows):
    assert rows("too large", limit_bytes=3 << 29) == [("what", "too large"), ("limit", "1.5 GiB")]
    assert rows("1.5 GiB is too large", limit_bytes=3 << 29) == [("what", "1.5 GiB is too large")]


def test_machines_get_everything(capsys):
    known = ["a", "b"]
    show_failure(ArrivalError(Code.IO_READ_FAILED, "only a, b", known=known, limit_bytes=7), Session(json=True))
    assert json.loads(capsys.readouterr().out)["context"] == {"known": known, "limit_bytes": 7}
