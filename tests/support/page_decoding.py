"""Parquet's encodings in plain Python, read as the format describes them (parquet-format, Encodings.md).

Functions take bytes and a position, and return what they read with the position after it.
"""

from __future__ import annotations

BLOCK, MINIBLOCKS = 128, 4


def varint(data: bytes, at: int) -> tuple[int, int]:
    """ULEB128."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def zigzag(value: int) -> int:
    return value >> 1 ^ -(value & 1)


def wrapped(value: int) -> int:
    """The int64 of the same bits."""
    return (value + 2**63) % 2**64 - 2**63


def bits(data: bytes, at: int, width: int, count: int) -> list[int]:
    """Bit-packed numbers, the lowest bit first."""
    word = int.from_bytes(data[at : at + (width * count + 7) // 8], "little")
    return [word >> width * index & (1 << width) - 1 for index in range(count)]


def hybrid(data: bytes, at: int, width: int, count: int) -> tuple[list[int], int]:
    """At least `count` codes in runs and bit-packed groups of eight; those that fill up the last group are left out."""
    found: list[int] = []
    while len(found) < count:
        head, at = varint(data, at)
        if head & 1:
            found += bits(data, at, width, (head >> 1) * 8)
            assert len(found) - count < 8
            assert not any(found[count:])
            at += (head >> 1) * width
        else:
            size = (width + 7) // 8
            found += [int.from_bytes(data[at : at + size], "little")] * (head >> 1)
            assert len(found) <= count
            at += size
    return found[:count], at


def deltas(data: bytes, at: int) -> tuple[list[int], int]:
    """DELTA_BINARY_PACKED int64. Miniblocks beyond the last value must have width 0."""
    block, at = varint(data, at)
    miniblocks, at = varint(data, at)
    assert (block, miniblocks) == (BLOCK, MINIBLOCKS)
    count, at = varint(data, at)
    first, at = varint(data, at)
    found = [zigzag(first)]
    while len(found) < count:
        low, at = varint(data, at)
        widths = data[at : at + miniblocks]
        at += miniblocks
        for width in widths:
            if len(found) >= count:
                assert width == 0
                continue
            size = min(block // miniblocks, count - len(found))
            packed = bits(data, at, width, block // miniblocks)
            assert not any(packed[size:])
            # No wider than the numbers are, as every byte has to follow from them.
            assert max(packed).bit_length() == width
            for above in packed[:size]:
                found.append(wrapped(found[-1] + zigzag(low) + above))
            at += width * (block // miniblocks) // 8
    return found[:count], at


def front_coded(data: bytes, at: int) -> tuple[list[bytes], int]:
    """DELTA_BYTE_ARRAY."""
    shared, at = deltas(data, at)
    own, at = deltas(data, at)
    found, before = [], b""
    for same, more in zip(shared, own, strict=True):
        assert 0 <= same <= len(before)
        before = before[:same] + data[at : at + more]
        found.append(before)
        at += more
    return found, at


def plain_texts(data: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """PLAIN BYTE_ARRAY."""
    found = []
    for _ in range(count):
        size = int.from_bytes(data[at : at + 4], "little")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found, at


def levels(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    """Definition levels of 0 and 1, with their size before them."""
    size = int.from_bytes(data[at : at + 4], "little")
    found, end = hybrid(data, at + 4, 1, count)
    assert end == at + 4 + size
    return found, end
