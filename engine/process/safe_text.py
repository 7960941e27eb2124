"""Texts from files and users made safe for a terminal: control characters become visible escapes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

__all__ = ["json_line", "visible"]

# C0, DEL and C1 move the cursor, recolour or retitle a terminal; line and paragraph separators and the marks of
# writing direction make a line read as another one; lone surrogates, bytes of a path that are not UTF-8, have no form.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str, keep: str = "") -> str:
    r"""`text` with unsafe characters as escapes, ESC as `\x1b`; characters in `keep` stay."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def json_line(document: Mapping[str, object], *, separators: tuple[str, str] | None = None) -> str:
    """One JSON object on one line of printable ASCII, which any encoding of the output has."""
    return json.dumps(document, separators=separators).replace("\x7f", "\\u007f")


def _escaped(character: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character) or (
        f"\\x{ord(character):02x}" if character < "\u0100" else f"\\u{ord(character):04x}"
    )
