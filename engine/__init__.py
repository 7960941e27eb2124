"""Arrival Engine: bucket counts to arrival events, exactly, on CPU or CUDA.

    from engine import load_world, plan, expand

    for batch in expand(plan(load_world("my-run"))):
        ...                                   # pyarrow.RecordBatch, the contract's 21 columns

`run` does the whole job and publishes files; `synthesise` and `engine.seal.seal` prepare a run directory.
Everything raises `ArrivalError`. Names load on first use, so importing the package is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine._origin import check_origin

check_origin()

if TYPE_CHECKING:
    from contracts import ArrivalError, Code, Notice
    from engine.check import CheckResult, check_published
    from engine.expansion import expand
    from engine.job import RunOptions, RunResult, ScenarioResult, run
    from engine.overview import ReportOptions, ReportResult, write_report
    from engine.planning import Plan, plan
    from engine.progress import Reporter
    from engine.seal import Seal, verify_seal
    from engine.stream import stream_arrivals
    from engine.synth import synthesise
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
    "engine.check": ("CheckResult", "check_published"),
    "engine.expansion": ("expand",),
    "engine.job": ("RunOptions", "RunResult", "ScenarioResult", "run"),
    "engine.overview": ("ReportOptions", "ReportResult", "write_report"),
    "engine.planning": ("Plan", "plan"),
    "engine.progress": ("Reporter",),
    "engine.seal": ("Seal", "verify_seal"),
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
