"""How a run is to be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from arrival_engine.contracts.options import BackendName, EventFormat, FileFormat
from arrival_engine.engine.expand.planning import DEFAULT_BATCH_ARRIVALS


@dataclass(frozen=True)
class RunOptions:
    """How to run; none of these changes an arrival. `threads` None means every core this process may use."""

    backend: BackendName = "auto"
    threads: int | None = None
    scenarios: tuple[str, ...] = ()
    batch_arrivals: int = DEFAULT_BATCH_ARRIVALS
    strict: bool = False
    replace: bool = False
    format: FileFormat = "parquet"
    accept_tz_cache: bool = False
    rng_events: EventFormat = "none"
    resume: bool = False
    device_writer: bool = False

    def __post_init__(self) -> None:
        for name, known in (
            ("backend", get_args(BackendName)),
            ("format", get_args(FileFormat)),
            ("rng_events", get_args(EventFormat)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        for name in ("threads", "batch_arrivals"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.device_writer and (self.backend == "cpu" or self.format != "parquet"):
            raise ValueError(f"device_writer writes Parquet on a CUDA device, not {self.format} by {self.backend}")
