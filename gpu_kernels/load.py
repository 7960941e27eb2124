"""Loading of a run's count rows onto a device: uploaded from the host, or read there by cuDF.

The host reads, checks and plans with the rows before it opens a device; its rows are the authority. If cuDF is
installed, it decodes the same files on the device, joins them to entity indices, sums repeated keys and orders them.
Only sums are compared with the host's. If cuDF fails or differs, the host's rows are uploaded, with a notice. The same
code runs on pandas, which has cuDF's interface.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from arrival_engine.contracts import Notice
from arrival_engine.cpu_fallback.tables import I32, U64, Rows
from arrival_engine.gpu_kernels.memory import DeviceMemory, uploaded

__all__ = ["CountFiles", "EntityNames", "RowSource", "device_rows", "read_rows", "reader", "uploaded_rows"]

# Turns a run's checked count rows into Rows of blocks of a memory, which must be entered.
RowSource = Callable[[DeviceMemory, Rows], Any]

_KEY = ["merchant_id", "zone_representation", "channel_group"]


class EntityNames(NamedTuple):
    """Names of the E entities in the files; the null channel is ""."""

    merchant_id: U64
    zone: Sequence[str]
    channel: Sequence[str]
    merchant: I32  # index of the merchant


@dataclass(frozen=True)
class CountFiles:
    """Parquet files of count rows, each as a function that reads it; `library` names the one for data frames."""

    readers: tuple[Callable[[], bytes], ...]
    entities: EntityNames
    library: str = "cudf"


def reader() -> tuple[str, str]:
    """The library that reads count rows for a device, `cuDF` or `pyarrow`, and why."""
    if find_spec("cudf") is None:
        return "pyarrow", "cuDF is not installed, so a device gets the rows that the host has read"
    return "cuDF", "it is installed, so a device decodes the files, joins and orders the rows itself"


def uploaded_rows(memory: DeviceMemory, rows: Rows) -> Any:
    """A copy of the host's rows, twelve bytes per row."""
    return uploaded(memory, rows)


def device_rows(files: CountFiles, on_notice: Callable[[Notice], None]) -> RowSource:
    """A source that reads on the device, or, if that fails, uploads with the notice COUNT_READER."""

    def rows_of(memory: DeviceMemory, rows: Rows) -> Any:
        if rows.entity.size == 0:
            return uploaded_rows(memory, rows)
        try:
            with memory.on_default_stream():
                found = read_rows(files)
            _compare(rows, found)
            adopted: list[Any] = list(map(memory.adopt, found))
            return Rows(*adopted)
        except Exception as failure:  # noqa: BLE001 - a data frame library may fail in any way; the host has the rows
            problem = f"{type(failure).__name__}: {failure}"
        memory.release()
        on_notice(
            Notice(
                "COUNT_READER",
                f"{files.library} could not read the count rows on the device ({problem}); uploading the host's",
                {"library": files.library, "problem": problem},
            )
        )
        return uploaded_rows(memory, rows)

    return rows_of


def _compare(rows: Rows, found: Rows) -> None:
    """Raise ValueError unless the columns have the host's types, lengths and sums; order is left to batch checks."""
    for name, wanted, column in zip(Rows._fields, rows, found, strict=True):
        facts = [(str(one.dtype), int(one.size), int(one.sum(dtype=np.int64))) for one in (wanted, column)]
        if facts[0] != facts[1]:
            raise ValueError(f"{name} is {facts[1]} as (type, rows, sum), but {facts[0]} on the host")


def read_rows(files: CountFiles) -> Rows:
    """Count rows with N > 0 and repeated keys summed, by (merchant, bucket, zone, channel).

    The columns are arrays of the library, CuPy's for cuDF. Rows of other entities are left out. The files must have
    passed the host's checks.
    """
    frames = import_module(files.library)
    columns = [*_KEY, "bucket_index", "count_N"]
    # Bytes, because from a path both libraries would add columns for its key=value folders.
    tables = [frames.read_parquet(io.BytesIO(read()), columns=columns) for read in files.readers]
    table = frames.concat(tables, ignore_index=True)
    table = table[table["count_N"] > 0].copy()
    for name in _KEY[1:]:
        table[name] = table[name].astype("str").fillna("")
    # Files may hold any integer type; int64 joined to uint64 would be compared as float64.
    table["merchant_id"] = table["merchant_id"].astype("uint64")
    table["bucket_index"] = table["bucket_index"].astype("int64")
    table["count_N"] = table["count_N"].astype("int64")
    joined = table.merge(_known_entities(frames, files.entities), on=_KEY, how="inner")
    # Entities are in (merchant, zone, channel) order, so their index stands for the rest of the key.
    order = ["merchant", "bucket_index", "entity"]
    rows = joined.groupby(order, as_index=False, sort=True)["count_N"].sum()
    return Rows(*(rows[name].astype("int32").values for name in ("entity", "bucket_index", "count_N")))


def _known_entities(frames: Any, entities: EntityNames) -> Any:
    return frames.DataFrame(
        {
            "merchant_id": entities.merchant_id,
            "zone_representation": list(entities.zone),
            "channel_group": list(entities.channel),
            "merchant": entities.merchant,
            "entity": range(len(entities.merchant)),
        }
    )
