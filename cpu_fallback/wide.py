"""The 64 x 64 to 128 bit product, the one primitive that neither compiler offers."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrival_engine.cpu_fallback.jit import intrinsic, ir, overload, types

_WORD = (1 << 64) - 1


def mul_hi(left: int | np.uint64, right: int | np.uint64) -> np.uint64:
    """Bits 64 to 127 of the product of two uint64.

    This definition runs in plain Python; compiled callers get one widening multiply (x86 `mul`, PTX `mul.hi.u64`).
    """
    return np.uint64((int(left) * int(right)) >> 64)


def mul_wide(left: int | np.uint64, right: int | np.uint64) -> tuple[np.uint64, np.uint64]:
    """The product of two uint64: bits 64 to 127, and bits 0 to 63.

    One x86 `mul` gives both, but compilers do not join `mul_hi` and a product of 64 bits to it.
    """
    product = int(left) * int(right)
    return np.uint64(product >> 64), np.uint64(product & _WORD)


# Module level on purpose: a nested code generator fails when both targets compile in one process.
def _emit_words(builder: Any, arguments: Any) -> tuple[Any, Any]:
    wide, word = ir.IntType(128), ir.IntType(64)
    left, right = (builder.zext(value, wide) for value in arguments)
    product = builder.mul(left, right)
    return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word), builder.trunc(product, word)


def _emit_mul_hi(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return _emit_words(builder, arguments)[0]


def _emit_mul_wide(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return context.make_tuple(builder, signature.return_type, _emit_words(builder, arguments))


@intrinsic  # type: ignore[untyped-decorator]
def _mul_hi_instruction(typing_context: Any, left: Any, right: Any) -> Any:
    return types.uint64(types.uint64, types.uint64), _emit_mul_hi


@intrinsic  # type: ignore[untyped-decorator]
def _mul_wide_instruction(typing_context: Any, left: Any, right: Any) -> Any:
    return types.UniTuple(types.uint64, 2)(types.uint64, types.uint64), _emit_mul_wide


@overload(mul_hi)  # type: ignore[untyped-decorator]
def _mul_hi_overload(left: Any, right: Any) -> Any:
    def implementation(left: Any, right: Any) -> Any:  # numba compares this signature with the one above
        return _mul_hi_instruction(left, right)

    return implementation


@overload(mul_wide)  # type: ignore[untyped-decorator]
def _mul_wide_overload(left: Any, right: Any) -> Any:
    def implementation(left: Any, right: Any) -> Any:
        return _mul_wide_instruction(left, right)

    return implementation
