"""The values of a failure for people: those that its message and hint leave out, in words rather than as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from arrival_engine.contracts.errors import json_safe
from arrival_engine.engine.process import human

__all__ = ["context_rows"]

# A failure fits on one screen: longer values are cut, further context is left out and counted.
_CHARACTERS = 300
_ENTRIES = 12
_BYTES = "_bytes"


def context_rows(context: Mapping[str, object], said: str) -> list[tuple[str, str]]:
    """(name, value) of everything in the context that the text `said`, message and hint, does not say."""
    safe = ((name, json_safe(value)) for name, value in context.items())
    shown = ((*_row(name, value), value) for name, value in safe)
    news = [(name, text) for name, text, value in shown if not (_known_from(said, value) or _says(said, text))]
    rows = [(name, _shortened(text)) for name, text in news[:_ENTRIES]]
    return rows if len(news) == len(rows) else [*rows, ("...", f"{len(news) - len(rows)} more with --json")]


def _known_from(said: str, value: object) -> bool:
    """Whether a text has every word and number in the value; true of a value without any."""
    return all(any(_says(said, form) for form in forms) for forms in _leaves(value))


def _leaves(value: object) -> Iterator[tuple[str, ...]]:
    """The forms in which a text may have each word and number of a value."""
    if isinstance(value, Mapping):
        # {"1A": "FAIL"} says something about 1A.
        yield from ((str(key),) for key in value)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            # The keys of one record among several name its columns.
            yield from _leaves(list(item.values()) if isinstance(item, Mapping) else item)
    elif value is not None and value != "":
        text = _told(value)
        yield (text, f"{value:,}") if isinstance(value, int) and not isinstance(value, bool) else (text,)


def _row(name: str, value: object) -> tuple[str, str]:
    if name.endswith(_BYTES) and isinstance(value, int):
        return name.removesuffix(_BYTES), human.size(value)
    return name, _told(value)


def _told(value: object) -> str:
    """A value in words: lists by commas, objects as `name value`, several of them by semicolons."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(item)}" for key, item in value.items())
    if isinstance(value, list):
        nested = any(isinstance(item, (Mapping, list)) for item in value)
        return ("; " if nested else ", ").join(map(_told, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _says(said: str, text: str) -> bool:
    """Whether a text has `text` in it as a word or path of its own, not as a part of a longer one."""
    return re.search(rf"(?<![\w/.-]){re.escape(text)}(?![\w/-]|\.\w)", said) is not None


def _shortened(text: str) -> str:
    if len(text) <= _CHARACTERS:
        return text
    return f"{text[:_CHARACTERS]}... ({len(text)} characters)"
