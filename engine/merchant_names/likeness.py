"""Texts that people may take for each other."""

from __future__ import annotations

import unicodedata

import pyarrow as pa

from arrival_engine.contracts.guesses import did_you_mean
from arrival_engine.contracts.safe_text import shown_alone

# A guess compares a text with every other one; more of them take too long.
_GUESSED_AMONG = 5_000


def likeness(text: str) -> str:
    """The same for texts that differ only in case, in the encoding of letters, in blanks or in what is not shown."""
    if not text.isascii():
        text = shown_alone(unicodedata.normalize("NFKC", text))
    return " ".join(text.casefold().split())


def guess(text: str, texts: pa.StringArray) -> str:
    """`did you mean 'Shop A'?` by likeness, then, among a few thousand texts, by spelling; empty without a guess."""
    every = texts.to_pylist()
    form = likeness(text)
    alike = [other for other in every if likeness(other) == form]
    return did_you_mean(text, alike or (every if len(every) <= _GUESSED_AMONG else ()))
