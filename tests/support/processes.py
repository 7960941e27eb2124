"""Runs in processes of their own, watched from outside, and the files that they leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

from arrival_engine.engine.process.progress import Reporter
from tests.support.model import CountRow
from tests.support.product import OUTPUT_FOLDERS
from tests.support.refusals import ROOT
from tests.support.worlds import BERLIN, NEW_YORK, TWO_ZONES

CHANNELS = ("card_present", "card_not_present", "mixed")


def heavy_counts(n, buckets):
    """Few count rows, many arrivals: 6 * n in each of so many buckets."""
    return tuple(
        CountRow(TWO_ZONES, zone, channel, bucket, n)
        for zone in (BERLIN, NEW_YORK)
        for channel in CHANNELS
        for bucket in range(buckets)
    )


@contextmanager
def running(run_root, *options):
    """A run in a process of its own, killed at the end if it is still there."""
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "arrival_engine",
            "run",
            str(run_root),
            "--backend",
            "cpu",
            "--quiet",
            "--json",
            *options,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition, process, *arguments, seconds=120.0):
    """Return once the condition holds for the arguments; the process must not end before."""
    end = time.monotonic() + seconds
    while not condition(*arguments):
        _must_go_on(process, end)
        time.sleep(0.005)


@contextmanager
def halted(condition, process, *arguments, seconds=120.0):
    """The process halted from a moment on at which the condition holds; it goes on after the block.

    It is halted before each look, so that it cannot end between the look and what the block does to it.
    """
    end = time.monotonic() + seconds
    while not _halt_and_look(condition, process, *arguments):
        _must_go_on(process, end)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.005)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def _halt_and_look(condition, process, *arguments):
    process.send_signal(signal.SIGSTOP)
    # Leaves the end of the process, if it is one, for Popen to find.
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return condition(*arguments)


def _must_go_on(process, end):
    assert process.poll() is None, f"the run ended before it could be disturbed: {process.communicate()}"
    assert time.monotonic() < end, "the run never got that far"


def parts_written(run_root, at_least=1):
    return sum(1 for _ in run_root.glob("tmp/arrivals-*/events/part-*")) >= at_least


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def outputs_of(run_root):
    """Every published file with its bytes."""
    folders = [run_root / "data/layer2/5B" / name for name in OUTPUT_FOLDERS]
    paths = [path for folder in [*folders, run_root / "logs"] for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(run_root)): path.read_bytes() for path in sorted(paths)}


class At(Reporter):
    """Does something once: when the upload is waited for, or at the first step of another phase."""

    def __init__(self, phase, action):
        super().__init__()
        self._phase, self._action = phase, action

    def _on_phase_start(self, name):
        if name == self._phase == "upload":
            self._act()

    def advance(self, amount=1):
        super().advance(amount)
        if self.status().phase.endswith(self._phase):
            self._act()

    def _act(self):
        if self._action:
            action, self._action = self._action, None
            action()
