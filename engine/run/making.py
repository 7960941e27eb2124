"""Makers: what makes the parts of a scenario, on the threads of this process or elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.expand.backend import choose_backend, require_backend
from arrival_engine.engine.expand.choosing import Amount
from arrival_engine.engine.expand.memory_check import check_memory
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.run.options import RunOptions
from arrival_engine.engine.run.production import Made, Workshop, produce_parts
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.sealing import Seal
from arrival_engine.engine.world.load import World, load_world


@dataclass(frozen=True)
class Order:
    """One scenario to be made.

    before_work: called with the world, whose count rows may be elsewhere, and its arrivals; raises the ArrivalError of
    what could not be published afterwards.
    """

    receipt: Receipt
    seal: Seal
    scenario_id: str
    options: RunOptions
    before_work: Callable[[World, int], None]


class Maker(Protocol):
    """What makes the parts of scenarios."""

    def begin(self, options: RunOptions, reporter: Reporter) -> None:
        """Once per run, before any work: say where it is done. Raises the ArrivalError of what cannot be done here."""

    def make(self, order: Order, staged: InsidePath, reporter: Reporter, *, resume: bool) -> Made:
        """Every part of a scenario in `staged`/events, on disk and read back; `resume` takes over finished ones."""


@dataclass(frozen=True)
class LocalMaker:
    """Makes parts on the threads of this process; `take` as in `Workshop`."""

    threads: int
    take: Callable[[InsidePath], None] | None = None

    def begin(self, options: RunOptions, reporter: Reporter) -> None:  # noqa: ARG002 - as `Maker.begin`
        """As `Maker.begin`; which backend `auto` takes is said when the plan is known."""
        require_backend(options.backend, device_writer=options.device_writer)

    def make(self, order: Order, staged: InsidePath, reporter: Reporter, *, resume: bool) -> Made:
        """As `Maker.make`."""
        options = order.options
        with reporter.phase("read"):
            world = load_world(
                order.receipt.run_root.outside,
                order.scenario_id,
                seal=order.seal,
                strict=options.strict,
                accept_tz_cache=options.accept_tz_cache,
                threads=self.threads,
            )
        for notice in world.notices:
            reporter.notice(notice)
        with reporter.phase("plan"):
            batches = plan(world, options.batch_arrivals)
            check_memory(batches, self.threads)
        order.before_work(world, batches.arrivals)
        amount = Amount(batches.arrivals, min(self.threads, available_cores()))
        backend = choose_backend(options.backend, amount, device_writer=options.device_writer)
        if options.backend == "auto":
            reporter.message(f"backend {backend.name}: {backend.reason}")
        shop = Workshop(backend, self.threads, options.format, reporter, self.take)
        return produce_parts(shop, batches, staged, resume=resume)
