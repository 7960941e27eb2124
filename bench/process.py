"""Work in separate processes, so that peak memory is its own and nothing remains from earlier measurements."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.environment import ROOT

_SAMPLE_S = 0.01


class BenchError(Exception):
    """A measurement cannot be made; the text says why."""


@dataclass(frozen=True)
class Finished:
    """A process that succeeded; processor seconds are user and system together."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    stdout: str
    stderr: str


def run_process(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end. Raises BenchError with the end of its output when it fails."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
        watch = _MemoryWatch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = watch.stop()
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read(), err.read()
    if process.returncode:
        raise BenchError(
            f"{' '.join(command)[:200]} ended with {process.returncode}:\n{stdout[-1000:]}{stderr[-3000:]}"
        )
    return Finished(wall, usage.ru_utime + usage.ru_stime, peak, stdout, stderr)


class _MemoryWatch:
    """Reads a process's own high-water mark until the process ends.

    Not ru_maxrss: a process that was forked from a large one starts with that one's peak.
    """

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory watch", daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The largest resident memory seen, in bytes."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _look(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            try:
                lines = self._status.read_text(encoding="ascii").splitlines()
            except OSError:
                return
            self._peak = max(
                [self._peak, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))]
            )


def in_process(
    function: Callable[..., dict[str, Any]], environment: Mapping[str, str] | None = None, **arguments: object
) -> dict[str, Any]:
    """Call a module-level function in a separate process; arguments and result are plain JSON data."""
    request = {"module": function.__module__, "function": function.__name__, "arguments": arguments}
    finished = run_process([sys.executable, "-m", "bench.worker", json.dumps(request)], environment)
    result: dict[str, Any] = json.loads(finished.stdout)
    return result
