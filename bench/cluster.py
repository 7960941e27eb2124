"""A run on 1, 2 and 4 worker processes, and the model of larger ones: the generated parts of docs/scaling.md.

python -m bench cluster --scale 5 --out bench/results     measure on a new demo world, write the result file
python -m bench cluster --page                            the newest result, and the model, as tables in the page
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from arrival_engine import DaskMaker, RunOptions, run
from arrival_engine.engine.cluster.client import open_client
from arrival_engine.engine.forecast.forecast import ForecastOptions, forecast
from arrival_engine.engine.process import human
from arrival_engine.engine.process.progress import Reporter
from bench import environment, results, tabular
from bench.cluster_model import Prediction, Rates, Setup, Shape, block_collision, key_collision, predict
from bench.environment import ROOT
from bench.product import arrivals
from bench.results import Result
from bench.tabular import Table

PAGE = ROOT / "docs" / "scaling.md"
RESULTS = ROOT / "bench" / "results"
NAME = "cluster"
WORKERS = (1, 2, 4)
BATCH_ARRIVALS = 250_000

# `arrivals plan` and the run report of `arrivals synth DIR --preset reference --seed 42`, sealed.
REFERENCE = Shape(
    arrivals=116_327_882,
    count_rows=3_546_644,
    rows_read=31_667_760,
    segments=1_549_978,
    entities=2_435,
    table_bytes=5_853_806,
    input_bytes=77_938_242,
    buckets=2_160,
)
SETUPS = {
    10**9: Setup(workers=16, cores=16, batch_arrivals=2_000_000),
    10**11: Setup(workers=256, cores=256, batch_arrivals=8_000_000),
    10**13: Setup(workers=4096, cores=4096, batch_arrivals=20_000_000),
}


def measure(run_root: Path) -> dict[str, Any]:
    """Every run twice: the first starts the worker processes, the second is measured."""
    options = RunOptions(backend="cpu", batch_arrivals=BATCH_ARRIVALS)
    (planned,) = forecast(run_root, ForecastOptions(batch_arrivals=BATCH_ARRIVALS, backend="cpu")).scenarios
    here = [_timed(run_root, RunOptions(backend="cpu", batch_arrivals=BATCH_ARRIVALS, threads=1)) for _ in range(2)]
    runs = []
    for workers in WORKERS:
        print(f"{workers} workers", file=sys.stderr)
        with open_client("local", workers) as client:
            _timed(run_root, options, client)
            runs.append({"workers": workers, **_timed(run_root, options, client)})
    return {
        "world": _world(run_root),
        "planned": {name: getattr(planned, name) for name in ("segments", "table_bytes", "batches")},
        "input_bytes": _input_bytes(run_root),
        "one_thread": here[-1],
        "clusters": runs,
        "sha256_bytes_per_second": _hash_rate(),
    }


def _timed(run_root: Path, options: RunOptions, client: Any = None) -> dict[str, Any]:
    began = time.perf_counter()
    (scenario,) = run(run_root, options, Reporter(), maker=DaskMaker(client)).scenarios
    return {
        "wall_s": time.perf_counter() - began,
        "phases": dict(scenario.phases),
        "arrivals": scenario.arrivals,
        "bytes": scenario.bytes,
        "parts": scenario.parts,
        "digest": scenario.digest,
        "peak_rss_bytes": scenario.peak_rss_bytes,
        "thread_seconds": _last_report(run_root)["thread_seconds"],
        "worker_facts": [worker.__dict__ for worker in scenario.workers],
    }


def _last_report(run_root: Path) -> dict[str, Any]:
    from bench.product import last_report

    return last_report(run_root)


def _world(run_root: Path) -> dict[str, Any]:
    names = ("manifest_fingerprint", "count_rows_read", "count_rows_drawn", "entities", "merchants", "n_arrivals_total")
    line = _last_report(run_root)
    return {name: line[name] for name in (*names, "n_buckets_total")}


def _input_bytes(run_root: Path) -> int:
    ours = ("arrival_events", "arrival_summary", "arrival_anomalies")
    files = [path for path in (run_root / "data").rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files if not any(name in path.parts for name in ours))


def _hash_rate() -> float:
    data = bytes(1 << 28)
    began = time.perf_counter()
    hashlib.sha256(data)
    return len(data) / (time.perf_counter() - began)


# --- From figures to rates, and back to predictions -------------------------------------------------


def shape_of(measured: dict[str, Any]) -> Shape:
    """The world that was measured."""
    world, planned = measured["world"], measured["planned"]
    return Shape(
        arrivals=world["n_arrivals_total"],
        count_rows=world["count_rows_drawn"],
        rows_read=world["count_rows_read"],
        segments=planned["segments"],
        entities=world["entities"],
        table_bytes=planned["table_bytes"],
        input_bytes=measured["input_bytes"],
        buckets=world["n_buckets_total"],
    )


def rates_of(measured: dict[str, Any]) -> Rates:
    """Rates of the run on one worker."""
    one = next(run for run in measured["clusters"] if run["workers"] == 1)
    (worker,) = one["worker_facts"]
    phases, work_s = one["phases"], sum(one["thread_seconds"].values())
    shard_s = (worker["seconds"] - work_s - phases["read"]) / worker["shards"]
    elsewhere = ("survey", "expand and write", "report")
    return Rates(
        arrivals_per_second=one["arrivals"] / work_s,
        survey_rows_per_second=measured["world"]["count_rows_read"] / phases["survey"],
        shard_seconds=max(shard_s, 0.0),
        start_seconds=phases["read"],
        client_seconds=one["wall_s"] - sum(phases[name] for name in elsewhere),
        report_rows_per_second=measured["world"]["count_rows_drawn"] / phases["report"],
        hash_bytes_per_second=measured["sha256_bytes_per_second"],
        bytes_per_arrival=one["bytes"] / one["arrivals"],
    )


def predicted(measured: dict[str, Any], workers: int, cores: int) -> Prediction:
    """The model's prediction for the measured world."""
    return predict(shape_of(measured), rates_of(measured), Setup(workers, cores, BATCH_ARRIVALS))


