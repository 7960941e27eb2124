"""One scenario made on a cluster: survey, plan, shards, and the check that what was handed in is the whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.cpu_fallback.segments import check_key_width
from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.cluster.client import (
    Client,
    ShardProgress,
    completed,
    heard_progress,
    shared,
    wait_for_workers,
)
from arrival_engine.engine.cluster.dashboard import answering
from arrival_engine.engine.cluster.depot import EVENTS, Depot
from arrival_engine.engine.cluster.ledgers import StoredLedger
from arrival_engine.engine.cluster.receipts import ShardReceipt, check_receipt, worker_facts
from arrival_engine.engine.cluster.shards import Shard, cut_shards
from arrival_engine.engine.cluster.survey import Survey, merge_surveys
from arrival_engine.engine.cluster.tasks import Errand, lookup_world, shard_task, software, survey_task, write_catalogue
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.expand.choosing import Amount
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.run.making import Order
from arrival_engine.engine.run.options import RunOptions
from arrival_engine.engine.run.production import Made, Workshop, produce_parts
from arrival_engine.engine.world.counts import count_pieces
from arrival_engine.engine.world.load import World, read_source

# Enough for workers of unequal speed; pieces that a task reads together are merged where they are read, and their
# rows with N > 0 are in its memory at once.
SURVEYS_PER_THREAD = 4
MOST_PIECES = 16


@dataclass(frozen=True)
class DaskMaker:
    """Makes a run's parts on the workers of a `distributed.Client`, which see the run directory at the same path."""

    client: Client

    def begin(self, options: RunOptions, reporter: Reporter) -> None:  # noqa: ARG002 - as `Maker.begin`
        """Say where Dask shows what its workers do."""
        if link := answering(self.client.dashboard_link):
            reporter.message(f"Dask dashboard: {link}")

    def make(self, order: Order, staged: InsidePath, reporter: Reporter, *, resume: bool) -> Made:
        """As `Maker.make`; the ArrivalError is that of the first task to fail."""
        if resume:
            raise ValueError("a cluster does a lost worker's shards again; it resumes no staging directory")
        return _make_on_cluster(self.client, order, staged.resolve(), reporter)


def _make_on_cluster(client: Client, order: Order, staged: InsidePath, reporter: Reporter) -> Made:
    threads = wait_for_workers(client)
    options = order.options
    # Workers have working directories of their own.
    receipt = replace(order.receipt, run_root=order.receipt.run_root.resolve())
    source = read_source(receipt, order.scenario_id, seal=order.seal, strict=options.strict)
    depot = Depot.open(staged)
    errand = Errand(source, depot, options.backend, options.format, options.batch_arrivals, software())
    with _collected(depot) as collected:
        with reporter.phase("survey"):
            survey = _survey(client, errand, threads, reporter)
        with reporter.phase("read"):
            world = lookup_world(source, survey.counts, accept_tz_cache=options.accept_tz_cache)
        for notice in world.notices:
            reporter.notice(notice)
        with reporter.phase("plan"):
            arrival_start = survey.arrival_start()
            check_key_width(world.tables.grid, arrival_start, world.scenario_id)
            shards = cut_shards(survey, options.batch_arrivals, threads)
            write_catalogue(survey.counts.catalogue, depot)
        arrivals = int(arrival_start[-1])
        order.before_work(world, arrivals)
        if not shards:
            return _made_here(options, world, staged, reporter)
        with reporter.phase("expand and write"):
            reporter.expect("arrivals", arrivals)
            there = replace(errand, amount=Amount(arrivals, threads))
            receipts = _expanded(client, there, shards, reporter)
    with reporter.phase("verify"):
        parts = _verified(collected, receipts)
        world = replace(world, merged_rows=survey.drawn_rows - sum(receipt.rows for receipt in receipts))
        ledger = StoredLedger(world, collected, receipts)
        _check_totals(ledger, survey)
    with writing("arrivals", staged):
        (collected.folder / EVENTS).rename(staged / "events")
    return _made(ledger, parts, receipts, threads)


@contextmanager
def _collected(depot: Depot) -> Iterator[Depot]:
    """Where the depot's files are once no task can reach them; they are out of reach however the block ends."""
    closed = Depot(depot.folder.with_name("collected"))
    try:
        yield closed
    except BaseException:
        with suppress(ArrivalError):
            depot.close()
        raise
    depot.close()


