"""Settings for every test module."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The first example of a property may compile kernels, and a world takes many draws.
settings.register_profile("arrivals", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("arrivals")
