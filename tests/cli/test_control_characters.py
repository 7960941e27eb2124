"""Names and paths with control characters: shown as escapes by everything that writes to a terminal."""

from __future__ import annotations

import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.cli.output import headline, show_block, show_facts, show_failure, show_line
from arrival_engine.engine.cli.session import Session
from arrival_engine.engine.process.console import SafeConsole, styled
from arrival_engine.engine.process.progress import JsonReporter, LineReporter, NoticeReporter
from arrival_engine.engine.process.safe_text import json_line, visible
from arrival_engine.engine.process.terminal import TerminalReporter

# Clears the screen, retitles the window, goes back over the line, starts a line of its own, and turns the direction.
EVIL = "a\x1b[2J\x9b31m\x1b]0;t\x07\b\r\x0b\x7f\t\n  do    \u202eb\u2066\u200f\u2028\x85"
SHOWN = "a\\x1b[2J\\x9b31m\\x1b]0;t\\x07\\x08\\r\\x0b\\x7f\\t\\n  do    \\u202eb\\u2066\\u200f\\u2028\\x85"


def is_harmless(text):
    """Whether a terminal only draws the characters of `text`, except that its lines end."""
    return all(
        unicodedata.category(letter) not in ("Cc", "Zl", "Zp", "Cs")
        and unicodedata.bidirectional(letter) not in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        for letter in text.replace("\n", "")
    )


@given(st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Cs", "L", "N", "P", "Zs"])))
def test_any_text_becomes_one_harmless_line(text):
    shown = visible(text)
    assert is_harmless(shown)
    assert "\n" not in shown
    assert visible(shown) == shown
    assert visible(text, keep="\n").count("\n") == text.count("\n")
    line = json_line({"name": text})
    assert line.isascii()
    assert is_harmless(line)
    assert json.loads(line) == {"name": text}


def test_ordinary_letters_of_any_script_stay():
    text = "Zürich São_Paulo Łódź 東京 القاهرة 🏦 a/b.csv"
    assert visible(text) == text


def test_a_failure(capsys):
    show_failure(ArrivalError(Code.IO_READ_FAILED, f"no {EVIL}", hint=f"see {EVIL}", column=EVIL + "!"), Session())
    err = capsys.readouterr().err
    assert err.splitlines() == [
        "error 5B.S4.IO_READ_FAILED",
        f"  what    no {SHOWN}",
        f"  column  {SHOWN}!",
        f"  do      see {SHOWN}",
    ]


def test_results(capsys):
    headline(EVIL)
    show_line(EVIL, (EVIL, "bold"))
    show_block((EVIL, EVIL))
    assert capsys.readouterr().out.splitlines() == [SHOWN, SHOWN * 2, f"  {SHOWN}  {SHOWN}"]


def test_results_on_a_terminal_keep_their_own_colours():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=400)
    safe = SafeConsole(out, width=400)
    safe._force_terminal, safe._color_system = True, console._color_system
    show_facts(safe, [("name", EVIL)])
    safe.print(styled(("plain", "red"), EVIL))
    text = out.getvalue()
    assert "\x1b[31mplain\x1b[0m" in text
    for own in ("\x1b[1m", "\x1b[31m", "\x1b[0m"):
        text = text.replace(own, "")
    assert is_harmless(text)
    assert text.count(SHOWN) == 2


@pytest.mark.parametrize("kind", [LineReporter, NoticeReporter, JsonReporter])
def test_progress_and_warnings(kind):
    out = io.StringIO()
    with kind(out) as reporter, reporter.phase(EVIL):
        reporter.notice(Notice("ODD", EVIL, {"column": EVIL}))
        reporter.message(EVIL)
    assert is_harmless(out.getvalue())
    if kind is JsonReporter:
        said = [json.loads(line) for line in out.getvalue().splitlines()]
        assert {EVIL} == {event.get("name", event.get("message", event.get("text"))) for event in said}
    else:
        assert f"warning ODD: {SHOWN}\n" in out.getvalue()


def test_live_progress():
    out = io.StringIO()
    with TerminalReporter(out) as reporter, reporter.phase(EVIL):
        reporter.notice(Notice("ODD", EVIL, {}))
        reporter.message(EVIL)
    assert is_harmless(out.getvalue())
    assert out.getvalue().count("\\x1b[2J") >= 3


@pytest.mark.parametrize(
    "words", [["seal", "./" + EVIL], ["run", "x", "--backend", EVIL], [EVIL], ["seal", f"--{EVIL}"]]
)
@pytest.mark.parametrize("more", [[], ["--debug"]])
def test_command_lines(words, more, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*words, *more]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "\\x1b[2J" in err
    assert is_harmless(err)
    assert "\n  do    \u202e" not in err
