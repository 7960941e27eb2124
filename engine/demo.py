"""The whole way once, on a small world: synthesise, seal, run, check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from contracts import ArrivalError, Code, receipt_json
from engine.progress import Reporter

if TYPE_CHECKING:
    from engine.check import CheckResult
    from engine.job import ScenarioResult

__all__ = ["DemoResult", "demo"]

DEFAULT_DIRECTORY = Path("arrivals-demo")
PRESET = "demo"
SEED = 42
# Marks a directory as a demo's own, so that nobody else's files are ever taken for one.
MARKER = "demo.json"


@dataclass(frozen=True)
class DemoResult:
    """What a demo made and found; `reused` tells that the world was there from an earlier demo."""

    run_root: Path
    reused: bool
    scenarios: tuple[ScenarioResult, ...]
    checks: tuple[CheckResult, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every check of every scenario held and the recomputed digests equal the run's."""
        pairs = zip(self.checks, self.scenarios, strict=True)
        same = all(check.digest == scenario.digest for check, scenario in pairs)
        return same and all(ok for check in self.checks for _, ok, _ in check.checks)


def demo(directory: Path | None = None, reporter: Reporter | None = None) -> DemoResult:
    """Make (or use again) the demo world in `directory`, expand it and check what was published.

    Raises IO_WRITE_CONFLICT for a directory that holds something else, and whatever its steps raise.
    """
    from engine.check import check_published
    from engine.job import RunOptions, run
    from engine.seal import seal

    reporter = reporter or Reporter()
    begin = reporter.elapsed_s
    run_root = DEFAULT_DIRECTORY if directory is None else directory
    reused = _prepare_world(run_root, reporter)
    seal(run_root, reporter)
    result = run(run_root, RunOptions(), reporter)
    with reporter.phase("check"):
        checks = tuple(check_published(run_root, scenario.scenario_id) for scenario in result.scenarios)
    return DemoResult(run_root, reused, result.scenarios, checks, reporter.elapsed_s - begin)


def _prepare_world(run_root: Path, reporter: Reporter) -> bool:
    """Put the demo world into `run_root` unless it is there; whether it was."""
    from engine.synth import synthesise

    marker = run_root / MARKER
    with _writing(run_root):
        state = _read_marker(marker)
        if state == "complete":
            reporter.message(f"using the demo world in {run_root} again")
            return True
        if state is None and run_root.exists() and any(run_root.iterdir()):
            raise ArrivalError(
                Code.IO_WRITE_CONFLICT,
                f"{run_root} is not empty and was not made by a demo",
                hint="name another directory: arrivals demo DIR",
                directory=run_root,
            )
        run_root.mkdir(parents=True, exist_ok=True)
        _write_marker(marker, "unfinished")
    synthesise(run_root, preset=PRESET, seed=SEED, scale=1.0, reporter=reporter)
    with _writing(run_root):
        _write_marker(marker, "complete")
    return False


def _read_marker(marker: Path) -> str | None:
    """'complete', 'unfinished', or None where no demo has been."""
    try:
        document = json.loads(marker.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        document = None
    if document == _marker("complete"):
        return "complete"
    if document == _marker("unfinished"):
        return "unfinished"
    raise ArrivalError(
        Code.IO_WRITE_CONFLICT,
        f"{marker} is not this version's: the demo world in {marker.parent} is another one",
        hint=f"remove {marker.parent}, or name another directory: arrivals demo DIR",
        marker=marker,
    )


def _marker(state: str) -> dict[str, object]:
    return {"demo": PRESET, "seed": SEED, "world": state}


def _write_marker(marker: Path, state: str) -> None:
    marker.write_bytes(receipt_json(_marker(state)))


@contextmanager
def _writing(run_root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArrivalError(
            Code.IO_WRITE_FAILED,
            f"cannot write the demo world to {run_root}: {error}",
            hint="name a directory that can be written: arrivals demo DIR",
            directory=run_root,
        ) from error
