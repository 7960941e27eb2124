"""The table of names in a run directory, read and checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import numpy as np
import pyarrow as pa

from arrival_engine.contracts import ArrivalError, dataset
from arrival_engine.contracts.plainness import short
from arrival_engine.engine.merchant_names.ids import Ids, ids_of
from arrival_engine.engine.merchant_names.names import MerchantNames, known_as
from arrival_engine.engine.rundir.inputs import read_table
from arrival_engine.engine.rundir.receipt import Receipt

DATASET = "merchant_names_5B"


def load_merchant_names(receipt: Receipt) -> MerchantNames | None:
    """The names of the world's merchants; None if the world has numbers as merchant ids, and so no table of names.

    Raises SCHEMA_VIOLATION for a table that breaks its schema, repeats a merchant or is not in the order of ids, and
    for an id that is not the hash of its text; PARTITION_OR_PK_VIOLATION for a table of another world; IO_READ_FAILED.
    """
    if not receipt.files(DATASET):
        return None
    table = read_table(receipt, DATASET, ("merchant_id", "merchant"))
    ids = table["merchant_id"].to_numpy()
    texts = pa.concat_arrays([chunk.cast(pa.string()) for chunk in table["merchant"].chunks]) if ids.size else _EMPTY
    _check(ids, texts)
    return MerchantNames(ids, texts)


_EMPTY = pa.array([], pa.string())


def _check(ids: Ids, texts: pa.StringArray) -> None:
    disordered = ids[1:] <= ids[:-1]
    if disordered.any():
        row = int(np.argmax(disordered)) + 1
        again = ids[row] == ids[row - 1]
        problem = "is listed twice" if again else "does not follow the one before it in ascending order"
        _refuse(f"row {row}: merchant {ids[row]} {problem}", int(ids[row]))
    wrong = ids_of(texts.to_pylist()) != ids
    if wrong.any():
        row = int(np.argmax(wrong))
        text = texts[row].as_py()
        _refuse(f"row {row}: {ids[row]} is not the id of {short(text)}", int(ids[row]), merchant=text)


@contextmanager
def naming_merchants(receipt: Receipt) -> Iterator[None]:
    """Add to the context of an error that names a merchant by its id the merchant's text, if the run has one."""
    try:
        yield
    except ArrivalError as error:
        merchant_id = error.context.get("merchant_id")
        if isinstance(merchant_id, int) and "merchant" not in error.context:
            # The error at hand is the one to tell, whatever the table is like.
            with suppress(ArrivalError):
                error.context |= known_as(load_merchant_names(receipt), merchant_id)
        raise


def require_names(names: MerchantNames, merchant_ids: Ids) -> None:
    """Refuse names that lack one of the merchants. Raises SCHEMA_VIOLATION."""
    lacking = ~np.isin(merchant_ids, names.ids)
    if lacking.any():
        merchant_id = int(merchant_ids[int(np.argmax(lacking))])
        several = f" ({int(lacking.sum())} such merchants)" if lacking.sum() > 1 else ""
        _refuse(f"merchant {merchant_id} has arrivals but no row{several}", merchant_id)


def _refuse(problem: str, merchant_id: int, **context: object) -> NoReturn:
    raise ArrivalError(
        dataset(DATASET).on_invalid,
        f"{DATASET}, {problem}",
        hint="restore the table that was sealed, or import the world again",
        dataset=DATASET,
        merchant_id=merchant_id,
        **context,
    )
