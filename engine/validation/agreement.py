"""Agreement within a bundle: the index, the report and the other members say the same of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code, arrow_schema, check_document
from arrival_engine.engine.rundir.arrow_files import parquet_in_memory
from arrival_engine.engine.rundir.strict_json import parse_json
from arrival_engine.engine.validation import arrival_parts
from arrival_engine.engine.validation.findings import Verdict
from arrival_engine.engine.validation.issues import issues

PASS, FAIL = "PASS", "FAIL"
_CODE = Code.S5_BUNDLE_INDEX_INVALID
_IDENTITY = ("manifest_fingerprint", "parameter_hash", "seed", "run_id")
# Statements that the index repeats from the report.
_SUMMARY = {
    "error_code": "the error code",
    "verdicts": "the numbers of verdicts",
    "validation_policy": "how the validation policy differs from the delivered one",
}
_REPORT, _ISSUES = "validation_report_5B.json", "validation_issue_table_5B.parquet"
_GATE, _LINES = "receipts/s0_gate_receipt_5B.json", "reports/segment_state_runs.jsonl"
# The members that are looked into.
READ_WHOLE = frozenset({_REPORT, _ISSUES, _GATE, _LINES, arrival_parts.MEMBER})

Members = Mapping[str, bytes]


def check_agreement(index: Mapping[str, Any], digest: str, members: Members) -> tuple[dict[str, Any], dict[str, Any]]:
    """The report and the listing of the arrivals' parts, if nothing in the bundle contradicts another.

    `members`: the bytes of each; only those in READ_WHOLE are looked into. Raises S5.BUNDLE_INDEX_INVALID with the
    first contradiction.
    """
    report = _document(members, _REPORT, "validation_report_5B")
    listing = _document(members, arrival_parts.MEMBER, arrival_parts.SCHEMA)
    try:
        fault = next(_faults(index, digest, report, listing, members), None)
    except (AttributeError, LookupError, OSError, TypeError, ValueError, pa.ArrowException) as failure:
        fault = f"a member is not in the form that this engine writes: {type(failure).__name__} {failure}"
    if fault:
        raise _contradiction(fault)
    return report, listing


def _document(members: Members, path: str, schema: str) -> dict[str, Any]:
    try:
        document = parse_json(members[path])
    except ValueError as failure:
        raise _contradiction(f"{path} is not valid JSON: {failure}") from failure
    check_document(schema, document, code=_CODE, where=path)
    return dict(document)


def _contradiction(fault: str) -> ArrivalError:
    return ArrivalError(
        _CODE,
        f"the bundle contradicts itself: {fault}",
        hint="do not trust it; make it again with `arrivals validate RUN_ROOT`",
    )


def _faults(
    index: Mapping[str, Any], digest: str, report: dict[str, Any], listing: dict[str, Any], members: Members
) -> Iterator[str]:
    yield from _of_index(index, digest, report)
    yield from _of_report(report)
    yield from _of_listing(report, listing)
    for path, check in _OTHERS.items():
        if path in members:
            yield from check(report, members[path])


def _of_index(index: Mapping[str, Any], digest: str, report: Mapping[str, Any]) -> Iterator[str]:
    if index["status"] != report["status"]:
        yield f"the index says {index['status']}, the report {report['status']}"
    if index["manifest_fingerprint"] != report["manifest_fingerprint"]:
        yield "index and report are of different manifest_fingerprints"
    if index["s5_spec_version"] != report["spec_version"]:
        yield "index and report state different versions of the specification"
    summary = index["summary"]
    if summary["bundle_sha256"] != digest:
        yield f"the index states the digest {summary['bundle_sha256']}, the members have {digest}"
    for name, meaning in _SUMMARY.items():
        if summary[name] != report.get(name):
            yield f"the index does not say what the report says about {meaning}"


def _of_report(report: Mapping[str, Any]) -> Iterator[str]:
    tally = Counter(record["verdict"] for record in report["checks"])
    if dict(tally) != report["verdicts"]:
        yield f"the report counts {report['verdicts']}, its findings are {dict(sorted(tally.items()))}"
    if report["status"] == PASS and tally[Verdict.FAIL]:
        yield "the report says PASS, and has a check that failed"
    if (report["status"] == PASS) == ("error_code" in report):
        yield f"the report says {report['status']}, and its error code is {report.get('error_code')}"


def _of_listing(report: Mapping[str, Any], listing: Mapping[str, Any]) -> Iterator[str]:
    where = arrival_parts.MEMBER
    yield from _other_identity(where, listing, report)
    digests = {scenario["scenario_id"]: scenario["arrival_digest"] for scenario in listing["scenarios"]}
    if digests != report["arrival_digests"] or len(digests) != len(listing["scenarios"]):
        yield f"{where} and the report name different scenarios or arrival digests"
    rows = sum(part["rows"] for scenario in listing["scenarios"] for part in scenario["parts"])
    if report["status"] == PASS and rows != report["n_arrivals_total"]:
        yield f"{where} lists {rows} rows, the report counts {report['n_arrivals_total']} arrivals"


def _other_identity(where: str, document: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    yield from (
        f"{name} is {document[name]} in {where}, {report[name]} in the report"
        for name in _IDENTITY
        if document[name] != report[name]
    )


def _of_gate(report: Mapping[str, Any], data: bytes) -> Iterator[str]:
    gate = parse_json(data)
    yield from _other_identity(_GATE, gate, report)
    if gate["sealed_inputs_digest"] != report["sealed_inputs_digest"]:
        yield f"{_GATE} and the report name different seals"


def _of_lines(report: Mapping[str, Any], data: bytes) -> Iterator[str]:
    if report["status"] != PASS:
        # That they differ may be what it has found.
        return
    lines = [parse_json(line) for line in data.splitlines()]
    for line in lines:
        yield from _other_identity(_LINES, line, report)
        if line["sealed_inputs_digest"] != report["sealed_inputs_digest"]:
            yield f"{_LINES} and the report name different seals"
    if {line["scenario_id"]: line["arrival_digest"] for line in lines} != report["arrival_digests"]:
        yield f"{_LINES} and the report name different scenarios or arrival digests"


def _of_issues(report: Mapping[str, Any], data: bytes) -> Iterator[str]:
    expected = issues(report)
    with parquet_in_memory(data) as table:
        # As it is written: what is compressed could fill the memory when it is read.
        known = table.schema_arrow.equals(arrow_schema("validation_issue_table_5B")) and _is_plain(table.metadata)
        if not known or table.metadata.num_rows != len(expected) or table.read().to_pylist() != expected:
            yield f"{_ISSUES} does not have the rows of the report's findings"


def _is_plain(metadata: Any) -> bool:
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    return all(
        group.column(index).compression == "UNCOMPRESSED" for group in groups for index in range(group.num_columns)
    )


_OTHERS: dict[str, Callable[[Mapping[str, Any], bytes], Iterator[str]]] = {
    _ISSUES: _of_issues,
    _GATE: _of_gate,
    _LINES: _of_lines,
}
