"""The executor of PTX: every operation against Python's integers, memory accesses, and the order of control."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from tests.support.ptx.arena import Arena
from tests.support.ptx.bodies import EACH_THREAD, addresses, kernel, words
from tests.support.ptx.launch import ORDERS, Grid
from tests.support.ptx.memory import ExecutedMemory
from tests.support.ptx.parse import BITS

# --- Operations against Python's integers --------------------------------------------------------------


class Operation(NamedTuple):
    """An instruction without its operands, the types of result and operands, and what it computes."""

    name: str
    result: str
    operands: tuple[str, ...]
    compute: Callable[..., int]


def typed(word, kind):
    """The low bits of a word, read as this type."""
    bits = BITS[kind]
    low = word & ((1 << bits) - 1)
    return low - (1 << bits) if kind[0] == "s" and low >> (bits - 1) else low


def _arithmetic(kind):
    bits, wide = BITS[kind], f"{kind[0]}{2 * BITS[kind]}"
    pair, triple = (kind, kind), (kind, kind, kind)
    yield Operation(f"add.{kind}", kind, pair, lambda x, y: x + y)
    yield Operation(f"sub.{kind}", kind, pair, lambda x, y: x - y)
    yield Operation(f"min.{kind}", kind, pair, min)
    yield Operation(f"max.{kind}", kind, pair, max)
    yield Operation(f"mul.lo.{kind}", kind, pair, lambda x, y: x * y)
    yield Operation(f"mul.hi.{kind}", kind, pair, lambda x, y: (x * y) >> bits)
    yield Operation(f"mad.lo.{kind}", kind, triple, lambda x, y, z: x * y + z)
    yield Operation(f"shr.{kind}", kind, (kind, "u32"), lambda x, y: x >> min(y, bits))
    if bits < 64:
        yield Operation(f"mul.wide.{kind}", wide, pair, lambda x, y: x * y)
        yield Operation(f"mad.wide.{kind}", wide, (kind, kind, wide), lambda x, y, z: x * y + z)
    if kind[0] == "s":
        yield Operation(f"neg.{kind}", kind, (kind,), lambda x: -x)
    else:
        yield Operation(f"bfe.{kind}", kind, (kind, "u32", "u32"), _field)


def _field(value, start, length):
    return (value >> (start & 255)) & ((1 << (length & 255)) - 1)


def _comparisons(kind):
    pair = (kind, kind)
    signless = {
        "eq": lambda x, y: x == y,
        "ne": lambda x, y: x != y,
        "lt": lambda x, y: x < y,
        "le": lambda x, y: x <= y,
        "gt": lambda x, y: x > y,
        "ge": lambda x, y: x >= y,
    }
    for name, compute in signless.items():
        yield Operation(f"setp.{name}.{kind}", "pred", pair, compute)
    if kind[0] == "u":
        for name, same in (("lo", "lt"), ("ls", "le"), ("hi", "gt"), ("hs", "ge")):
            yield Operation(f"setp.{name}.{kind}", "pred", pair, signless[same])


def _bitwise(kind):
    bits, pair = BITS[kind], (kind, kind)
    yield Operation(f"and.{kind}", kind, pair, lambda x, y: x & y)
    yield Operation(f"or.{kind}", kind, pair, lambda x, y: x | y)
    yield Operation(f"xor.{kind}", kind, pair, lambda x, y: x ^ y)
    yield Operation(f"not.{kind}", kind, (kind,), lambda x: ~x)
    yield Operation(f"shl.{kind}", kind, (kind, "u32"), lambda x, y: x << y if y < bits else 0)
    yield Operation(f"mov.{kind}", kind, (kind,), lambda x: x)
    if bits > 16:
        yield Operation(f"clz.{kind}", "u32", (kind,), lambda x: bits - x.bit_length())
        yield Operation(f"popc.{kind}", "u32", (kind,), lambda x: x.bit_count())


def _conversions():
    integers = [f"{sign}{bits}" for sign in "su" for bits in (8, 16, 32, 64)]
    for to in integers:
        for source in integers:
            if BITS[to] != BITS[source]:
                yield Operation(f"cvt.{to}.{source}", to, (source,), lambda x: x)


OPERATIONS = (
    *(operation for kind in ("s32", "u32", "s64", "u64") for operation in _arithmetic(kind)),
    *(operation for kind in ("s16", "u16", "s32", "u32", "s64", "u64") for operation in _comparisons(kind)),
    *(operation for kind in ("b16", "b32", "b64") for operation in _bitwise(kind)),
    *_conversions(),
)
# Around the widths of registers and shifts, and the ends of signed and unsigned ranges.
_POWERS = (2**5, 2**6, 2**7, 2**8, 2**15, 2**31, 2**32, 2**63)
EDGES = (0, 1, 2, *(power + step for power in _POWERS for step in (-1, 0, 1)), 2**64 - 1)


def register(kind, number):
    """A register for a value of this type; one byte is held in 16 bits."""
    names = {1: "%p", 8: "%rs", 16: "%rs", 32: "%r", 64: "%rd1"}
    return f"{names[BITS[kind]]}{number}"


def body_of(operation):
    """Operands from the words at %rd1; the result, extended by zeros, to the word at %rd2."""
    lines = []
    for number, kind in enumerate(operation.operands):
        # More than the one byte that is used: conversions read the low bits of their register.
        loaded = "u16" if BITS[kind] == 8 else f"u{BITS[kind]}"
        lines.append(f"ld.global.{loaded} \t{register(kind, number)}, [%rd1+{8 * number}];")
    result, to = register(operation.result, 5), operation.result
    operands = ", ".join(register(kind, number) for number, kind in enumerate(operation.operands))
    lines.append(f"{operation.name} \t{result}, {operands};")
    if to == "pred":
        lines.append(f"selp.b64 \t%rd20, 1, 0, {result};")
    elif BITS[to] == 64:
        lines.append(f"mov.u64 \t%rd20, {result};")
    else:
        lines.append(f"cvt.u64.u{max(BITS[to], 16)} \t%rd20, {result};")
    return "\n".join([*lines, "st.global.u64 \t[%rd2], %rd20;"])


def expected(operation, values):
    result = operation.compute(*(typed(value, kind) for value, kind in zip(values, operation.operands, strict=False)))
    if operation.result == "pred":
        return int(result)
    # A result of one byte fills its register of 16 bits, by its sign.
    return typed(typed(int(result), operation.result), f"u{max(BITS[operation.result], 16)}")


def test_every_operation_computes_what_python_computes():
    """All operations in one kernel: operation i writes word i."""
    drawn = random.Random(7)
    body = []
    for index, operation in enumerate(OPERATIONS):
        body.append(body_of(operation).replace("[%rd2]", f"[%rd2+{8 * index}]"))
    executed = kernel("\n".join(body))
    for _ in range(1000):
        values = [drawn.choice(EDGES) if drawn.random() < 0.6 else drawn.getrandbits(64) for _ in range(3)]
        arena = Arena(1 << 16)
        memory = ExecutedMemory({}, arena)
        read, written = memory.upload(np.array(values, np.uint64)), memory.empty(len(OPERATIONS), np.uint64)
        executed.launch(Grid(1, 1), addresses(read, written), arena)
        for operation, found in zip(OPERATIONS, written.storage.tolist(), strict=True):
            assert found == expected(operation, values), (operation.name, [hex(value) for value in values], hex(found))


@pytest.mark.parametrize(
    ("conversion", "result"),
    [("cvt.u64.u8", 0x88), ("cvt.s64.s8", 2**64 - 0x78), ("cvt.u64.u16", 0x9988), ("cvt.s64.s32", 2**64 - 0x44556678)],
)
def test_conversions_read_the_low_bits_of_a_wider_register(conversion, result):
    body = f"ld.global.u64 \t%rd20, [%rd1];\n{conversion} \t%rd21, %rd20;\nst.global.u64 \t[%rd2], %rd21;"
    assert words(body, MINUS)[0] == result


# --- Memory ------------------------------------------------------------------------------------------

EVERY_BYTE = 0x8877665544332211
MINUS = 0xFFEEDDCCBBAA9988


@pytest.mark.parametrize(
    ("kind", "to", "expected"),
    [
        ("u8", "%rd20", 0x88),
        ("s8", "%rd20", 0xFFFFFFFFFFFFFF88),
        ("b8", "%rd20", 0x88),
        ("u16", "%rd20", 0x9988),
        ("s16", "%rd20", 0xFFFFFFFFFFFF9988),
        ("u32", "%rd20", 0xBBAA9988),
        ("s32", "%rd20", 0xFFFFFFFFBBAA9988),
        ("s64", "%rd20", MINUS),
    ],
)
def test_loads_widen_by_the_sign_of_their_type(kind, to, expected):
    assert words(f"ld.global.{kind} \t{to}, [%rd1];\nst.global.u64 \t[%rd2], %rd20;", MINUS)[0] == expected


def test_stores_take_the_low_bits():
    body = """
        ld.global.u64 \t%rd20, [%rd1];
        st.global.u64 \t[%rd2], 0;
        st.global.u8 \t[%rd2+1], %rd20;
        st.global.u16 \t[%rd2+2], %rd20;
        st.global.u32 \t[%rd2+4], %rd20;
    """
    assert words(body, EVERY_BYTE)[0] == 0x44332211_2211_11_00


def test_vectors_move_lane_by_lane():
    body = """
        ld.global.v2.u64 \t{%rd1, %rd20}, [%rd1];
        st.global.v2.u64 \t[%rd2], {%rd20, %rd1};
        ld.global.v4.u16 \t{%rs1, %rs2, %rs3, %rs4}, [%rd2];
        st.global.v4.u16 \t[%rd2+16], {%rs4, %rs3, %rs2, %rs1};
    """
    found = words(body, 3, 0x0004_0003_0002_0001)
    assert found[:3] == [0x0004_0003_0002_0001, 3, 0x0001_0002_0003_0004]


@pytest.mark.parametrize(
    ("operation", "before", "operand", "after"),
    [
        ("add.u64", 2**64 - 1, 3, 2),
        ("max.u64", 5, 2**63, 2**63),
        ("min.u64", 5, 2**63, 5),
        ("max.s64", 5, 2**63, 5),
        ("min.s64", 5, 2**63, 2**63),
        ("exch.b64", 5, 7, 7),
        ("and.b64", 12, 10, 8),
        ("or.b64", 12, 10, 14),
        ("xor.b64", 12, 10, 6),
    ],
)
@pytest.mark.parametrize("order", ["", "relaxed.", "relaxed.sys."])
def test_atomics_give_the_old_value(operation, before, operand, after, order):
    name = f"{order}global.{operation}"
    body = f"""
        ld.global.u64 \t%rd20, [%rd1];
        ld.global.u64 \t%rd21, [%rd1+8];
        st.global.u64 \t[%rd2], %rd20;
        atom.{name} \t%rd22, [%rd2], %rd21;
        st.global.u64 \t[%rd2+8], %rd22;
        red.{name} \t[%rd1], %rd21;
    """
    assert words(body, before, operand)[:2] == [after, before]


def test_atomics_of_32_bits_leave_their_neighbours():
    body = """
        st.global.u64 \t[%rd2], -1;
        atom.global.add.u32 \t%r1, [%rd2], 5;
        cvt.u64.u32 \t%rd20, %r1;
        st.global.u64 \t[%rd2+8], %rd20;
    """
    assert words(body)[:2] == [0xFFFFFFFF_00000004, 0xFFFFFFFF]


def test_every_thread_adds_to_one_word():
    memory = ExecutedMemory({}, Arena(1 << 16))
    sums = memory.upload(np.array([10], np.uint64))
    adding = kernel("atom.global.add.u64 \t%rd20, [%rd1], 3;")
    adding.launch(Grid(5, 33), addresses(sums, sums), memory.arena, "random")
    assert sums.storage[0] == 10 + 3 * 5 * 33


# --- Control -----------------------------------------------------------------------------------------


def test_guards_skip_an_instruction():
    body = """
        mov.u64 \t%rd20, 1;
        mov.pred \t%p1, -1;
        @%p1 mov.u64 \t%rd20, 2;
        @!%p1 mov.u64 \t%rd20, 3;
        st.global.u64 \t[%rd2], %rd20;
        @%p1 ret;
        st.global.u64 \t[%rd2], 4;
    """
    assert words(body)[0] == 2


def test_branches_loop():
    body = """
        mov.u64 \t%rd20, 0;
        mov.u32 \t%r1, 0;
        $again:
        add.s64 \t%rd20, %rd20, 5;
        add.s32 \t%r1, %r1, 1;
        setp.lt.u32 \t%p1, %r1, 10;
        @%p1 bra \t$again;
        bra.uni \t$end;
        st.global.u64 \t[%rd2], 1;
        $end:
        st.global.u64 \t[%rd2], %rd20;
    """
    assert words(body)[0] == 50


@pytest.mark.parametrize("order", ORDERS)
def test_threads_see_what_others_wrote_before_a_barrier(order):
    """Each thread writes its number to shared memory and reads its neighbour's."""
    body = (
        EACH_THREAD
        + """
        mov.u64 \t%rd12, shared_words;
        cvt.u64.u32 \t%rd13, %r4;
        mul.wide.u32 \t%rd14, %r1, 8;
        add.s64 \t%rd15, %rd12, %rd14;
        st.shared.u64 \t[%rd15], %rd13;
        bar.sync \t0;
        xor.b64 \t%rd14, %rd14, 8;
        add.s64 \t%rd15, %rd12, %rd14;
        ld.shared.u64 \t%rd13, [%rd15];
        st.global.u64 \t[%rd11], %rd13;
        """
    )
    assert words(body, grid=Grid(2, 4, 32), order=order) == [1, 0, 3, 2, 5, 4, 7, 6]


def test_threads_know_their_places():
    body = EACH_THREAD + "mov.u32 \t%r5, %nctaid.x;\ncvt.u64.u32 \t%rd12, %r5;\nst.global.u64 \t[%rd11], %rd12;"
    assert words(body, grid=Grid(4, 2)) == [4] * 8
