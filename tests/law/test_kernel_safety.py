"""The compiled kernel writes every element it owns, reads none it does not, and depends on nothing left in memory."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from arrival_engine.cpu_fallback import expand as kernel
from arrival_engine.cpu_fallback.segments import position_bits
from arrival_engine.cpu_fallback.tables import Results, Work, empty_batch_totals, empty_columns, empty_row_totals
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.world.load import load_world
from tests.support.gpu import arrays_of
from tests.support.reference import expand as reference_expand
from tests.support.refusals import ROOT
from tests.support.world_files import write_world
from tests.support.worlds import small_world


@pytest.fixture(scope="module")
def world_on_disk(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("safety") / "world"
    write_world(small_world(), run_root)
    seal(run_root)
    return run_root


def poisoned(group, pattern):
    """Every byte of every array set to the pattern."""
    for _, array in arrays_of(group):
        array.view(np.uint8)[:] = pattern
    return group


def expand_into(planned, pattern):
    """All segments by the compiled kernel, into columns and scratch that held the pattern before."""
    world, segments = planned.world, planned.segments
    work = Work(world.tables, world.rows, segments, planned.switches)
    sizes, rows = np.diff(segments.arrival_start), np.diff(segments.row_start)
    results = Results(
        poisoned(empty_columns(int(sizes.sum())), pattern), empty_row_totals(int(rows.sum())), empty_batch_totals()
    )
    space = poisoned(kernel.scratch(int(sizes.max()), world.tables.zones.text.size), pattern)
    shift = np.uint64(position_bits(int(sizes.max())))
    kernel._expand(work, (0, sizes.size), shift, space, results)
    return results


def test_every_element_is_written_whatever_was_there_before(world_on_disk):
    planned = plan(load_world(world_on_disk))
    first, second = expand_into(planned, 0xA5), expand_into(planned, 0x5A)
    for name, one, other in zip(first.columns._fields, first.columns, second.columns, strict=True):
        assert np.array_equal(one, other), f"column {name} keeps what was in memory"
    assert np.array_equal(first.totals.digest, second.totals.digest)


def test_a_batch_gets_the_memory_of_one_that_was_released_and_of_no_other(world_on_disk):
    planned = plan(load_world(world_on_disk), 500)
    first, second, third = planned.batches[:3]
    with choose_backend("cpu").open(planned, Reporter()) as expand:
        kept, released = expand(first), expand(second)
        arrivals = [column.copy() for column in kept.columns]
        earlier = released.columns
        released.release()
        after = expand(third)
    assert all(np.shares_memory(one, other) for one, other in zip(after.columns, earlier, strict=True))
    for column, found in zip(arrivals, tuple[np.ndarray, ...](kept.columns), strict=True):
        assert np.array_equal(column, found)
    assert after.digest == fresh(planned, third)


def fresh(planned, batch):
    with choose_backend("cpu").open(planned, Reporter()) as expand:
        return expand(batch).digest


def test_room_that_is_too_small_is_refused_before_anything_is_written(world_on_disk):
    planned = plan(load_world(world_on_disk), 500)
    work = Work(planned.world.tables, planned.world.rows, planned.segments, planned.switches)
    batch = planned.batches[0]
    with pytest.raises(ValueError, match="no room"):
        kernel.expand_segments(work, batch.segments, empty_columns(batch.arrivals - 1))


def test_the_kernel_stays_in_bounds(world_on_disk, tmp_path):
    """numba's bounds checks turn any index outside its array into an error; the digest must not change by them."""
    program = (
        "import sys; from arrival_engine import load_world, plan;"
        "from arrival_engine.engine.expand.backend import choose_backend;"
        "from arrival_engine.engine.process.progress import Reporter;"
        "from arrival_engine.cpu_fallback.digest import Digest;"
        "planned = plan(load_world(sys.argv[1]), 500); total = Digest();\n"
        "with choose_backend('cpu').open(planned, Reporter()) as expand:\n"
        "    for batch in planned.batches: total += expand(batch).digest\n"
        "print(total)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, str(world_on_disk)],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "ARRIVALS_CACHE_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == str(reference_expand(small_world()).digest)
