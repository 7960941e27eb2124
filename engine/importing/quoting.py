"""Names from a user's files in messages, and in hints that can be pasted into a shell."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from arrival_engine.contracts.plainness import short
from arrival_engine.contracts.safe_text import shell_word

__all__ = ["listed", "shell_word"]

_PLAIN = re.compile(r"[\w.:/-]+")
_MANY, _LONG = 40, 100


def listed(names: Iterable[str]) -> str:
    """Names in a sentence, the first of many; those that are empty, long, or have spaces or signs are quoted."""
    every = iter(names)
    first = ", ".join(
        name if len(name) <= _LONG and _PLAIN.fullmatch(name) else short(name) for name in islice(every, _MANY)
    )
    others = sum(1 for _ in every)
    return f"{first} and {others} more" if others else first
