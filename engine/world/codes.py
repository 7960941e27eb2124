"""Codes for merchants and zones, and compressed-row helpers shared by the catalogue loaders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.alias import AliasTables, BadWeightsError, build_alias_tables


def only_merchants(table: pa.Table, merchant_ids: NDArray[np.uint64]) -> tuple[pa.Table, NDArray[np.int64]]:
    """The rows whose merchant_id is among the sorted ids, and the index of each row's merchant."""
    column = table["merchant_id"].to_numpy()
    if merchant_ids.size == 0:
        return table.slice(0, 0), np.empty(0, np.int64)
    at = np.minimum(np.searchsorted(merchant_ids, column), merchant_ids.size - 1)
    kept = merchant_ids[at] == column
    return table.filter(pa.array(kept)), at[kept].astype(np.int64)


def encoded(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[Any]]:
    """Index of each value in a list of the distinct values, followed by None for null; and that list."""
    coded = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    array = coded.combine_chunks()
    values = [*array.dictionary.to_pylist(), None]
    return array.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False).astype(np.int64), values


def texts_of(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """A string column, plain or dictionary, as an object array."""
    codes, texts = encoded(column)
    return np.array(texts, dtype=object)[codes]


def codes_in(texts: NDArray[np.object_], vocabulary: Iterable[str]) -> NDArray[np.int64]:
    """Index of each text in a vocabulary that contains them all."""
    index = {text: code for code, text in enumerate(vocabulary)}
    return np.array([index[text] for text in texts.tolist()], np.int64)


def starts_of(owner: NDArray[np.int64], owners: int) -> NDArray[np.int64]:
    """Compressed-row bounds of a sorted owner column: int64[owners + 1]."""
    return np.searchsorted(owner, np.arange(owners + 1)).astype(np.int64)


def alias_tables(weights: NDArray[np.float64], starts: NDArray[np.int64], code: Code, what: Any) -> AliasTables:
    """Alias tables of compressed-row weights; `what(table)` names a table with invalid weights."""
    try:
        return build_alias_tables(np.ascontiguousarray(weights), starts)
    except BadWeightsError as bad:
        raise ArrivalError(
            code,
            f"weights of {what(bad.table)}: {bad.reason}",
            hint="weights must be finite and not negative; correct them and seal again",
        ) from bad
