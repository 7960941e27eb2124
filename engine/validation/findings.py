"""Findings of checks, and the outcome of all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.validation.rules import RULES, Area, Labelled, Rule

EXAMPLES_MAX = 5
Example = Mapping[str, Any]
Facts = Mapping[str, Any]


class Severity(StrEnum):
    """The effect of a breach: fail the run, count as a warning, or only be reported."""

    ERROR = "ERROR"
    WARN = "WARN"
    INFO = "INFO"


class Verdict(Labelled):
    """The result of a check; NO_DATA: too little data to judge; NOT_RUN: something else prevented the check."""

    PASS = "PASS", "passed"
    FAIL = "FAIL", "failed"
    WARN = "WARN", "warned"
    NOTE = "NOTE", "noted"
    NO_DATA = "NO_DATA", "without enough data"
    NOT_RUN = "NOT_RUN", "not made"


def tally_text(tally: Mapping[str, int]) -> str:
    """Counts of verdicts for people: '12 passed, 1 failed'."""
    return ", ".join(f"{tally[verdict]} {verdict.label}" for verdict in Verdict if tally.get(verdict))


_BREACH = {Severity.ERROR: Verdict.FAIL, Severity.WARN: Verdict.WARN, Severity.INFO: Verdict.NOTE}


@dataclass(frozen=True)
class Finding:
    """The outcome of one check; `rows` were looked at, `violations` of them break it, `examples` are the first."""

    check: str
    verdict: Verdict
    severity: Severity
    rows: int = 0
    violations: int = 0
    scenario_id: str | None = None
    examples: tuple[Example, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""

    @property
    def rule(self) -> Rule:
        """The rule of the check."""
        return RULES[self.check]

    def record(self) -> dict[str, Any]:
        """The finding in the form of the report."""
        return {
            "check": self.check,
            "scenario_id": self.scenario_id,
            "code": str(self.rule.code),
            "severity": str(self.severity),
            "verdict": str(self.verdict),
            "rows": self.rows,
            "violations": self.violations,
            "examples": [dict(example) for example in self.examples],
            "statistics": dict(self.statistics),
            "message": self.message,
        }


class Book:
    """The findings of one scenario, or (`scenario_id` None) of the run as a whole."""

    def __init__(self, scenario_id: str | None = None) -> None:
        self.scenario_id = scenario_id
        self.findings: list[Finding] = []

    def judge(
        self,
        check: str,
        rows: int,
        violations: int,
        *,
        severity: Severity = Severity.ERROR,
        examples: Iterable[Example] = (),
        message: str = "",
        facts: Facts | None = None,
    ) -> None:
        """Enter an exact check: any violation is a breach."""
        verdict = _BREACH[severity] if violations else Verdict.PASS
        shown = tuple(examples)[:EXAMPLES_MAX]
        rest = {"examples": shown, "message": message, "statistics": facts or {}}
        self._enter(check, verdict, severity, rows, violations, **rest)

    def measure(
        self,
        check: str,
        rows: int,
        holds: bool | None,
        *,
        severity: Severity,
        message: str = "",
        facts: Facts | None = None,
    ) -> None:
        """Enter a check of a statistic; `holds` None means too little data to judge."""
        verdict = Verdict.NO_DATA if holds is None else Verdict.PASS if holds else _BREACH[severity]
        broken = int(holds is False)
        note = message or ("not enough data" if holds is None else "")
        self._enter(check, verdict, severity, rows, broken, message=note, statistics=facts or {})

    def prevented(self, checks: Iterable[str], reason: str) -> None:
        """Enter checks that could not be made."""
        for check in checks:
            self._enter(check, Verdict.NOT_RUN, Severity.ERROR, 0, 0, message=reason)

    def _enter(self, check: str, verdict: Verdict, severity: Severity, rows: int, violations: int, **rest: Any) -> None:
        if check not in RULES or any(finding.check == check for finding in self.findings):
            raise ArrivalError(Code.S5_UNEXPECTED_INTERNAL_ERROR, f"check {check!r} is unknown or entered twice")
        self.findings.append(Finding(check, verdict, severity, rows, violations, self.scenario_id, **rest))

    def done(self, check: str) -> bool:
        """Whether the check has been entered."""
        return any(finding.check == check for finding in self.findings)


@dataclass(frozen=True)
class Outcome:
    """The verdict over all findings: those of the run first, then scenario by scenario."""

    findings: tuple[Finding, ...]
    max_warnings: int
    fail_closed: bool

    def _of(self, *verdicts: Verdict) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict in verdicts)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Findings that fail the run."""
        return self._of(Verdict.FAIL)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that only warn."""
        return self._of(Verdict.WARN)

    @property
    def passed(self) -> bool:
        """No failure, nothing left unchecked, and no more warnings than the policy allows."""
        open_ends = self._of(Verdict.NOT_RUN) if self.fail_closed else ()
        return not self.failures and not open_ends and len(self.warnings) <= self.max_warnings

    @property
    def error(self) -> tuple[str, str] | None:
        """Canonical code and message of a run that did not pass."""
        if self.passed:
            return None
        decisive = self.failures or self._of(Verdict.NOT_RUN)
        if not decisive:
            first = self.warnings[0]
            message = f"{len(self.warnings)} warnings, {self.max_warnings} allowed; the first is {first.check}"
            return str(first.rule.code), message
        first = decisive[0]
        where = f" in scenario {first.scenario_id}" if first.scenario_id else ""
        more = f"; {len(decisive) - 1} more checks failed" if len(decisive) > 1 else ""
        detail = first.message or f"{first.violations} of {first.rows} break it"
        return str(first.rule.code), f"{first.check}{where}: {first.rule.demands}: {detail}{more}"

    def holds(self, area: Area) -> bool:
        """Whether every check of an area was made and none failed."""
        own = [finding for finding in self.findings if finding.rule.area is area]
        return not any(finding.verdict in (Verdict.FAIL, Verdict.NOT_RUN) for finding in own)


def outcome(books: Sequence[Book], max_warnings: int, *, fail_closed: bool = True) -> Outcome:
    """The findings of all books in the order of `RULES`, the run's before its scenarios'."""
    order = {check: place for place, check in enumerate(RULES)}
    found = [finding for book in books for finding in book.findings]
    found.sort(key=lambda finding: (finding.scenario_id or "", order[finding.check]))
    return Outcome(tuple(found), max_warnings, fail_closed)
