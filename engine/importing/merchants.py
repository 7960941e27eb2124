"""Merchants whose ids are texts: the ids that stand for them, and texts that may be meant to be the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.contracts.plainness import short
from arrival_engine.engine.importing.reading import Table
from arrival_engine.engine.merchant_names import MerchantNames
from arrival_engine.engine.merchant_names.ids import Ids, collision, ids_of
from arrival_engine.engine.merchant_names.likeness import likeness

_COLUMN = "merchant_id"
_PAIRS_SHOWN = 3


def with_ids(tables: Mapping[str, Table]) -> tuple[dict[str, Table], list[Notice]]:
    """The tables with 64-bit ids in place of merchants' texts, and the names; a notice of texts that look alike.

    Raises SCHEMA_VIOLATION for two texts with one id.
    """
    every = list(dict.fromkeys(text for table in tables.values() for text in _texts(table)))
    ids = ids_of(every)
    refuse_collision(ids, every)
    names = MerchantNames.of(ids, every)
    number = dict(zip(every, ids.tolist(), strict=True))
    return {name: _numbered(table, number, names) for name, table in tables.items()}, list(_notices(every))


def refuse_collision(ids: Ids, texts: Sequence[str]) -> None:
    """Raise SCHEMA_VIOLATION if two of the texts, which differ from each other, have one of the ids; it names both."""
    found = collision(ids, texts)
    if found is not None:
        raise ArrivalError(
            Code.SCHEMA_VIOLATION,
            f"merchants {short(found.first)} and {short(found.second)} have one id, {found.merchant_id}: the hashes of "
            "their texts begin with the same 64 bits",
            hint="write one of the two differently in all tables",
            merchants=[found.first, found.second],
            merchant_id=found.merchant_id,
        )


def _texts(table: Table) -> Iterator[str]:
    return (text for text in table.texts.get(_COLUMN, ()) if text is not None)


def _numbered(table: Table, number: Mapping[str, int], names: MerchantNames) -> Table:
    if _COLUMN not in table.texts:
        return table
    of_code = np.array([number[text] for text in _texts(table)], np.uint64)
    columns = {**table.columns, _COLUMN: of_code[table[_COLUMN]]}
    texts = {name: own for name, own in table.texts.items() if name != _COLUMN}
    return replace(table, columns=columns, texts=texts, names=names)


def alike(names: MerchantNames | None, merchant_id: int, others: Ids) -> str:
    """The text of one of the other merchants that looks like this merchant's; empty without one."""
    text = None if names is None else names.text(merchant_id)
    if names is None or text is None:
        return ""
    form = likeness(text)
    every = names.of_merchants(others).texts.to_pylist()
    return next((other for other in every if other != text and likeness(other) == form), "")


def _notices(texts: Sequence[str]) -> Iterator[Notice]:
    first: dict[str, str] = {}
    pairs = []
    for text in texts:
        other = first.setdefault(likeness(text), text)
        if other is not text:
            pairs.append((other, text))
    if pairs:
        several = f"{len(pairs)} merchants have texts" if len(pairs) > 1 else "a merchant has a text"
        shown = "; ".join(f"{short(text)} and {short(other)}" for other, text in pairs[:_PAIRS_SHOWN])
        message = (
            f"{several} that another merchant has in other letter case, encoding, blanks or characters that are not "
            f"shown: {shown}"
        )
        yield Notice("MERCHANTS_ALIKE", message, {"merchants": len(pairs), "first": pairs[:_PAIRS_SHOWN]})
