"""Arrival Engine: bucket counts to arrival events, exactly, on CPU or CUDA.

    from engine import load_world, plan, expand

    for batch in expand(plan(load_world("my-run"))):
        ...                                   # pyarrow.RecordBatch, the contract's 21 columns

`run` does the whole job and publishes files; `synthesise` and `engine.sealing.seal` prepare a run directory.
Everything raises `ArrivalError`. Names load on first use, so importing the package is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine._origin import check_origin

check_origin()

if TYPE_CHECKING:
    from contracts import ArrivalError, Code, Notice
    from engine.expand.expansion import expand
    from engine.expand.planning import Plan, plan
    from engine.process.progress import Reporter
    from engine.report import ReportOptions, ReportResult, write_report
    from engine.run.job import RunOptions, RunResult, ScenarioResult, run
    from engine.sealing import Seal, verify_seal
    from engine.stream import stream_arrivals
    from engine.synth import synthesise
    from engine.validation.check import CheckResult, check_published
    from engine.world.load import World, load_world

__all__ = [
    "ArrivalError",
    "CheckResult",
    "Code",
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
    "engine.validation.check": ("CheckResult", "check_published"),
    "engine.expand.expansion": ("expand",),
    "engine.run.job": ("RunOptions", "RunResult", "ScenarioResult", "run"),
    "engine.report": ("ReportOptions", "ReportResult", "write_report"),
    "engine.expand.planning": ("Plan", "plan"),
    "engine.process.progress": ("Reporter",),
    "engine.sealing": ("Seal", "verify_seal"),
    "engine.stream": ("stream_arrivals",),
    "engine.synth": ("synthesise",),
    "engine.world.load": ("World", "load_world"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
