"""A small terminal: what a program's output looks like on a screen of a given width."""

from __future__ import annotations

import re
import unicodedata

_PIECE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|\x1b[=>78]|(.)", re.DOTALL)


class Screen:
    """Rows of text as a terminal of `width` columns shows them; it never scrolls."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0

    @property
    def lines(self) -> list[str]:
        """The rows as text, without the empty ones at the end."""
        found = ["".join(row).rstrip() for row in self.rows]
        while found and not found[-1]:
            found.pop()
        return found

    def feed(self, text: str) -> None:
        """Show the output of a program: characters, line ends, and the escape sequences of the live line."""
        for private, numbers, command, character in _PIECE.findall(text):
            if command and not private:
                self._obey(command, int(numbers.split(";")[0] or 0))
            elif character == "\r":
                self.column = 0
            elif character == "\n":
                self._down()
            elif character:
                self._put(character)

    def _obey(self, command: str, number: int) -> None:
        if command == "A":
            self.row = max(self.row - max(number, 1), 0)
        elif command == "K":
            row = self.rows[self.row]
            del row[0 if number == 2 else self.column :]
        elif command not in "mhl":
            raise ValueError(f"the screen does not know the sequence CSI {number} {command}")

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])

    def _put(self, character: str) -> None:
        cells = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if self.column + cells > self.width:
            self.column = 0
            self._down()
        row = self.rows[self.row]
        row.extend(" " * (self.column - len(row)))
        row[self.column : self.column + cells] = [character, *[""] * (cells - 1)]
        self.column += cells
