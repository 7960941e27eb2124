"""The records of a run: receipt, seal, run report, validation verdicts, anomalies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code, Notice, dataset
from arrival_engine.contracts.identity import U64_MAX
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.contracts.schemas import shown
from arrival_engine.engine.merchant_names import MerchantNames, load_merchant_names
from arrival_engine.engine.rundir.arrow_files import open_parquet
from arrival_engine.engine.rundir.flag import flag_of
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.strict_json import parse_json, read_json
from arrival_engine.engine.sealing.stored import Stored, read_stored
from arrival_engine.engine.validation.delivered import differences_text, stated
from arrival_engine.engine.validation.findings import statistics_text
from arrival_engine.engine.validation.records import Logs, Record, read_logs, successes
from arrival_engine.engine.validation.rules import RULES, Area

_AGAIN = "restore the file, or run again"
_FACTS_SHOWN = 4
# What values of other types and sizes than the contract's raise when they are summed up and sorted.
_UNFIT = (ValueError, TypeError, AttributeError, OverflowError, RecursionError, pa.ArrowException)
# The fields of the audit log that say where the run was made. The name of the machine is private.
_ENVIRONMENT = ("platform", "build_commit", "code_digest", "algorithm")


class Check(NamedTuple):
    """One finding of validation, with what its rule demands."""

    name: str
    area: str
    demands: str
    verdict: str
    rows: int
    violations: int
    message: str


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of the latest validation bundle; checks by scenario, "" for those of the run as a whole.

    flagged: whether the bundle has its flag. policy: the difference between the validation policy and the delivered
    one, empty if there is none.
    """

    passed: bool
    flagged: bool
    folder: InsidePath
    error_message: str | None
    tally: Mapping[str, int]
    digests: Mapping[str, str]
    checks: Mapping[str, tuple[Check, ...]]
    policy: str


class Anomaly(NamedTuple):
    """One kind of anomaly: the affected count-row keys and their arrivals, from the anomalies dataset."""

    code: str
    severity: str
    entities: int
    arrivals: int


@dataclass(frozen=True)
class Records:
    """The records of a run. seal: None if it has none; environment: from the audit log, possibly empty.

    notices: the lines of logs that were set aside. names: the texts of merchants; None if merchant ids are numbers.
    lines: the last PASS line of each scenario; failures: the last FAIL line of the run and of each scenario, if later.
    """

    receipt: Receipt
    seal: Stored | None
    environment: Mapping[str, str]
    lines: Mapping[str, Record]
    failures: tuple[Record, ...]
    verdicts: Verdicts | None
    notices: tuple[Notice, ...]
    names: MerchantNames | None


def read_run(receipt: Receipt) -> Records:
    """Read all of it. Raises IO_READ_FAILED for a record that cannot be read, the seal's code for a broken seal."""
    with own_codes():
        logs = read_logs(receipt)
        return Records(
            receipt=receipt,
            seal=read_stored(receipt),
            environment=_environment(logs),
            lines=successes(logs),
            failures=_later_failures(logs.lines("S4")),
            verdicts=_verdicts(receipt, logs.lines("S5")),
            notices=logs.notices(),
            names=load_merchant_names(receipt),
        )


def read_anomalies(receipt: Receipt, scenario_id: str) -> tuple[Anomaly, ...] | None:
    """The kinds of anomalies of a scenario, by code; None if the dataset is missing."""
    path = receipt.path("s4_arrival_anomalies_5B", scenario_id=scenario_id)
    if not path.is_file():
        return None
    with reading("anomalies", path, hint=_AGAIN, also=_UNFIT):
        with open_parquet(path) as file:
            table = file.read(["anomaly_code", "severity", "context"])
        try:
            return _kinds(table)
        except (AttributeError, OverflowError, TypeError) as failure:
            raise ArrivalError(
                Code.IO_READ_FAILED,
                f"{path} is not a table of anomalies of this engine: {failure}",
                hint=_AGAIN,
                path=path,
            ) from failure