def _survey(client: Client, errand: Errand, threads: int, reporter: Reporter) -> Survey:
    pieces = count_pieces(errand.source.receipt, errand.source.scenario_id)
    buckets = errand.source.grid().start_us.size
    each = min(-(-len(pieces) // (threads * SURVEYS_PER_THREAD)), MOST_PIECES)
    groups = [pieces[first : first + each] for first in range(0, len(pieces), each)]
    reporter.expect("row groups", sum(len(piece.groups) for piece in pieces))
    surveyed = []
    errand_there = shared(client, errand, f"errand-{errand.token}-survey")
    calls = [(errand_there, number, group, buckets) for number, group in enumerate(groups)]
    with closing(completed(client, survey_task, calls, f"survey-{errand.token}")) as results:
        for position, result in results:
            surveyed.append(result)
            reporter.advance(sum(len(piece.groups) for piece in groups[position]))
    return merge_surveys(surveyed)


def _expanded(client: Client, errand: Errand, shards: Sequence[Shard], reporter: Reporter) -> list[ShardReceipt]:
    """A receipt a shard, in shard order."""
    receipts: dict[int, ShardReceipt] = {}
    progress = ShardProgress(reporter)
    errand_there = shared(client, errand, f"errand-{errand.token}-shards")
    tasks = completed(client, shard_task, [(errand_there, shard) for shard in shards], f"expand-{errand.token}")
    told: set[str] = set()
    with heard_progress(client, errand.token, progress), closing(tasks) as results:
        for position, receipt in results:
            check_receipt(receipt, shards[position], errand.file_format)
            receipts[position] = receipt
            progress.reached(position, shards[position].arrivals)
            # Each worker has the same to say of its device, with every shard.
            for notice in receipt.notices:
                if notice.message not in told:
                    told.add(notice.message)
                    reporter.notice(notice)
    return [receipts[position] for position in range(len(shards))]


def _verified(depot: Depot, receipts: Sequence[ShardReceipt]) -> tuple[PartReceipt, ...]:
    """The parts that were handed in, all there with their sizes and nothing else. Raises IO_WRITE_FAILED.

    Their workers have read them back before they handed them in.
    """
    parts = tuple(part for receipt in receipts for part in receipt.parts)
    folder = depot.folder / EVENTS
    with writing("arrivals", folder):
        found = {path.name: path.stat().st_size for path in folder.iterdir()}
    if found != {part.name: part.bytes for part in parts}:
        raise ArrivalError(
            Code.IO_WRITE_FAILED,
            f"{folder} holds {len(found)} files, not the {len(parts)} parts that workers handed in, or of other sizes",
            hint="see that the workers write to the same file system as the client; nothing was published",
            path=str(folder),
        )
    return parts


def _check_totals(ledger: StoredLedger, survey: Survey) -> None:
    surveyed = int(survey.sums.arrivals.sum())
    if not surveyed == ledger.counted == ledger.digest.rows:
        raise ArrivalError(
            Code.BUCKET_COUNT_MISMATCH,
            f"the counts ask for {surveyed} arrivals, {ledger.digest.rows} were handed in for {ledger.counted}",
            hint="this is a defect of the engine; please report it with the run report",
        )


def _made_here(options: RunOptions, world: World, staged: InsidePath, reporter: Reporter) -> Made:
    """A scenario without arrivals, which has nothing to hand out: one part without rows."""
    shop = Workshop(choose_backend(options.backend, Amount(0, 1)), 1, options.format, reporter)
    return produce_parts(shop, plan(world, options.batch_arrivals), staged)


def _made(ledger: StoredLedger, parts: tuple[PartReceipt, ...], receipts: Sequence[ShardReceipt], threads: int) -> Made:
    seconds: defaultdict[str, float] = defaultdict(float)
    for receipt in receipts:
        for kind, spent in receipt.thread_seconds.items():
            seconds[kind] += spent
    return Made(
        ledger=ledger,
        parts=parts,
        backend=", ".join(sorted({receipt.backend for receipt in receipts})),
        backend_reason="",
        threads=threads,
        thread_seconds=dict(seconds),
        workers=worker_facts(receipts),
        notices=tuple({notice.message: notice for receipt in receipts for notice in receipt.notices}.values()),
    )
