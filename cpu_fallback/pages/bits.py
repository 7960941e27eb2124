"""Varints, runs, bit packing and delta blocks, as the Parquet format defines them (parquet-format, Encodings.md).

Functions that write take a byte buffer and a position, and return the position after what they wrote. They may write up
to eight bytes more.
"""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.pages.words import copy_bytes, get64, leading_zeros, put64
from arrival_engine.cpu_fallback.tables import I64, U8, U64, Index

part = njit(allocates=False, internal=True)

# DELTA_BINARY_PACKED: values per block, and miniblocks per block.
BLOCK, MINIBLOCKS = 128, 4
MINIBLOCK = BLOCK // MINIBLOCKS
# Both as varints, of two bytes and of one.
_HEAD = np.uint64((BLOCK & 127 | 128) | (BLOCK >> 7) << 8 | MINIBLOCKS << 16)


@part
def bit_width(word: np.uint64) -> Index:
    """Bits that hold the word; 0 of 0."""
    return np.int64(64) - np.int64(leading_zeros(np.uint64(word)))


@part
def zigzag(value: Index) -> np.uint64:
    """A signed number as an unsigned one that is small where the number is near 0."""
    return np.uint64((np.int64(value) << 1) ^ (np.int64(value) >> 63))


@part
def put_varint(out: U8, at: Index, value: np.uint64) -> Index:
    """ULEB128: seven bits per byte, the lowest first."""
    value = np.uint64(value)
    while value >= np.uint64(128):
        out[at] = np.uint8((value & np.uint64(127)) | np.uint64(128))
        value >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@part
def put_bytes(out: U8, at: Index, data: U8, first: Index, last: Index) -> Index:
    """The bytes data[first:last]."""
    copy_bytes(out, at, data, first, last - first)
    return at + (last - first)


@part
def put_run(out: U8, at: Index, count: Index, code: Index, width: Index) -> Index:
    """A run of the hybrid of runs and bit packing: `count` times a code of `width` bits, at least one."""
    at = put_varint(out, at, np.uint64(count << 1))
    put64(out, at, np.uint64(code))
    return at + ((width + 7) >> 3)


@part
def put_packed(out: U8, at: Index, codes: U64, width: Index) -> Index:
    """A bit-packed run of the hybrid: all codes, filled up with zeros to a multiple of eight.

    codes: of `width` bits, 1 to 32; writes up to 32 bytes more.
    """
    groups = (codes.size + 7) >> 3
    at = put_varint(out, at, np.uint64((groups << 1) | 1))
    end = _put_bits(out, at, codes, np.uint64(width))
    for word in range(4):
        put64(out, end + word * 8, np.uint64(0))
    return at + groups * width


@part
def _put_bits(out: U8, at: Index, values: U64, width: np.uint64) -> Index:
    """Values of `width` bits, 1 to 64, the lowest bit first; returns the position after the last whole byte."""
    word, filled = np.uint64(0), np.uint64(0)
    pairs = values.size >> 1 if width <= np.uint64(32) else 0
    both = width + width
    for k in range(pairs):
        pair = values[2 * k] | (values[2 * k + 1] << width)
        word |= pair << filled
        filled += both
        if filled >= np.uint64(64):
            put64(out, at, word)
            at += 8
            filled -= np.uint64(64)
            # In two steps, as a shift by 64 is not defined.
            word = (pair >> (both - filled - np.uint64(1))) >> np.uint64(1)
    for value in values[2 * pairs :]:
        word |= value << filled
        filled += width
        if filled >= np.uint64(64):
            put64(out, at, word)
            at += 8
            filled -= np.uint64(64)
            word = (value >> (width - filled - np.uint64(1))) >> np.uint64(1)
    put64(out, at, word)
    return at + np.int64((filled + np.uint64(7)) >> np.uint64(3))


@part
def put_flags(out: U8, at: Index, flags: U8, first: Index, last: Index, flip: bool) -> Index:
    """Booleans first to last as bits, the lowest first; `flip` writes their opposites.

    flags: 0 or 1, with seven elements to spare after `last`.
    """
    ones = np.uint64(0x0101010101010101) if flip else np.uint64(0)
    for i in range((last - first + 7) >> 3):
        word = get64(flags, first + i * 8) ^ ones
        left = last - first - i * 8
        if left < 8:
            word &= (np.uint64(1) << np.uint64(8 * left)) - np.uint64(1)
        # The product moves bit 0 of byte k to bit 56 + k.
        out[at] = np.uint8((word * np.uint64(0x0102040810204080)) >> np.uint64(56))
        at += 1
    return at


@part
def put_deltas(out: U8, at: Index, values: I64, deltas: I64, packed: U64) -> Index:
    """DELTA_BINARY_PACKED, in blocks of 128 values and miniblocks of 32.

    deltas: int64[128] and packed: uint64[128], overwritten. Differences wrap around, as the format wants it.
    """
    return put_delta_blocks(out, put_delta_head(out, at, values), values, deltas, packed)


@part
def put_delta_head(out: U8, at: Index, values: I64) -> Index:
    """What comes before the blocks; they depend on the differences alone."""
    put64(out, at, _HEAD)
    at = put_varint(out, at + 3, np.uint64(values.size))
    return put_varint(out, at, zigzag(values[0]) if values.size > 0 else np.uint64(0))


@part
def put_delta_blocks(out: U8, at: Index, values: I64, deltas: I64, packed: U64) -> Index:
    """The blocks of `put_deltas`."""
    for first in range(1, values.size, BLOCK):
        size = min(BLOCK, values.size - first)
        before, after = values[first - 1 : first - 1 + size], values[first : first + size]
        low = after[0] - before[0]
        # Whole blocks by a constant number of steps, and every index from 0: LLVM makes vectors of these loops only.
        if size == BLOCK:
            for k in range(BLOCK):
                delta = after[k] - before[k]
                deltas[k] = delta
                low = min(low, delta)
        else:
            for k in range(size):
                delta = after[k] - before[k]
                deltas[k] = delta
                low = min(low, delta)
            # Zeros above it: miniblocks beyond the last value have no bytes.
            deltas[size:BLOCK] = low
        at = put_varint(out, at, zigzag(low))
        widths = at
        at += MINIBLOCKS
        for miniblock in range(MINIBLOCKS):
            some = deltas[miniblock * MINIBLOCK : (miniblock + 1) * MINIBLOCK]
            to = packed[miniblock * MINIBLOCK : (miniblock + 1) * MINIBLOCK]
            bits = np.uint64(0)
            for k in range(MINIBLOCK):
                above = np.uint64(some[k]) - np.uint64(low)
                to[k] = above
                bits |= above
            width = bit_width(bits)
            out[widths + miniblock] = np.uint8(width)
            if width > 0:
                at = _put_bits(out, at, to, np.uint64(width))
    return at
