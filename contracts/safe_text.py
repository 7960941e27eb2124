"""Texts from files and users made safe for a terminal and for a shell.

What a terminal would obey or hide becomes a visible escape, a word of a command keeps its meaning.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping

__all__ = ["is_line", "json_line", "shell_word", "shown_alone", "visible"]

# C0, DEL and C1 move the cursor, recolour or retitle a terminal; line and paragraph separators and the marks of
# writing direction make a line read as another one; lone surrogates, bytes of a path that are not UTF-8, have no form.
# Characters without a width make two names look like one. Joiners of scripts and emoji are among them: a name that has
# one is shown with an escape, because a name without it is another name.
_OBEYED = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_SURROGATES = "\ud800-\udfff"
_HIDDEN = (
    "\xad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200d\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
_UNSAFE = re.compile(f"[{_OBEYED}{_SURROGATES}{_HIDDEN}]")
_NOT_SHOWN = re.compile(f"[{_HIDDEN}]")
_NOT_IN_LINES = re.compile(f"[{_OBEYED}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, keep: str = "") -> str:
    r"""`text` with unsafe characters as escapes, ESC as `\x1b`; characters in `keep` stay."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def is_line(text: str) -> bool:
    """Whether `text` is what the schemas call a line: without control characters and marks of writing direction."""
    return _NOT_IN_LINES.search(text) is None


def shown_alone(text: str) -> str:
    """`text` without the characters that have no width."""
    return _NOT_SHOWN.sub("", text)


def json_line(document: Mapping[str, object], *, separators: tuple[str, str] | None = None) -> str:
    """One JSON object on one line of printable ASCII, which any encoding of the output has."""
    return json.dumps(document, separators=separators).replace("\x7f", "\\u007f")


def shell_word(text: str) -> str:
    r"""One word of a shell command that means exactly `text`.

    A text with characters that a terminal obeys or does not show, such as a line feed, is written with the numbers of
    their bytes ($'a\x0ab' as bash, zsh and ksh read it), because pasting would lose them.
    """
    if all(map(_is_shown, text)):
        # Within double quotes, a single quote is easier to read than in the form that `shlex` gives it.
        return f'"{text}"' if "'" in text and not set(text) & set('"$`\\!') else shlex.quote(text)
    return "$'" + "".join(map(_numbered, text)) + "'"


def _is_shown(character: str) -> bool:
    return character.isprintable() and visible(character) == character


def _numbered(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if _is_shown(character):
        return character
    # Bytes, because bash knows numbers of characters in a UTF-8 locale alone. Bytes of a path that are not UTF-8 stand
    # as lone surrogates.
    number = ord(character)
    data = bytes([number - 0xDC00]) if 0xDC80 <= number <= 0xDCFF else character.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in data)


def _escaped(character: str) -> str:
    number = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
