"""Count rows in law order: sorts one integer per row, then reads the columns back from it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from arrival_engine.cpu_fallback.tables import I32, I64, Rows

# Keys unpacked at a time; the intermediate arrays then stay in a cache.
_UNPACKED_ROWS = 1 << 16


class CodedRows(NamedTuple):
    """Count rows, r of them, with entities coded twice: row i belongs to entity codes[entity[i]]."""

    codes: I32
    entity: I32
    bucket: I32
    arrivals: I32


class _Bits(NamedTuple):
    """Widths of the fields of a key, from the highest down.

    leader: first entity of the row's merchant; member: distance of the row's entity from it.
    """

    leader: int
    bucket: int
    member: int
    arrivals: int


def law_ordered(parts: Sequence[CodedRows], entity_merchant: I32, buckets: int) -> Rows:
    """All rows, ordered by (merchant, bucket, entity); rows of one key are adjacent, in any order.

    entity_merchant: merchant of each entity, ascending; every bucket is below `buckets`.
    """
    leader = np.searchsorted(entity_merchant, entity_merchant)
    member = np.arange(leader.size) - leader
    bits = _Bits(
        leader=int(leader.max(initial=0)).bit_length(),
        bucket=buckets.bit_length(),
        member=int(member.max(initial=0)).bit_length(),
        arrivals=max((int(part.arrivals.max(initial=0)) for part in parts), default=0).bit_length(),
    )
    if sum(bits) > 63:
        return _by_columns(parts, entity_merchant)
    of_entity = (leader << (bits.bucket + bits.member) | member) << bits.arrivals
    keys = _keys(parts, of_entity, bits)
    keys.sort()
    return _unpacked(keys, bits)


def _by_columns(parts: Sequence[CodedRows], entity_merchant: I32) -> Rows:
    none = np.empty(0, np.int32)
    entity = np.concatenate([none, *(part.codes[part.entity] for part in parts)])
    bucket = np.concatenate([none, *(part.bucket for part in parts)])
    arrivals = np.concatenate([none, *(part.arrivals for part in parts)])
    order = np.lexsort((entity, bucket, entity_merchant[entity]))
    return Rows(entity[order], bucket[order], arrivals[order])


def _keys(parts: Sequence[CodedRows], of_entity: I64, bits: _Bits) -> I64:
    ends = list(accumulate((part.entity.size for part in parts), initial=0))
    keys = np.empty(ends[-1], np.int64)
    for part, first, end in zip(parts, ends, ends[1:], strict=False):
        key = keys[first:end]
        key[:] = of_entity[part.codes][part.entity]
        key |= part.bucket.astype(np.int64) << (bits.member + bits.arrivals)
        key |= part.arrivals
    return keys


def _unpacked(keys: I64, bits: _Bits) -> Rows:
    rows = Rows(*(np.empty(keys.size, np.int32) for _ in Rows._fields))
    for first in range(0, keys.size, _UNPACKED_ROWS):
        block = slice(first, first + _UNPACKED_ROWS)
        key = keys[block]
        rows.arrivals[block] = key & _mask(bits.arrivals)
        key >>= bits.arrivals
        member = key & _mask(bits.member)
        key >>= bits.member
        rows.bucket[block] = key & _mask(bits.bucket)
        key >>= bits.bucket
        rows.entity[block] = key + member
    return rows


def _mask(bits: int) -> int:
    return (1 << bits) - 1
