"""Alternatives on the same cores: NumPy, Polars, and another generator, tpchgen-cli.

NumPy and Polars expand the same batches of the same loaded world; each contender runs in a process of its own.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arrival_engine.engine.process import human
from bench.process import BenchError, in_process, run_process
from bench.product import paths_of, run_job
from bench.tabular import Table
from bench.timing import median, repeated
from bench.workplace import Workplace, world_facts

if TYPE_CHECKING:
    from arrival_engine.engine.expand.backend import BatchResult
    from arrival_engine.engine.expand.planning import Batch, Plan

Work = Callable[["Batch"], object]

# More than these would take minutes in Polars; they are spread over the whole world.
BATCHES = 8
PRODUCT, NUMPY, POLARS = "Arrival Engine", "NumPy", "Polars"
LINEITEM_COLUMNS = 16


def measure(workplace: Workplace) -> dict[str, Any]:
    """Expansion by each contender, to Arrow and to Parquet; then whole jobs, ours and tpchgen-cli's."""
    root = workplace.world
    arguments = {
        "run_root": str(root),
        "scratch": str(workplace.scratch),
        "threads": workplace.threads,
        "repeats": workplace.repeats,
        "batches": BATCHES,
    }
    expansions = {}
    for name in (PRODUCT, NUMPY, POLARS):
        workplace.say(f"rivals: {name}")
        limits = {"POLARS_MAX_THREADS": str(workplace.threads)}
        expansions[name] = in_process(time_expansion, limits, contender=name, **arguments)
    workplace.say("rivals: whole jobs")
    return {
        "world": world_facts(root),
        "threads": workplace.threads,
        "expansions": expansions,
        "jobs": {"run": _whole_run(workplace, root), "lineitem": _lineitem(workplace)},
    }


def time_expansion(
    contender: str, run_root: str, scratch: str, threads: int, repeats: int, batches: int
) -> dict[str, Any]:
    """Seconds of one contender for some batches: to Arrow tables in memory, and to Parquet files."""
    from arrival_engine.engine.expand.planning import plan
    from arrival_engine.engine.process.machine import peak_rss_bytes
    from arrival_engine.engine.world.load import load_world
    from bench.kernel import chosen_batches

    planned = plan(load_world(run_root, threads=threads))
    chosen = chosen_batches(planned, batches)
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="expansion-"))
    before = peak_rss_bytes()
    # Polars runs its own threads inside every operation.
    at_once = 1 if contender == POLARS else threads
    with _works(contender, planned, folder) as (to_arrow, to_parquet):
        figures = {
            "arrivals": sum(batch.arrivals for batch in chosen),
            "to_arrow": repeated(lambda: _each(to_arrow, chosen, at_once), repeats),
            "to_parquet": repeated(lambda: _each(to_parquet, chosen, at_once), repeats),
            "bytes": sum(path.stat().st_size for path in folder.iterdir()),
            "loaded_rss_bytes": before,
            "peak_rss_bytes": peak_rss_bytes(),
        }
    shutil.rmtree(folder)
    return figures


def _each(work: Work, chosen: list[Batch], threads: int) -> None:
    from arrival_engine.engine.process.threads import Cancellation, ordered

    def once(batch: Batch) -> None:
        # The result is let go of at once, as it is when it has been written.
        work(batch)

    for _ in ordered(once, chosen, threads, Cancellation()):
        pass


@contextmanager
def _works(contender: str, planned: Plan, folder: Path) -> Iterator[tuple[Work, Work]]:
    """A contender's functions from a batch to Arrow tables, and to a file in `folder`."""
    if contender == POLARS:
        from bench.polars_rival import PolarsExpander

        frames = PolarsExpander(planned)
        yield frames.frame, lambda batch: frames.write(batch, folder / f"{batch.index}.parquet")
    elif contender == NUMPY:
        from bench.numpy_rival import NumpyExpander

        yield _by_pyarrow(NumpyExpander(planned), planned, folder)
    else:
        from arrival_engine.engine.expand.backend import choose_backend
        from arrival_engine.engine.process.progress import Reporter

        with choose_backend("cpu").open(planned, Reporter()) as expand:
            yield _by_the_engine(expand, planned, folder)


def _by_pyarrow(expand: Callable[[Batch], BatchResult], planned: Plan, folder: Path) -> tuple[Work, Work]:
    """Columns of codes, given to the product's assembler and to pyarrow's writer."""
    from arrival_engine.engine.expand.assemble import Assembler
    from bench.arrow_writer import arrow_writer

    assembler = Assembler(planned.world)
    writer = arrow_writer(planned.world, assembler, folder)

    def to_parquet(batch: Batch) -> None:
        result = expand(batch)
        writer.write(batch.index, assembler.batches(result), result.digest)

    return lambda batch: list(assembler.batches(expand(batch))), to_parquet


def _by_the_engine(expand: Callable[[Batch], BatchResult], planned: Plan, folder: Path) -> tuple[Work, Work]:
    from arrival_engine.contracts.inside import InsidePath
    from arrival_engine.engine.expand.assemble import Assembler
    from arrival_engine.engine.pages.parts import ParquetParts

    assembler = Assembler(planned.world)
    writer = ParquetParts(InsidePath(folder), planned.world, assembler)

    def to_parquet(batch: Batch) -> None:
        result = expand(batch)
        writer.write(result)
        result.release()

    return lambda batch: list(assembler.batches(expand(batch))), to_parquet


