"""Host memory for results: blocks lent, given back, made ahead, and never waited for."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.gpu_kernels.expand import Reserved, expanding
from arrival_engine.gpu_kernels.host_ring import HostRing, block_bytes, carved
from arrival_engine.gpu_kernels.lane import DeviceLanes
from arrival_engine.gpu_kernels.memory import HostMemory
from arrival_engine.gpu_kernels.shape import LaunchShape
from tests.support import gpu as support

PARTS = [(np.int32, 5), (np.int64, 0), (np.bool_, 301), (np.uint64, 7)]


class Allocations:
    """Blocks of plain memory, counted."""

    def __init__(self, most=10**6):
        self.sizes, self._most = [], most

    def __call__(self, nbytes):
        if len(self.sizes) == self._most:
            raise ArrivalError(Code.RESOURCES_INSUFFICIENT, "no more", hint="none")
        self.sizes.append(nbytes)
        return np.empty(nbytes, np.uint8)


def address(lease):
    return lease.block.ctypes.data


def eventually(condition):
    """Wait for other threads; a test that fails takes a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_arrays_lie_apart_and_aligned_in_a_block_of_the_size_that_they_need():
    block = np.zeros(block_bytes(PARTS), np.uint8)
    arrays = list(carved(block, PARTS))
    assert [(array.dtype, array.size) for array in arrays] == [(np.dtype(kind), size) for kind, size in PARTS]
    offsets = [array.ctypes.data - block.ctypes.data for array in arrays if array.size]
    assert all(offset % 256 == 0 for offset in offsets)
    for number, array in enumerate(arrays):
        array.view(np.uint8)[:] = number + 1
    written = [int(np.count_nonzero(block == number + 1)) for number in range(len(PARTS))]
    assert written == [array.nbytes for array in arrays]


def test_a_released_block_is_lent_again_and_a_second_release_does_nothing():
    made = Allocations()
    ring = HostRing(made)
    first = ring.take(100)
    place = address(first)
    first.release()
    first.release()
    second, third = ring.take(100), ring.take(100)
    assert address(second) == place != address(third)
    assert made.sizes == [100, 100]


def test_a_block_that_is_not_released_comes_back_with_its_last_array():
    made = Allocations()
    ring = HostRing(made)
    lease = ring.take(block_bytes(PARTS))
    place = address(lease)
    *_, kept = carved(lease.block, PARTS)
    kept[:] = 3
    del lease, _
    gc.collect()
    other = ring.take(block_bytes(PARTS))
    other.block[:] = 9
    assert address(other) != place
    assert kept.tolist() == [3] * 7
    del kept
    gc.collect()
    assert address(ring.take(block_bytes(PARTS))) == place
    assert len(made.sizes) == 2


def test_a_block_that_is_too_small_is_left_for_others():
    made = Allocations()
    ring = HostRing(made)
    ring.take(100).release()
    large, small = ring.take(1000), ring.take(50)
    assert (large.block.size, small.block.size) == (1000, 100)


def test_blocks_are_made_ahead_of_use_and_never_more_than_there_are_batches():
    made = Allocations()
    ring = HostRing(made)
    ring.make_ahead(4096, most=5, ahead=2)
    eventually(lambda: ring.made == 2)
    held = [ring.take(10)]
    eventually(lambda: ring.made == 3)
    held += [ring.take(10) for _ in range(2)]
    eventually(lambda: ring.made == 5)
    held += [ring.take(10) for _ in range(2)]
    ring.close()
    assert made.sizes == [4096] * 5
    assert len({address(lease) for lease in held}) == 5


def test_results_that_are_held_do_not_stop_others():
    """More than were to be made ahead: the ring makes what is needed."""
    ring = HostRing(Allocations())
    ring.make_ahead(64, most=2, ahead=1)
    held = [ring.take(64) for _ in range(20)]
    assert len({address(lease) for lease in held}) == 20
    ring.close()


def test_what_cannot_be_made_ahead_fails_where_it_is_needed():
    ring = HostRing(Allocations(most=2))
    ring.make_ahead(64, most=10, ahead=4)
    eventually(lambda: not ring._maker.is_alive())
    held = [ring.take(64), ring.take(64)]
    with pytest.raises(ArrivalError, match="no more"):
        ring.take(64)
    held.pop().release()
    assert ring.take(64).block.size == 64
    ring.close()


def test_a_closed_ring_frees_what_is_free_and_leaves_what_is_in_use():
    made = Allocations()
    ring = HostRing(made)
    ring.make_ahead(64, most=100, ahead=3)
    lease = ring.take(64)
    ring.close()
    lease.block[:] = 7
    lease.release()
    assert ring._free == []
    assert lease.block.tolist() == [7] * 64
    assert not ring._maker.is_alive()


def test_no_block_is_lent_twice_at_a_time():
    """Eight threads write their own mark and find it again; each block in use has one holder."""
    made, lock, in_use = Allocations(), threading.Lock(), set()
    ring = HostRing(made)
    ring.make_ahead(2048, most=64, ahead=2)

    def use(mark):
        for turn in range(50):
            lease = ring.take(2048)
            with lock:
                assert address(lease) not in in_use
                in_use.add(address(lease))
            lease.block[:] = mark
            time.sleep(0)
            assert (lease.block == mark).all()
            with lock:
                in_use.remove(address(lease))
            if turn % 3:
                lease.release()
            del lease
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(8)))
    ring.close()
    assert len(made.sizes) <= 8 + 2


def test_a_device_without_room_for_the_tables_leaves_no_thread_that_makes_blocks(tmp_path):
    # More batches than blocks are made ahead: the thread waits for one to be taken.
    case = support.make_case(support.shrunk_small_world(), tmp_path / "run", batch_arrivals=60)
    assert len(case.plan.batches) > 3
    device = DeviceLanes("a device", LaunchShape(32, 1), (HostMemory(1000),))
    reserved = Reserved([batch.segments for batch in case.plan.batches])
    opening = expanding(case.work, [device], lambda _: None, reserved=reserved)
    with pytest.raises(ArrivalError, match="a device has no memory for the tables"), opening:
        pass
    assert [thread for thread in threading.enumerate() if thread.name == "pinned memory"] == []
