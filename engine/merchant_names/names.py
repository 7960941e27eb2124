"""Texts by merchant id, and ids by text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.contracts.identity import U64_MAX
from arrival_engine.contracts.plainness import short
from arrival_engine.engine.merchant_names.ids import Ids, id64


@dataclass(frozen=True, eq=False)
class MerchantNames:
    """The texts of M merchants.

    ids: uint64[M], ascending, without repetition. texts: a string array of M texts, which differ from each other.
    """

    ids: Ids
    texts: pa.StringArray

    @classmethod
    def of(cls, ids: Ids, texts: Sequence[str]) -> MerchantNames:
        """The names of these merchants, in any order; ids and texts must each be without repetition."""
        order = np.argsort(ids)
        return cls(ids[order], pa.array(texts, pa.string()).take(pa.array(order)))

    def text(self, merchant_id: int) -> str | None:
        """The merchant's text; None for an id that is not among them."""
        if not 0 < merchant_id <= U64_MAX:
            return None
        at = int(np.searchsorted(self.ids, np.uint64(merchant_id)))
        return str(self.texts[at].as_py()) if at < self.ids.size and int(self.ids[at]) == merchant_id else None

    def id_of(self, text: str) -> int | None:
        """The id of the merchant with exactly this text; None if there is none."""
        merchant_id = id64(text)
        return merchant_id if self.text(merchant_id) == text else None

    def column(self, ids: NDArray[np.uint64]) -> pa.DictionaryArray:
        """The texts of N merchants as codes: dictionary<int32, string>[N]; null for an id that is not among them."""
        if not self.ids.size:
            return pa.DictionaryArray.from_arrays(pa.nulls(len(ids), pa.int32()), self.texts)
        at = np.minimum(np.searchsorted(self.ids, ids), self.ids.size - 1)
        unknown = self.ids[at] != ids
        return pa.DictionaryArray.from_arrays(pa.array(at.astype(np.int32), mask=unknown), self.texts)

    def of_merchants(self, ids: NDArray[np.uint64]) -> MerchantNames:
        """The names of those merchants alone; ids that are not among them are left out."""
        kept = np.flatnonzero(np.isin(self.ids, ids))
        return MerchantNames(self.ids[kept], self.texts.take(pa.array(kept)))


def told(names: MerchantNames | None, merchant_id: int) -> str:
    """A merchant in a sentence: its text in quotes, cut if it is long; its id where the world has no texts."""
    text = None if names is None else names.text(merchant_id)
    return str(merchant_id) if text is None else short(text)


def known_as(names: MerchantNames | None, merchant_id: int) -> dict[str, Any]:
    """The merchant's id and, where there is one, its text: the context of an error or a part of a JSON document."""
    text = None if names is None else names.text(merchant_id)
    return {"merchant_id": merchant_id} | ({} if text is None else {"merchant": text})
