"""All checks of one scenario; earlier ones prepare later ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.recomputing.streams import Claim
from arrival_engine.engine.recomputing.tables import LawlessError
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.database import Cursor, Database
from arrival_engine.engine.validation.events import Events, find_events
from arrival_engine.engine.validation.file_order import Stream
from arrival_engine.engine.validation.findings import Book
from arrival_engine.engine.validation.inputs import KEY, Horizon, load_scenario, universe_hash
from arrival_engine.engine.validation.judge_anomalies import judge_anomalies
from arrival_engine.engine.validation.judge_choice import judge_choices
from arrival_engine.engine.validation.judge_events import (
    judge_counts,
    judge_files,
    judge_rows,
    judge_schema,
    judge_stream,
    report_totals,
)
from arrival_engine.engine.validation.judge_inputs import judge_inputs
from arrival_engine.engine.validation.judge_law import judge_law
from arrival_engine.engine.validation.judge_names import judge_names
from arrival_engine.engine.validation.judge_places import judge_places
from arrival_engine.engine.validation.judge_realism import judge_realism
from arrival_engine.engine.validation.judge_records import judge_report, judge_summary
from arrival_engine.engine.validation.judge_rng import claims, judge_draws, predicted
from arrival_engine.engine.validation.judge_rng_events import judge_events
from arrival_engine.engine.validation.judge_routing import judge_routing, prepare_zones
from arrival_engine.engine.validation.judge_sentinels import judge_sentinels
from arrival_engine.engine.validation.policy import Rules, document
from arrival_engine.engine.validation.recomputed import Recomputed, recomputed
from arrival_engine.engine.validation.records import History, Record
from arrival_engine.engine.validation.rowchecks import Expectations, row_checks
from arrival_engine.engine.validation.rules import RULES
from arrival_engine.engine.validation.scan import Scan
from arrival_engine.engine.validation.upstream import Sealed

# Checks of the run as a whole.
_OF_THE_RUN = frozenset({"upstream", "sealed_inputs", "domain", "strangers", "rng_logs", "rng_overlap"})


@dataclass(frozen=True)
class Stage:
    """The state that all scenarios of one validation share."""

    receipt: Receipt
    sealed: Sealed
    policy: Rules
    database: Database
    threads: int
    reporter: Reporter


@dataclass(frozen=True)
class ScenarioFacts:
    """Sizes of a scenario, and the digest recomputed from its files (empty if they are unreadable)."""

    scenario_id: str
    arrivals: int
    physical: int
    virtual: int
    buckets: int
    buckets_nonzero: int
    digest: str


def judge_scenario(
    stage: Stage,
    scenario_id: str,
    told: History,
    trace: Mapping[tuple[str, str], Record],
    cursor: Cursor,
    book: Book,
) -> tuple[ScenarioFacts, list[Claim]]:
    """Enter every check of a scenario; return its facts and the random-number counters that it claims."""
    receipt, reporter = stage.receipt, stage.reporter
    with reporter.phase("read counts"):
        horizon = load_scenario(cursor, receipt, scenario_id)
    events = _find_events(receipt, scenario_id)
    routing = document(receipt, "arrival_routing_policy_5B")
    case = Case(receipt, scenario_id, stage.policy, routing, horizon, events, told, cursor, book)
    with reporter.phase("check inputs"):
        judge_inputs(case)
        judge_names(case)
        claimed = claims(case)
    if not judge_schema(case):
        judge_files(case, stage.sealed.digest)
        _prevent(book, stage.policy, "there is no part, or one with another schema, so rows cannot be judged")
        return ScenarioFacts(scenario_id, events.rows, 0, 0, horizon.buckets, 0, ""), claimed
    fixed = Expectations(receipt.identity, scenario_id, stage.sealed.spec_version, universe_hash(receipt))
    with reporter.phase("recompute"):
        prepare_zones(case)
        law = _recomputed(case)
    checks, clock = row_checks(events, fixed, horizon.clock), horizon.clock.local("clock_primary", "ts_us")
    scan = Scan(stage.database, events, checks, clock, law, stage.threads, reporter)
    with reporter.phase("read arrivals"):
        stream = scan.run()
    with reporter.phase("judge"):
        judge_files(case, stage.sealed.digest, stream.statements)
        judge_rows(case, scan)
        if law is None:
            judge_stream(case, stream)
            scan.count_rows(cursor)
            judge_counts(case, proved=False)
            judge_routing(case, scan)
        else:
            _judge_by_law(stage, case, scan, stream, law, fixed, trace)
        judge_places(case)
    _prevent(book, stage.policy, "the check was not made" if law else "the law makes no arrivals to compare with")
    return _facts(scenario_id, stream, horizon, cursor), claimed


def _judge_by_law(
    stage: Stage,
    case: Case,
    scan: Scan,
    stream: Stream,
    law: Recomputed,
    fixed: Expectations,
    trace: Mapping[tuple[str, str], Record],
) -> None:
    """Enter the checks that compare rows and records with the law's arrivals."""
    keyed = judge_stream(case, stream)
    proved = judge_law(case, scan, stream, law) and keyed
    _count(case, scan, law, proved=proved)
    judge_counts(case, proved=proved)
    judge_summary(case, fixed.spec_version)
    totals = {**report_totals(case, stream), **judge_anomalies(case, fixed.spec_version)}
    judge_report(case, stream, totals, fixed.universe_hash)
    judge_routing(case, scan)
    accounts = predicted(case)
    judge_draws(case, accounts, trace)
    index = _index(stage.sealed.scenarios, case.scenario_id)
    judge_events(case, accounts, trace, index, stage.sealed.stored.gate["created_utc"])
    judge_choices(case)
    judge_realism(case, stream)
    judge_sentinels(case, scan)


