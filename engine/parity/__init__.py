"""`arrivals parity`: two backends expand the same batches, and every array is compared exactly."""

from __future__ import annotations

from arrival_engine.engine.parity.job import ParityOptions, parity
from arrival_engine.engine.parity.records import ParityResult

__all__ = ["ParityOptions", "ParityResult", "parity"]
