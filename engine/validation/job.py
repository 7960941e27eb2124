"""`arrivals validate`: every check of a run, the bundle, and the S5 line of the run report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from arrival_engine.contracts import ArrivalError, Code, Notice, check_document
from arrival_engine.contracts.moments import utc_now
from arrival_engine.engine.process.kernel_cache import tell_of_refusals
from arrival_engine.engine.process.machine import available_cores, peak_rss_bytes
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.version import version
from arrival_engine.engine.records.run_report import append_line
from arrival_engine.engine.rundir.flag import remove_flag
from arrival_engine.engine.rundir.lock import run_lock
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.rundir.staging import owned_staging
from arrival_engine.engine.validation import upstream
from arrival_engine.engine.validation.arrival_parts import Standing, list_parts, standing_parts
from arrival_engine.engine.validation.bundle import Evidence, Published, members, publish
from arrival_engine.engine.validation.codes import own_codes
from arrival_engine.engine.validation.database import Database
from arrival_engine.engine.validation.delivered import PolicyDifference, policy_differences, statement
from arrival_engine.engine.validation.findings import Book, Finding, Outcome, outcome
from arrival_engine.engine.validation.inputs import load_run
from arrival_engine.engine.validation.judge_names import name_merchants
from arrival_engine.engine.validation.judge_rng import judge_logs, judge_overlap
from arrival_engine.engine.validation.policy import validation_policy
from arrival_engine.engine.validation.records import Logs, Record, history, read_logs, successes
from arrival_engine.engine.validation.revocation import Withdraw, is_about_data, revoking
from arrival_engine.engine.validation.rules import Area
from arrival_engine.engine.validation.scenario import ScenarioFacts, Stage, judge_scenario
from arrival_engine.engine.validation.strangers import judge_strangers


@dataclass(frozen=True)
class ValidateOptions:
    """How to validate; no option changes a verdict. `threads` None means every core that this process may use."""

    threads: int | None = None


@dataclass(frozen=True)
class ValidateResult:
    """The verdict, each check's findings, and the place of the bundle; seconds and phases are wall time.

    policy_differences: the keys in which the validation policy differs from the delivered one.
    """

    passed: bool
    error_code: str | None
    error_message: str | None
    findings: tuple[Finding, ...]
    scenarios: tuple[ScenarioFacts, ...]
    arrivals: int
    policy_differences: tuple[PolicyDifference, ...]
    bundle: Published
    notices: tuple[Notice, ...]
    seconds: float
    phases: Mapping[str, float]
    peak_rss_bytes: int


@dataclass(frozen=True)
class Judgement:
    """All findings on a run, and the contents of the bundle."""

    outcome: Outcome
    scenarios: tuple[ScenarioFacts, ...]
    sealed: upstream.Sealed
    lines: Mapping[str, Record]
    logs: Logs
    notices: tuple[Notice, ...]
    policy_differences: tuple[PolicyDifference, ...]


def validate(
    run_root: Path | str,
    options: ValidateOptions | None = None,
    reporter: Reporter | None = None,
    *,
    withdraw: Withdraw | None = None,
) -> ValidateResult:
    """Check every published arrival of a run, write the bundle, report.

    A run that does not pass gives a result with `passed` False, and its bundle is kept apart. A run that cannot be
    checked raises ArrivalError with a code of S5, after a FAIL line in the run report. Either revokes the flag of an
    earlier bundle, unless the machine and not the data is at fault. `withdraw`: removes the flag, where it is not
    only in this directory.
    """
    options, reporter = options or ValidateOptions(), reporter or Reporter()
    started, begin, before = utc_now(), reporter.elapsed_s, dict(reporter.phases)
    with own_codes():
        receipt = read_receipt(Path(run_root))
    withdraw = withdraw or partial(remove_flag, receipt)
    try:
        with own_codes(), run_lock(receipt.run_root), revoking(withdraw), own_codes():
            standing = standing_parts(receipt)
            judged = judge_run(receipt, options, reporter)
            if not judged.outcome.passed:
                # First of all: whatever happens next, no flag may stand beside what has just been found.
                withdraw()
            report = _report(receipt, judged)
            with reporter.phase("hash arrivals"):
                parts = _list_parts(receipt, standing, judged, options, reporter)
            with reporter.phase("bundle"):
                bundle = _publish(receipt, judged, report, parts)
    except ArrivalError as error:
        # Report the first failure, even if the report cannot be written either.
        with suppress(ArrivalError):
            append_line(receipt, {**_head(receipt, started), **_failed(error)})
        raise
    phases = {name: spent - before.get(name, 0.0) for name, spent in reporter.phases.items()}
    result = ValidateResult(
        passed=judged.outcome.passed,
        error_code=report.get("error_code"),
        error_message=report.get("error_message"),
        findings=judged.outcome.findings,
        scenarios=judged.scenarios,
        arrivals=report["n_arrivals_total"],
        policy_differences=judged.policy_differences,
        bundle=bundle,
        notices=judged.notices,
        seconds=reporter.elapsed_s - begin,
        phases={name: spent for name, spent in phases.items() if spent > 0.0},
        peak_rss_bytes=peak_rss_bytes(),
    )
    append_line(receipt, {**_head(receipt, started), **_line(receipt, judged, report, result)})
    return result


def judge_run(receipt: Receipt, options: ValidateOptions, reporter: Reporter, only: Sequence[str] = ()) -> Judgement:
    """Make every check of a run (or of the scenarios in `only`), writing nothing but spill files."""
    book = Book()
    sealed = upstream.read_seal(receipt)
    logs = read_logs(receipt)
    for notice in logs.notices():
        reporter.notice(notice)
    lines = successes(logs)
    scenarios = upstream.judge_domain(receipt, sealed, lines, book)
    judge_strangers(receipt, sealed.scenarios, book)
    receipt, notices = upstream.judge_seal(receipt, sealed, lines, book, reporter)
    policy = validation_policy(receipt)
    threads = options.threads or available_cores()
    chosen = [scenario for scenario in scenarios if not only or scenario in only]
    with owned_staging(receipt.run_root, "validate") as spill:
        database = Database(spill, threads)
        try:
            facts, books = _judge_scenarios(
                Stage(receipt, sealed, policy, database, threads, reporter), chosen, logs, book
            )
        finally:
            database.close()
    tell_of_refusals(reporter)
    upstream.judge_upstream(receipt, policy, sum(fact.physical for fact in facts), book)
    rules = policy.block("failure_policy")
    found = outcome([book, *books], rules.count("max_warnings"), fail_closed=rules.text("mode") == "fail_closed")
    differences = policy_differences(receipt.policy("validation_policy_5B"))
    return Judgement(found, facts, sealed, lines, logs, (*logs.notices(), *notices), differences)


def _judge_scenarios(
    stage: Stage, scenarios: Sequence[str], logs: Logs, book: Book
) -> tuple[tuple[ScenarioFacts, ...], list[Book]]:
    rng = stage.policy.block("rng_accounting_checks")
    trace = judge_logs(logs, rng, scenarios, stage.sealed.scenarios, book)
    facts, books, claimed = [], [], []
    with stage.database.cursor() as cursor:
        with stage.reporter.phase("read inputs"):
            load_run(cursor, stage.receipt)
        for scenario in scenarios:
            own = Book(scenario)
            fact, claims = judge_scenario(stage, scenario, history(logs, scenario), trace, cursor, own)
            own.change_examples(partial(name_merchants, cursor, stage.receipt))
            facts.append(fact)
            books.append(own)
            claimed += claims
    judge_overlap(claimed, rng, book)
    return tuple(facts), books


def _report(receipt: Receipt, judged: Judgement) -> dict[str, Any]:
    """The validation report: the same for any thread count, on any machine, on any day."""
    found = judged.outcome
    error = dict(zip(("error_code", "error_message"), found.error or (), strict=False))
    verdicts = Counter(str(finding.verdict) for finding in found.findings)
    report = {
        **receipt.identity.document(),
        "spec_version": judged.sealed.spec_version,
        "status": "PASS" if found.passed else "FAIL",
        **error,
        **_metrics(judged),
        "sealed_inputs_digest": judged.sealed.digest,
        "validation_policy": statement(judged.policy_differences),
        "arrival_digests": {fact.scenario_id: fact.digest for fact in judged.scenarios},
        "verdicts": dict(sorted(verdicts.items())),
        "checks": [finding.record() for finding in found.findings],
    }
    check_document("validation_report_5B", report, code=Code.S5_UNEXPECTED_INTERNAL_ERROR, where="report")
    return report


def _metrics(judged: Judgement) -> dict[str, Any]:
    found, scenarios = judged.outcome, judged.scenarios
    return {
        "n_parameter_hashes": 1,
        "n_scenarios": len(scenarios),
        "n_seeds": 1,
        "n_buckets_total": sum(fact.buckets for fact in scenarios),
        "n_buckets_nonzero": sum(fact.buckets_nonzero for fact in scenarios),
        "n_arrivals_total": sum(fact.arrivals for fact in scenarios),
        "n_arrivals_physical": sum(fact.physical for fact in scenarios),
        "n_arrivals_virtual": sum(fact.virtual for fact in scenarios),
        **{str(area): found.holds(area) for area in Area if area not in (Area.INPUTS, Area.REALISM)},
    }


def _list_parts(
    receipt: Receipt, standing: Standing, judged: Judgement, options: ValidateOptions, reporter: Reporter
) -> dict[str, Any]:
    digests = {fact.scenario_id: fact.digest for fact in judged.scenarios}
    return list_parts(receipt, standing, digests, options.threads or available_cores(), reporter)


def _publish(receipt: Receipt, judged: Judgement, report: Mapping[str, Any], parts: Mapping[str, Any]) -> Published:
    stored = judged.sealed.stored
    evidence = Evidence(
        gate=stored.gate,
        inventory=stored.rows,
        audit=judged.logs.audit.records,
        trace=judged.logs.trace.records,
        lines=[judged.lines[fact.scenario_id] for fact in judged.scenarios if fact.scenario_id in judged.lines],
        parts=parts,
    )
    content = members(receipt, report, evidence)
    return publish(receipt, content, judged.sealed.spec_version, passed=judged.outcome.passed)


def _head(receipt: Receipt, started: str) -> dict[str, Any]:
    return {
        "layer": "layer2",
        "segment": "5B",
        "state": "S5",
        "state_id": "5B.S5",
        **receipt.identity.document(),
        "started_at_utc": started,
        "finished_at_utc": utc_now(),
        "engine_version": version(),
    }


def _failed(error: ArrivalError) -> dict[str, Any]:
    facts = error.to_dict()
    return {
        "status": "FAIL",
        "error_code": facts["code"],
        "error_message": error.message,
        "error_context": facts["context"],
        "flag_revoked": is_about_data(error),
    }


def _line(receipt: Receipt, judged: Judgement, report: Mapping[str, Any], result: ValidateResult) -> dict[str, Any]:
    """The S5 metrics (docs/reference/layouts.md, "Run report") and the duration."""
    folder = Path(result.bundle.folder).relative_to(receipt.run_root.outside).as_posix()
    rng_ok = judged.outcome.holds(Area.RNG)
    return {
        "status": report["status"],
        "error_code": report.get("error_code"),
        "error_message": report.get("error_message"),
        "spec_version": report["spec_version"],
        **_metrics(judged),
        # The bundle was read back and re-hashed before it was put in place.
        "bundle_integrity_ok": True,
        "rng_checked_states": ["S4"],
        "rng_families_ok": rng_ok,
        "bundle_path": folder,
        "bundle_sha256": result.bundle.digest,
        "flag_path": f"{folder}/_passed.flag" if result.passed else None,
        "flag_revoked": not result.passed,
        "published": result.bundle.publication,
        "verdicts": report["verdicts"],
        "peak_rss_bytes": result.peak_rss_bytes,
        "durations": {"wall_ms": round(result.seconds * 1000), "phase_seconds": dict(result.phases)},
    }
