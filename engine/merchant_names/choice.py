"""The merchant that a person means by a text or a number."""

from __future__ import annotations

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.identity import U64_MAX
from arrival_engine.contracts.plainness import short
from arrival_engine.engine.merchant_names.likeness import guess
from arrival_engine.engine.merchant_names.names import MerchantNames

_DIGITS_MAX = 20


def merchant_id_of(names: MerchantNames | None, given: int | str) -> int:
    """The merchant's id: of the merchant with exactly this text, else the number that the text writes in digits.

    A number is taken as it is, and need not be that of a merchant. Raises OPTION_INVALID for another text.
    """
    if isinstance(given, int):
        return given
    known = None if names is None else names.id_of(given)
    if known is not None:
        return known
    if given.isascii() and given.isdecimal() and len(given) <= _DIGITS_MAX and int(given) <= U64_MAX:
        return int(given)
    raise ArrivalError(
        Code.OPTION_INVALID,
        f"{short(given)} is not a merchant of this world",
        hint=_hint(names, given),
        merchant=given,
    )


def _hint(names: MerchantNames | None, given: str) -> str:
    if names is None:
        return f"merchant ids of this world are numbers: give one from 1 to {U64_MAX}"
    return guess(given, names.texts) or "give a merchant's text as it was imported, or its id"
