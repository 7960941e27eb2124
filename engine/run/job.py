"""The main job: a sealed run directory to published arrivals, scenario by scenario."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from arrival_engine.contracts import ArrivalError, Code, check_token, unforeseen
from arrival_engine.contracts.moments import utc_now
from arrival_engine.engine.process.interrupts import heard_interrupts
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.records.run_report import append_line, failure_facts, report_head
from arrival_engine.engine.run.making import LocalMaker, Maker
from arrival_engine.engine.run.options import RunOptions
from arrival_engine.engine.run.scenario import Job, ScenarioResult, run_scenario
from arrival_engine.engine.rundir.lock import clear_leftovers, run_lock
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.sealing import verify_seal
from arrival_engine.engine.storage.directory import Shipping, run_directory
from arrival_engine.engine.storage.url import StoreUrl, parse_place


@dataclass(frozen=True)
class RunResult:
    """All scenarios of a run, and the backend that expanded them."""

    scenarios: tuple[ScenarioResult, ...]
    backend: str


def run(
    run_root: Path | str,
    options: RunOptions | None = None,
    reporter: Reporter | None = None,
    *,
    maker: Maker | None = None,
    shipping: Shipping | None = None,
) -> RunResult:
    """Check the seal, expand every scenario asked for (default: all), publish, report.

    Each scenario is published whole by rename; a failure leaves earlier publications as they were. Any failure but
    an interruption is also a FAIL line of the run report. `run_root`: a directory, or the URL of one in an object
    store. `maker`: what makes the parts, to the same bytes; by default the threads of this process, on a cluster
    `DaskMaker(client)`. `shipping`: of the `run_directory` whose working copy `run_root` is. Raises ArrivalError.
    """
    options, reporter = options or RunOptions(), reporter or Reporter()
    if maker is not None and (options.resume or options.threads or options.device_writer):
        raise ValueError("a run on a cluster takes neither threads, which its workers have, nor resume, device_writer")
    place = parse_place(run_root)
    if isinstance(place, StoreUrl):
        with run_directory(place, reporter) as copy:
            return run(copy.root, options, reporter, maker=maker, shipping=copy.shipping)
    receipt = read_receipt(place)
    started = utc_now()
    try:
        with heard_interrupts(), run_lock(receipt.run_root):
            for name in () if options.resume else clear_leftovers(receipt.run_root):
                reporter.message(f"removed {name}, which a killed run had left behind")
            result = _run(receipt, options, reporter, maker, shipping)
            if options.resume:
                # Those of runs that were killed before their first part or after their publication.
                clear_leftovers(receipt.run_root)
            return result
    except Exception as failure:
        error = failure if isinstance(failure, ArrivalError) else unforeseen(failure)
        told = shipping.outward(error) if shipping else error
        line = {**report_head(receipt.identity, _scenario_of(error), started), **failure_facts(told)}
        # The first failure is the one to report, even where the report cannot be written either.
        with suppress(ArrivalError):
            append_line(receipt, line)
        if error is failure:
            raise
        raise error from failure


def _scenario_of(error: ArrivalError) -> str | None:
    scenario = error.context.get("scenario_id")
    return scenario if isinstance(scenario, str) else None


def _run(
    receipt: Receipt, options: RunOptions, reporter: Reporter, maker: Maker | None, shipping: Shipping | None
) -> RunResult:
    for scenario_id in options.scenarios:
        check_token("scenario_id", scenario_id)
    if maker is None:
        maker = LocalMaker(options.threads or available_cores(), shipping.take if shipping else None)
    maker.begin(options, reporter)
    seal = verify_seal(receipt, reporter)
    unknown = [scenario_id for scenario_id in options.scenarios if scenario_id not in seal.scenario_set]
    if unknown:
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"no time grid and bucket counts of scenario {', '.join(unknown)}; sealed: {', '.join(seal.scenario_set)}",
            hint="name scenarios that were sealed, or leave --scenario out for all of them",
            scenarios=list(seal.scenario_set),
        )
    job = Job(seal.bind(receipt), seal, options, reporter, maker, shipping)
    results = [run_scenario(job, scenario_id) for scenario_id in dict.fromkeys(options.scenarios or seal.scenario_set)]
    return RunResult(tuple(results), ", ".join(sorted({result.backend for result in results})))
