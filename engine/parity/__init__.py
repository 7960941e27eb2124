"""`arrivals parity`: two backends expand the same batches, and every array is compared exactly."""

from __future__ import annotations

from engine.parity.job import ParityOptions, parity
from engine.parity.records import ParityResult

__all__ = ["ParityOptions", "ParityResult", "parity"]
