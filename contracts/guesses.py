"""Guesses at what a misspelt name was meant to be."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]

_MOST = 3
# Longer than any name of ours: such a word is not a misspelling, and comparing it would take long.
_WORD_CHARS_MAX = 100
_ALIKE = 0.6  # difflib's own bound: "rnu" is 0.67 like "run"


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """Up to three of the `known` names that `word` may stand for, the likeliest first.

    Capitals, hyphens and underscores do not count. A name that `word` is the beginning of is likelier than one that it
    resembles.
    """
    plain: dict[str, str] = {}
    for name in known:
        plain.setdefault(_plain(name), name)
    wanted = _plain(word)
    if not wanted or len(wanted) > _WORD_CHARS_MAX:
        return []
    if wanted in plain:
        return [plain[wanted]]
    begun = [name for form, name in plain.items() if form.startswith(wanted)]
    if begun:
        return begun[:_MOST]
    from difflib import get_close_matches

    return [plain[form] for form in get_close_matches(wanted, plain, n=_MOST, cutoff=_ALIKE)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'run'?`, or an empty text if nothing that is known resembles `word`."""
    near = [repr(name) for name in nearest(word, known)]
    if not near:
        return ""
    others = ", ".join(near[:-1])
    return f"did you mean {f'{others} or ' if others else ''}{near[-1]}?"


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")
