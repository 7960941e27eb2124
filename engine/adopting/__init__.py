"""Policies of the reference pipeline, translated to this engine's."""

from __future__ import annotations

from arrival_engine.engine.adopting.counterparts import CarriedValue, Difference
from arrival_engine.engine.adopting.job import AdoptedPolicy, AdoptOptions, AdoptResult, adopt

__all__ = ["AdoptOptions", "AdoptResult", "AdoptedPolicy", "CarriedValue", "Difference", "adopt"]
