"""What a worker does: survey pieces, expand a shard. Functions of their arguments, safe to run twice."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as distribution_version

import numpy as np

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.options import BackendName, FileFormat
from arrival_engine.contracts.oserrors import reading, writing
from arrival_engine.engine.cluster.blocks import packed, read_block, unpacked
from arrival_engine.engine.cluster.depot import CATALOGUE, EVENTS, LEDGERS, Depot
from arrival_engine.engine.cluster.receipts import ShardReceipt
from arrival_engine.engine.cluster.shards import Shard, plan_of_shard
from arrival_engine.engine.cluster.survey import SurveyedPieces, survey_pieces
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.expand.choosing import Amount
from arrival_engine.engine.expand.ledger import ScenarioLedger
from arrival_engine.engine.expand.memory_check import check_memory
from arrival_engine.engine.process.machine import peak_rss_bytes
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.version import LAW_VERSION, code_digest, version
from arrival_engine.engine.run.production import Workshop, produce_parts
from arrival_engine.engine.rundir.array_files import loaded_arrays, save_arrays
from arrival_engine.engine.rundir.pieces import TablePiece
from arrival_engine.engine.world.catalogue import Catalogue
from arrival_engine.engine.world.counts import NO_ROWS, CountRows, merge_drawn
from arrival_engine.engine.world.load import Source, World, assemble_world

_EVENT_GAP_S = 1.0


@cache
def software() -> dict[str, str]:
    """What decides a part's bytes besides its inputs; client and workers must agree on it.

    Computed once per process: loaded code does not change with its files.
    """
    return {
        "engine": version(),
        "law": str(LAW_VERSION),
        "code": code_digest(),
        "pyarrow": distribution_version("pyarrow"),
        "numpy": distribution_version("numpy"),
    }


@dataclass(frozen=True)
class Errand:
    """What all tasks of a scenario share; paths are the same for client and workers.

    amount: what all shards expand, on all threads; the survey does not know it yet.
    """

    source: Source
    depot: Depot
    backend: BackendName
    file_format: FileFormat
    batch_arrivals: int
    software: dict[str, str]
    amount: Amount | None = None

    @property
    def token(self) -> str:
        """What tells the tasks and messages of this run from those of others: its staging directory's name."""
        return self.depot.folder.parent.name


def survey_task(errand: Errand, number: int, pieces: Sequence[TablePiece], buckets: int) -> SurveyedPieces:
    """Add up some pieces of the counts, and leave their rows for the shards."""
    _check_here(errand)
    return survey_pieces(number, pieces, buckets, errand.source.settings.max_count, errand.depot)


def shard_task(errand: Errand, shard: Shard) -> ShardReceipt:
    """Expand a shard within a Dask worker, and tell its progress."""
    from distributed import get_worker

    worker = get_worker()

    def tell(arrivals: int) -> None:
        worker.log_event(errand.token, {"shard": shard.index, "arrivals": arrivals})

    return expand_shard(errand, shard, _WorkerReporter(tell), str(worker.name), worker.state.nthreads)


def expand_shard(errand: Errand, shard: Shard, reporter: Reporter, worker: str, threads: int) -> ShardReceipt:
    """Read the count rows of a shard, write its parts and the sums per count row, and hand both in.

    threads: shards that this process may be expanding at once. Raises ArrivalError.
    """
    began = time.time()
    _check_here(errand)
    lookup, catalogue = _lookup(errand)
    plan = plan_of_shard(lookup, catalogue, _counts(errand, shard, lookup), shard, errand.batch_arrivals)
    check_memory(plan, threads)
    backend = choose_backend(errand.backend, errand.amount)
    with errand.depot.attempt() as scratch:
        made = produce_parts(Workshop(backend, 1, errand.file_format, reporter), plan, scratch)
        ledger_file = scratch / ledger_name(shard.index)
        ledger_sha256 = _write_ledger(made.ledger, ledger_file)
        errand.depot.hand_in(EVENTS, [scratch / "events" / part.name for part in made.parts])
        errand.depot.hand_in(LEDGERS, [ledger_file])
    return ShardReceipt(
        shard=shard.index,
        parts=made.parts,
        digest=made.ledger.digest,
        at_start=made.ledger.at_start,
        at_end=made.ledger.at_end,
        rows=made.ledger.count_rows,
        ledger_sha256=ledger_sha256,
        worker=worker,
        backend=backend.name,
        began=began,
        ended=time.time(),
        thread_seconds=dict(made.thread_seconds),
        peak_rss_bytes=peak_rss_bytes(),
        notices=reporter.notices,
    )


