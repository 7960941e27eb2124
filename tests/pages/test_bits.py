"""Varints, runs, packed codes, flags and deltas, against decoders in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import page_decoding as decode
from tests.support import page_parts as parts

# What a part writes past the end that it returns.
BEYOND = 64
FILL = 0xA5
INT64 = st.integers(-(2**63), 2**63 - 1)
# Numbers near each other, near the ends of the range, and anywhere.
NUMBERS = st.one_of(
    INT64,
    st.integers(-3, 3),
    st.sampled_from([-(2**63), 2**63 - 1, -(2**62), 2**62]),
    st.integers(0, 64).map(lambda bits: 2**bits // 2 - 1),
)


def buffer(size):
    return np.full(size + BEYOND, FILL, np.uint8)


@given(st.lists(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 64).map(lambda n: 2**n - 1)), min_size=1))
def test_varints(values):
    out = buffer(10 * len(values))
    end = parts.put_varints(out, np.array(values, np.uint64))
    at, found = 0, []
    while at < end:
        value, at = decode.varint(out.tobytes(), at)
        found.append(value)
    assert (found, at) == (values, end)
    assert (out[end:] == FILL).all()


@given(st.lists(NUMBERS, min_size=1))
def test_zigzags(values):
    out = np.empty(len(values), np.uint64)
    parts.put_zigzags(out, np.array(values, np.int64))
    assert list(map(decode.zigzag, out.tolist())) == values
    assert out.tolist() == [2 * value if value >= 0 else -2 * value - 1 for value in values]


@pytest.mark.parametrize("width", range(1, 33))
def test_packed_codes_of_every_width_and_count(width):
    draw = np.random.default_rng(width)
    some = np.append(draw.integers(0, 2**width, 200), [0, 1, 2**width - 1]).astype(np.uint64)
    for count in range(1, 201):
        codes, groups = draw.choice(some, count), (count + 7) // 8
        out = buffer(width * groups)
        end = parts.put_packed(out, codes, width)
        head, at = decode.varint(out.tobytes(), 0)
        assert (head, end) == (2 * groups + 1, at + width * groups)
        found = np.unpackbits(out[at:end], bitorder="little").reshape(-1, width) @ (1 << np.arange(width))
        assert np.array_equal(found, np.append(codes.astype(np.int64), np.zeros(groups * 8 - count, np.int64)))


@given(st.integers(1, 2**40), st.integers(1, 32), st.data())
def test_runs(count, width, data):
    code, out = data.draw(st.integers(0, 2**width - 1)), buffer(12)
    end = parts.put_run(out, count, code, width)
    head, at = decode.varint(out.tobytes(), 0)
    assert (head, end) == (2 * count, at + (width + 7) // 8)
    assert int.from_bytes(out[at:end].tobytes(), "little") == code


@given(st.lists(st.booleans(), min_size=1, max_size=90), st.data(), st.booleans())
def test_flags(values, data, flip):
    first = data.draw(st.integers(0, len(values)))
    last = data.draw(st.integers(first, len(values)))
    flags, out = np.full(len(values) + 7, 1, np.uint8), buffer(len(values))
    flags[: len(values)] = values
    end = parts.put_flags(out, flags, first, last, flip)
    assert end == (last - first + 7) // 8
    # The bits that fill up the last byte are zero.
    word = int.from_bytes(out[:end].tobytes(), "little")
    assert word == sum((value != flip) << index for index, value in enumerate(values[first:last]))
    assert (out[end:] == FILL).all()


def put_deltas(values):
    """The bytes of DELTA_BINARY_PACKED; scratch and output hold other bytes before."""
    out = buffer(30 + 10 * len(values) + 32 * 8)
    scratch = np.full(128, -1, np.int64), np.full(128, 2**64 - 1, np.uint64)
    end = parts.put_deltas(out, np.array(values, np.int64), *scratch)
    return out[:end].tobytes()


def check_deltas(values):
    data = put_deltas(values)
    assert decode.deltas(data, 0) == (values, len(data))


@given(st.lists(NUMBERS, min_size=1, max_size=300))
def test_deltas_of_any_numbers(values):
    check_deltas(values)


@given(NUMBERS, st.integers(1, 64), st.integers(1, 520), st.randoms(use_true_random=False))
def test_deltas_of_steps_of_every_width(first, width, count, draw):
    """Widths of differences, block by block, up to wrapping around; and lists that end anywhere in a block."""
    values = [first]
    for _ in range(count - 1):
        values.append(decode.wrapped(values[-1] + draw.getrandbits(width)))
    check_deltas(values)


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 34, 64, 65, 96, 97, 127, 128, 129, 130, 160, 161, 256, 257, 258])
def test_deltas_at_the_ends_of_blocks_and_miniblocks(count):
    check_deltas([7] * count)
    check_deltas(list(range(count)))
    check_deltas([(-1) ** index * 2**62 for index in range(count)])
    check_deltas([2**63 - 1 if index % 2 else -(2**63) for index in range(count)])


def test_deltas_of_no_number():
    data = put_deltas([])
    assert decode.varint(data, 0) == (128, 2)
    assert data[2:] == bytes([4, 0, 0])
