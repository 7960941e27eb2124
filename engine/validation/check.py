"""The checks of `arrivals validate` on one scenario, area by area; nothing is published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.validation.findings import Outcome, Verdict
from arrival_engine.engine.validation.job import ValidateOptions, judge_run
from arrival_engine.engine.validation.rules import Area


class Check(NamedTuple):
    """One named property and whether it holds."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class CheckResult:
    """Rows read, their digest recomputed from the stored values, and the checks, area by area."""

    rows: int
    digest: str
    checks: tuple[Check, ...]


def check_published(run_root: Path | str, scenario_id: str) -> CheckResult:
    """Check every row of a scenario's published arrivals, as `arrivals validate` does.

    Raises S5.DOMAIN_DISCOVERY_FAILED if there is nothing to read, and the errors of `judge_run`.
    """
    judged = judge_run(read_receipt(Path(run_root)), ValidateOptions(), Reporter(), only=(scenario_id,))
    (facts,) = (facts for facts in judged.scenarios if facts.scenario_id == scenario_id)
    checks = tuple(_check(judged.outcome, area) for area in Area)
    return CheckResult(facts.arrivals, facts.digest, checks)


def _check(outcome: Outcome, area: Area) -> Check:
    own = [finding for finding in outcome.findings if finding.rule.area is area]
    broken = [finding for finding in own if str(finding.verdict) in ("FAIL", "NOT_RUN")]
    others = (Verdict.NOT_APPLICABLE, Verdict.NO_DATA)
    passed = sum(finding.verdict not in others for finding in own)
    detail = f"{passed} check{'' if passed == 1 else 's'}"
    for verdict in others:
        if told := sum(finding.verdict is verdict for finding in own):
            detail += f", {told} more {verdict.label}"
    if broken:
        detail = "; ".join(f"{finding.check}: {finding.message or finding.rule.demands}" for finding in broken)
    return Check(area.label, not broken, detail)
