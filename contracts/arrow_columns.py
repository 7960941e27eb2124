"""Arrow columns of one value, and of texts by code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def coded(codes: NDArray[Any], texts: Sequence[str], *, empty_is_null: bool = False) -> pa.DictionaryArray:
    """Texts by integer code. With `empty_is_null`, a first text that is empty (the null channel) is null."""
    null = int(empty_is_null and len(texts) > 0 and texts[0] == "")
    indices = codes.astype(np.int32) - np.int32(null)
    return pa.DictionaryArray.from_arrays(
        pa.array(indices, mask=indices < 0) if null else pa.array(indices), pa.array(texts[null:], pa.string())
    )


def constant(value: str | int, rows: int) -> pa.Array:
    """One value for all rows, uint64 for an int."""
    if isinstance(value, int):
        return pa.array(np.full(rows, value, np.uint64))
    return coded(np.zeros(rows, np.int32), [value])
