"""Whole runs of two kinds in turn, and their figures side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from arrival_engine.engine.process import human
from bench.process import BenchError
from bench.tabular import Table
from bench.timing import median, spread
from bench.workplace import Workplace

Run = dict[str, Any]


class Figure(NamedTuple):
    """A figure of several runs of one kind, and its text; `of` gives None where these runs have none."""

    title: str
    of: Callable[[Sequence[Run]], float | None]
    text: Callable[[float], str]


def in_turn(jobs: Mapping[str, Callable[[], Run]], repeats: int) -> Iterator[tuple[str, Run]]:
    """Each job once unmeasured, then `repeats` times, with its name; every other round goes backwards.

    A machine that slows down or recovers meanwhile then does so for all.
    """
    for job in jobs.values():
        job()
    for number in range(repeats):
        for name in reversed([*jobs]) if number % 2 else jobs:
            yield name, jobs[name]()


def require_one_digest(runs: Mapping[str, Sequence[Run]]) -> None:
    """Raise BenchError unless all runs made the same arrivals."""
    if len({run["digest"] for each in runs.values() for run in each}) > 1:
        raise BenchError(f"{' and '.join(runs)} made different arrivals, so their figures cannot be compared")


def runs_in_turn(benchmark: str, jobs: Mapping[str, Callable[[], Run]], workplace: Workplace) -> dict[str, list[Run]]:
    """The measured runs of each job, by its name. Raises BenchError unless all made the same arrivals."""
    runs: dict[str, list[Run]] = {name: [] for name in jobs}
    for name, run in in_turn(jobs, workplace.repeats):
        runs[name].append(run)
        workplace.say(f"{benchmark}: {name}: {run['wall_s']:.1f} s")
    require_one_digest(runs)
    return runs


def side_by_side(runs: Mapping[str, Sequence[Run]], ratio: str) -> Table:
    """Two kinds of runs by name, and under the title `ratio` each figure of the first by that of the second."""
    names, (first, second) = runs.keys(), runs.values()
    rows = []
    for figure in _figures(first, second):
        of_first, of_second = figure.of(first), figure.of(second)
        texts = ["" if value is None else figure.text(value) for value in (of_first, of_second)]
        rows.append((figure.title, *texts, f"{of_first / of_second:.2f}" if of_first and of_second else ""))
    rows.insert(1, ("wall time, all runs", *(spread(run["wall_s"] for run in each) for each in (first, second)), ""))
    return Table(("whole runs in turn", *names, ratio), rows)


def _figures(first: Sequence[Run], second: Sequence[Run]) -> Iterator[Figure]:
    yield Figure("wall time, median", lambda runs: median(run["wall_s"] for run in runs), _seconds)
    yield Figure("processor time", lambda runs: median(run["cpu_s"] for run in runs), _seconds)
    yield Figure(
        "peak resident memory",
        lambda runs: max(run["peak_rss_bytes"] for run in runs),
        lambda size: human.size(int(size)),
    )
    yield Figure("bytes per arrival", lambda runs: runs[0]["bytes"] / max(runs[0]["arrivals"], 1), "{:.2f}".format)
    for kind in sorted({*first[0]["thread_seconds"], *second[0]["thread_seconds"]}):
        yield Figure(f"thread time in {kind}", partial(_median, of="thread_seconds", name=kind), _seconds)
    for phase in dict.fromkeys([*first[0]["phases"], *second[0]["phases"]]):
        yield Figure(f"phase {phase}", partial(_median, of="phases", name=phase), _seconds)


def _median(runs: Sequence[Run], of: str, name: str) -> float | None:
    return median(run[of][name] for run in runs) if name in runs[0][of] else None


def _seconds(value: float) -> str:
    return f"{value:.2f} s"
