"""Seconds that numba compiles for one run, by the kernels that the run calls from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def compile_for_run(run_root: str) -> dict[str, Any]:
    """Run a world, in a process whose kernel cache is empty; seconds by kernel, in order of compilation.

    What a kernel calls is compiled with it, and not named.
    """
    from numba.core import event

    from arrival_engine import RunOptions, run

    with event.install_recorder("numba:compile") as recorder:
        run(Path(run_root), RunOptions(backend="cpu"))
    seconds: dict[str, float] = {}
    begun: list[float] = []
    # numba compiles on one thread at a time, so what begins between begin and end of a kernel belongs to it.
    for moment, happened in recorder.buffer:
        if happened.is_start:
            begun.append(moment)
            continue
        spent = moment - begun.pop()
        if not begun:
            name = _name(happened.data["dispatcher"].py_func)
            seconds[name] = seconds.get(name, 0.0) + spent
    return {"kernels": seconds}


def _name(function: Any) -> str:
    return f"{function.__module__.removeprefix('arrival_engine.')}.{function.__name__}"
