"""Where the checkout under test lies."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The folder whose one entry, `arrival_engine`, is what an installation gets.
SRC = ROOT / "src"
PACKAGE = SRC / "arrival_engine"
# Faults that processes under test are given: programs, and folders for their paths.
FAULTS = ROOT / "tests" / "support" / "faults"
# Every test that needs a device.
ON_DEVICE = ROOT / "tests" / "gpu" / "on_device"