def _recomputed(case: Case) -> Recomputed | None:
    """The law's arrivals; None, with the finding, if the law makes none of the inputs."""
    limits = case.policy.block("statistical_checks").block("uniform_offsets")
    try:
        return recomputed(case, limits.count("bins"), limits.count("largest_count_rows"))
    except LawlessError as failure:
        message = f"the law makes no arrivals of these inputs: {failure}"
        case.book.judge("law", case.events.rows, case.events.rows, message=message)
        return None


def _count(case: Case, scan: Scan, law: Recomputed, *, proved: bool) -> None:
    """Make `recount`, by the law, and `found`, by the stored rows: the same if these are proved to be the law's."""
    law.store_recount(case.cursor, case.routing["physical_router"]["use_group_weights"])
    if proved:
        case.cursor.run(f"CREATE OR REPLACE TEMP VIEW found AS SELECT {KEY}, n, v FROM recount")
    else:
        scan.count_rows(case.cursor)


def _index(scenarios: Sequence[str], scenario_id: str) -> int:
    # One that is not sealed has no part of its own; `domain` says so.
    return scenarios.index(scenario_id) if scenario_id in scenarios else len(scenarios)


_DEMANDED = {
    "require_event_time_in_bucket": "time_window",
    "require_time_half_open": "time_window",
    "require_sorted_within_bucket": "order",
    "require_exactly_N_events_per_bucket": "counts",
    "require_routing_keys_present": "site_edge_flag",
}


def _prevent(book: Book, policy: Rules, reason: str) -> None:
    """Enter every check without a finding as not made, those that the policy demands by name first."""
    demanded = policy.block("structural_checks").block("s4_arrival_events").demanded(_DEMANDED).values()
    of_scenario = [check for check in RULES if check not in _OF_THE_RUN]
    book.prevented([check for check in dict.fromkeys([*demanded, *of_scenario]) if not book.done(check)], reason)


def _find_events(receipt: Receipt, scenario_id: str) -> Events:
    output = document(receipt, "arrival_output_policy_5B")
    return find_events(
        receipt.path("arrival_events_5B", scenario_id=scenario_id),
        scenario_id,
        output["timestamp_encoding"],
        mirrored=output["physical_dual_clock"] == "mirror",
    )


def _facts(scenario_id: str, stream: Stream, horizon: Horizon, cursor: Cursor) -> ScenarioFacts:
    (used,) = cursor.row("SELECT count(*) FROM grid SEMI JOIN expected USING (bucket_index)")
    physical = stream.rows - stream.virtual
    return ScenarioFacts(scenario_id, stream.rows, physical, stream.virtual, horizon.buckets, used, stream.digest)