def _kinds(table: pa.Table) -> tuple[Anomaly, ...]:
    """Rows by code and severity. Raises AttributeError, OverflowError, TypeError or ValueError for other columns."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for code, severity, context in zip(*(column.to_pylist() for column in table.columns), strict=True):
        entities, arrivals = found.get((code, severity), (0, 0))
        # Version 0.1.0 wrote the context as JSON text.
        facts = parse_json(context.encode()) if isinstance(context, str) else context
        found[code, severity] = (entities + 1, arrivals + int((facts or {}).get("arrivals", 0)))
    return tuple(Anomaly(*key, *totals) for key, totals in sorted(found.items()))


def _later_failures(lines: Sequence[Record]) -> tuple[Record, ...]:
    found: dict[str | None, Record] = {}
    for line in lines:
        scenario = line.get("scenario_id")
        if line["status"] == "PASS":
            # A failure before any scenario began no longer counts once a scenario has succeeded.
            found.pop(scenario, None)
            found.pop(None, None)
        else:
            found[scenario] = line
    return tuple(found.values())


def _environment(logs: Logs) -> dict[str, str]:
    records = logs.audit.records
    return {name: str(records[-1][name]) for name in _ENVIRONMENT if records and records[-1].get(name)}


def _verdicts(receipt: Receipt, lines: Sequence[Record]) -> Verdicts | None:
    folder = _latest_bundle(receipt, lines)
    if folder is None:
        return None
    path = folder / PurePosixPath(dataset("validation_report_5B").path).name
    report = read_json(
        path, what="validation report", code=Code.IO_READ_FAILED, hint="run `arrivals validate RUN_ROOT` again"
    )
    try:
        return Verdicts(
            passed=report["status"] == "PASS",
            flagged=(folder / flag_of(receipt).name).exists(),
            folder=folder,
            error_message=_text(report["error_message"]) if "error_message" in report else None,
            tally={_text(name): _count(number) for name, number in report["verdicts"].items()},
            digests={_text(name): _text(digest) for name, digest in report["arrival_digests"].items()},
            checks=_checks(report["checks"]),
            policy=_policy(report),
        )
    except (AttributeError, LookupError, TypeError, ValueError) as failure:
        raise ArrivalError(
            Code.IO_READ_FAILED,
            f"{path} is not a validation report of this engine: {type(failure).__name__} {failure}",
            hint="move the bundle away and run `arrivals validate RUN_ROOT`",
            path=path,
        ) from failure


def _latest_bundle(receipt: Receipt, lines: Sequence[Record]) -> InsidePath | None:
    """The bundle of the last validation in the run report, or else the existing one."""
    known = (receipt.path("validation_bundle_5B"), receipt.path("validation_failed_bundle_5B"))
    places = {path.relative_to(receipt.run_root).as_posix(): path for path in known}
    # Only the two known places: a line of the report must not lead anywhere else.
    stated = [places.get(str(line.get("bundle_path")).rstrip("/")) for line in lines]
    candidates = [*(path for path in reversed(stated) if path is not None), *known]
    return next((path for path in candidates if path.is_dir()), None)


def _checks(records: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Check, ...]]:
    found: dict[str, list[Check]] = {}
    for record in records:
        rule = RULES.get(_text(record["check"]))
        area = rule.area if rule else Area.INPUTS
        check = Check(
            name=record["check"],
            area=area.name.lower(),
            demands=rule.demands if rule else "",
            verdict=_text(record["verdict"]),
            rows=_count(record["rows"]),
            violations=_count(record["violations"]),
            message=_message(record),
        )
        found.setdefault(_text(record["scenario_id"] or ""), []).append(check)
    return {scenario: tuple(checks) for scenario, checks in found.items()}


def _policy(report: Mapping[str, Any]) -> str:
    differences = stated(report)
    for difference in differences:
        for text in difference:
            _text(text)
    return differences_text(differences)


def _message(record: Mapping[str, Any]) -> str:
    statistics = record["statistics"] if record["verdict"] != "PASS" else {}
    # Bundles of earlier versions do not state what was expected.
    return statistics_text(statistics, record.get("expected", {}), _text(record["message"]), _FACTS_SHOWN)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"{shown(value)} where a text is expected")


def _count(value: object) -> int:
    if type(value) is int and 0 <= value <= U64_MAX:
        return value
    raise TypeError(f"{shown(value)} where a number of rows is expected")


@contextmanager
def own_codes() -> Iterator[None]:
    """Translate failures of validation's readers to a report's codes."""
    try:
        yield
    except ArrivalError as error:
        if not error.code.name.startswith("S5_"):
            raise
        defect = error.code is Code.S5_UNEXPECTED_INTERNAL_ERROR
        code = Code.UNEXPECTED_INTERNAL_ERROR if defect else Code.IO_READ_FAILED
        raise ArrivalError(code, error.message, hint=error.hint, **error.context) from error
