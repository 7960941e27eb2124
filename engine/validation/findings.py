"""Findings of checks, and the outcome of all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.validation.rules import RULES, Area, Labelled, Rule
from arrival_engine.engine.validation.statistics import rounded

EXAMPLES_MAX = 5
Example = Mapping[str, Any]
Facts = Mapping[str, Any]


class Severity(StrEnum):
    """The effect of a breach: fail the run, count as a warning, or only be reported."""

    ERROR = "ERROR"
    WARN = "WARN"
    INFO = "INFO"


class Verdict(Labelled):
    """The result of a check.

    NOT_APPLICABLE: the world has nothing that the check is about. NO_DATA: too little data to judge. NOT_RUN: something
    else prevented the check.
    """

    PASS = "PASS", "passed"
    FAIL = "FAIL", "failed"
    WARN = "WARN", "warned"
    NOTE = "NOTE", "noted"
    NOT_APPLICABLE = "NOT_APPLICABLE", "not applicable"
    NO_DATA = "NO_DATA", "without enough data"
    NOT_RUN = "NOT_RUN", "not made"


def tally_text(tally: Mapping[str, int]) -> str:
    """Counts of verdicts for people: '12 passed, 1 failed'."""
    return ", ".join(f"{tally[verdict]} {verdict.label}" for verdict in Verdict if tally.get(verdict))


_BREACH = {Severity.ERROR: Verdict.FAIL, Severity.WARN: Verdict.WARN, Severity.INFO: Verdict.NOTE}


class Measured(NamedTuple):
    """A statistic and the closed range that is expected of it; None is no limit on that side, at least one is given."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the value is in the range."""
        return (self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high)

    @property
    def shown(self) -> float:
        """The value as it is reported."""
        return self.value if isinstance(self.value, int) else rounded(self.value)

    @property
    def expected(self) -> str:
        """The range in words."""
        low, high = (limit if isinstance(limit, int) else f"{limit:g}" for limit in (self.low or 0.0, self.high or 0.0))
        if self.low is None or self.high is None:
            return f"at most {high}" if self.low is None else f"at least {low}"
        return f"{low}" if self.low == self.high else f"{low} to {high}"

    @property
    def text(self) -> str:
        """The value beside the range, with as many digits as it takes to see on which side of a limit it is."""
        same_side = self._replace(value=self.shown).holds == self.holds
        return f"{self.name} {self.shown if same_side else self.value}, expected {self.expected}"


def breaches(measured: Iterable[Measured]) -> str:
    """The statistics out of their range, each with that range."""
    return "; ".join(each.text for each in measured if not each.holds)


