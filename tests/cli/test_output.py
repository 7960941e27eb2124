"""What the screen of a failure leaves out: values that say nothing, and those that its message or hint says."""

from __future__ import annotations

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
    assert rows("wrong", key=None, other="", zero=0, no=False) == [("what", "wrong"), ("zero", "0"), ("no", "false")]


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
