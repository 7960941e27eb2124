"""Settings for every test module."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.support.paths import ROOT, SRC

# Processes that tests start run this checkout, wherever the environment's own installation points.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(SRC), str(ROOT), os.environ.get("PYTHONPATH"))))

# The first example of a property may compile kernels, and a world takes many draws.
settings.register_profile("arrivals", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("arrivals")
