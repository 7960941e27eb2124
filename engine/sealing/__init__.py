"""The seal: hashes of a run's inputs, written once and verified before use."""

from __future__ import annotations

from arrival_engine.engine.sealing.gate import SealResult, seal
from arrival_engine.engine.sealing.verify import Seal, read_seal, verify_seal

__all__ = ["Seal", "SealResult", "read_seal", "seal", "verify_seal"]
