"""The high word of a 64 x 64 bit product, the one primitive that neither compiler offers."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrival_engine.cpu_fallback.jit import intrinsic, ir, overload, types


def mul_hi(left: int | np.uint64, right: int | np.uint64) -> np.uint64:
    """Bits 64 to 127 of the product of two uint64.

    This definition runs in plain Python; compiled callers get one widening multiply (x86 `mul`, PTX `mul.hi.u64`).
    """
    return np.uint64((int(left) * int(right)) >> 64)


# Module level on purpose: a nested code generator fails when both targets compile in one process.
def _emit_mul_hi(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    wide = ir.IntType(128)
    left, right = (builder.zext(value, wide) for value in arguments)
    return builder.trunc(builder.lshr(builder.mul(left, right), ir.Constant(wide, 64)), ir.IntType(64))


@intrinsic  # type: ignore[untyped-decorator]
def _mul_hi_instruction(typing_context: Any, left: Any, right: Any) -> Any:
    return types.uint64(types.uint64, types.uint64), _emit_mul_hi


@overload(mul_hi)  # type: ignore[untyped-decorator]
def _mul_hi_overload(left: Any, right: Any) -> Any:
    def implementation(left: Any, right: Any) -> Any:  # numba compares this signature with the one above
        return _mul_hi_instruction(left, right)

    return implementation
