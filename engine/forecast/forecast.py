"""Forecast a run: what it would make, by a survey of the counts; what it would take, by a calibration of a second."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arrival_engine.contracts.options import BackendName, FileFormat
from arrival_engine.cpu_fallback.segments import check_key_width
from arrival_engine.cpu_fallback.tables import Tables
from arrival_engine.engine.cluster.depot import Depot
from arrival_engine.engine.cluster.receipts import ShardReceipt
from arrival_engine.engine.cluster.shards import Shard, cut_shards, shards_of_batches
from arrival_engine.engine.cluster.survey import Survey, merge_surveys
from arrival_engine.engine.cluster.tasks import (
    Errand,
    expand_shard,
    lookup_world,
    software,
    survey_task,
    write_catalogue,
)
from arrival_engine.engine.expand.choosing import Amount
from arrival_engine.engine.expand.memory_check import BYTES_PER_ARRIVAL
from arrival_engine.engine.expand.planning import DEFAULT_BATCH_ARRIVALS
from arrival_engine.engine.process import human
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.rundir.staging import scratch
from arrival_engine.engine.sealing import verify_seal
from arrival_engine.engine.world.counts import count_pieces
from arrival_engine.engine.world.load import read_source

CALIBRATION_S = 1.0
# A worker with everything loaded that has surveyed row groups of a million rows: 460 to 480 MiB were measured with
# batches of 250,000 arrivals. A count row of a shard as it is read, coded, sorted, merged, kept and stored.
PROCESS_BYTES = 420 << 20
BYTES_PER_COUNT_ROW = 150


@dataclass(frozen=True)
class ForecastOptions:
    """As the options of a run; workers: processes of one thread each, None for one a core."""

    batch_arrivals: int = DEFAULT_BATCH_ARRIVALS
    workers: int | None = None
    scenarios: tuple[str, ...] = ()
    backend: BackendName = "auto"
    format: FileFormat = "parquet"

    def __post_init__(self) -> None:
        for name in ("batch_arrivals", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")


@dataclass(frozen=True)
class Calibration:
    """Sample batches expanded and written here, on one thread; seconds by kind: of the batches, and around them."""

    arrivals: int
    bytes: int
    work_seconds: float
    overhead_seconds: float
    batches: int
    backend: str

    @property
    def arrivals_per_second(self) -> float:
        """Of one worker, while it expands and writes."""
        return human.per_second(self.arrivals, self.work_seconds)


@dataclass(frozen=True)
class ScenarioForecast:
    """One scenario: exact figures of its plan, then what is expected of a run.

    count_rows: with N > 0, before those that repeat a key are merged; largest_shard_rows of them in a shard.
    table_bytes: lookup tables, which every worker holds once. run_memory_bytes: of a run here, in one process with a
    thread per core. seconds: from survey to the last part, each worker having a core like this machine's; the seal
    check comes on top.
    """

    scenario_id: str
    arrivals: int
    count_rows: int
    merchants: int
    entities: int
    segments: int
    batch_arrivals: int
    batches: int
    largest_batch: int
    workers: int
    shards: int
    largest_shard: int
    largest_shard_rows: int
    table_bytes: int
    expected_bytes: int | None
    worker_memory_bytes: int
    run_memory_bytes: int
    seconds: float | None
    calibration: Calibration | None


@dataclass(frozen=True)
class ForecastResult:
    """The plans of all scenarios asked for."""

    scenarios: tuple[ScenarioForecast, ...]


def forecast(
    run_root: Path | str, options: ForecastOptions | None = None, reporter: Reporter | None = None
) -> ForecastResult:
    """Survey the counts of a sealed run directory, cut its plan, and time a sample of it; nothing is published.

    Raises ArrivalError as a run would that cannot read its inputs.
    """
    options, reporter = options or ForecastOptions(), reporter or Reporter()
    receipt = read_receipt(Path(run_root))
    seal = verify_seal(receipt, reporter)
    wanted = dict.fromkeys(options.scenarios or seal.scenario_set)
    sources = [read_source(receipt, scenario_id, seal=seal, strict=False) for scenario_id in wanted]
    plans = []
    for source in sources:
        with scratch(receipt.run_root, "plan") as folder:
            if not folder.is_relative_to(receipt.run_root):
                reporter.message(f"{receipt.run_root} cannot be written, so the sample is written to {folder}")
            errand = Errand(
                source, Depot.open(folder), options.backend, options.format, options.batch_arrivals, software()
            )
            plans.append(_scenario_plan(errand, options, reporter))
    return ForecastResult(tuple(plans))


def _scenario_plan(errand: Errand, options: ForecastOptions, reporter: Reporter) -> ScenarioForecast:
    source, workers = errand.source, options.workers or available_cores()
    began = time.perf_counter()
    with reporter.phase("survey"):
        survey = _survey_here(errand)
    surveyed = time.perf_counter()
    with reporter.phase("read"):
        world = lookup_world(source, survey.counts, accept_tz_cache=True)
    read = time.perf_counter()
    with reporter.phase("plan"):
        arrival_start = survey.arrival_start()
        check_key_width(world.tables.grid, arrival_start, world.scenario_id)
        shards = cut_shards(survey, options.batch_arrivals, workers)
    calibration = None
    if shards:
        with reporter.phase("calibration"):
            there = replace(errand, amount=Amount(int(arrival_start[-1]), workers))
            calibration = _calibrate(there, survey, shards[-1].parts.stop)
    before = (surveyed - began) * min(workers, available_cores()) / workers + (read - surveyed)
    table_bytes = _bytes_of(world.tables)
    largest_batch = max((arrivals for shard in shards for arrivals in shard.batch_arrivals), default=0)
    largest_rows = max((shard.count_rows for shard in shards), default=0)
    arrivals = int(arrival_start[-1])
    return ScenarioForecast(
        scenario_id=source.scenario_id,
        arrivals=arrivals,
        count_rows=survey.drawn_rows,
        merchants=survey.counts.catalogue.merchant_ids.size,
        entities=survey.counts.catalogue.merchant.size,
        segments=survey.sums.arrivals.size,
        batch_arrivals=options.batch_arrivals,
        batches=sum(len(shard.parts) for shard in shards),
        largest_batch=largest_batch,
        workers=workers,
        shards=len(shards),
        largest_shard=max((shard.arrivals for shard in shards), default=0),
        largest_shard_rows=largest_rows,
        table_bytes=table_bytes,
        expected_bytes=round(arrivals * calibration.bytes / calibration.arrivals) if calibration else None,
        worker_memory_bytes=process_memory(table_bytes, largest_rows, largest_batch),
        run_memory_bytes=process_memory(
            table_bytes, survey.drawn_rows, min(available_cores() * largest_batch, arrivals)
        ),
        seconds=before + _work_seconds(shards, calibration, workers) if calibration else None,
        calibration=calibration,
    )


def process_memory(table_bytes: int, count_rows: int, arrivals_in_flight: int) -> int:
    """Bytes that a process needs at its peak for the count rows it holds and the batches it expands at once."""
    return PROCESS_BYTES + table_bytes + count_rows * BYTES_PER_COUNT_ROW + arrivals_in_flight * BYTES_PER_ARRIVAL


def _survey_here(errand: Errand) -> Survey:
    source = errand.source
    buckets = source.grid().start_us.size
    calls = enumerate(count_pieces(source.receipt, source.scenario_id))
    surveyed = ordered(
        lambda call: survey_task(errand, call[0], [call[1]], buckets), calls, available_cores(), Cancellation()
    )
    return merge_surveys(list(surveyed))


def _calibrate(errand: Errand, survey: Survey, batches: int) -> Calibration:
    """Sample batches one after another until a second is full, after one that loads kernels and tables."""
    receipts: list[ShardReceipt] = []
    write_catalogue(survey.counts.catalogue, errand.depot)
    samples = list(shards_of_batches(survey, errand.batch_arrivals, _spread(batches)))
    expand_shard(errand, samples[0], Reporter(), "calibration", 1)
    for sample in samples:
        receipts.append(expand_shard(errand, sample, Reporter(), "calibration", 1))
        if sum(_seconds(receipt) for receipt in receipts) >= CALIBRATION_S:
            break
    work = sum(sum(receipt.thread_seconds.values()) for receipt in receipts)
    return Calibration(
        arrivals=sum(receipt.digest.rows for receipt in receipts),
        bytes=sum(part.bytes for receipt in receipts for part in receipt.parts),
        work_seconds=work,
        overhead_seconds=max(sum(_seconds(receipt) for receipt in receipts) - work, 0.0),
        batches=len(receipts),
        backend=receipts[0].backend,
    )


def _seconds(receipt: ShardReceipt) -> float:
    return receipt.ended - receipt.began


_SAMPLES = 32


def _spread(batches: int) -> list[int]:
    """Sample batches spread over the plan: the middle one first, then between those taken."""
    places: list[int] = []
    for index in range(1, _SAMPLES + 1):
        place = int(_halved(index) * batches)
        if place not in places:
            places.append(place)
    return places


def _halved(index: int) -> float:
    """The van der Corput sequence: 1/2, 1/4, 3/4, 1/8, ..."""
    bits = f"{index:b}"
    return int(bits[::-1], 2) / (1 << len(bits))


def _work_seconds(shards: tuple[Shard, ...], calibration: Calibration, workers: int) -> float:
    """Seconds until the last worker is done, when shards go in order to the first free worker."""
    per_arrival = calibration.work_seconds / calibration.arrivals
    per_shard = calibration.overhead_seconds / calibration.batches
    busy_until = [0.0] * min(workers, len(shards))
    for shard in shards:
        first = busy_until.index(min(busy_until))
        busy_until[first] += per_shard + shard.arrivals * per_arrival
    return max(busy_until)


def _bytes_of(tables: Tables) -> int:
    groups: list[Any] = [group if isinstance(group, tuple) else (group,) for group in tables]
    return sum(array.nbytes for group in groups for array in group)
