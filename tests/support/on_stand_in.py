"""Programs that run with the stand-in driver: what they print as JSON, and a stand-in for CuPy that they can have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# A folder with `cupy.py`, for the path of such a process.
PACKAGES = Path(__file__).parent / "with_stand_in_driver"


def on_path(environment: Mapping[str, str], folders: Iterable[Path]) -> dict[str, str]:
    """The environment with folders before all others that Python searches."""
    paths = [*map(str, folders), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})}


def outcome(environment: Mapping[str, str], program: str, *arguments: object, path: Iterable[Path] = ()) -> Any:
    """What a program prints as JSON; it must end well."""
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    changed = on_path(environment, path)
    done = subprocess.run(command, env=changed, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