# --- Tables -----------------------------------------------------------------------------------------


def measured_table(result: Result) -> Table:
    """Runs on 1, 2 and 4 workers, beside predictions from the first."""
    cores = result.environment["cores"]
    one = result.measured["one_thread"]
    rate = human.rate(one["arrivals"] / one["wall_s"], "arrivals")
    work = f"{sum(one['thread_seconds'].values()):.1f} s"
    memory = human.size(one["peak_rss_bytes"])
    rows = [("no cluster, one thread", f"{one['wall_s']:.1f} s", "", "", work, rate, memory, "")]
    for run_ in result.measured["clusters"]:
        phases, workers = run_["phases"], run_["workers"]
        said = predicted(result.measured, workers, cores).seconds
        rows.append(
            (
                f"{workers} worker{'s' if workers > 1 else ''}",
                f"{run_['wall_s']:.1f} s",
                f"{phases['survey']:.1f} s",
                f"{phases['expand and write']:.1f} s",
                f"{sum(run_['thread_seconds'].values()):.1f} s",
                human.rate(run_["arrivals"] / run_["wall_s"], "arrivals"),
                human.size(max(worker["peak_rss_bytes"] for worker in run_["worker_facts"])),
                f"{said:.1f} s",
            )
        )
    return Table(("", "run", "survey", "expand and write", "work", "speed", "memory, largest process", "model"), rows)


def cases(rates: Rates) -> dict[str, tuple[Shape, Setup, Prediction]]:
    """The worlds of the page, by heading."""
    worlds = {f"10^{len(str(n)) - 1}": (REFERENCE.with_more_merchants(n), setup) for n, setup in SETUPS.items()}
    worlds["10^11, busier merchants"] = (REFERENCE.with_busier_merchants(10**11), SETUPS[10**11])
    return {name: (shape, setup, predict(shape, rates, setup)) for name, (shape, setup) in worlds.items()}


