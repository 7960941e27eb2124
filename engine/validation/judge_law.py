"""The check of the law: every stored arrival is the one that inputs and random numbers determine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from arrival_engine.contracts.moments import utc_text
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.file_order import Stream
from arrival_engine.engine.validation.findings import EXAMPLES_MAX, Example
from arrival_engine.engine.validation.recomputed import Recomputed
from arrival_engine.engine.validation.scan import Scan

# Columns of a stored row that the law determines and its key does not, by their names in a recomputed arrival.
_COLUMNS = {
    "bucket_index": "bucket_index",
    "zone_representation": "zone_representation",
    "channel_group": "channel_group",
    "ts_us": "ts_us",
    "is_virtual": "is_virtual",
    "place": "CASE WHEN is_virtual THEN edge_id ELSE site_id END",
    "tzid_primary": "tzid_primary",
}


def judge_law(case: Case, scan: Scan, stream: Stream, law: Recomputed) -> bool:
    """Enter law; whether the stored rows are the law's arrivals, as far as their keys are.

    differing: rows that are not the arrivals of their keys. missing: arrivals that no row is.
    """
    differing = stream.differing
    missing = max(0, law.tables.arrivals - (stream.rows - differing))
    examples: list[Example] = []
    if differing:
        examples = list(_differences(case, scan, stream, law))
    elif missing and (unseen := law.first_unseen()):
        examples = [{**unseen, "fault": "no arrival of this merchant and bucket is stored"}]
    facts = {"differing": differing, "missing": missing}
    # A row that differs leaves its arrival without a row: the two are one violation.
    case.book.judge("law", stream.rows, max(differing, missing), examples=examples, facts=facts)
    return not differing and not missing


def _differences(case: Case, scan: Scan, stream: Stream, law: Recomputed) -> Iterator[Example]:
    """The first rows, by key, that are not the law's: what differs, as expected and as found."""
    first = np.sort(np.concatenate(stream.keys))[:EXAMPLES_MAX]
    for merchant_id, arrival_seq in first.tolist():
        key = {"merchant_id": merchant_id, "arrival_seq": arrival_seq}
        expected = law.arrival(merchant_id, arrival_seq)
        if expected is None:
            yield {**key, "fault": "the law has no arrival of this key"}
            continue
        for found in _stored(case, scan, merchant_id, arrival_seq):
            wrong = [name for name, value in found.items() if value != expected[name]]
            if wrong:
                yield {
                    **key,
                    "expected": dict(_shown(name, expected[name]) for name in wrong),
                    "found": dict(_shown(name, found[name]) for name in wrong),
                }


def _stored(case: Case, scan: Scan, merchant_id: int, arrival_seq: int) -> Iterator[dict[str, Any]]:
    shown = ", ".join(f"{expression} AS {name}" for name, expression in _COLUMNS.items())
    for part in scan.events.parts:
        with scan.events.relation(case.cursor, part) as rows:
            yield from case.cursor.records(
                f"SELECT {shown} FROM {rows} WHERE merchant_id = {merchant_id} AND arrival_seq = {arrival_seq} LIMIT 1"
            )


def _shown(name: str, value: Any) -> tuple[str, Any]:
    """A column and its value as people read them."""
    return ("ts_utc", utc_text(value)) if name == "ts_us" and isinstance(value, int) else (name, value)
