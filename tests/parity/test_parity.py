"""Parity: equal backends pass; any wrong bit is found and traced."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.expand.backend import Backend, choose_backend, finish_batch
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.parity import ParityOptions
from arrival_engine.engine.parity.compare import differing
from arrival_engine.engine.parity.job import choose_sides
from arrival_engine.engine.parity.sample import SIMULATED_ARRIVALS, choose, spread
from arrival_engine.engine.world.load import load_world
from arrival_engine.gpu_kernels.device import unusable_reason
from arrival_engine.gpu_kernels.simulator import Simulator
from tests.support.gpu import work_of
from tests.support.model import FAIL, Policy
from tests.support.parity import check, flipped, sealed, tampering, text, unchanged
from tests.support.paths import FAULTS
from tests.support.worlds import small_world

# --- The verdict -----------------------------------------------------------------------------------


def test_the_same_backend_twice_has_the_same_bits(run_root, planned, tmp_path):
    result = check(run_root, tmp_path, tampering(unchanged))
    assert result.identical
    assert (result.difference, result.trace, result.refused) == (None, None, ())
    assert result.extent.whole
    assert result.extent.arrivals == planned.arrivals == result.left.arrivals
    assert result.left.digest == result.right.digest
    found = {verdict.name: (verdict.group, verdict.compared, verdict.differing) for verdict in result.columns}
    assert found["ts_us"] == ("columns", planned.arrivals, 0)
    assert found["without_site"] == ("row_totals", planned.world.rows.arrivals.size, 0)
    assert found["digest_b"] == ("sums", len(planned.batches), 0)
    assert len(found) == 9 + 3 + 5
    with pytest.raises(ValueError, match="identical"):
        result.failure()


@pytest.mark.parametrize("virtual", [False, True])
def test_every_column_of_a_wrong_arrival_is_found_and_derived(run_root, planned, expanded, tmp_path, virtual):
    index = len(expanded) // 2 if not virtual else next(i for i, r in enumerate(expanded) if r.columns.is_virtual.any())
    columns = expanded[index].columns
    row = int(np.flatnonzero(columns.is_virtual == virtual)[-1])
    right = {name: array.copy() for name, array in columns._asdict().items()}
    for array in right.values():
        array[row] ^= 1

    result = check(run_root, tmp_path, tampering(flipped(index, row, *columns._fields)))

    found = result.difference
    assert (found.batch, found.group, found.row) == (index, "columns", row)
    assert [(value.name, value.left, value.right) for value in found.values] == [
        (name, text(array[row]), text(right[name][row])) for name, array in columns._asdict().items()
    ]
    assert [(item.name, item.value, item.confirms) for item in result.trace.derived] == [
        (name, text(array[row]), "left") for name, array in columns._asdict().items()
    ]
    assert {verdict.name: verdict.differing for verdict in result.columns if verdict.differing} == dict.fromkeys(
        columns._fields, 1
    )
    assert result.trace.arrival_seq == columns.arrival_seq[row]
    history = result.trace.explanation.history
    count_row = planned.batches[index].rows[0] + int(columns.row[row])
    assert history.bucket.index == planned.world.rows.bucket[count_row] == result.trace.bucket_index
    assert history.mode.is_virtual == virtual
    assert result.trace.explanation.notices == ()


def test_the_derivation_confirms_the_side_that_is_right(run_root, tmp_path):
    wrong, right = tampering(flipped(0, 3, "ts_us")), choose_backend("cpu")
    result = check(run_root, tmp_path, right, left=wrong)
    assert [item.confirms for item in result.trace.derived] == ["right"]


def test_the_first_of_several_differences_is_reported_and_all_are_counted(run_root, tmp_path):
    def change(result):
        if result.batch.index >= 1:
            result.columns.place[7] ^= np.int32(1 << 30)
            result.columns.ts_us[5:] += 1
        return result

    result = check(run_root, tmp_path, tampering(change))
    assert (result.difference.batch, result.difference.row) == (1, 5)
    assert [value.name for value in result.difference.values] == ["ts_us"]
    counts = {verdict.name: verdict for verdict in result.columns if verdict.differing}
    later = [time.arrivals for time in result.left.batches[1:]]
    assert counts["ts_us"].differing == sum(later) - 5 * len(later)
    assert (counts["place"].differing, counts["place"].batches) == (len(later), len(later))


def test_a_count_rows_total_and_a_digest_are_compared_too(run_root, planned, tmp_path):
    result = check(run_root, tmp_path, tampering(flipped(2, 1, "without_group")))
    assert (result.difference.batch, result.difference.group, result.difference.row) == (2, "row_totals", 1)
    bucket = planned.world.rows.bucket[planned.batches[2].rows[0] + 1]
    assert (result.trace.bucket_index, result.trace.arrival_seq, result.trace.explanation) == (bucket, None, None)

    def change(found):
        return replace(found, digest=replace(found.digest, a=found.digest.a ^ 1))

    result = check(run_root, tmp_path, tampering(change))
    assert (result.difference.batch, result.difference.group, result.trace) == (0, "sums", None)
    assert [value.name for value in result.difference.values] == ["digest_a"]
    assert result.left.digest != result.right.digest


@pytest.mark.parametrize(
    ("left", "right", "marks"),
    [
        ([1, 2, 3], [1, 2, 3], [False, False, False]),
        ([1, 2, 3], [1, 0, 3], [False, True, False]),
        ([1, 2, 3], [1], [False, True, True]),
        ([1], np.array([1], np.int32), [True]),
        ([], [], []),
    ],
)
def test_lengths_and_types_count(left, right, marks):
    found = differing(np.array(left, np.int64), right if isinstance(right, np.ndarray) else np.array(right, np.int64))
    assert found.tolist() == marks


def test_batches_that_the_policy_stops_must_be_stopped_on_both_sides(tmp_path):
    refusing = sealed(tmp_path / "run", policy=Policy(missing_group_table=FAIL))
    result = check(refusing, tmp_path, tampering(unchanged))
    assert result.identical
    assert result.refused
    assert [time.index for time in result.right.batches if time.refused] == list(result.refused)

    @contextmanager
    def lenient(planned, reporter):
        forgiving = replace(planned, switches=planned.switches._replace(fail_no_group=False))
        with choose_backend("cpu").open(forgiving, reporter) as expand:
            yield expand

    result = check(refusing, tmp_path, Backend("lenient", "a test's", lenient))
    assert (result.difference.group, result.difference.batch) == ("refusal", result.refused[0])
    assert result.difference.values[0].left.startswith(Code.SITE_RESOLUTION_FAILED)
    assert result.difference.values[0].right == "expanded"


def test_a_world_without_arrivals_is_no_pass(tmp_path):
    counts = tuple(replace(row, n=0) for row in small_world().counts)
    with pytest.raises(ArrivalError, match="nothing to compare") as caught:
        check(sealed(tmp_path / "run", counts=counts), tmp_path, tampering(unchanged))
    assert caught.value.code is Code.OPTION_INVALID


@pytest.mark.cuda_sim
def test_a_wrong_constant_in_the_kernels_is_caught(run_root, tmp_path, monkeypatch):
    # The simulator's process inherits both.
    monkeypatch.syspath_prepend(FAULTS / "wrong_constant")
    monkeypatch.setenv("ARRIVALS_CACHE_DIR", str(tmp_path / "cache"))

    @contextmanager
    def opened(planned, _reporter):
        with Simulator() as process:
            process.open(work_of(planned))
            yield lambda batch: finish_batch(planned, batch, process.expand(batch.segments)[0])

    result = check(run_root, tmp_path, Backend("cudasim", "wrong", opened), sample_batches=1)
    assert not result.identical
    assert (result.difference.batch, result.difference.row) == (0, 0)
    assert {item.confirms for item in result.trace.derived} == {"left"}


# --- Which batches ---------------------------------------------------------------------------------


def test_a_sample_is_spread_from_first_to_last(planned):
    every = plan(planned.world, 1).batches
    assert spread(every, 1) == every[:1]
    assert spread(every, 10**6) == every
    for number in range(2, len(every)):
        chosen = [batch.index for batch in spread(every, number)]
        assert len(set(chosen)) == number
        assert (chosen[0], chosen[-1]) == (0, len(every) - 1)
        assert chosen == sorted(chosen)
        assert max(np.diff(chosen)) - min(np.diff(chosen)) <= 1
        assert spread(every, number) == spread(plan(planned.world, 1).batches, number)


def test_the_simulator_gets_no_more_than_it_can_do(tmp_path, planned):
    assert choose(planned, None, simulated=True).batches == planned.batches
    counts = tuple(replace(row, n=min(row.n * 100, 30_000)) for row in small_world().counts)
    world = load_world(sealed(tmp_path / "run", counts=counts))
    large = plan(world, 2500)
    assert large.arrivals > SIMULATED_ARRIVALS
    assert choose(large, None, simulated=False).batches == large.batches
    chosen = choose(large, None, simulated=True)
    assert 1 < sum(batch.arrivals for batch in chosen.batches) <= SIMULATED_ARRIVALS
    assert chosen == choose(plan(world, 2500), None, simulated=True)
    assert "at most 20,000 arrivals" in chosen.why
    assert "of more than 2,500 arrivals" in chosen.why
    assert choose(large, 2, simulated=True).batches == (large.batches[0], large.batches[-1])
    whole = plan(world, 10**9)
    assert choose(whole, None, simulated=True).batches == whole.batches
    assert "the smallest batch alone" in choose(whole, None, simulated=True).why


def test_the_right_side_is_a_device_where_there_is_one():
    right = choose_sides(ParityOptions()).right
    if reason := unusable_reason():
        assert right.name == "cudasim"
        assert reason in right.reason
    else:
        assert right.name == "cuda"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"left": "cudasim", "right": "cudasim"}, "nothing to compare"),
        ({"right": "tpu"}, "must be one of"),
        ({"sample_batches": 0}, "at least 1"),
        ({"batch_arrivals": 0}, "at least 1"),
    ],
)
def test_options_that_make_no_sense(options, problem):
    with pytest.raises(ValueError, match=problem):
        ParityOptions(**options)
