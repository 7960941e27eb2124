#!/usr/bin/env python3
"""Run the code blocks of a documentation page, in order, in the current directory.

    cd "$(mktemp -d)" && python .../scripts/run_page.py .../docs/tutorial.md

A `console` block is one bash script. Lines that begin with `$ ` are commands. `> `, or a backslash at the end of a
line, continues a command. Other lines show output and are not compared. Every command must exit with 0, or with the
status in `<!-- exit: N -->` before the block. `python` blocks share one namespace. `<!-- not run: REASON -->` prevents
a block from running. Other languages are never run. The first block that fails ends the page with status 1.
"""

from __future__ import annotations

import argparse
import linecache
import re
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Only a guard against hanging.
BLOCK_SECONDS_MAX = 300
WRONG_STATUS = 97

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)[^`]*$")
_NOTE = re.compile(r"^\s*<!-- (?P<kind>exit|not run): (?P<value>.+?) -->\s*$")


class Block(NamedTuple):
    """A fenced block: its language, its first line's number (from 1), its text, and the notes before it."""

    language: str
    line: int
    text: str
    exit: int
    skip: str


class Command(NamedTuple):
    """One command of a console block, with the number of its first line."""

    line: int
    text: str


def blocks(markdown: str) -> Iterator[Block]:
    """Every fenced block of a page, in order. Raises ValueError for a block that is never closed."""
    lines = markdown.splitlines()
    notes: dict[str, str] = {}
    at = 0
    while at < len(lines):
        opening, note = _FENCE.match(lines[at]), _NOTE.match(lines[at])
        if opening is None:
            # A note applies only to the next line, so that an edit cannot leave it behind.
            notes = {**notes, note["kind"]: note["value"]} if note else {}
            at += 1
            continue
        end = _closing(lines, at, opening)
        text = textwrap.dedent("\n".join(lines[at + 1 : end]))
        yield Block(opening["language"], at + 2, text, int(notes.get("exit", 0)), notes.get("not run", ""))
        notes = {}
        at = end + 1


def _closing(lines: list[str], start: int, opening: re.Match[str]) -> int:
    closing = re.compile(rf"^ *{opening['ticks']}`* *$")
    for at in range(start + 1, len(lines)):
        if closing.match(lines[at]):
            return at
    raise ValueError(f"line {start + 1}: a block is opened and never closed")


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block."""
    first, parts = 0, list[str]()
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        if line.startswith("$ "):
            if parts:
                yield Command(first, "\n".join(parts))
            first, parts = number, [line[2:]]
        elif parts and (line == ">" or line.startswith("> ")):
            parts.append(line[2:])
        elif parts and parts[-1].endswith("\\"):
            parts.append(line)
        elif parts:
            yield Command(first, "\n".join(parts))
            parts = []
    if parts:
        yield Command(first, "\n".join(parts))


def bash_script(block: Block, page: str) -> str:
    """A console block as one script that stops, with a message, at the first unexpected exit status."""
    lines = ["set -o pipefail"]
    for command in commands(block):
        where = f"{page}:{command.line}: exit $arrivals_status, not {block.exit}"
        lines += [
            command.text,
            "arrivals_status=$?",
            f'if [ "$arrivals_status" != {block.exit} ]; then echo "{where}" >&2; exit {WRONG_STATUS}; fi',
        ]
    return "\n".join([*lines, ""])


def run_page(page: Path) -> int:
    """Run every block of `page`, and return the exit status."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.skip or block.language not in ("console", "python"):
            continue
        print(f"--- {page.name}:{block.line}", flush=True)
        good = _run_console(block, page.name) if block.language == "console" else _run_python(block, page, namespace)
        if not good:
            return 1
    return 0


def _run_console(block: Block, page: str) -> bool:
    # By -c, because a command that reads standard input would swallow the rest of the script.
    words = ["bash", "-c", bash_script(block, page)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, timeout=BLOCK_SECONDS_MAX, check=False)  # noqa: S603
    if done.returncode not in (0, WRONG_STATUS):
        print(f"{page}:{block.line}: the block ended with status {done.returncode}", file=sys.stderr)
    return done.returncode == 0


def _run_python(block: Block, page: Path, namespace: dict[str, object]) -> bool:
    # Blank lines in front give the block's lines their numbers in the page.
    source = "\n" * (block.line - 1) + block.text + "\n"
    name = str(page)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        exec(compile(source, name, "exec"), namespace)  # noqa: S102 - running the page is the purpose
    except Exception:  # noqa: BLE001 - every error of a page is shown
        traceback.print_exc()
        return False
    sys.stdout.flush()
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="the Markdown file")
    sys.exit(run_page(parser.parse_args().page.resolve()))
