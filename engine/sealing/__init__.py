"""The seal: what the inputs of a run were when it was sealed, and whether they still are."""

from __future__ import annotations

from arrival_engine.engine.sealing.gate import SealResult, seal
from arrival_engine.engine.sealing.verify import Seal, read_seal, verify_seal

__all__ = ["Seal", "SealResult", "read_seal", "seal", "verify_seal"]
