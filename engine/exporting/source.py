"""Arrivals to export: published part files, or the expansion of a sealed world."""

from __future__ import annotations

from pathlib import Path

from arrival_engine.engine.exporting.options import ExportOptions
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.readable.facts import RunFacts
from arrival_engine.engine.readable.published import published_source
from arrival_engine.engine.readable.source import Source
from arrival_engine.engine.readable.worlds import WorldSource
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import verify_seal
from arrival_engine.engine.world.load import load_world

__all__ = ["open_source"]


def open_source(run_root: Path, options: ExportOptions, reporter: Reporter) -> Source:
    """The arrivals of a run directory that the options ask for; with `publish` False, its seal is checked first.

    Raises ArrivalError for a run directory that has none.
    """
    receipt = read_receipt(run_root)
    threads = options.threads or available_cores()
    if options.publish:
        return published_source(receipt, options.scenario, threads)
    seal = verify_seal(receipt, reporter)
    with reporter.phase("read"):
        world = load_world(
            run_root, options.scenario, seal=seal, accept_tz_cache=options.accept_tz_cache, threads=threads
        )
    for notice in world.notices:
        reporter.notice(notice)
    return WorldSource(world, RunFacts(seal.bind(receipt)), threads=threads)
