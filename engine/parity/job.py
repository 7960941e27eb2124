"""The parity check: the same batches by two backends, compared, traced and reported."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.options import ParityName
from arrival_engine.engine.expand.backend import Backend, parity_backend
from arrival_engine.engine.expand.memory_check import check_memory
from arrival_engine.engine.expand.planning import DEFAULT_BATCH_ARRIVALS, Batch, Plan, plan
from arrival_engine.engine.parity.compare import Tally
from arrival_engine.engine.parity.environment import describe
from arrival_engine.engine.parity.records import SIMULATOR, Extent, ParityResult
from arrival_engine.engine.parity.report import REPORT_HTML, REPORT_JSON, document, write_reports
from arrival_engine.engine.parity.sample import SIMULATED_BATCH_ARRIVALS, Sample, choose
from arrival_engine.engine.parity.sides import Side, opened
from arrival_engine.engine.parity.trace import trace
from arrival_engine.engine.process import human
from arrival_engine.engine.process.interrupts import heard_interrupts
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import verify_seal
from arrival_engine.engine.world.load import SealedWorld, load_world
from arrival_engine.gpu_kernels.device import unusable_reason

_REPORTS = "reports/parity"


@dataclass(frozen=True)
class ParityOptions:
    """What to compare.

    right: None for a CUDA device where one can be used, else its simulation. sample_batches: None for every batch,
    with a simulated side for some seconds' worth. batch_arrivals: None for a run's own size, or a small one with a
    simulated side. out: None for RUN_ROOT/reports/parity.
    """

    left: ParityName = "cpu"
    right: ParityName | None = None
    scenario_id: str | None = None
    sample_batches: int | None = None
    batch_arrivals: int | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        for side in (self.left, self.right or "cuda"):
            if side not in get_args(ParityName):
                raise ValueError(f"a side must be one of {', '.join(get_args(ParityName))}, not {side!r}")
        if self.left == self.right:
            raise ValueError(f"both sides are {self.left}: there is nothing to compare")
        for name in ("sample_batches", "batch_arrivals"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")


class Sides(NamedTuple):
    """The two backends to compare."""

    left: Backend
    right: Backend

    @property
    def simulated(self) -> bool:
        """Whether one of them is a simulation."""
        return SIMULATOR in (self.left.name, self.right.name)


def parity(
    run_root: Path | str,
    options: ParityOptions | None = None,
    reporter: Reporter | None = None,
    sides: Sides | None = None,
) -> ParityResult:
    """Expand the same batches with both backends, compare every array exactly, and write the report.

    Sides that differ are a result, not an error: see `ParityResult.failure`. `sides` replaces the backends that the
    options name. Raises ArrivalError where the inputs are not as sealed, a side is not available, there are no arrivals
    or the report cannot be written.
    """
    options, reporter = options or ParityOptions(), reporter or Reporter()
    sides = sides or choose_sides(options)
    with heard_interrupts():
        world = _load(Path(run_root), options, reporter)
        with reporter.phase("plan"):
            planned = plan(world, options.batch_arrivals or _batch_arrivals(sides))
            # Both sides' batches are held at once.
            check_memory(planned, 2 * available_cores())
        if not planned.arrivals:
            raise _nothing(world)
        return _Check(world, planned, choose(planned, options.sample_batches, sides.simulated), sides).run(
            options, reporter
        )


def choose_sides(options: ParityOptions) -> Sides:
    """The backends that the options name; the right one by default a CUDA device, else the simulator."""
    left = parity_backend(options.left)
    if options.right is not None:
        return Sides(left, parity_backend(options.right))
    if reason := unusable_reason():
        simulator = parity_backend(SIMULATOR)
        return Sides(left, Backend(SIMULATOR, f"no CUDA device can be used here: {reason}", simulator.open))
    return Sides(left, parity_backend("cuda"))


def _batch_arrivals(sides: Sides) -> int:
    return SIMULATED_BATCH_ARRIVALS if sides.simulated else DEFAULT_BATCH_ARRIVALS


def _load(run_root: Path, options: ParityOptions, reporter: Reporter) -> SealedWorld:
    receipt = read_receipt(run_root)
    seal = verify_seal(receipt, reporter)
    with reporter.phase("read"):
        # Backends do not decide which cache is right: both have to use it in the same way.
        world = load_world(receipt.run_root.outside, options.scenario_id, seal=seal, accept_tz_cache=True)
    for notice in world.notices:
        reporter.notice(notice)
    return world


def _nothing(world: SealedWorld) -> ArrivalError:
    return ArrivalError(
        Code.OPTION_INVALID,
        f"scenario {world.scenario_id} has no arrivals: there is nothing to compare",
        hint="name a scenario whose s3_bucket_counts_5B has a count above zero",
        scenario_id=world.scenario_id,
    )


@dataclass(frozen=True)
class _Check:
    world: SealedWorld
    planned: Plan
    sample: Sample
    sides: Sides

    def run(self, options: ParityOptions, reporter: Reporter) -> ParityResult:
        # Taken before the work, which would show in the load.
        environment = describe()
        for note in self._notes():
            reporter.message(note)
        tally = Tally()
        with ExitStack() as stack:
            left, right = (stack.enter_context(opened(backend, self.planned, reporter)) for backend in self.sides)
            with reporter.phase("expand and compare"):
                reporter.expect("arrivals", sum(batch.arrivals for batch in self.sample.batches))
                compare_seconds = self._compare(left, right, tally, reporter)
            accounts = left.account(), right.account()
        traced = None
        if tally.first is not None:
            with reporter.phase("derive"):
                traced = trace(self.planned, tally.first)
        out = InsidePath(options.out) if options.out else self.world.receipt.run_root / _REPORTS
        result = ParityResult(
            scenario_id=self.world.scenario_id,
            extent=self._extent(),
            left=accounts[0],
            right=accounts[1],
            columns=tally.verdicts(),
            refused=tuple(tally.refused),
            difference=tally.first,
            trace=traced,
            phases={**_shared(reporter), "compare": compare_seconds},
            notes=self._notes(),
            notices=(*self.world.seal.notices, *self.world.notices),
            report_json=(out / REPORT_JSON).outside,
            report_html=(out / REPORT_HTML).outside,
        )
        with reporter.phase("report"):
            write_reports(out, document(result, self.world, environment))
        return result

    def _compare(self, left: Side, right: Side, tally: Tally, reporter: Reporter) -> float:
        """Every batch on both sides; the seconds that comparing alone took."""
        spent = 0.0
        # One side after the other: at the same time they would slow each other down and spoil both times.
        for wave in _waves(self.sample.batches, max(left.threads, right.threads)):
            both = left.expand(wave), right.expand(wave)
            began = time.perf_counter()
            for batch, one, other in zip(wave, *both, strict=True):
                tally.add(batch, one, other)
                reporter.advance(batch.arrivals)
            spent += time.perf_counter() - began
        return spent

    def _extent(self) -> Extent:
        return Extent(
            arrivals=sum(batch.arrivals for batch in self.sample.batches),
            arrivals_planned=self.planned.arrivals,
            batches=tuple(batch.index for batch in self.sample.batches),
            batches_planned=len(self.planned.batches),
            batch_arrivals=self.planned.batch_arrivals,
            why=self.sample.why,
        )

    def _notes(self) -> tuple[str, ...]:
        """What a reader of the result must not overlook."""
        extent, notes = self._extent(), []
        if self.sides.simulated:
            notes.append(
                "cudasim is a simulation of the device: the CUDA kernels run in numba's simulator on the CPU. "
                "Equal bits say what the kernels compute; its speed says nothing of a device."
            )
            reasons = [side.reason for side in self.sides if side.name == SIMULATOR and side.reason != "asked for"]
            notes += [f"simulated because {reason}" for reason in reasons]
            notes.append(
                f"the batches are small (planned for {human.count(extent.batch_arrivals)} arrivals), so the other side "
                "is slower here than in a run"
            )
        if not extent.whole:
            notes.append(
                f"a sample: {human.count(extent.arrivals)} of {human.count(extent.arrivals_planned)} arrivals, "
                f"{human.count(len(extent.batches))} of {human.count(extent.batches_planned)} batches ({extent.why})"
            )
        return tuple(notes)


def _shared(reporter: Reporter) -> dict[str, float]:
    phases = reporter.phases
    return {name: phases[name] for name in ("seal check", "read", "plan") if name in phases}


def _waves(batches: Sequence[Batch], size: int) -> Iterator[Sequence[Batch]]:
    for start in range(0, len(batches), size):
        yield batches[start : start + size]
