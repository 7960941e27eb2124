"""What a backend hands over is checked before it is written: each defect, made for real, has its code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.tally import tally_rows
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.expand.batch_checks import check_batch
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.world.load import load_world
from tests.support.world_files import write_world
from tests.support.worlds import small_world


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("checks") / "world"
    write_world(small_world(), run_root)
    seal(run_root)
    return plan(load_world(run_root))


@pytest.fixture
def result(planned):
    with choose_backend("cpu").open(planned, Reporter()) as expand:
        return expand(planned.batches[0])


def code_of(planned, result):
    with pytest.raises(ArrivalError) as caught:
        check_batch(planned, result)
    return caught.value.code


def test_a_sound_batch_passes(planned, result):
    check_batch(planned, result)


@pytest.mark.parametrize("wrong", [-1, 0, 2**31 - 1])
def test_an_arrival_of_another_count_row(planned, result, wrong):
    result.columns.row[-1] = wrong
    assert code_of(planned, result) is Code.BUCKET_COUNT_MISMATCH


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("days", [-40, 40])
def test_an_arrival_outside_its_bucket(planned, result, place, days):
    result.columns.ts_us[place] += days * 86_400_000_000
    assert code_of(planned, result) is Code.TS_OUTSIDE_BUCKET_WINDOW


def test_virtual_arrivals_that_the_sums_do_not_have(planned, result):
    result.columns.is_virtual[0] ^= True
    assert code_of(planned, result) is Code.RNG_ACCOUNTING_MISMATCH
    other = replace(result, row_totals=result.row_totals._replace(virtual=result.row_totals.virtual + np.int32(1)))
    assert code_of(planned, other) is Code.RNG_ACCOUNTING_MISMATCH


def test_rows_are_tallied():
    assert tally_rows(np.array([2, 0, 2], np.int32), 4).tolist() == [1, 0, 2, 0]
    assert tally_rows(np.empty(0, np.int32), 2).tolist() == [0, 0]
    for outside in (-1, 2):
        assert tally_rows(np.array([0, outside], np.int32), 2) is None
