"""Exports that are killed: real ones, each in a process of its own, ended by SIGKILL at any moment.

A process that has loaded the libraries forks a child per export, because loading them takes longer than an export. It
never uses them itself: neither deltalake nor Arrow works in a child of a process that has started their threads.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from tests.support.paths import ROOT

# Longer than any export of these tests; a child that lives that long hangs.
_HANGS_S = 120.0


class Nursery:
    """The process that forks exports."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **request: object) -> dict[str, object]:
        """One export; its outcome, `killed` if it was."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that forks exports has ended"
        return json.loads(answer)


@contextmanager
def nursery(log: Path):
    with (
        log.open("w") as sink,
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.killed_exports"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        ) as process,
    ):
        try:
            yield Nursery(process)
        finally:
            process.kill()


def _serve() -> None:
    import deltalake  # noqa: F401
    import pyiceberg.catalog.sql
    import pyiceberg.io.pyarrow
    import pyiceberg.manifest
    import pyiceberg.table  # noqa: F401

    import arrival_engine.engine.exporting.delta
    import arrival_engine.engine.exporting.iceberg
    import arrival_engine.engine.exporting.job  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        child, told, stop = _forked(request)
        answer = {"outcome": _ended(child, told, request.get("kill"))}
        if answer["outcome"] != "killed":
            answer = json.loads(os.read(stop, 1 << 20) or b'{"outcome": "died"}')
        os.close(told)
        os.close(stop)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _forked(request):
    told, tell = os.pipe()
    answer, reply = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = _export(request, tell)
        except Exception as failure:  # noqa: BLE001 - the parent is told
            found = {"outcome": "failed", "failure": f"{type(failure).__name__}: {failure}"}
        os.write(reply, json.dumps(found).encode())
        os._exit(0)
    os.close(tell)
    os.close(reply)
    return child, told, answer


def _ended(child: int, told: int, kill) -> str:
    """Kill the child `after` seconds from the beginning of a phase, unless it has ended by then."""
    end = time.monotonic() + _HANGS_S
    waiting = kill["phase"].encode() if kill else b""
    while kill:
        assert select.select([told], [], [], _HANGS_S)[0], "an export hangs"
        heard = os.read(told, 100)
        if waiting in heard or not heard:
            break
    if kill:
        until = time.monotonic() + kill["after"]
        while time.monotonic() < until:
            if os.waitpid(child, os.WNOHANG)[0]:
                return "ended"
            time.sleep(0.0005)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        return "killed" if os.WIFSIGNALED(status) else "ended"
    while not os.waitpid(child, os.WNOHANG)[0]:
        assert time.monotonic() < end, "an export hangs"
        time.sleep(0.001)
    return "ended"


def _export(request, tell: int):
    from arrival_engine import Reporter
    from arrival_engine.contracts import ArrivalError
    from arrival_engine.engine.exporting import ExportOptions, export

    halting = (request.get("kill") or {}).get("halts")

    class Phases(Reporter):
        def _on_phase_start(self, name):
            os.write(tell, f"{name} ".encode())
            if name == halting:
                signal.pause()

    os.write(tell, b"begin ")
    try:
        result = export(request["run_root"], request["target"], ExportOptions(**request["options"]), Phases())
    except ArrivalError as refusal:
        return {"outcome": "refused", "code": str(refusal.code), "problem": str(refusal)}
    return {"outcome": result.outcome, "digest": result.digest, "seconds": result.seconds}


def moments(seed: int, count: int, seconds: float):
    """Random moments for kills of exports that take so many seconds.

    Of each four, one is anywhere in an export, two are around its commit, and one is at the beginning of a phase, where
    the export waits for it.
    """
    draw = random.Random(seed)
    for number in range(count):
        if number % 4 == 0:
            phase = draw.choice(["write", "commit"])
            yield {"phase": phase, "after": 0.0, "halts": phase}
        elif number % 4 == 2:
            yield {"phase": "begin", "after": draw.uniform(0.0, 1.2 * seconds)}
        else:
            yield {"phase": "commit", "after": draw.uniform(0.0, 0.2 * seconds)}


if __name__ == "__main__":
    _serve()
