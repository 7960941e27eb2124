"""Where the checkout lies, and the package under test."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The folder whose one entry, `arrival_engine`, is what an installation gets.
SRC = ROOT / "src"
PACKAGE = SRC / "arrival_engine"
# The folder that this process imports the package from: SRC, or where `make test-wheel` has installed it.
HOME = Path(find_spec("arrival_engine").origin).parents[1]
# The folder of the package's five folders, where their modules see themselves: ROOT, or the installed package.
LAYERS = (HOME / "arrival_engine" / "engine").resolve().parent
# Faults that processes under test are given: programs, and folders for their paths.
FAULTS = ROOT / "tests" / "support" / "faults"
# Every test that needs a device.
ON_DEVICE = ROOT / "tests" / "gpu" / "on_device"
