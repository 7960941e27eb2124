"""What the report's figures must be, from a plain reading of the files."""

from __future__ import annotations

import datetime as dt

from arrival_engine.engine.report.measure import HOUR_US, measure
from arrival_engine.engine.report.published import find_published
from arrival_engine.engine.rundir.receipt import read_receipt

SCENARIO = "baseline_v1"


DAY_US = 24 * HOUR_US


EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def plain_rows(table):
    times = {name: table[name].cast("int64").to_pylist() for name in ("ts_utc", "ts_local_primary")}
    names = ("merchant_id", "bucket_index", "tzid_primary", "is_virtual", "site_id", "edge_id")
    columns = {**{name: table[name].to_pylist() for name in names}, **times}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def measured(run_root, scenario=SCENARIO):
    receipt = read_receipt(run_root)
    (published,) = find_published(receipt, [scenario])
    return measure(receipt, published)
