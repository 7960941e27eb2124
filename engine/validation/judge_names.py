"""The check of the table of merchants' names, and the names in examples of findings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.database import Cursor
from arrival_engine.engine.validation.findings import EXAMPLES_MAX, Severity
from arrival_engine.engine.validation.inputs import columns_of, source

_DATASET = "merchant_names_5B"
_COLUMNS = ("manifest_fingerprint", "merchant_id", "merchant")


def judge_names(case: Case) -> None:
    """Enter merchant_names: one text per merchant, of which its id is the hash, for every merchant with counts."""
    table = source(case.cursor, case.receipt, _DATASET)
    if not table:
        reason = f"merchant ids are numbers (there is no {_DATASET})"
        case.book.inapplicable("merchant_names", reason, severity=Severity.ERROR)
        return
    names = columns_of(case.cursor, table)
    if names != set(_COLUMNS):
        message = f"{_DATASET} has the columns {', '.join(sorted(names))} instead of {', '.join(sorted(_COLUMNS))}"
        case.book.judge("merchant_names", 0, 1, message=message)
        return
    rows = case.cursor.rows(f"SELECT {', '.join(_COLUMNS)} FROM {table}")
    case.cursor.run(f"CREATE OR REPLACE TEMP VIEW named AS SELECT merchant_id FROM {table}")
    lacking = "FROM (SELECT DISTINCT merchant_id FROM expected) ANTI JOIN named USING (merchant_id)"
    (absent,) = case.cursor.row(f"SELECT count(*) {lacking}")
    faults = list(_faults(rows, case.receipt.identity.manifest_fingerprint))
    shown = list(islice(faults, EXAMPLES_MAX))
    if absent:
        first = case.cursor.rows(f"SELECT merchant_id {lacking} ORDER BY 1 LIMIT {EXAMPLES_MAX}")
        shown += [{"merchant_id": merchant_id, "fault": "has arrivals and no row"} for (merchant_id,) in first]
    case.cursor.run("DROP VIEW named")
    case.book.judge("merchant_names", len(rows), len(faults) + absent, examples=shown)


def _faults(rows: Sequence[tuple[Any, ...]], fingerprint: str) -> Iterator[dict[str, Any]]:
    """The rows that do not hold, in file order, each with its first fault."""
    last = 0
    texts: set[str] = set()
    for number, (world, merchant_id, text) in enumerate(rows):
        fault = ""
        if world != fingerprint:
            fault = "is of another world"
        elif merchant_id is None or not text:
            fault = "is empty"
        elif _id64(text) != merchant_id:
            fault = f"is not the id of its text, which is {_id64(text)}"
        elif text in texts or merchant_id <= last:
            fault = "is listed twice, or not in the order of ids"
        if fault:
            yield {"row": number, "merchant_id": merchant_id, "merchant": text, "fault": fault}
        last = merchant_id or last
        texts.add(text)


def _id64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "little") or 1


def name_merchants(cursor: Cursor, receipt: Receipt, examples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The examples, with the text of each merchant that they name by its id, if the world has texts."""
    ids = {example["merchant_id"] for example in examples if isinstance(example.get("merchant_id"), int)}
    table = source(cursor, receipt, _DATASET) if ids else ""
    if not table or not columns_of(cursor, table) >= {"merchant_id", "merchant"}:
        return [dict(example) for example in examples]
    among = f"merchant_id IN ({', '.join(map(str, sorted(ids)))})"
    found = dict(cursor.rows(f"SELECT merchant_id, max(merchant) FROM {table} WHERE {among} GROUP BY 1"))
    return [_named(example, found.get(example.get("merchant_id"))) for example in examples]


def _named(example: Mapping[str, Any], text: str | None) -> dict[str, Any]:
    return {**example} if text is None or "merchant" in example else {**example, "merchant": text}
