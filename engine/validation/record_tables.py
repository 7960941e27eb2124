"""The tables that a run writes beside the arrivals: their form, and what every row of them has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.contracts import arrow_schema
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.rundir.arrow_files import open_parquet
from arrival_engine.engine.validation.findings import Example
from arrival_engine.engine.validation.footers import footer_faults

_BATCH_ROWS = 1 << 16
_HINT = "restore the file, or write it again with `arrivals run RUN_ROOT`"


def missing(dataset_id: str) -> str:
    """The message for a table that every run writes and that is not there."""
    return f"there is no {dataset_id}; `arrivals run RUN_ROOT` writes it"


def table_faults(
    path: InsidePath, dataset_id: str, constants: Mapping[str, str | int], key: Sequence[str]
) -> list[Example]:
    """Faults of a table that do not depend on its content.

    Its footer is true, its columns are the contract's, each of `constants` has its value in every row, and rows ascend
    by `key`, texts by their bytes, no key twice; an empty key demands no order. Raises IO_READ_FAILED.
    """
    with reading(dataset_id, path, hint=_HINT, also=(pa.ArrowException,)):
        schema = arrow_schema(dataset_id)
        with open_parquet(path) as file:
            found = file.schema_arrow.remove_metadata()
            if found != schema:
                return [{"file": path.name, "fault": "its columns are not the contract's", "found": str(found)}]
            faults: list[Example] = footer_faults(path)
            last: tuple[Any, ...] | None = None
            row = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
                faults += _inconstant(path, batch, constants)
                wrong, last = _out_of_order(batch, key, last) if key else ([], None)
                faults += [{"file": path.name, "fault": "is out of order", "row": row + place} for place in wrong]
                row += batch.num_rows
    return faults


def _inconstant(path: InsidePath, batch: pa.RecordBatch, constants: Mapping[str, str | int]) -> list[Example]:
    faults: list[Example] = []
    for name, value in constants.items():
        others = [stated for stated in batch.column(name).unique().to_pylist() if stated != value]
        faults += [{"file": path.name, "column": name, "stated": stated, "expected": value} for stated in others]
    return faults


def _out_of_order(
    batch: pa.RecordBatch, key: Sequence[str], last: tuple[Any, ...] | None
) -> tuple[list[int], tuple[Any, ...] | None]:
    """Places of rows that do not follow the row before, and the key of the last row."""
    if not batch.num_rows:
        return [], last
    columns = [_without_nulls(batch.column(name)) for name in key]
    first, end = (tuple(map(_comparable, (column[at].as_py() for column in columns))) for at in (0, -1))
    follows = np.zeros(batch.num_rows - 1, np.bool_)
    same = np.ones(batch.num_rows - 1, np.bool_)
    for column in columns:
        values = _ranks(column)
        follows |= same & (values[1:] > values[:-1])
        same &= values[1:] == values[:-1]
    wrong = [int(place) + 1 for place in np.flatnonzero(~follows)]
    return [0, *wrong] if last is not None and not first > last else wrong, end


def _without_nulls(column: pa.Array) -> pa.Array:
    """Texts as codes, a null one as the empty text; numbers, a null one as 0."""
    if pa.types.is_string(column.type):
        return column.dictionary_encode()
    return column if pa.types.is_dictionary(column.type) or not column.null_count else column.fill_null(0)


def _comparable(value: Any) -> Any:
    return (value or "").encode("utf-8") if value is None or isinstance(value, str) else value


def _ranks(column: pa.Array) -> NDArray[Any]:
    """Numbers that compare as the values do; a null text is the empty one."""
    if not pa.types.is_dictionary(column.type):
        numbers: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return numbers
    texts = [_comparable(text) for text in (*column.dictionary.to_pylist(), None)]
    ranks = np.unique(np.array(texts, object), return_inverse=True)[1]
    codes = column.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)
    return np.asarray(ranks[codes])
