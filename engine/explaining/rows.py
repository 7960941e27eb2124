"""Rows of one merchant, read from the tables of a run."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from arrival_engine.engine.rundir.inputs import pieces_of
from arrival_engine.engine.rundir.pieces import holding
from arrival_engine.engine.rundir.receipt import Receipt


def merchant_rows(
    receipt: Receipt, dataset_id: str, merchant_id: int, columns: tuple[str, ...], **tokens: str
) -> list[tuple[Any, ...]]:
    """The columns asked for of a merchant's rows, in file order, as Python values.

    Row groups whose statistics exclude the merchant are not read. Raises what `rundir.inputs.read_table` raises.
    """
    owner = pa.scalar(merchant_id, pa.uint64())
    found: list[tuple[Any, ...]] = []
    pieces = pieces_of(receipt, dataset_id, ("merchant_id", *columns), **tokens)
    for piece in holding(pieces, "merchant_id", (merchant_id,)):
        for table in piece.tables():
            own = table.filter(pc.equal(table["merchant_id"], owner))
            found += zip(*(own[name].to_pylist() for name in columns), strict=True)
    return found
