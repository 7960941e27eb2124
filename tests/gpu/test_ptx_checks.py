"""The executor of PTX: every check is shown to fire, and to be silent where nothing is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.ptx.arena import Arena
from tests.support.ptx.bodies import BODY_LINE, ONE_THREAD, addresses, kernel, words
from tests.support.ptx.launch import ORDERS, Grid
from tests.support.ptx.machine import Fault, FaultKind
from tests.support.ptx.memory import ExecutedMemory


def fault(body, grid=ONE_THREAD, order="up"):
    """Kind and text of the fault of a body whose %rd1 has four words and whose %rd2 has eight unwritten ones."""
    with pytest.raises(Fault) as caught:
        words(body, 1, 2, 3, 4, grid=grid, order=order)
    return caught.value.kind, str(caught.value)


@pytest.mark.parametrize(
    ("instruction", "place"),
    [
        ("ld.global.u64 \t%rd20, [%rd1+32];", "byte 32 of an allocation of 32 bytes, uint64[4]"),
        ("ld.global.u8 \t%rs1, [%rd1+-1];", "before every allocation"),
        ("st.global.u8 \t[%rd2+64], 1;", "byte 64 of an allocation of 64 bytes, uint64[8]"),
        ("atom.global.add.u64 \t%rd20, [%rd1+32], 1;", "byte 32 of"),
        ("ld.global.v2.u64 \t{%rd20, %rd21}, [%rd1+32];", "byte 32 of"),
    ],
)
def test_an_access_beside_every_array_is_a_fault(instruction, place):
    kind, text = fault(instruction)
    assert kind == FaultKind.NOT_ALLOCATED
    assert place in text
    assert f"PTX line {BODY_LINE} `{instruction.strip()}`" in text


@pytest.mark.parametrize("address", ["0", "-8", "4611686018427387904"])
def test_an_access_outside_the_memory_is_a_fault(address):
    kind, text = fault(f"mov.u64 \t%rd20, {address};\nld.global.u64 \t%rd21, [%rd20];")
    assert kind == FaultKind.OUT_OF_BOUNDS
    assert "outside the memory of the device" in text


@pytest.mark.parametrize(
    "instruction",
    [
        "ld.global.u64 \t%rd20, [%rd1+4];",
        "st.global.u32 \t[%rd2+2], 1;",
        "ld.global.v2.u64 \t{%rd20, %rd21}, [%rd1+8];",
        "atom.global.add.u32 \t%r1, [%rd1+1], 1;",
    ],
)
def test_a_misaligned_access_is_a_fault(instruction):
    assert fault(instruction)[0] == FaultKind.MISALIGNED


def test_reading_what_was_not_written_is_a_fault():
    kind, text = fault("st.global.u32 \t[%rd2+8], 1;\nld.global.u64 \t%rd20, [%rd2+8];")
    assert kind == FaultKind.UNINITIALISED
    assert f"PTX line {BODY_LINE + 1}" in text
    assert fault("atom.global.add.u64 \t%rd20, [%rd2], 1;")[0] == FaultKind.UNINITIALISED
    assert fault("ld.shared.u64 \t%rd20, [shared_words];", Grid(1, 1, 8))[0] == FaultKind.UNINITIALISED


def test_shared_memory_ends_where_the_launch_says():
    assert fault("st.shared.u64 \t[shared_words+8], 1;", Grid(1, 1, 8))[0] == FaultKind.OUT_OF_BOUNDS
    assert fault("st.shared.u64 \t[shared_words], 1;")[0] == FaultKind.OUT_OF_BOUNDS
    assert "shared byte 8 of 8" in fault("st.shared.u64 \t[shared_words+8], 1;", Grid(1, 1, 8))[1]


def test_memory_of_a_collected_array_is_freed():
    memory = ExecutedMemory({}, Arena(1 << 16))
    block = memory.upload(np.ones(4, np.uint64))
    executed, parameters = kernel("ld.global.u64 \t%rd20, [%rd1];"), addresses(block, block)
    executed.launch(Grid(1, 1), parameters, memory.arena)
    del block
    with pytest.raises(Fault, match="not allocated"):
        executed.launch(Grid(1, 1), parameters, memory.arena)


# What the first thread of the first block does, and what the others do.
FIRST_THREAD = """
    mov.u32 \t%r1, %tid.x;
    mov.u32 \t%r2, %ctaid.x;
    or.b32 \t%r3, %r1, %r2;
    setp.eq.s32 \t%p1, %r3, 0;
    @%p1 {first}
    @!%p1 {others}
