"""Arrival Engine: bucket counts to arrival events, exactly, on CPU or CUDA.

    import arrival_engine as ae

    arrivals = ae.expand_counts(counts, sites, seed=7)  # pandas, Polars, Arrow, DuckDB, or paths of files
    arrivals.to_pandas()                                # or .to_polars(), .to_arrow(), .batches(), .write(...)

Every command of `arrivals` is a function here: `seal`, `run` and `validate` do to a run directory what the commands of
those names do. Failures are raised as `ArrivalError`. Names load on first use, so importing the package is cheap.
"""

from __future__ import annotations

# As in `typing`, whose import takes longer than all else here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from arrival_engine.contracts import ArrivalError, Code, Notice
    from arrival_engine.engine.adopting import AdoptOptions, AdoptResult, adopt
    from arrival_engine.engine.cluster.production import DaskMaker
    from arrival_engine.engine.comparing import DiffOptions, DiffResult, diff
    from arrival_engine.engine.expand.expansion import expand
    from arrival_engine.engine.expand.planning import Plan, plan
    from arrival_engine.engine.explaining import Explanation, Question, explain
    from arrival_engine.engine.exporting import ExportOptions, ExportResult, export
    from arrival_engine.engine.forecast.forecast import ForecastOptions, ForecastResult, forecast
    from arrival_engine.engine.frames.arrivals import Arrivals
    from arrival_engine.engine.frames.counts import expand_counts
    from arrival_engine.engine.frames.published import read_arrivals
    from arrival_engine.engine.importing import ImportRequest, ImportResult, import_world
    from arrival_engine.engine.parity import ParityOptions, ParityResult, parity
    from arrival_engine.engine.process.doctor import Diagnosis, doctor
    from arrival_engine.engine.process.progress import Reporter
    from arrival_engine.engine.report import ReportOptions, ReportResult, report
    from arrival_engine.engine.run.job import RunResult, run
    from arrival_engine.engine.run.options import RunOptions
    from arrival_engine.engine.run.scenario import ScenarioResult
    from arrival_engine.engine.sealing import SealResult, seal
    from arrival_engine.engine.stream import stream_arrivals
    from arrival_engine.engine.synth import SynthResult, synthesise
    from arrival_engine.engine.tz.build import TzCacheResult, build_tz
    from arrival_engine.engine.validation.job import ValidateOptions, ValidateResult, validate
    from arrival_engine.engine.validation.verify import Bundle, verify
    from arrival_engine.engine.world.load import World, load_world
    from arrival_engine.gpu_kernels.device_batch import DeviceBatch

__all__ = [
    "AdoptOptions",
    "AdoptResult",
    "ArrivalError",
    "Arrivals",
    "Bundle",
    "Code",
    "DaskMaker",
    "DeviceBatch",
    "Diagnosis",
    "DiffOptions",
    "DiffResult",
    "Explanation",
    "ExportOptions",
    "ExportResult",
    "ForecastOptions",
    "ForecastResult",
    "ImportRequest",
    "ImportResult",
    "Notice",
    "ParityOptions",
    "ParityResult",
    "Plan",
    "Question",
    "ReportOptions",
    "ReportResult",
    "Reporter",
    "RunOptions",
    "RunResult",
    "ScenarioResult",
    "SealResult",
    "SynthResult",
    "TzCacheResult",
    "ValidateOptions",
    "ValidateResult",
    "World",
    "adopt",
    "build_tz",
    "diff",
    "doctor",
    "expand",
    "expand_counts",
    "explain",
    "export",
    "forecast",
    "import_world",
    "load_world",
    "parity",
    "plan",
    "read_arrivals",
    "report",
    "run",
    "seal",
    "stream_arrivals",
    "synthesise",
    "validate",
    "verify",
]

_ENGINE = "arrival_engine.engine"
_HOMES = {
    "arrival_engine.contracts": ("ArrivalError", "Code", "Notice"),
    f"{_ENGINE}.adopting": ("AdoptOptions", "AdoptResult", "adopt"),
    f"{_ENGINE}.cluster.production": ("DaskMaker",),
    f"{_ENGINE}.comparing": ("DiffOptions", "DiffResult", "diff"),
    f"{_ENGINE}.expand.expansion": ("expand",),
    f"{_ENGINE}.expand.planning": ("Plan", "plan"),
    f"{_ENGINE}.explaining": ("Explanation", "Question", "explain"),
    f"{_ENGINE}.exporting": ("ExportOptions", "ExportResult", "export"),
    f"{_ENGINE}.forecast.forecast": ("ForecastOptions", "ForecastResult", "forecast"),
    f"{_ENGINE}.frames.arrivals": ("Arrivals",),
    f"{_ENGINE}.frames.counts": ("expand_counts",),
    f"{_ENGINE}.frames.published": ("read_arrivals",),
    f"{_ENGINE}.importing": ("ImportRequest", "ImportResult", "import_world"),
    f"{_ENGINE}.parity": ("ParityOptions", "ParityResult", "parity"),
    f"{_ENGINE}.process.doctor": ("Diagnosis", "doctor"),
    f"{_ENGINE}.process.progress": ("Reporter",),
    f"{_ENGINE}.report": ("ReportOptions", "ReportResult", "report"),
    f"{_ENGINE}.run.job": ("RunResult", "run"),
    f"{_ENGINE}.run.options": ("RunOptions",),
    f"{_ENGINE}.run.scenario": ("ScenarioResult",),
    f"{_ENGINE}.sealing": ("SealResult", "seal"),
    f"{_ENGINE}.stream": ("stream_arrivals",),
    f"{_ENGINE}.synth": ("SynthResult", "synthesise"),
    f"{_ENGINE}.tz.build": ("TzCacheResult", "build_tz"),
    f"{_ENGINE}.validation.job": ("ValidateOptions", "ValidateResult", "validate"),
    f"{_ENGINE}.validation.verify": ("Bundle", "verify"),
    f"{_ENGINE}.world.load": ("World", "load_world"),
    "arrival_engine.gpu_kernels.device_batch": ("DeviceBatch",),
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
