"""The cost of a run of any size, predicted from the rates of a small one, for docs/scaling.md.

Every constant names the code that it describes or its measurement.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from arrival_engine.engine.cluster.production import MOST_PIECES, SURVEYS_PER_THREAD
from arrival_engine.engine.cluster.shards import MOST_BATCHES, MOST_COUNT_ROWS, SHARDS_PER_WORKER
from arrival_engine.engine.forecast.forecast import process_memory

# Survey.sums and its running sums hold 40 bytes per segment; merging them also takes sort keys and copies.
CLIENT_BYTES_PER_SEGMENT = 120
# A shard receipt's part: name, size and digest, pickled.
RECEIPT_BYTES_PER_PART = 250
# Measured: footers of 15,162 bytes with 6 row groups, of 18,580 with 8; groups end with their merchants.
FOOTER_BYTES, FOOTER_BYTES_PER_GROUP = 4_900, 1_700
ROWS_PER_GROUP = 50_000
ROWS_PER_INPUT_GROUP = 1 << 20
LIST_KEYS = 1000  # names per S3 LIST request
FAMILIES = 3


class Shape(NamedTuple):
    """How large a world is; count_rows with N > 0, of rows_read in the files. buckets: of the time grid."""

    arrivals: int
    count_rows: int
    rows_read: int
    segments: int
    entities: int
    table_bytes: int
    input_bytes: int
    buckets: int

    def with_more_merchants(self, arrivals: int) -> Shape:
        """The same world with this many arrivals from more merchants: everything but the grid grows."""
        grown = (math.ceil(figure * arrivals / self.arrivals) for figure in self[1:-1])
        return Shape(arrivals, *grown, self.buckets)  # type: ignore[call-arg] # as many figures as there are fields

    def with_busier_merchants(self, arrivals: int) -> Shape:
        """The same world with this many arrivals from larger counts: nothing else grows."""
        return self._replace(arrivals=arrivals)


class Rates(NamedTuple):
    """What one core, one worker and one client were measured to do."""

    arrivals_per_second: float  # of a worker's core, expanding, checking and writing
    survey_rows_per_second: float  # of a worker's core
    shard_seconds: float  # around the work on a shard's batches: reading count rows, syncing, verifying
    start_seconds: float  # a worker's first shard: lookup tables
    client_seconds: float  # seal check, tables, plan, publication
    report_rows_per_second: float  # of the client, which writes the summary
    hash_bytes_per_second: float  # of a core, SHA-256
    bytes_per_arrival: float


class Prices(NamedTuple):
    """Dollars, similar to prices of public clouds; assumptions, not measurements."""

    core_hour: float = 0.04
    gigabyte_month: float = 0.023
    million_puts: float = 5.0


class Setup(NamedTuple):
    """The machines: single-threaded workers, cores among all of them, and the memory of the client."""

    workers: int
    cores: int
    batch_arrivals: int
    client_memory_bytes: int = 64 << 30


class Prediction(NamedTuple):
    """Figures of a whole world; those `per_run` are of each of its `runs` run directories."""

    runs: int
    seconds: float
    survey_seconds: float
    report_seconds: float
    core_hours: float
    parts: int
    part_bytes: int
    output_bytes: int
    shards_per_run: int
    tasks_per_run: int
    batches_per_shard: int
    worker_memory_bytes: int
    table_bytes: int
    client_memory_bytes: int
    receipt_bytes_per_run: int
    footer_bytes: int
    list_requests: int
    seal_seconds: float
    seal_seconds_by_workers: float
    run_cost: float
    month_cost: float
    put_cost: float


def predict(shape: Shape, rates: Rates, setup: Setup, prices: Prices | None = None) -> Prediction:
    """Time, memory, files and cost of a world on these machines."""
    prices = prices or Prices()
    runs = max(math.ceil(shape.segments * CLIENT_BYTES_PER_SEGMENT / setup.client_memory_bytes), 1)
    one = _share(shape, runs)
    batches = math.ceil(one.arrivals / setup.batch_arrivals)
    batches_each, shards = _shards(one, batches, setup.workers)
    cores = min(setup.workers, setup.cores)
    survey_s = one.rows_read / (rates.survey_rows_per_second * cores)
    work_s = one.arrivals / rates.arrivals_per_second + shards * rates.shard_seconds
    # The last shard ends later than the mean by half a shard, where there are more shards than cores.
    tail_s = work_s / shards / 2 if shards > cores else 0.0
    report_s = one.count_rows / rates.report_rows_per_second
    start_s = rates.start_seconds * setup.workers / cores
    seconds = runs * (rates.client_seconds + survey_s + start_s + work_s / min(cores, shards) + tail_s + report_s)
    parts = batches * runs
    output_bytes = round(shape.arrivals * rates.bytes_per_arrival)
    core_hours = seconds * cores / 3600
    return Prediction(
        runs=runs,
        seconds=seconds,
        survey_seconds=runs * survey_s,
        report_seconds=runs * report_s,
        core_hours=core_hours,
        parts=parts,
        part_bytes=output_bytes // parts,
        output_bytes=output_bytes,
        shards_per_run=shards,
        tasks_per_run=shards + _surveys(one.rows_read, setup.workers),
        batches_per_shard=batches_each,
        worker_memory_bytes=process_memory(one.table_bytes, one.count_rows // shards, setup.batch_arrivals),
        table_bytes=one.table_bytes,
        client_memory_bytes=one.segments * CLIENT_BYTES_PER_SEGMENT,
        receipt_bytes_per_run=batches * RECEIPT_BYTES_PER_PART,
        footer_bytes=parts * FOOTER_BYTES + shape.arrivals // ROWS_PER_GROUP * FOOTER_BYTES_PER_GROUP,
        list_requests=math.ceil(parts / LIST_KEYS),
        seal_seconds=shape.input_bytes / rates.hash_bytes_per_second,
        seal_seconds_by_workers=shape.input_bytes / rates.hash_bytes_per_second / cores,
        run_cost=core_hours * prices.core_hour,
        month_cost=output_bytes / 1e9 * prices.gigabyte_month,
        put_cost=parts / 1e6 * prices.million_puts,
    )


def _share(shape: Shape, runs: int) -> Shape:
    """One of `runs` equal run directories."""
    return Shape(*(math.ceil(figure / runs) for figure in shape[:-1]), shape.buckets)  # type: ignore[call-arg]


def _shards(shape: Shape, batches: int, workers: int) -> tuple[int, int]:
    """Batches per shard, and shards, as `cut_shards` cuts them with count rows spread evenly."""
    rows_each = max(shape.count_rows / batches, 1.0)
    wanted = min(math.ceil(batches / (workers * SHARDS_PER_WORKER)), MOST_BATCHES, int(MOST_COUNT_ROWS / rows_each))
    batches_each = max(wanted, 1)
    return batches_each, math.ceil(batches / batches_each)


def _surveys(rows_read: int, workers: int) -> int:
    """Survey tasks of count files with row groups of the size that pyarrow writes."""
    row_groups = math.ceil(rows_read / ROWS_PER_INPUT_GROUP)
    each = min(math.ceil(row_groups / (workers * SURVEYS_PER_THREAD)), MOST_PIECES)
    return math.ceil(row_groups / each)


def key_collision(entities: int) -> float:
    """Upper bound of the probability that two streams share a 64-bit key: pairs of streams, over 2^64."""
    streams = FAMILIES * entities
    return min(streams * (streams - 1) / 2 / 2.0**64, 1.0)


def block_collision(entities: int, buckets: int) -> float:
    """Upper bound of the probability that two streams share a block: the same key, and hi0 less than a grid apart.

    Only that would repeat words: block j of bucket b stands at counter (j, hi0 + b) under the stream's key.
    """
    streams = FAMILIES * entities
    return min(streams * (streams - 1) / 2 * (2 * buckets - 1) / 2.0**128, 1.0)