def _whole_run(workplace: Workplace, root: Path) -> dict[str, Any]:
    runs = [run_job(root, workplace.threads) for _ in range(workplace.repeats)]
    return {
        "wall_s": [run["wall_s"] for run in runs],
        "peak_rss_bytes": max(run["peak_rss_bytes"] for run in runs),
        **in_process(parquet_size, files=[str(path) for path in paths_of(root, "arrival_events_5B")]),
    }


def _lineitem(workplace: Workplace) -> dict[str, Any] | None:
    """lineitem by tpchgen-cli, about as many rows as the world has arrivals; None where it is not installed."""
    command = shutil.which("tpchgen-cli", path=str(Path(sys.executable).parent)) or shutil.which("tpchgen-cli")
    if command is None:
        workplace.say("rivals: tpchgen-cli is not installed (pip install tpchgen-cli), left out")
        return None
    arrivals = world_facts(workplace.world)["n_arrivals_total"]
    scale = max(arrivals / 6_000_000, 0.01)
    codec = _codec_of(paths_of(workplace.world, "arrival_events_5B")[0])
    folder = workplace.scratch / "lineitem"
    words = ("parquet", "--scale-factor", f"{scale:.3g}", "--tables", "lineitem", "--num-threads", workplace.threads)
    options = ("--compression", codec, "--output-dir", folder, "--overwrite", "--quiet")
    finished = []
    for _ in range(workplace.repeats):
        shutil.rmtree(folder, ignore_errors=True)
        finished.append(run_process([command, *map(str, (*words, *options))]))
    size = in_process(parquet_size, files=[str(path) for path in sorted(folder.rglob("*.parquet"))])
    shutil.rmtree(folder)
    if size["columns"] != LINEITEM_COLUMNS:
        raise BenchError(f"tpchgen-cli wrote {size['columns']} columns of lineitem, not {LINEITEM_COLUMNS}")
    return {
        "scale_factor": scale,
        "compression": codec,
        "wall_s": [process.wall_s for process in finished],
        "cpu_s": [process.cpu_s for process in finished],
        "peak_rss_bytes": max(process.peak_rss_bytes for process in finished),
        **size,
    }


def _codec_of(part: Path) -> str:
    import pyarrow.parquet as pq

    group = pq.read_metadata(part).row_group(0)
    chunks = map(group.column, range(group.num_columns))
    # The engine compresses the columns that gain by it.
    chunk = next(chunk for chunk in chunks if chunk.path_in_schema == "is_virtual")
    codec: str = chunk.compression
    return {"LZ4": "LZ4_RAW", "ZSTD": "ZSTD(1)"}.get(codec, codec)


def parquet_size(files: list[str]) -> dict[str, Any]:
    """Rows, columns, file bytes, and bytes of the Arrow tables that pyarrow reads back (codes count as codes)."""
    import pyarrow.parquet as pq

    size = {"rows": 0, "columns": 0, "bytes": 0, "arrow_bytes": 0}
    for path in files:
        with pq.ParquetFile(path) as file:
            size["columns"] = file.metadata.num_columns
            size["rows"] += file.metadata.num_rows
            size["bytes"] += Path(path).stat().st_size
            for group in range(file.metadata.num_row_groups):
                size["arrow_bytes"] += file.read_row_group(group).nbytes
    return size


def tables(measured: dict[str, Any]) -> list[Table]:
    """Expansion by contender, and whole jobs by cells and Arrow bytes."""
    expansions = measured["expansions"]
    best = {
        kind: median(expansions[PRODUCT][kind]["wall_s"]) / expansions[PRODUCT]["arrivals"]
        for kind in ("to_arrow", "to_parquet")
    }
    contenders = []
    for name, figures in expansions.items():
        cells = [name]
        for kind in ("to_arrow", "to_parquet"):
            seconds = median(figures[kind]["wall_s"]) / figures["arrivals"]
            cells += [human.rate(1 / seconds, "arrivals"), f"{seconds / best[kind]:.1f}"]
        cells += [f"{figures['bytes'] / figures['arrivals']:.1f}", human.size(figures["peak_rss_bytes"])]
        contenders.append(tuple(cells))
    named = {"run": "arrivals run, seal check to publication", "lineitem": "tpchgen-cli, lineitem"}
    jobs = [_job(named[name], job) for name, job in measured["jobs"].items() if job]
    threads = measured["threads"]
    header = (f"same batches, {threads} threads", "to Arrow", "times ours", "to Parquet", "times ours")
    return [
        Table((*header, "file bytes per arrival", "peak memory"), contenders),
        Table((f"whole job, {threads} threads", "rows", "wall time", "cells/s", "Arrow bytes/s", "peak memory"), jobs),
    ]


def _job(name: str, job: dict[str, Any]) -> tuple[str, ...]:
    wall = median(job["wall_s"])
    return (
        name,
        human.count(job["rows"]),
        f"{wall:.2f} s",
        human.rate(job["rows"] * job["columns"] / wall, "cells"),
        human.rate(job["arrow_bytes"] / wall, human.BYTES),
        human.size(job["peak_rss_bytes"]),
    )
