"""Arrival Engine: bucket counts to arrival events, exactly, on CPU or CUDA.

    from arrival_engine import load_world, plan, expand

    for batch in expand(plan(load_world("my-run"))):
        ...                                   # pyarrow.RecordBatch, the contract's 21 columns

`run` does the whole job and publishes files; `synthesise` and `engine.sealing.seal` prepare a run directory.
Everything raises `ArrivalError`. Names load on first use, so importing the package is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arrival_engine.contracts import ArrivalError, Code, Notice
    from arrival_engine.engine.cluster.production import DaskMaker
    from arrival_engine.engine.expand.expansion import expand
    from arrival_engine.engine.expand.planning import Plan, plan
    from arrival_engine.engine.process.progress import Reporter
    from arrival_engine.engine.report import ReportOptions, ReportResult, write_report
    from arrival_engine.engine.run.job import RunResult, run
    from arrival_engine.engine.run.options import RunOptions
    from arrival_engine.engine.run.scenario import ScenarioResult
    from arrival_engine.engine.sealing import Seal, verify_seal
    from arrival_engine.engine.stream import stream_arrivals
    from arrival_engine.engine.synth import synthesise
    from arrival_engine.engine.validation.check import CheckResult, check_published
    from arrival_engine.engine.world.load import World, load_world

__all__ = [
    "ArrivalError",
    "CheckResult",
    "Code",
    "DaskMaker",
    "Notice",
    "Plan",
    "ReportOptions",
    "ReportResult",
    "Reporter",
    "RunOptions",
    "RunResult",
    "ScenarioResult",
    "Seal",
    "World",
    "check_published",
    "expand",
    "load_world",
    "plan",
    "run",
    "stream_arrivals",
    "synthesise",
    "verify_seal",
    "write_report",
]

_HOMES = {
    "contracts": ("ArrivalError", "Code", "Notice"),
    "arrival_engine.engine.validation.check": ("CheckResult", "check_published"),
    "arrival_engine.engine.cluster.production": ("DaskMaker",),
    "arrival_engine.engine.expand.expansion": ("expand",),
    "arrival_engine.engine.run.job": ("RunResult", "run"),
    "arrival_engine.engine.run.options": ("RunOptions",),
    "arrival_engine.engine.run.scenario": ("ScenarioResult",),
    "arrival_engine.engine.report": ("ReportOptions", "ReportResult", "write_report"),
    "arrival_engine.engine.expand.planning": ("Plan", "plan"),
    "arrival_engine.engine.process.progress": ("Reporter",),
    "arrival_engine.engine.sealing": ("Seal", "verify_seal"),
    "arrival_engine.engine.stream": ("stream_arrivals",),
    "arrival_engine.engine.synth": ("synthesise",),
    "arrival_engine.engine.world.load": ("World", "load_world"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'arrival_engine' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