"""
LOAD, STORE = "ld.global.u8 \t%rs1, [%rd1+7];", "st.global.u64 \t[%rd1], 1;"
ATOMIC = "atom.global.add.u64 \t%rd20, [%rd1], 1;"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("pair", [(STORE, STORE), (LOAD, STORE), (LOAD, ATOMIC), (STORE, ATOMIC)], ids=str)
def test_conflicting_accesses_of_two_threads_are_a_race(pair, order):
    for grid in (Grid(1, 2), Grid(2, 1)):
        for first, others in (pair, pair[::-1]):
            assert fault(FIRST_THREAD.format(first=first, others=others), grid, order)[0] == FaultKind.RACE


@pytest.mark.parametrize("instruction", [LOAD, ATOMIC])
def test_reads_and_atomics_of_several_threads_are_no_race(instruction):
    words(instruction, 1, grid=Grid(3, 32))


def test_one_thread_may_write_what_it_read_and_read_what_it_wrote():
    assert words(f"{LOAD}\n{STORE}\n{LOAD}\nst.global.u64 \t[%rd2], 1;\n{STORE}", 5)[0] == 1


@pytest.mark.parametrize("order", ORDERS)
def test_a_missing_barrier_is_a_race_in_shared_memory(order):
    exchange = """
        mov.u32 \t%r1, %tid.x;
        mul.wide.u32 \t%rd14, %r1, 8;
        mov.u64 \t%rd12, shared_words;
        add.s64 \t%rd15, %rd12, %rd14;
        st.shared.u64 \t[%rd15], 1;
        BARRIER
        ld.shared.u64 \t%rd16, [shared_words];
    """
    words(exchange.replace("BARRIER", "bar.sync \t0;"), grid=Grid(3, 4, 32), order=order)
    # Thread 0 may come first or last: without the barrier, its word is read too early or unwritten.
    kind, _ = fault(exchange.replace("BARRIER", ""), Grid(3, 4, 32), order)
    assert kind in (FaultKind.RACE, FaultKind.UNINITIALISED)


def test_what_one_block_wrote_to_shared_memory_is_not_there_for_the_next():
    body = """
        mov.u32 \t%r1, %ctaid.x;
        setp.ne.s32 \t%p1, %r1, 0;
        @%p1 bra \t$read;
        st.shared.u64 \t[shared_words], 1;
        ret;
        $read:
        ld.shared.u64 \t%rd20, [shared_words];
    """
    assert fault(body, Grid(2, 1, 8))[0] == FaultKind.UNINITIALISED


ODD_THREADS = """
    mov.u32 \t%r1, %tid.x;
    and.b32 \t%r2, %r1, 1;
    setp.ne.s32 \t%p1, %r2, 0;
"""


def test_threads_at_two_barriers_are_a_fault():
    body = ODD_THREADS + "@%p1 bra \t$other;\nbar.sync \t0;\nret;\n$other:\nbar.sync \t0;\n"
    assert fault(body, Grid(1, 4))[0] == FaultKind.DIVERGENT_BARRIER


def test_a_thread_that_ends_while_others_wait_is_a_fault():
    body = ODD_THREADS + "@%p1 ret;\nbar.sync \t0;\n"
    assert fault(body, Grid(1, 4))[0] == FaultKind.LEFT_BEFORE_BARRIER
    words(body, grid=ONE_THREAD)


def test_an_endless_loop_is_a_fault():
    assert fault("$again:\nbra.uni \t$again;\n")[0] == FaultKind.ENDLESS_LOOP


# --- Memory as the host sees it ----------------------------------------------------------------------


def test_the_host_may_not_read_or_sort_what_no_kernel_wrote():
    memory = ExecutedMemory({}, Arena(1 << 16))
    block = memory.empty(8, np.uint64)
    for use in (lambda: memory.sort(block, 8), lambda: memory.copy_out(block, np.empty(8, np.uint64))):
        with pytest.raises(Fault, match=r"element 0 of uint64\[8\]"):
            use()
    memory.clear(block)
    memory.sort(block, 8)
    memory.copy_out(block, np.empty(8, np.uint64))


def test_a_full_memory_is_an_error():
    memory = ExecutedMemory({}, Arena(1 << 16), capacity_bytes=100)
    with pytest.raises(MemoryError, match="80 bytes requested"):
        [memory.empty(10, np.uint64) for _ in range(2)]
