"""Many inputs to one target, in a process of its own, so that a crash is a finding as well."""

from __future__ import annotations

import base64
import json
import math
import mmap
import os
import resource
import signal
import struct
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.target import Finding, Opened, Target, judge

# Inputs that reached an outcome first are mutated further.
_POOL_MAX = 200
_TOLD_EVERY = 2000
_ADDRESS_SPACE = 4 << 30
_INPUT_MAX = 4 << 20
_FINDINGS_MAX = 40
_STILL_S = 120.0
# In place of the size of the input in hand: there is none.
_BETWEEN = 2**64 - 1


@dataclass
class Campaign:
    """The tally of a target. `findings`: by what and where, the shortest input that showed it."""

    inputs: int = 0
    seconds: float = 0.0
    peak_mib: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[Finding, bytes] = field(default_factory=dict)

    def add(self, outcome: str | Finding, data: bytes) -> bool:
        """Count an input; true if its outcome is new."""
        self.inputs += 1
        if isinstance(outcome, str):
            self.outcomes[outcome] += 1
            return self.outcomes[outcome] == 1
        # Messages repeat values of the input.
        key = next((found for found in self.findings if found.where == outcome.where), None)
        if key is None and len(self.findings) < _FINDINGS_MAX:
            self.findings[outcome] = data
        elif key is not None and len(data) < len(self.findings[key]):
            del self.findings[key]
            self.findings[outcome] = data
        return False

    def merge(self, other: Campaign) -> None:
        """Add the tally of another process."""
        self.inputs += other.inputs
        self.peak_mib = max(self.peak_mib, other.peak_mib)
        self.outcomes += other.outcomes
        for found, data in other.findings.items():
            self.findings.setdefault(found, data)

    def record(self) -> dict[str, Any]:
        """The tally as JSON."""
        read = sum(count for outcome, count in self.outcomes.items() if outcome.startswith("read "))
        refusals = [outcome for outcome in self.outcomes if not outcome.startswith("read ")]
        return {
            "inputs": self.inputs,
            "seconds": round(self.seconds, 1),
            "inputs_per_second": round(self.inputs / self.seconds) if self.seconds else 0,
            "read": read,
            "refused": self.inputs - read,
            "distinct_results": len(self.outcomes) - len(refusals),
            "distinct_refusals": len(refusals),
            "peak_mib": self.peak_mib,
            "findings": [
                {**found._asdict(), "input": base64.b85encode(data[:600]).decode(), "bytes": len(data)}
                for found, data in self.findings.items()
            ],
        }


def inputs(opened: Opened, draw: Random, pool: list[bytes]) -> Iterator[bytes]:
    """The samples, then mutations of the pool, which begins as the samples, without end."""
    yield from opened.samples
    while True:
        yield opened.mutate(draw.choice(pool), draw)


def slice_of(target: Target, runs: int, seed: int, folder: Path) -> Campaign:
    """So many inputs in this process."""
    opened = target.open(folder)
    pool, tally = list(opened.samples), Campaign()
    for data in inputs(opened, Random(f"{target.name} {seed}"), pool):
        if tally.inputs == runs:
            break
        if tally.add(judge(opened.read, data), data) and len(pool) < _POOL_MAX:
            pool.append(data)
    return tally


def campaign(target: Target, runs: int, seed: int, seconds: float = math.inf) -> Campaign:
    """So many inputs, or those of so many seconds, in as many processes as it takes.

    A process that dies of an input is followed by the next.
    """
    whole, began = Campaign(), time.monotonic()
    while whole.inputs < runs and time.monotonic() < began + seconds:
        found = _one_process(target, runs - whole.inputs, f"{target.name} {seed} {whole.inputs}", began + seconds)
        if not found.inputs:
            raise RuntimeError(f"{target.name}: no input was tried; see above")
        whole.merge(found)
    whole.seconds = time.monotonic() - began
    return whole


def _one_process(target: Target, runs: int, seed: str, end: float) -> Campaign:
    with _workplace() as folder, mmap.mmap(-1, _INPUT_MAX + 16) as shared:
        notes = folder / "tally"
        process = os.fork()
        if not process:
            try:
                _child(target, runs, seed, end, shared, notes)
            except Exception:  # noqa: BLE001 - the parent sees that nothing was tried
                traceback.print_exc()
            finally:
                os._exit(0)
        status = _waited(process, shared)
        found: Campaign = _restored(notes)
        if os.WIFSIGNALED(status):
            tried, size = struct.unpack_from("<QQ", shared)
            name = signal.Signals(os.WTERMSIG(status)).name
            if size == _BETWEEN:
                raise RuntimeError(f"{target.name}: making an input ended the process with {name}; see above")
            found.inputs = tried - 1
            found.add(Finding(f"the process died of {name}", "?"), bytes(shared[16 : 16 + size]))
        return found


def _child(target: Target, runs: int, seed: str, end: float, shared: mmap.mmap, notes: Path) -> None:
    folder = notes.with_name("work")
    folder.mkdir()
    opened = target.open(folder)
    draw, pool, tally = Random(seed), list(opened.samples), Campaign()
    used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE, resource.RLIM_INFINITY))
    for data in inputs(opened, draw, pool):
        if tally.inputs == runs or (tally.inputs and time.monotonic() >= end):
            break
        if len(data) > _INPUT_MAX:
            continue
        struct.pack_into("<QQ", shared, 0, tally.inputs + 1, len(data))
        shared[16 : 16 + len(data)] = data
        new = tally.add(judge(opened.read, data), data)
        struct.pack_into("<Q", shared, 8, _BETWEEN)
        if new and len(pool) < _POOL_MAX:
            pool.append(data)
        if new or tally.inputs % _TOLD_EVERY == 0 or tally.inputs == runs:
            _noted(tally, notes)
    _noted(tally, notes)


def _waited(process: int, shared: mmap.mmap) -> int:
    """The exit status; a process whose input does not move on is killed."""
    before, since = 0, time.monotonic()
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return status
        time.sleep(0.05)
        (tried,) = struct.unpack_from("<Q", shared)
        if tried != before:
            before, since = tried, time.monotonic()
        elif time.monotonic() - since > _STILL_S:
            os.kill(process, signal.SIGKILL)


def _noted(tally: Campaign, notes: Path) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    facts = {
        "inputs": tally.inputs,
        "peak_mib": peak,
        "outcomes": tally.outcomes,
        "findings": [[*found, data.hex()] for found, data in tally.findings.items()],
    }
    notes.write_text(json.dumps(facts), "utf-8")


def _restored(notes: Path) -> Campaign:
    facts: dict[str, Any] = {"inputs": 0, "peak_mib": 0, "outcomes": {}, "findings": []}
    if notes.exists():
        facts = json.loads(notes.read_text("utf-8"))
    findings = {Finding(what, where): bytes.fromhex(data) for what, where, data in facts["findings"]}
    return Campaign(facts["inputs"], 0.0, facts["peak_mib"], Counter(facts["outcomes"]), findings)


@contextmanager
def _workplace() -> Iterator[Path]:
    """A folder in memory, if there is one: readers are fuzzed, not the disk."""
    memory = Path("/dev/shm")  # noqa: S108 - only for the parent of a private folder
    with tempfile.TemporaryDirectory(prefix="arrivals-fuzz-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)
