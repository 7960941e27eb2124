"""What DataFusion, which prunes by page index, reads of one day of all merchants: of our files, and of pyarrow's."""

from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.process import in_process
from bench.workplace import Workplace

if TYPE_CHECKING:
    from datafusion.plan import ExecutionPlan

    from arrival_engine.engine.expand.planning import Batch

OURS, PYARROW = "the engine's files", "pyarrow's, without page index"


def measure_page_index(
    workplace: Workplace, files: list[str], day: tuple[str, str], selections: list[str]
) -> dict[str, Any] | None:
    """Bytes by kind of files and columns; None where DataFusion is not installed."""
    if importlib.util.find_spec("datafusion") is None:
        workplace.say("pruning: datafusion is not installed (pip install datafusion), left out")
        return None
    workplace.say("pruning: the same arrivals by pyarrow, for DataFusion")
    reference = workplace.scratch / "by-pyarrow"
    reference.mkdir()
    in_process(write_by_pyarrow, run_root=str(workplace.world), folder=str(reference), threads=workplace.threads)
    folders = {OURS: Path(files[0]).parent, PYARROW: reference}
    measured = {
        name: {
            **in_process(sizes_of, folder=str(folder)),
            "queries": {
                columns: in_process(run_datafusion, folder=str(folder), columns=columns, day=day)
                for columns in selections
            },
        }
        for name, folder in folders.items()
    }
    shutil.rmtree(reference)
    return measured


def write_by_pyarrow(run_root: str, folder: str, threads: int) -> dict[str, Any]:
    """Every part of a world again, with the run's row groups, by pyarrow's writer."""
    from arrival_engine.engine.expand.assemble import Assembler
    from arrival_engine.engine.expand.backend import choose_backend
    from arrival_engine.engine.expand.planning import plan
    from arrival_engine.engine.process.progress import Reporter
    from arrival_engine.engine.process.threads import Cancellation, ordered
    from arrival_engine.engine.world.load import load_world
    from bench.arrow_writer import arrow_writer

    batches = plan(load_world(run_root, threads=threads))
    assembler = Assembler(batches.world)
    writer = arrow_writer(batches.world, assembler, Path(folder))
    with choose_backend("cpu").open(batches, Reporter()) as expand:

        def write(batch: Batch) -> None:
            result = expand(batch)
            writer.write(batch.index, assembler.batches(result), result.digest)
            result.release()

        for _ in ordered(write, batches.batches, threads, Cancellation()):
            pass
    return {}


def sizes_of(folder: str) -> dict[str, Any]:
    """Bytes of files, and of what follows their pages: page indexes and footers."""
    import pyarrow.parquet as pq

    size = tail = 0
    for path in sorted(Path(folder).glob("*.parquet")):
        footer = pq.read_metadata(path)
        groups = [footer.row_group(group) for group in range(footer.num_row_groups)]
        chunks = [group.column(column) for group in groups for column in range(footer.num_columns)]
        begins = [
            (chunk.dictionary_page_offset or chunk.data_page_offset, chunk.total_compressed_size) for chunk in chunks
        ]
        size += path.stat().st_size
        tail += path.stat().st_size - max((sum(begin) for begin in begins), default=0)
    return {"bytes": size, "tail_bytes": tail}


def run_datafusion(folder: str, columns: str, day: tuple[str, str]) -> dict[str, Any]:
    """Rows found, seconds, and bytes scanned by DataFusion's own metrics; one partition."""
    import datafusion

    settings = datafusion.SessionConfig().set("datafusion.execution.target_partitions", "1")
    context = datafusion.SessionContext(settings)
    context.register_parquet("arrivals", folder)
    begin, end = (f"TIMESTAMP '{moment}'" for moment in day)
    # The columns and the day are this package's own texts.
    query = f"SELECT {columns} FROM arrivals WHERE ts_utc >= {begin} AND ts_utc < {end}"  # noqa: S608
    frame = context.sql(query)
    began = time.perf_counter()
    rows = sum(batch.to_pyarrow().num_rows for batch in frame.execute_stream())
    seconds = time.perf_counter() - began
    return {"rows": rows, "seconds": seconds, "bytes_scanned": _scanned(frame.execution_plan())}


def _scanned(plan: ExecutionPlan) -> int:
    metrics = plan.metrics()
    own = metrics.sum_by_name("bytes_scanned") if metrics else None
    return (own or 0) + sum(map(_scanned, plan.children()))
