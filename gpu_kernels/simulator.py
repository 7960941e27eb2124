"""The CUDA kernels in numba's simulator, for parity on machines without a device.

numba decides on import whether `numba.cuda` is the simulator, so it runs in a process of its own
(`gpu_kernels.simulator_worker`), driven from here. It is slow, about a thousand arrivals per second, and takes one
batch at a time.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.cpu_fallback.tables import Results, Work
from arrival_engine.gpu_kernels.columns import DeviceColumn, Layout
from arrival_engine.gpu_kernels.load import CountFiles
from arrival_engine.gpu_kernels.shape import LaunchShape

__all__ = ["Simulator", "SimulatorOptions", "unusable_reason"]

# The folder that holds `arrival_engine`; not resolved, because a checkout has links in between.
_ROOT = Path(__file__).absolute().parents[2]


@dataclass(frozen=True)
class SimulatorOptions:
    """The simulated devices; the options have no effect on arrivals.

    devices: their number; each has two streams. capacity_bytes: memory of each stream. piece_arrivals: as for
    `gpu_kernels.expand.Expander`.
    """

    shape: LaunchShape = field(default_factory=lambda: LaunchShape(threads=32, blocks=2))
    devices: int = 1
    capacity_bytes: int = 1 << 32
    piece_arrivals: int | None = None


def unusable_reason() -> str:
    """Why kernels cannot be simulated here; empty if they can."""
    from importlib.util import find_spec

    return "" if find_spec("numba_cuda") else "numba-cuda, which has the simulator, is not installed"


class Simulator:
    """A process that simulates kernels, with the packages of `source_root` (by default this one's).

    Raises BACKEND_UNAVAILABLE if the process dies. Use it as a context manager.
    """

    def __init__(self, source_root: Path = _ROOT) -> None:
        paths = [str(source_root), *(path for path in sys.path if path)]
        environment = {
            **os.environ,
            "NUMBA_ENABLE_CUDASIM": "1",
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        }
        self._lock = threading.Lock()
        # -P: the current folder must not come before the installed package.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "arrival_engine.gpu_kernels.simulator_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def open(
        self, work: Work, options: SimulatorOptions | None = None, files: CountFiles | None = None
    ) -> tuple[Notice, ...]:
        """Open `work` in place of earlier work; return the notices.

        With `files`, the simulated devices read the count rows themselves.
        """
        notices: tuple[Notice, ...] = self._ask("open", work, options or SimulatorOptions(), files)
        return notices

    def expand(self, span: tuple[int, int]) -> tuple[Results, tuple[Notice, ...]]:
        """Expand segments span[0] to span[1] of the open work; return results and notices. Thread-safe."""
        results, notices = self._ask("expand", span)
        return results, notices

    def arranged(self, span: tuple[int, int], layout: Layout) -> list[DeviceColumn]:
        """The columns of segments span[0] to span[1] as they are on the simulated device, ready to be written."""
        columns: list[DeviceColumn] = self._ask("arranged", span, layout)
        return columns

    def kept(self, span: tuple[int, int], copied: tuple[str, ...]) -> tuple[Results, Results]:
        """Results of a span that is kept on the simulated device: with the columns `copied` alone, and with all."""
        results, completed = self._ask("kept", span, copied)
        return results, completed

    def close(self) -> None:
        """End the process."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, *request: object) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ValueError("the simulator's pipes are closed")
        with self._lock:
            try:
                pickle.dump(request, stdin, pickle.HIGHEST_PROTOCOL)
                stdin.flush()
                outcome, value = pickle.load(stdout)  # noqa: S301 - from our own child process
            except (EOFError, OSError) as failure:
                raise ArrivalError(
                    Code.BACKEND_UNAVAILABLE,
                    f"the simulator's process ended with status {self._process.poll()}",
                    hint="its own message is above; numba-cuda may not fit this numba",
                ) from failure
        if outcome == "error":
            raise value
        return value
