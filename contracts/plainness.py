"""Bounds that keep documents of other programs cheap to read, and messages about them short."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

# Ids, time zones, channels, countries and times are short: the longest name of a time zone has 32 bytes, a hash 64.
TEXT_BYTES_MAX = 1024
NAMED_MAX = 5
_NAME_CHARS_MAX = 120
_SURROGATE = re.compile("[\ud800-\udfff]")


def nested_deeper(value: object, levels: int) -> bool:
    """Whether lists and mappings contain each other more than `levels` deep; a value that is neither has no level."""
    found = [value] if isinstance(value, (dict, list)) else []
    for _ in range(levels):
        if not found:
            return False
        children = [item for one in found for item in (one.values() if isinstance(one, dict) else one)]
        found = [item for item in children if isinstance(item, (dict, list))]
    return bool(found)


def unpaired_surrogate(value: object) -> bool:
    """Whether a text in lists and mappings holds half of a surrogate pair, which JSON can spell and UTF-8 cannot."""
    found = [value]
    while found:
        one = found.pop()
        if isinstance(one, str):
            if _SURROGATE.search(one):
                return True
        elif isinstance(one, list):
            found += one
        elif isinstance(one, dict):
            found += one
            found += one.values()
    return False


def repeated(names: Iterable[str]) -> str:
    """The names that occur more than once, as `few_of` shows them; empty if none does."""
    return few_of(sorted(name for name, times in Counter(names).items() if times > 1))


def few_of(names: Iterable[str], named: int = NAMED_MAX) -> str:
    """Names in a sentence: each quoted and cut to a bearable length, the first few by name, the rest by number."""
    every = list(names)
    shown = ", ".join(short(name) for name in every[:named])
    return f"{shown} and {len(every) - named} more" if len(every) > named else shown


def short(name: str, most: int = _NAME_CHARS_MAX) -> str:
    """A text in quotes, cut if it is longer than a message should be."""
    return repr(name) if len(name) <= most else f"{name[: most - 3]!r}..."
