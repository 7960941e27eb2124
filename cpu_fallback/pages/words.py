"""Unaligned little-endian words in a byte buffer, and the positions of their highest and lowest bits.

Indices count elements of the array. No index is checked: callers provide room for a whole word.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from arrival_engine.cpu_fallback.jit import cgutils, intrinsic, ir, types

if sys.byteorder != "little":
    raise ImportError("arrival_engine writes Parquet pages on little-endian machines only")


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any, bits: int) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.IntType(bits).as_pointer())


def _store(bits: int) -> Callable[..., Any]:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        store = builder.store(args[2], _pointer(context, builder, signature.args[0], args[0], args[1], bits))
        store.align = 1
        return context.get_dummy_value()

    return codegen


_store_64, _store_32 = _store(64), _store(32)


@intrinsic  # type: ignore[untyped-decorator]
def put64(typing_context: Any, out: Any, at: Any, word: Any) -> Any:
    """Write a uint64 at out[at]; writes 8 bytes."""
    return types.void(out, types.int64, types.uint64), _store_64


@intrinsic  # type: ignore[untyped-decorator]
def put32(typing_context: Any, out: Any, at: Any, word: Any) -> Any:
    """Write a uint32 at out[at]; writes 4 bytes."""
    return types.void(out, types.int64, types.uint32), _store_32


def _load_64(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    load = builder.load(_pointer(context, builder, signature.args[0], args[0], args[1], 64))
    load.align = 1
    return load


@intrinsic  # type: ignore[untyped-decorator]
def get64(typing_context: Any, data: Any, at: Any) -> Any:
    """The uint64 that begins at data[at]."""
    return types.uint64(data, types.int64), _load_64


def _leading(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))


@intrinsic  # type: ignore[untyped-decorator]
def leading_zeros(typing_context: Any, word: Any) -> Any:
    """Zero bits above the highest set bit of a uint64; 64 of 0."""
    return types.uint64(types.uint64), _leading


def _trailing(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(typing_context: Any, word: Any) -> Any:
    """Zero bits below the lowest set bit of a uint64; 64 of 0."""
    return types.uint64(types.uint64), _trailing


def _copy(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    to = _pointer(context, builder, signature.args[0], args[0], args[1], 8)
    source = _pointer(context, builder, signature.args[2], args[2], args[3], 8)
    cgutils.raw_memcpy(builder, to, source, args[4], 1)
    return context.get_dummy_value()


@intrinsic  # type: ignore[untyped-decorator]
def copy_bytes(typing_context: Any, out: Any, at: Any, data: Any, first: Any, size: Any) -> Any:
    """Copy `size` bytes from data[first] to out[at]."""
    return types.void(out, types.int64, data, types.int64, types.int64), _copy
