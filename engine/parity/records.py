"""The records of a parity check, for the report, the summary and the tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.engine.explaining.facts import Explanation

Group = Literal["columns", "row_totals", "sums", "refusal"]
SIMULATOR: Final = "cudasim"


@dataclass(frozen=True)
class Value:
    """One value in which the sides are apart, as exact text."""

    name: str
    left: str
    right: str


@dataclass(frozen=True)
class Difference:
    """The first place where the sides are apart, and every value of that place that is.

    group: columns, where `row` is an arrival of the batch in output order; row_totals, where it is a count row of the
    batch; sums and refusal, of the whole batch, without a row.
    """

    batch: int
    group: Group
    row: int | None
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Derived:
    """What the derivation has for a value that the sides disagree on, and whom it confirms."""

    name: str
    value: str
    confirms: Literal["left", "right", "neither"]


@dataclass(frozen=True)
class Trace:
    """Whose difference it is; for an arrival also its derivation by the law on Python integers.

    `explanation` is None for a value that belongs to no single arrival; `why_not` then gives the reason.
    """

    merchant_id: int
    zone_representation: str
    channel_group: str | None
    bucket_index: int
    arrival_seq: int | None
    derived: tuple[Derived, ...] = ()
    explanation: Explanation | None = None
    why_not: str = ""


@dataclass(frozen=True)
class ColumnVerdict:
    """One array over all compared batches: values compared, values that differ, and the batches they are in."""

    group: Group
    name: str
    dtype: str
    compared: int
    differing: int
    batches: int

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return self.differing == 0


@dataclass(frozen=True)
class BatchTime:
    """One batch on one side: wall seconds until its columns are in host memory; refused where a policy stopped it."""

    index: int
    arrivals: int
    seconds: float
    digest: str
    refused: bool


@dataclass(frozen=True)
class KernelFigures:
    """What the driver says of a compiled kernel: a thread's registers and local memory, and its occupancy.

    occupancy_percent: the share of a multiprocessor's threads that blocks of the largest size fill.
    """

    name: str
    registers: int
    local_bytes: int
    occupancy_percent: int


@dataclass(frozen=True)
class SideResult:
    """One side: its backend, what it made, and its wall seconds.

    load_seconds: kernels loaded, tables and count rows taken up or uploaded; expand_seconds: all batches, `threads` at
    a time, columns in host memory; kernels: None where not known, with the reason.
    """

    backend: str
    reason: str
    threads: int
    arrivals: int
    digest: str
    load_seconds: float
    expand_seconds: float
    batches: tuple[BatchTime, ...]
    kernels: tuple[KernelFigures, ...] | None
    kernels_reason: str

    @property
    def simulated(self) -> bool:
        """Whether the device was simulated, so that its times say nothing of a device."""
        return self.backend == SIMULATOR

    @property
    def rates(self) -> Mapping[str, float]:
        """Arrivals per second by phase; empty where no time was spent."""
        spent = {"expand": self.expand_seconds, "load and expand": self.load_seconds + self.expand_seconds}
        return {name: self.arrivals / seconds for name, seconds in spent.items() if seconds > 0.0}


@dataclass(frozen=True)
class Extent:
    """How much of the plan was compared, and why that much."""

    arrivals: int
    arrivals_planned: int
    batches: tuple[int, ...]
    batches_planned: int
    batch_arrivals: int
    why: str

    @property
    def whole(self) -> bool:
        """Whether nothing of the scenario was left out."""
        return len(self.batches) == self.batches_planned


@dataclass(frozen=True)
class ParityResult:
    """The verdict, both sides, and where the report lies.

    phases: wall seconds of what both sides share; refused: batches that the policy stopped, on both sides alike.
    """

    scenario_id: str
    extent: Extent
    left: SideResult
    right: SideResult
    columns: tuple[ColumnVerdict, ...]
    refused: tuple[int, ...]
    difference: Difference | None
    trace: Trace | None
    phases: Mapping[str, float]
    notes: tuple[str, ...]
    notices: tuple[Notice, ...]
    report_json: Path
    report_html: Path

    @property
    def identical(self) -> bool:
        """Whether the sides have the same bits in everything that was compared."""
        return self.difference is None

    def failure(self) -> ArrivalError:
        """The error for sides that differ, with the first difference; ValueError where they do not."""
        if self.difference is None:
            raise ValueError("the sides are identical")
        found = self.difference
        facts: dict[str, object] = {"scenario_id": self.scenario_id, "batch": found.batch, "group": found.group}
        if found.row is not None:
            facts["row"] = found.row
        if self.trace is not None:
            facts |= _whose(self.trace)
        differing = {f"{verdict.group}.{verdict.name}": verdict.differing for verdict in self.columns}
        return ArrivalError(
            Code.RERUN_NONDETERMINISTIC,
            f"{self.left.backend} and {self.right.backend} differ in scenario {self.scenario_id}: {first_text(found)}",
            hint="see the report for the derivation; use no arrivals of the backend that it does not confirm",
            **facts,
            left_digest=self.left.digest,
            right_digest=self.right.digest,
            differing={name: count for name, count in differing.items() if count},
            report=self.report_html,
        )


def _whose(trace: Trace) -> dict[str, object]:
    facts: dict[str, object] = {
        "merchant_id": trace.merchant_id,
        "zone_representation": trace.zone_representation,
        "channel_group": trace.channel_group,
        "bucket_index": trace.bucket_index,
    }
    if trace.arrival_seq is not None:
        facts["arrival_seq"] = trace.arrival_seq
    if trace.explanation is not None:
        facts["draw"] = trace.explanation.history.bucket.draw
    if trace.derived:
        facts["derived"] = {item.name: f"{item.value} (confirms {item.confirms})" for item in trace.derived}
    return facts


def first_text(found: Difference) -> str:
    """The first difference as one phrase."""
    row = "" if found.row is None else f", {'arrival' if found.group == 'columns' else 'count row'} {found.row}"
    values = "; ".join(
        f"{value.name} is {value.left} on the left, {value.right} on the right" for value in found.values
    )
    return f"batch {found.batch}{row}: {values}"
