"""The model of large runs: it agrees with the code that it describes, with what was measured, and with its page."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from bench import cluster
from bench.cluster_model import (
    CLIENT_BYTES_PER_SEGMENT,
    Rates,
    Setup,
    Shape,
    block_collision,
    key_collision,
    predict,
)

SHAPE = Shape(
    arrivals=10**8,
    count_rows=10**7,
    rows_read=2 * 10**7,
    segments=10**6,
    entities=1000,
    table_bytes=10**6,
    input_bytes=10**9,
    buckets=1000,
)
RATES = Rates(
    arrivals_per_second=1e6,
    survey_rows_per_second=1e6,
    shard_seconds=0.0,
    start_seconds=0.0,
    client_seconds=3.0,
    report_rows_per_second=1e7,
    hash_bytes_per_second=1e9,
    bytes_per_arrival=10.0,
)


def test_the_page_shows_the_newest_result_and_the_model():
    page = cluster.PAGE.read_text(encoding="utf-8")
    assert cluster.render(page, cluster.newest()) == page


def test_the_model_is_near_what_was_measured():
    result = cluster.newest()
    cores = result.environment["cores"]
    digests = {run["digest"] for run in (result.measured["one_thread"], *result.measured["clusters"])}
    assert len(digests) == 1
    for run in result.measured["clusters"]:
        said = cluster.predicted(result.measured, run["workers"], cores).seconds
        assert 0.5 < said / run["wall_s"] < 2.0, run["workers"]


def test_one_worker_does_everything_one_after_the_other():
    found = predict(SHAPE, RATES, Setup(1, 1, 10**8))
    # 3 s, 20 s of survey, 100 s of work, 1 s of report.
    assert found.seconds == pytest.approx(124.0)
    assert (found.parts, found.shards_per_run, found.runs) == (1, 1, 1)
    assert found.output_bytes == found.part_bytes == 10**9
    assert found.core_hours == pytest.approx(124 / 3600)
    assert found.seal_seconds == pytest.approx(1.0)


def test_workers_share_what_can_be_shared():
    found = predict(SHAPE, RATES, Setup(10, 10, 10**6))
    # The client's 3 s and 1 s stay; the last shard of 50 ends half a shard after the mean.
    assert found.shards_per_run == 50
    assert found.batches_per_shard == 2
    assert found.seconds == pytest.approx(4.0 + 2.0 + 10.0 + 1.0)
    assert predict(SHAPE, RATES, Setup(10, 2, 10**6)).seconds == pytest.approx(4.0 + 10.0 + 50.0 + 1.0)


def test_a_world_is_cut_where_its_segment_sums_outgrow_the_client():
    memory = SHAPE.segments * CLIENT_BYTES_PER_SEGMENT // 3 - 1000
    found = predict(SHAPE, RATES, Setup(10, 10, 10**6, client_memory_bytes=memory))
    assert found.runs == 4
    assert found.client_memory_bytes <= memory
    assert found.parts >= 100


def test_growth_by_merchants_and_by_counts():
    more, busier = SHAPE.with_more_merchants(10**10), SHAPE.with_busier_merchants(10**10)
    assert more.arrivals == busier.arrivals == 10**10
    assert (more.entities, more.count_rows, more.buckets) == (100_000, 10**9, 1000)
    assert (busier.entities, busier.count_rows) == (SHAPE.entities, SHAPE.count_rows)


@pytest.mark.parametrize("entities", [1, 2, 1000, 10**9, 10**12])
def test_collision_bounds_are_the_exact_fractions(entities):
    streams = 3 * entities
    pairs = math.comb(streams, 2)
    assert key_collision(entities) == pytest.approx(min(float(Fraction(pairs, 2**64)), 1.0))
    assert block_collision(entities, 2160) == pytest.approx(float(Fraction(pairs * 4319, 2**128)))
