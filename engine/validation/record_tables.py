"""The tables that a run writes beside the arrivals: their form, and what every row of them has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.contracts import arrow_schema
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading, reason, system_number
from arrival_engine.contracts.schemas import shown
from arrival_engine.engine.rundir.arrow_files import open_parquet
from arrival_engine.engine.rundir.sealed_files import InputFile
from arrival_engine.engine.rundir.table_limits import check_sizes
from arrival_engine.engine.validation.findings import Example
from arrival_engine.engine.validation.footers import footer_faults

_BATCH_ROWS = 1 << 16
# More are not counted.
_FAULTS_MAX = 1000
_HINT = "restore the file, or write it again with `arrivals run RUN_ROOT`"


def missing(dataset_id: str) -> str:
    """The message for a table that every run writes and that is not there."""
    return f"there is no {dataset_id}; `arrivals run RUN_ROOT` writes it"


def stands(path: InsidePath, dataset_id: str) -> bool:
    """Whether there is a file. Raises IO_READ_FAILED for a link, and for a directory that cannot be listed."""
    with reading(dataset_id, path, hint=_HINT):
        return path.is_file()


class Form(NamedTuple):
    """Faults of a table that do not depend on its content; `sound` if its rows can be read and judged."""

    faults: list[Example]
    sound: bool


def judge_form(path: InsidePath, dataset_id: str, constants: Mapping[str, str | int], key: Sequence[str] = ()) -> Form:
    """Read a table whole: columns are the contract's, the footer is true, each of `constants` is in every row.

    Rows must ascend by `key`, texts by their bytes, no key twice; an empty key demands no order. Raises IO_READ_FAILED,
    and what a table that would fill the memory raises.
    """
    with reading(dataset_id, path, hint=_HINT):
        try:
            return _form(path, dataset_id, constants, key)
        except (OSError, pa.ArrowException) as failure:
            if system_number(failure) is not None:
                raise
            # Of Arrow, about the bytes.
            return Form([{"file": path.name, "fault": f"cannot be read: {shown(reason(failure))}"}], sound=False)


def _form(path: InsidePath, dataset_id: str, constants: Mapping[str, str | int], key: Sequence[str]) -> Form:
    schema = arrow_schema(dataset_id)
    with open_parquet(path) as file:
        found = file.schema_arrow.remove_metadata()
        if found != schema:
            names = ", ".join(f"{field.name} {field.type}" for field in found)
            fault = f"its columns are not the contract's: {shown(names)}"
            return Form([{"file": path.name, "fault": fault}], sound=False)
        check_sizes(dataset_id, InputFile(path), set(schema.names), _BATCH_ROWS)
        faults: list[Example] = footer_faults(path)
        last: tuple[Any, ...] | None = None
        row = 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            if len(faults) < _FAULTS_MAX:
                faults += _inconstant(path, batch, constants)
                wrong, last = _out_of_order(batch, key, last) if key else ([], None)
                faults += [{"file": path.name, "fault": "is out of order", "row": row + place} for place in wrong]
            row += batch.num_rows
    return Form(faults, sound=True)


def _inconstant(path: InsidePath, batch: pa.RecordBatch, constants: Mapping[str, str | int]) -> list[Example]:
    faults: list[Example] = []
    for name, value in constants.items():
        others = [stated for stated in batch.column(name).unique().to_pylist() if stated != value]
        faults += [{"file": path.name, "column": name, "stated": shown(stated), "expected": value} for stated in others]
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
