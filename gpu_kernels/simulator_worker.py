"""The simulator's own process: reads work and spans from standard input, writes arrivals to standard output.

    python -P -m gpu_kernels.simulator_worker        with NUMBA_ENABLE_CUDASIM=1; see gpu_kernels.simulator

Input: pickles of the name of a method of `_Session` and its arguments. Output: ("ok", value) or ("error", exception).
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.cpu_fallback.tables import Results, Work
from arrival_engine.gpu_kernels.columns import DeviceColumn, Layout, arranged
from arrival_engine.gpu_kernels.expand import Expander
from arrival_engine.gpu_kernels.jit import SIMULATED
from arrival_engine.gpu_kernels.lane import STREAMS, DeviceLanes
from arrival_engine.gpu_kernels.load import CountFiles, device_rows, uploaded_rows
from arrival_engine.gpu_kernels.memory import HostMemory
from arrival_engine.gpu_kernels.simulator import SimulatorOptions


class _Session:
    """The expander in use and the notices since the last answer."""

    def __init__(self) -> None:
        self._notices: list[Notice] = []
        self._expander: Expander | None = None

    def open(self, work: Work, options: SimulatorOptions, files: CountFiles | None) -> tuple[Notice, ...]:
        """Make an expander over simulated devices; return the notices."""
        devices = [
            DeviceLanes(
                f"simulated device {ordinal}",
                options.shape,
                tuple(HostMemory(options.capacity_bytes) for _ in range(STREAMS)),
            )
            for ordinal in range(options.devices)
        ]
        rows = uploaded_rows if files is None else device_rows(files, self._notices.append)
        self._expander = Expander(work, devices, self._notices.append, options.piece_arrivals, rows)
        return self._news()

    def expand(self, span: tuple[int, int]) -> tuple[Results, tuple[Notice, ...]]:
        """Results of a span, with the notices."""
        return self._opened().expand(span), self._news()

    def arranged(self, span: tuple[int, int], layout: Layout) -> list[DeviceColumn]:
        """Columns of a span while they are on the device."""
        with self._opened().keeping(span, ()) as (_, on_device):
            return arranged(layout, on_device.kept, 0, on_device.kept.arrivals)

    def kept(self, span: tuple[int, int], copied: tuple[str, ...]) -> tuple[Results, Results]:
        """Results of a span that is kept on the device: with the columns `copied`, and completed."""
        with self._opened().keeping(span, copied) as (results, on_device):
            return results, results._replace(columns=on_device.completed(results.columns))

    def _opened(self) -> Expander:
        if self._expander is None:
            raise ValueError("nothing is open")
        return self._expander

    def _news(self) -> tuple[Notice, ...]:
        notices = tuple(self._notices)
        self._notices.clear()
        return notices


def _answer(session: _Session, request: tuple[Any, ...]) -> tuple[str, object]:
    actions: dict[str, Callable[..., object]] = {
        "open": session.open,
        "expand": session.expand,
        "arranged": session.arranged,
        "kept": session.kept,
    }
    try:
        return "ok", actions[request[0]](*request[1:])
    except ArrivalError as error:
        return "error", error
    except Exception as failure:  # noqa: BLE001 - the other process cannot see this one's traceback
        return "error", ArrivalError(
            Code.UNEXPECTED_INTERNAL_ERROR,
            f"the simulator failed: {type(failure).__name__}: {failure}",
            hint="this is a defect of the engine; report it with the traceback that --json shows",
            traceback=traceback.format_exception(failure),
        )


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    session = _Session()
    while True:
        try:
            request = pickle.load(requests)  # noqa: S301 - from the process that started this one
        except EOFError:
            return
        pickle.dump(_answer(session, request), answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


def main() -> None:
    """Serve until standard input ends."""
    if not SIMULATED:
        sys.exit("NUMBA_ENABLE_CUDASIM=1 must be set before this process starts")
    # In the simulator, the law computes with numpy scalars, which warn whenever a product wraps.
    warnings.filterwarnings("ignore", "overflow encountered in scalar", RuntimeWarning)
    # The simulator's main thread polls the others; at the default 5 ms each barrier would cost that much.
    sys.setswitchinterval(1e-5)
    # Printed text must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
