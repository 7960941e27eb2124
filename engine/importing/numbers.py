"""Numbers as texts write them: which mark is the decimal sign, and which groups thousands.

A text such as 1.000 is one in some countries and a thousand in others. A text with one possible meaning is read. One
with several is refused, unless the user said what the marks mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.options import DecimalMark, ThousandsMark
from arrival_engine.engine.importing.quoting import shell_word
from arrival_engine.engine.importing.values import Refused

_DECIMAL: tuple[str, ...] = get_args(DecimalMark)
_THOUSANDS: tuple[str, ...] = get_args(ThousandsMark)
# A mark stands for its typographic forms too: no-break, thin and narrow spaces; the right quotation mark.
_FORMS = str.maketrans({"\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2019": "'"})
_MARK = re.compile("[.,' \u00a0\u2009\u202f\u2019]")
_TEXT = re.compile("([+-]?)([0-9.,' \u00a0\u2009\u202f\u2019]+)([eE][+-]?[0-9]+)?")
_DIGITS = re.compile("[0-9]*")
_SHOWN_MAX = 40


@dataclass(frozen=True)
class Marks:
    """The decimal sign and the mark that groups thousands; empty if the user did not say."""

    decimal: str = ""
    thousands: str = ""

    @property
    def options(self) -> str:
        """The options that say so."""
        said = (("--thousands", self.thousands), ("--decimal", self.decimal))
        return " ".join(f"{name} {shell_word(mark)}" for name, mark in said if mark)

    @property
    def decimal_sign(self) -> str:
        """The decimal sign, which dots that group thousands leave to the comma."""
        return self.decimal or ("," if self.thousands == "." else ".")

    def reading(self, body: str) -> str | None:
        """Digits and marks as digits with at most one decimal point; None if these marks do not explain them."""
        whole, sign, fraction = body.translate(_FORMS).partition(self.decimal_sign)
        if self.thousands and self.thousands in whole:
            if not re.fullmatch(rf"[1-9][0-9]{{0,2}}(?:{re.escape(self.thousands)}[0-9]{{3}})+", whole):
                return None
            whole = whole.replace(self.thousands, "")
        if not (whole or fraction) or not (_DIGITS.fullmatch(whole) and _DIGITS.fullmatch(fraction)):
            return None
        return f"{whole}.{fraction}" if sign else whole


# The simplest first: of two that give the same number, the first is proposed.
_POSSIBLE = (
    *(Marks(decimal=mark) for mark in _DECIMAL),
    *(Marks(thousands=mark) for mark in _THOUSANDS),
    *(Marks(",", mark) for mark in ("'", " ")),
)


def marks_of(decimal: str | None, thousands: str | None) -> Marks:
    """The marks of an import's options. Raises OPTION_INVALID for other marks, and for one mark in both roles."""
    for name, mark, known in (("--decimal", decimal, _DECIMAL), ("--thousands", thousands, _THOUSANDS)):
        if mark is not None and mark not in known:
            marks = ", ".join(shell_word(one) for one in known)
            raise ArrivalError(
                Code.OPTION_INVALID, f"{name} {mark!r} is not a mark that the import knows", hint=f"give one of {marks}"
            )
    if decimal is not None and decimal == thousands:
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"{Marks(decimal, decimal).options}: one mark cannot be the decimal sign and group thousands",
            hint="give different marks, or leave one out",
        )
    return Marks(decimal or "", thousands or "")


def plain(text: str, marks: Marks, *, whole: bool, comma_separated: bool) -> str:
    """A number with a decimal point and no other mark; text that is not a number comes back as it is.

    whole: the column has whole numbers. comma_separated: the text is from a file whose separator is the comma, and
    which therefore writes decimals with a point; so a single dot in a column of fractions is one. Raises `Refused` for
    a number with several meanings, or with marks that the user did not explain.
    """
    if not _MARK.search(text):
        return text
    match = _TEXT.fullmatch(text)
    if match is None:
        return text
    sign, body, exponent = match[1], match[2], match[3] or ""
    said = bool(marks.decimal or marks.thousands)
    usual = marks.reading(body)
    if usual is not None and (said or exponent or (comma_separated and not whole)):
        return f"{sign}{usual}{exponent}"
    found: dict[str, Marks] = {}
    for possible in _POSSIBLE:
        number = possible.reading(body)
        if number is not None:
            found.setdefault(_shown(sign, number, exponent), possible)
    if said:
        raise Refused(f"does not agree with {marks.options}", _instead(found) or "correct the number, or these options")
    if usual is not None and len(found) == 1:
        return f"{sign}{usual}{exponent}"
    if len(found) > 1:
        meanings = " or ".join(found)
        hint = ", or ".join(f"{possible.options} to read {number}" for number, possible in found.items())
        raise Refused(f"is ambiguous: {meanings}", f"give {hint}")
    for number, possible in found.items():
        if whole and "." in number:
            continue
        what = "groups its thousands" if possible.thousands else "has a decimal comma"
        raise Refused(what, f"write {number}, or give {possible.options} to read it so")
    return text


def _instead(found: dict[str, Marks]) -> str:
    readings = ", or ".join(f"with {possible.options} it is {number}" for number, possible in found.items())
    return f"{readings}; otherwise correct it" if readings else ""


def _shown(sign: str, number: str, exponent: str) -> str:
    """A number as a message shows it, without zeros that change nothing."""
    whole, _, fraction = number.partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    text = f"{sign}{whole}.{fraction}{exponent}" if fraction else f"{sign}{whole}{exponent}"
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."
