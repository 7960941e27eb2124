"""Checks of what a run writes beside the arrivals: its line in the run report, and the summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arrival_engine.contracts import Code
from arrival_engine.engine.process.version import LAW_VERSION
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.file_order import Stream
from arrival_engine.engine.validation.findings import EXAMPLES_MAX, Example
from arrival_engine.engine.validation.inputs import KEY, source
from arrival_engine.engine.validation.metadata import DIGEST_KEY, RUN_POLICIES
from arrival_engine.engine.validation.record_tables import judge_form, missing, stands
from arrival_engine.engine.validation.records import Record

# Failures of a later run before it touched anything that is published. After any other, arrivals and records of two
# runs may stand side by side.
_HARMLESS = frozenset(
    {
        Code.OPTION_INVALID,
        Code.LIMIT_EXCEEDED,
        Code.BACKEND_UNAVAILABLE,
        Code.CLUSTER_UNAVAILABLE,
        Code.DEPENDENCY_MISSING,
        Code.IO_WRITE_CONFLICT,
        Code.S0_GATE_MISSING_OR_INVALID,
        Code.UPSTREAM_HASHGATE_NOT_PASSED,
        Code.ROUTING_POLICY_INVALID,
        Code.RNG_STREAM_CONFIG_INVALID,
    }
)
_AGAIN = "`arrivals run RUN_ROOT` writes a line of a successful run"


def identity_constants(case: Case, spec_version: str) -> dict[str, str | int]:
    """The columns that have one value in all rows of a scenario's tables."""
    return {**case.receipt.identity.columns(), "scenario_id": case.scenario_id, "s4_spec_version": spec_version}


def judge_summary(case: Case, spec_version: str) -> None:
    """Enter summary."""
    dataset_id = "s4_arrival_summary_5B"
    path = case.receipt.path(dataset_id, scenario_id=case.scenario_id)
    if not stands(path, dataset_id):
        case.book.judge("summary", 0, 1, message=missing(dataset_id))
        return
    key = ("merchant_id", "zone_representation", "channel_group", "bucket_index")
    faults, sound = judge_form(path, dataset_id, identity_constants(case, spec_version), key)
    if not sound:
        case.book.judge("summary", 0, len(faults), examples=faults)
        return
    table = source(case.cursor, case.receipt, dataset_id, scenario_id=case.scenario_id)
    different = f"""
        FROM (SELECT merchant_id::UBIGINT AS merchant_id, TRY_CAST(zone_representation AS zone_t) AS zone,
                     TRY_CAST(coalesce(channel_group, '') AS channel_t) AS channel,
                     bucket_index::INTEGER AS bucket_index, count_N, count_physical, count_virtual
              FROM {table})
        FULL JOIN recount USING ({KEY})
        WHERE count_N IS DISTINCT FROM n OR count_virtual IS DISTINCT FROM v
              OR count_physical IS DISTINCT FROM n - v"""
    (rows,) = case.cursor.row(f"SELECT count(*) FROM {table}")
    (bad,) = case.cursor.row(f"SELECT count(*) {different}")
    shown = (
        "merchant_id, zone::VARCHAR AS zone, channel::VARCHAR AS channel, bucket_index, count_N AS stated, n AS found"
    )
    if bad:
        faults += case.cursor.records(f"SELECT {shown} {different} ORDER BY 1, 4, 2, 3 LIMIT {EXAMPLES_MAX}")
    case.book.judge("summary", rows, max(bad, len(faults)), examples=faults)


def judge_report(case: Case, stream: Stream, totals: Mapping[str, Any], universe_hash: str) -> None:
    """Enter arrival_digest and run_report: the run's statements against the data."""
    if case.line is None:
        reason = f"the run report has no line of a successful run of this scenario; {_AGAIN}"
        case.book.judge("arrival_digest", 0, 1, message=reason, facts={"found": stream.digest})
        case.book.judge("run_report", 0, 1, message=reason)
        return
    stated = case.line.get("arrival_digest")
    facts = {"stated": stated, "found": stream.digest}
    wrong_parts = [
        {"file": part.path.name, "stated": part.metadata[DIGEST_KEY], "found": found}
        for part, found in zip(case.events.parts, stream.digests, strict=True)
        if part.metadata.get(DIGEST_KEY, found) != found
    ]
    faults = int(stated != stream.digest) + len(wrong_parts)
    case.book.judge("arrival_digest", stream.rows, faults, examples=wrong_parts, facts=facts)
    expected = {**_constants(universe_hash), **totals}
    wrong: list[Example] = [
        {"metric": metric, "stated": case.line.get(metric), "found": value}
        for metric, value in expected.items()
        if case.line.get(metric) != value
    ]
    wrong += _policies_named(case.line) + _later_failures(case)
    case.book.judge("run_report", len(expected), len(wrong), examples=wrong)


def _constants(universe_hash: str) -> dict[str, Any]:
    """The fields that are the same in the line of every successful run of these inputs."""
    return {
        "layer": "layer2",
        "segment": "5B",
        "state_id": "5B.S4",
        "error_code": None,
        "error_message": None,
        "law_version": LAW_VERSION,
        **dict.fromkeys(("counts_match_s3", "schema_ok", "partition_ok", "rng_accounting_ok"), True),
        "routing_universe_hash": universe_hash,
    }


def _policies_named(line: Record) -> list[Example]:
    """Policies that the run uses and does not state, or states and does not use; `sealed_inputs` compares digests."""
    stated = line.get("policy_digests")
    named = set(stated) if isinstance(stated, dict) else set()
    return [
        {"metric": f"policy_digests.{policy}", "stated": policy in named, "found": policy in RUN_POLICIES}
        for policy in sorted(named ^ set(RUN_POLICIES))
    ]


def _later_failures(case: Case) -> list[Example]:
    failed = [line for line in case.told.later if line.get("error_code") not in _HARMLESS]
    return [
        {"metric": "status", "stated": line["status"], "failed": line.get("error_code"), "cure": _AGAIN}
        for line in failed
    ]
