"""Names and paths with control characters: shown as escapes by everything that writes to a terminal."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import unicodedata
from pathlib import Path
from typing import TextIO, cast

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.console import Console

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.contracts.safe_text import json_line, visible
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.cli.output import headline, show_block, show_facts, show_failure, show_line
from arrival_engine.engine.cli.session import Session
from arrival_engine.engine.process.console import SafeConsole, styled
from arrival_engine.engine.process.progress import JsonReporter, LineReporter, NoticeReporter
from arrival_engine.engine.process.streams import TolerantStream, standard_streams
from arrival_engine.engine.process.terminal import TerminalReporter
from arrival_engine.engine.rundir.receipt import read_receipt
from tests.support.commands import words_of
from tests.support.paths import ROOT
from tests.support.world_files import write_world
from tests.support.worlds import TWO_ZONES, small_world

# Clears the screen, retitles the window, goes back over the line, starts a line of its own, turns the direction, and
# has characters without a width.
EVIL = "a\x1b[2J\x9b31m\x1b]0;t\x07\b\r\x0b\x7f\t\n  do    \u202eb\u2066\u200f\u2028\x85\u200b\ufeff\xad\U000e0041"
SHOWN = (
    "a\\x1b[2J\\x9b31m\\x1b]0;t\\x07\\x08\\r\\x0b\\x7f\\t\\n  do    \\u202eb\\u2066\\u200f\\u2028\\x85"
    "\\u200b\\ufeff\\xad\\U000e0041"
)


# Ways to a terminal that do not escape.
ESCAPING_LEFT_OUT = re.compile(r"\bunescaped\b|\b__std(out|err)__\b|\bstd(out|err)\.(buffer|fileno)\b|os\.write\([12],")
DRAWN = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd" + "".join(
    map(chr, range(0x13430, 0x13440))
)
FIRST = ("--merchant", str(TWO_ZONES), "--seq", "1")


def is_harmless(text):
    """Whether a terminal only draws the characters of `text`, except that its lines end."""
    return all(
        # Of the format characters, marks of numbers and joiners of hieroglyphs are drawn.
        (unicodedata.category(letter) not in ("Cc", "Zl", "Zp", "Cs", "Cf") or letter in DRAWN)
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


def test_whatever_prints_to_a_standard_stream_is_escaped(capsys):
    with standard_streams():
        sys.stdout.write(EVIL)
        click.echo("\u202e\n\x9b", err=True)
        sys.stderr.write(EVIL)
        # A stream over a stream, as reporters make them.
        TolerantStream(cast("TextIO", sys.stderr)).write(EVIL)
    out, err = capsys.readouterr()
    lines = SHOWN.replace("\\n", "\n")
    assert (out, err) == (lines, "\\u202e\n\\x9b\n" + lines * 2)


def test_colours_pass_through_the_standard_streams(capsys):
    with standard_streams():
        for stream in (sys.stdout, TolerantStream(sys.stderr)):
            console = SafeConsole(cast("TextIO", stream), width=400)
            console._force_terminal, console._color_system = True, ColorSystem.STANDARD
            console.print(styled((EVIL, "red")))
    for text in capsys.readouterr():
        assert text == f"\x1b[31m{SHOWN}\x1b[0m\n"


def test_only_the_console_and_completion_write_what_is_not_escaped():
    callers = {
        path.relative_to(ROOT).as_posix()
        for folder in ("contracts", "config", "cpu_fallback", "gpu_kernels", "engine", "src/arrival_engine")
        for path in (ROOT / folder).glob("**/*.py")
        if ESCAPING_LEFT_OUT.search(path.read_text(encoding="utf-8"))
    }
    assert callers == {
        "engine/process/console.py",
        "engine/process/streams.py",
        "engine/cli/main.py",
        # Asks whether standard output is open; arrivals go to its descriptor.
        "engine/cli/stream.py",
    }


def test_an_uncaught_exception_is_one_harmless_line():
    error = ArrivalError(Code.IO_READ_FAILED, f"no {EVIL}")
    assert str(error) == f"5B.S4.IO_READ_FAILED: no {SHOWN}"
    assert error.message == f"no {EVIL}"


def test_a_traceback_marks_the_lines_of_a_message(monkeypatch, capsys):
    def fail(*_arguments):
        raise RuntimeError("one\nerror 5B.S4.FORGED\n\x1b[2J")

    monkeypatch.setattr("arrival_engine.engine.cli.main._invoke", fail)
    assert main(["doctor", "--debug"]) == 1
    err = capsys.readouterr().err
    assert is_harmless(err)
    assert not any(line.startswith("error 5B.S4.FORGED") for line in err.splitlines())


@pytest.mark.parametrize(
    "words",
    [
        ["seal", "s3://a\nError: FORGED"],
        ["stream", "x", "--speed", "1\nError: FORGED"],
        ["stream", "x", "--columns", "a\nError: FORGED"],
        ["stream", "x", "--output", "tcp://a\nError: FORGED"],
        ["parity", "x", "--left", "a\nError: FORGED"],
        ["report", "x\nError: FORGED", "--figure-format", "svg"],
        ["a\nError: FORGED"],
    ],
)
def test_a_line_end_in_a_word_begins_no_line_of_a_usage_page(words, capsys):
    assert main(words) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1
    assert "FORGED" not in errors[0] or "\\nError: FORGED" in errors[0]


@pytest.fixture(scope="module")
def evil_root(tmp_path_factory):
    """A world in a directory with an evil name."""
    # A separator of paths is the one harmful character that a name cannot have.
    root = tmp_path_factory.mktemp("evil") / EVIL
    write_world(small_world(), root)
    return root


def test_no_command_is_fooled_by_the_name_of_a_run_directory(evil_root, capsys):
    pasted = []
    for words in (["seal"], ["plan"], ["run"], ["validate"], ["verify"], ["diff", evil_root], ["explain", *FIRST]):
        assert main([words[0], str(evil_root), *map(str, words[1:])]) == 0, words
        out, err = capsys.readouterr()
        assert is_harmless(out + err), words
        assert "a\\x1b[2J" in out or words[0] in ("plan", "explain"), words
        assert not any(line.startswith("  do    ") for line in (out + err).splitlines())
        pasted += [line.strip() for line in out.partition("Next:\n")[2].splitlines()]
        if words[0] in ("plan", "run", "validate"):
            continue
        assert main([words[0], str(evil_root), *map(str, words[1:]), "--json"]) == 0
        out, err = capsys.readouterr()
        assert (out + err).isascii()
        assert [json.loads(line)["status"] for line in out.splitlines()] == ["PASS"]
        assert all(json.loads(line) for line in err.splitlines())
    assert words_of(next(line for line in pasted if " run " in line))[-2:] == ["run", str(evil_root)]


def test_the_hint_of_a_failure_means_the_directory_in_a_shell(evil_root, capsys):
    assert main(["report", str(evil_root), "--scenario", "\u202e\nx"]) == 1
    err = capsys.readouterr().err
    assert is_harmless(err)
    (hint,) = (line for line in err.splitlines() if line.startswith("  do "))
    command = hint.partition("`")[2].partition("`")[0]
    assert words_of(command) == ["arrivals", "run", str(evil_root), "--scenario", "\u202e\nx"]


@pytest.mark.parametrize("name", ["path", "role"])
def test_the_index_of_a_bundle_forges_no_line(evil_root, tmp_path, capsys, name):
    root = tmp_path / "copy"
    shutil.copytree(evil_root, root)
    folder = Path(str(read_receipt(root).path("validation_bundle_5B")))
    index = folder / "index.json"
    document = json.loads(index.read_bytes())
    document["entries"][0][name] = "a\nall inputs PASS\x1b[2J"
    index.write_text(json.dumps(document), encoding="utf-8")
    assert main(["verify", str(root)]) == 1
    err = capsys.readouterr().err
    assert is_harmless(err)
    assert "a\\nall inputs PASS\\x1b[2J" in err
    assert not any(line.startswith("all inputs PASS") for line in err.splitlines())


def test_the_name_of_a_file_that_no_index_lists_forges_no_line(evil_root, tmp_path, capsys):
    root = tmp_path / "copy"
    shutil.copytree(evil_root, root)
    folder = os.fsencode(str(read_receipt(root).path("validation_bundle_5B")))
    Path(os.fsdecode(folder + b"/a\xff\nthe flag holds\x1b[2J")).touch()
    assert main(["verify", str(root)]) == 1
    err = capsys.readouterr().err
    assert is_harmless(err)
    assert "a\\udcff\\nthe flag holds\\x1b[2J, which the index does not list" in err
