"""Names from a user's files in messages, and in hints that can be pasted into a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from itertools import islice

from arrival_engine.contracts.plainness import short

_PLAIN = re.compile(r"[\w.:/-]+")
_MANY, _LONG = 40, 100


def shell_word(text: str) -> str:
    r"""One word of a shell command that means exactly `text`.

    A text with characters that a terminal does not show, such as a line feed, is written with their numbers ($'a\x0ab'
    as bash, zsh and ksh read it), because pasting would lose them.
    """
    if text.isprintable():
        # Within double quotes, a single quote is easier to read than in the form that `shlex` gives it.
        return f'"{text}"' if "'" in text and not set(text) & set('"$`\\!') else shlex.quote(text)
    return "$'" + "".join(_numbered(character) for character in text) + "'"


def _numbered(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a path that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x80 else f"\\U{number:08x}"


def listed(names: Iterable[str]) -> str:
    """Names in a sentence, the first of many; those that are empty, long, or have spaces or signs are quoted."""
    every = iter(names)
    first = ", ".join(
        name if len(name) <= _LONG and _PLAIN.fullmatch(name) else short(name) for name in islice(every, _MANY)
    )
    others = sum(1 for _ in every)
    return f"{first} and {others} more" if others else first