def statistics_text(statistics: Mapping[str, Any], expected: Mapping[str, str], message: str, most: int) -> str:
    """Up to `most` statistics for people, measured ones with their range, and the message.

    A statistic that the message gives is not repeated.
    """
    shown = []
    for name, value in statistics.items():
        if name in expected and f"; {name} " in f"; {message}":
            continue
        shown.append(f"{name} {value} ({expected[name]})" if name in expected else f"{name} {value}")
    return "; ".join(text for text in (message, ", ".join(shown[:most])) if text)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check; `rows` were looked at, `violations` of them break it, `examples` are the first.

    expected: the range of each statistic that was compared with one, in words.
    """

    check: str
    verdict: Verdict
    severity: Severity
    rows: int = 0
    violations: int = 0
    scenario_id: str | None = None
    examples: tuple[Example, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, str] = field(default_factory=dict)
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
            "expected": dict(self.expected),
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

    def compare(
        self,
        check: str,
        rows: int,
        violations: int,
        measured: Measured,
        *,
        severity: Severity,
        examples: Iterable[Example] = (),
        facts: Facts | None = None,
    ) -> None:
        """Enter an exact check that, among other things, holds rows to a limit; `measured` says how near they come."""
        verdict = _BREACH[severity] if violations else Verdict.PASS
        rest = {"examples": tuple(examples)[:EXAMPLES_MAX], "message": breaches([measured])}
        self._enter(check, verdict, severity, rows, violations, **rest, **_told([measured], facts))

    def measure(
        self,
        check: str,
        rows: int,
        measured: Sequence[Measured],
        *,
        severity: Severity,
        facts: Facts | None = None,
    ) -> None:
        """Enter a check of statistics: one out of its range is a breach."""
        broken = sum(not each.holds for each in measured)
        verdict = _BREACH[severity] if broken else Verdict.PASS
        note = breaches(measured)
        self._enter(check, verdict, severity, rows, int(broken > 0), message=note, **_told(measured, facts))

    def undecided(self, check: str, rows: int, needed: str, *, severity: Severity, facts: Facts | None = None) -> None:
        """Enter a check that has too little data to judge; `needed` says how much it takes."""
        note = f"not enough data: {needed}"
        self._enter(check, Verdict.NO_DATA, severity, rows, 0, message=note, statistics=facts or {})

    def inapplicable(self, check: str, reason: str, *, severity: Severity) -> None:
        """Enter a check of something that the world does not have."""
        self._enter(check, Verdict.NOT_APPLICABLE, severity, 0, 0, message=f"does not apply: {reason}")

    def prevented(self, checks: Iterable[str], reason: str) -> None:
        """Enter checks that could not be made."""
        for check in checks:
            self._enter(check, Verdict.NOT_RUN, Severity.ERROR, 0, 0, message=reason)

    def _enter(self, check: str, verdict: Verdict, severity: Severity, rows: int, violations: int, **rest: Any) -> None:
        if check not in RULES or any(finding.check == check for finding in self.findings):
            raise ArrivalError(Code.S5_UNEXPECTED_INTERNAL_ERROR, f"check {check!r} is unknown or entered twice")
        self.findings.append(Finding(check, verdict, severity, rows, violations, self.scenario_id, **rest))

    def change_examples(self, change: Callable[[Sequence[Example]], Iterable[Example]]) -> None:
        """Replace the examples of each finding that has any by `change` of them."""
        self.findings = [
            replace(finding, examples=tuple(change(finding.examples))) if finding.examples else finding
            for finding in self.findings
        ]

    def done(self, check: str) -> bool:
        """Whether the check has been entered."""
        return any(finding.check == check for finding in self.findings)


def _told(measured: Sequence[Measured], facts: Facts | None) -> dict[str, Any]:
    values = {each.name: each.shown for each in measured}
    return {"statistics": {**values, **(facts or {})}, "expected": {each.name: each.expected for each in measured}}


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
    def warned_checks(self) -> int:
        """The number of checks with a warning, in however many scenarios."""
        return len({finding.check for finding in self.warnings})

    @property
    def passed(self) -> bool:
        """No failure, nothing left unchecked, and no more checks with a warning than the policy allows."""
        open_ends = self._of(Verdict.NOT_RUN) if self.fail_closed else ()
        return not self.failures and not open_ends and self.warned_checks <= self.max_warnings

    @property
    def error(self) -> tuple[str, str] | None:
        """Canonical code and message of a run that did not pass."""
        if self.passed:
            return None
        decisive = self.failures or self._of(Verdict.NOT_RUN)
        if not decisive:
            first = self.warnings[0]
            warned, detail = self.warned_checks, f": {first.message}" if first.message else ""
            told = "1 check warns" if warned == 1 else f"{warned} checks warn"
            message = f"{told}, {self.max_warnings} allowed; the first is {first.check}"
            return str(first.rule.code), f"{message}{detail}"
        first = decisive[0]
        where = f" in scenario {first.scenario_id}" if first.scenario_id else ""
        rest = len(decisive) - 1
        more = f"; {rest} more check{'' if rest == 1 else 's'} failed" if rest else ""
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