def _counts(errand: Errand, shard: Shard, lookup: World) -> CountRows:
    """The count rows of the shard's merchants; the survey has read them from the inputs."""
    drawn = [read_block(number, shard.merchant_ids, errand.depot) for number in shard.blocks]
    return merge_drawn(drawn, lookup.tables.grid.start_us.size, errand.source.settings.max_count)


def ledger_name(shard: int) -> str:
    """File name of the sums per count row of a shard: int32[6, R], Rows above RowTotals."""
    return f"{shard:06d}.npy"


def write_catalogue(catalogue: Catalogue, depot: Depot) -> None:
    """Leave the entities where every worker finds them. Raises IO_WRITE_FAILED."""
    path = depot.folder / CATALOGUE
    with writing("catalogue of entities", path):
        save_arrays(path, **packed(catalogue))


class _WorkerReporter(Reporter):
    """Tells how many arrivals are written, once a second at most."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        super().__init__()
        self._tell = tell
        self._told_at = time.monotonic()
        self._arrivals = 0

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more arrivals as written."""
        super().advance(amount)
        self._arrivals += amount
        if time.monotonic() - self._told_at >= _EVENT_GAP_S:
            self._told_at = time.monotonic()
            self._tell(self._arrivals)


def _check_here(errand: Errand) -> None:
    """Refuse to work where files could differ, or would not get to the client."""
    folder = errand.depot.folder
    if not folder.is_dir():
        raise ArrivalError(
            Code.IO_READ_FAILED,
            f"a worker on {socket.gethostname()} does not find {folder}",
            hint="mount the run directory for every worker at the path that the client has for it",
            path=str(folder),
        )
    ours = software()
    for name, wanted in errand.software.items():
        if ours.get(name) != wanted:
            raise ArrivalError(
                Code.CLUSTER_UNAVAILABLE,
                f"a worker has {name} {ours.get(name)}, the client has {wanted}: their files could differ",
                hint="install the same versions for the workers as for the client",
            )


_lookups: dict[InsidePath, tuple[World, Catalogue]] = {}
_lookups_lock = threading.Lock()


def _lookup(errand: Errand) -> tuple[World, Catalogue]:
    """The lookup tables of a run, made once in a worker process and shared by its threads and shards."""
    with _lookups_lock:
        folder = errand.depot.folder
        if folder not in _lookups:
            # Tables of an earlier scenario are no longer needed.
            _lookups.clear()
            catalogue = _read_catalogue(errand.depot)
            # The client has compared the tz cache with tzdata, and accepted it or ended the run.
            counts = CountRows(NO_ROWS, catalogue, 0, 0, 0)
            _lookups[folder] = (lookup_world(errand.source, counts, accept_tz_cache=True), catalogue)
        return _lookups[folder]


def lookup_world(source: Source, counts: CountRows, *, accept_tz_cache: bool) -> World:
    """The world of a scenario without its count rows. Raises ArrivalError as `load_world` does."""
    return assemble_world(source, source.grid(), counts, accept_tz_cache=accept_tz_cache)


def _read_catalogue(depot: Depot) -> Catalogue:
    path = depot.folder / CATALOGUE
    with reading("catalogue of entities", path), loaded_arrays(path) as columns:
        return unpacked(columns)


def _write_ledger(ledger: ScenarioLedger, path: InsidePath) -> str:
    (whole,) = ledger.pieces()
    table = np.stack([*whole.world.rows, *whole.row_totals])
    with writing("sums per count row", path), path.open("xb") as file:
        np.save(file, table)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(table.tobytes()).hexdigest()