def model_table(rates: Rates) -> Table:
    """The model at 10^9, 10^11 and 10^13 arrivals."""
    found = cases(rates)
    count, size = human.count, human.size
    lines: list[tuple[str, Any]] = [
        ("workers, one core each", lambda c: count(c[1].workers)),
        ("entities", lambda c: count(c[0].entities)),
        ("count rows with N > 0", lambda c: count(c[0].count_rows)),
        ("run directories, for a client of 64 GiB", lambda c: count(c[2].runs)),
        ("time", lambda c: _time(c[2].seconds)),
        ("of which the client alone, on summaries", lambda c: _time(c[2].report_seconds)),
        ("core hours", lambda c: f"{c[2].core_hours:,.1f}"),
        ("arrivals per batch, and so per part", lambda c: count(c[1].batch_arrivals)),
        ("part files", lambda c: count(c[2].parts)),
        ("size of a part", lambda c: size(c[2].part_bytes)),
        ("output", lambda c: _large(c[2].output_bytes)),
        ("batches per shard", lambda c: count(c[2].batches_per_shard)),
        ("tasks per run directory", lambda c: count(c[2].tasks_per_run)),
        ("receipts through the scheduler, per run directory", lambda c: size(c[2].receipt_bytes_per_run)),
        ("memory per worker", lambda c: size(c[2].worker_memory_bytes)),
        ("of which lookup tables", lambda c: size(c[2].table_bytes)),
        ("memory of the client, segment sums", lambda c: size(c[2].client_memory_bytes)),
        ("footers that a reader of everything opens", lambda c: _large(c[2].footer_bytes)),
        ("LIST requests of an object store", lambda c: count(c[2].list_requests)),
        ("seal check by one core", lambda c: _time(c[2].seal_seconds)),
        ("seal check by the workers", lambda c: _time(c[2].seal_seconds_by_workers)),
        ("cost of the run", lambda c: _dollars(c[2].run_cost)),
        ("cost of storage, per month", lambda c: _dollars(c[2].month_cost)),
        ("cost of writing objects", lambda c: _dollars(c[2].put_cost)),
    ]
    rows = [(name, *(say(case) for case in found.values())) for name, say in lines]
    return Table(("arrivals", *found), rows)


def collision_table(rates: Rates) -> Table:
    """Upper bounds of the probability that two streams of a world meet."""
    worlds = {"reference": REFERENCE, **{name: shape for name, (shape, _, _) in cases(rates).items()}}
    rows = [
        (
            name,
            human.count(shape.entities),
            f"{key_collision(shape.entities):.0e}",
            f"{block_collision(shape.entities, shape.buckets):.0e}",
        )
        for name, shape in worlds.items()
    ]
    return Table(("arrivals", "entities", "two streams with one key", "two streams with one block"), rows)


def _time(seconds: float) -> str:
    hours = seconds / 3600
    return human.duration(seconds) if hours < 48 else f"{hours / 24:,.1f} days"


def _large(number_of_bytes: int) -> str:
    return human.size(number_of_bytes)


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}" if amount < 100 else f"${amount:,.0f}"


# --- The page ---------------------------------------------------------------------------------------


def render(page: str, result: Result) -> str:
    """The page with what lies between its markers replaced."""
    rates = rates_of(result.measured)
    for name, table in (
        ("measured", measured_table(result)),
        ("model", model_table(rates)),
        ("collisions", collision_table(rates)),
    ):
        begin, end = f"<!-- begin {name}: written by `python -m bench cluster --page` -->", f"<!-- end {name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"the page has no lines {begin!r} and {end!r}")
        page = f"{before}{begin}\n\n{tabular.markdown(table)}\n{end}{after}"
    return page


def newest() -> Result:
    """The newest committed measurement."""
    return max((result for result in results.newest(RESULTS) if result.name == NAME), key=_date)


def _date(result: Result) -> str:
    date: str = result.environment["date"]
    return date


def main(words: list[str]) -> int:
    """Measure, or write the page, and give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=5.0, help="of the demo preset; default: %(default)s")
    parser.add_argument("--out", type=Path, help="write the result file to this folder, such as bench/results")
    parser.add_argument("--page", action="store_true", help="write the newest result into docs/scaling.md")
    options = parser.parse_args(words)
    if options.page:
        PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), newest()), encoding="utf-8")
        return 0
    described = environment.describe()
    with tempfile.TemporaryDirectory(prefix="arrivals-bench-") as folder:
        run_root = Path(folder) / "world"
        arrivals("synth", run_root, "--preset", "demo", "--scale", options.scale, "--seed", 42)
        arrivals("seal", run_root)
        command = f"python -m bench cluster --scale {options.scale:g}"
        result = Result(NAME, command, described, measure(run_root))
    print(tabular.text(measured_table(result)))
    if options.out:
        print(results.save(result, options.out))
    return 0
