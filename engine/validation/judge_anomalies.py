"""The check of the anomalies dataset: one row per entity and fallback that the recomputed arrivals took."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import pyarrow as pa

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.rundir.arrow_files import open_parquet
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.findings import Example
from arrival_engine.engine.validation.judge_records import identity_constants
from arrival_engine.engine.validation.record_tables import judge_form, missing, stands

_DATASET = "s4_arrival_anomalies_5B"
_MEANINGS = {
    "missing_group_table": "no tz group weights on some days: arrivals stayed in the count row's zone",
    "no_site_in_zone": "a drawn zone has no site: arrivals went to the table over all the merchant's sites",
    "missing_edge_table": "a virtual merchant without an edge table: arrivals were made physical",
}
_COLUMNS = ("anomaly_id", "anomaly_code", "context", "message")
_BATCH_ROWS = 1 << 14


def judge_anomalies(case: Case, spec_version: str) -> dict[str, Any]:
    """Enter anomalies; return what the run report must say of them: arrivals by fallback, and the number of rows."""
    expected = sorted(_expected(case), key=lambda row: int(row["anomaly_id"]))
    taken = dict.fromkeys(_MEANINGS, 0)
    for row in expected:
        taken[row["anomaly_code"].lower()] += row["context"]["arrivals"]
    path = case.receipt.path(_DATASET, scenario_id=case.scenario_id)
    if stands(path, _DATASET):
        constants = {**identity_constants(case, spec_version), "severity": "WARN"}
        faults, sound = judge_form(path, _DATASET, constants, ("anomaly_id",))
        if sound:
            rows = zip_longest(_stored(path), expected)
            faults += [_difference(place, *pair) for place, pair in enumerate(rows) if pair[0] != pair[1]]
        case.book.judge("anomalies", len(expected), len(faults), examples=faults)
    else:
        case.book.judge("anomalies", 0, 1, message=missing(_DATASET))
    return {"fallbacks": taken, "anomalies": len(expected)}


def _difference(row: int, stated: dict[str, Any] | None, expected: dict[str, Any] | None) -> Example:
    if stated is None or expected is None:
        fault = "is missing" if stated is None else "is of no fallback"
        return {"row": row, "fault": fault, **(stated or expected or {})}
    names = [name for name in expected if stated[name] != expected[name]]
    return {
        "row": row,
        "stated": {name: stated[name] for name in names},
        "expected": {name: expected[name] for name in names},
    }


def _stored(path: InsidePath) -> Iterator[dict[str, Any]]:
    with reading(_DATASET, path, also=(pa.ArrowException,)), open_parquet(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=_COLUMNS):
            yield from batch.to_pylist()


def _expected(case: Case) -> Iterator[dict[str, Any]]:
    facts = "sum({0})::BIGINT, count(*) FILTER ({0} > 0), {1} FILTER ({0} > 0)::BIGINT, {2} FILTER ({0} > 0)::BIGINT"
    of_each = ", ".join(facts.format(switch, "min(bucket_index)", "max(bucket_index)") for switch in _MEANINGS)
    for merchant, zone, channel, *found in case.cursor.rows(f"""
        SELECT merchant_id, zone::VARCHAR, channel::VARCHAR, {of_each}
        FROM recount WHERE {" + ".join(_MEANINGS)} > 0 GROUP BY 1, 2, 3"""):
        for at, (switch, meaning) in enumerate(_MEANINGS.items()):
            arrivals, rows, first, last = found[4 * at : 4 * at + 4]
            if not arrivals:
                continue
            code = switch.upper()
            entity = f"merchant_id={merchant}|zone={zone}|channel_group={channel}"
            yield {
                "anomaly_id": _identifier(case.scenario_id, code, entity),
                "anomaly_code": code,
                "context": {
                    "merchant_id": merchant,
                    "zone_representation": zone,
                    "channel_group": channel or None,
                    "arrivals": arrivals,
                    "count_rows": rows,
                    "first_bucket": first,
                    "last_bucket": last,
                },
                "message": f"merchant {merchant}, {zone}: {meaning} ({arrivals} arrivals)",
            }


def _identifier(*texts: str) -> int:
    """The contract's identifier of an anomaly (docs/reference/layouts.md, "Summary and anomalies")."""
    material = b"5B.anomaly"
    for text in texts:
        data = text.encode("utf-8")
        material += len(data).to_bytes(4, "big") + data
    return int.from_bytes(hashlib.sha256(material).digest()[:8], "big") or 1
