"""Count rows read on the device, through cuDF: decoded, joined to entities, summed and ordered without the host.

A run does not read them so: it plans on the host, so its rows are there already, checked, and uploading twelve bytes a
row costs less than decoding the files again. This is for programs that keep their arrivals on the device. The same
code runs on pandas, whose interface cuDF has, and is tested so; on cuDF where a device is.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from contracts import ArrivalError, Code
from cpu_fallback.tables import I32, U64, Rows

__all__ = ["EntityNames", "read_rows", "reader"]

_KEY = ["merchant_id", "zone_representation", "channel_group"]
_LAST_COUNT = 2**31 - 1


class EntityNames(NamedTuple):
    """What the E entities are called in the files; the null channel is ""."""

    merchant_id: U64
    zone: Sequence[str]
    channel: Sequence[str]
    merchant: I32  # index of the merchant


def reader() -> str:
    """Who can read count rows on this machine: `cuDF`, or `pyarrow` on the host."""
    return "cuDF" if find_spec("cudf") else "pyarrow"


def read_rows(files: Sequence[Path], entities: EntityNames, frames: Any = None) -> Rows:
    """Count rows of Parquet files in law order: N > 0, repeated keys summed, (merchant, bucket, zone, channel).

    frames: the data frame library, by default cuDF; its arrays are what comes out (CuPy's for cuDF). Files are taken
    to have passed the checks of `arrivals seal`. Raises S1_OR_S3_OUTPUT_MISSING for a row of an unknown entity or
    sums beyond int32.
    """
    frames = frames or import_module("cudf")
    columns = [*_KEY, "bucket_index", "count_N"]
    table = frames.concat([frames.read_parquet(str(path), columns=columns) for path in files], ignore_index=True)
    table = table[table["count_N"] > 0].copy()
    for name in _KEY[1:]:
        table[name] = table[name].astype("str").fillna("")
    known = frames.DataFrame(
        {
            "merchant_id": entities.merchant_id,
            "zone_representation": list(entities.zone),
            "channel_group": list(entities.channel),
            "merchant": entities.merchant,
            "entity": range(len(entities.merchant)),
        }
    )
    joined = table.merge(known, on=_KEY, how="inner")
    if len(joined) != len(table):
        raise _refused(f"{len(table) - len(joined)} count rows belong to no known entity")
    # Entities are in (merchant, zone, channel) order, so their index stands for the rest of the key.
    order = ["merchant", "bucket_index", "entity"]
    rows = joined.groupby(order, as_index=False, sort=True)["count_N"].sum()
    if len(rows) and int(rows["count_N"].max()) > _LAST_COUNT:
        raise _refused("repeated count rows add up to 2^31 arrivals or more")
    return Rows(*(rows[name].astype("int32").values for name in ("entity", "bucket_index", "count_N")))


def _refused(problem: str) -> ArrivalError:
    return ArrivalError(
        Code.S1_OR_S3_OUTPUT_MISSING,
        f"s3_bucket_counts_5B: {problem}",
        hint="the files are not those that the entities were read from; check the run's seed and fingerprint",
    )
