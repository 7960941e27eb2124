"""The rows of the issue table, from the findings as the report states them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from arrival_engine.contracts import compact_json
from arrival_engine.contracts.errors import json_safe
from arrival_engine.engine.validation.findings import Verdict

_TOLD = (Verdict.FAIL, Verdict.WARN, Verdict.NOTE, Verdict.NOT_RUN)
_IDENTITY = ("manifest_fingerprint", "parameter_hash", "seed")


def issues(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per finding that is a failure, a warning, a note or could not be made."""
    return [_issue(report, record) for record in _told(report["checks"])]


def _told(checks: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    return (record for record in checks if record["verdict"] in _TOLD)


def _issue(report: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    context = {
        "check": record["check"],
        "rows": record["rows"],
        "violations": record["violations"],
        "examples": [compact_json(json_safe(example)).decode() for example in record["examples"]],
        "statistics": compact_json(json_safe(record["statistics"])).decode(),
    }
    return {
        **{name: report[name] for name in _IDENTITY},
        "scenario_id": record["scenario_id"],
        "issue_code": record["code"],
        "severity": "ERROR" if record["verdict"] == Verdict.NOT_RUN else record["severity"],
        "context": context,
        "message": record["message"] or f"{record['check']}: {record['violations']} of {record['rows']} rows",
    }
