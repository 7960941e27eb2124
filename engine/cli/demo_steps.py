"""The whole way once, on a small world: synthesise, seal, run, check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arrival_engine.engine.process.progress import Reporter

if TYPE_CHECKING:
    from arrival_engine.engine.run.scenario import ScenarioResult
    from arrival_engine.engine.validation.check import CheckResult

__all__ = ["DemoResult", "demo"]

DEFAULT_DIRECTORY = Path("arrivals-demo")
PRESET = "demo"
SEED = 42


@dataclass(frozen=True)
class DemoResult:
    """What a demo made and found.

    reused: the world was there from an earlier demo; example_merchant: the first one of the published arrivals.
    """

    run_root: Path
    reused: bool
    scenarios: tuple[ScenarioResult, ...]
    checks: tuple[CheckResult, ...]
    example_merchant: int
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every check of every scenario held and the recomputed digests equal the run's."""
        pairs = zip(self.checks, self.scenarios, strict=True)
        same = all(check.digest == scenario.digest for check, scenario in pairs)
        return same and all(ok for check in self.checks for _, ok, _ in check.checks)


def demo(directory: Path | None = None, reporter: Reporter | None = None) -> DemoResult:
    """Make (or use again) the demo world in `directory`, expand it and check what was published.

    Raises what its steps raise: IO_WRITE_CONFLICT for a directory that holds something else, above all.
    """
    from arrival_engine.engine.run.job import run
    from arrival_engine.engine.run.options import RunOptions
    from arrival_engine.engine.sealing import seal
    from arrival_engine.engine.synth import synthesise
    from arrival_engine.engine.validation.check import check_published

    reporter = reporter or Reporter()
    begin = reporter.elapsed_s
    run_root = DEFAULT_DIRECTORY if directory is None else directory
    world = synthesise(run_root, preset=PRESET, seed=SEED, reporter=reporter)
    seal(run_root, reporter)
    result = run(run_root, RunOptions(), reporter)
    with reporter.phase("check"):
        checks = tuple(check_published(run_root, scenario.scenario_id) for scenario in result.scenarios)
    merchant = _first_merchant(Path(result.scenarios[0].path))
    return DemoResult(run_root, world.reused, result.scenarios, checks, merchant, reporter.elapsed_s - begin)


def _first_merchant(published: Path) -> int:
    import pyarrow.parquet as pq

    first = pq.ParquetFile(min(published.glob("*.parquet")))
    return int(next(first.iter_batches(batch_size=1, columns=["merchant_id"]))[0][0].as_py())
