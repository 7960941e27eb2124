"""Settings for every test module."""

from __future__ import annotations

import os
import signal
import sys

from hypothesis import HealthCheck, settings

from tests.support.paths import ROOT, SRC

# Processes that tests start run this checkout, wherever the environment's own installation points.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(SRC), str(ROOT), os.environ.get("PYTHONPATH"))))

# Compiled sources are kept: otherwise every worker rewrites every test, and every process compiles the package, anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell ignores SIGINT for jobs in the background, and what they start would ignore it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The first example of a property may compile kernels, and a world takes many draws.
settings.register_profile("arrivals", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("arrivals")
