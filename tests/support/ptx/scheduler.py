"""The threads of a block, run one after the other from barrier to barrier."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tests.support.ptx.machine import FaultKind

__all__ = ["run_block"]

_ENDED = np.int32(-1)
_DIVERGENT = -int(FaultKind.DIVERGENT_BARRIER)
_LEFT = -int(FaultKind.LEFT_BEFORE_BARRIER)
_INTERVAL_SHIFT = np.uint64(32)
_ONE = np.uint64(1)


@intrinsic
def _call_thread(typing, address, context, saved, resume):  # noqa: ARG001 - numba fixes the parameters
    """Call compiled code at an address: (context address, address of saved registers, resume) -> int32."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        address, *passed = arguments
        kind = cgutils.ir.FunctionType(cgutils.int32_t, [argument.type for argument in passed])
        return builder.call(builder.inttoptr(address, kind.as_pointer()), passed)

    return types.int32(types.uint64, types.uint64, types.uint64, types.int32), generate


@njit
def run_block(thread, context, saved, resumes, order, intervals):
    """Run one block; 0, or minus a FaultKind with the thread in `context`.

    thread: address of the compiled function. context: one record of CONTEXT_TYPE with block, sizes and addresses set.
    saved: uint64[threads, words]. resumes: int32[threads]. order: the order of threads. intervals: uint64[1], counts
    intervals between barriers, so that every one has tags of its own.
    """
    threads = np.uint64(order.size)
    launch = context[0].global_tag
    resumes[:] = 0
    while True:
        intervals[0] += _ONE
        waiting = 0
        ended = 0
        barrier = np.int32(0)
        for number in order:
            if resumes[number] == _ENDED:
                ended += 1
                continue
            tid = np.uint64(number)
            context[0].tid = tid
            context[0].shared_tag = (intervals[0] << _INTERVAL_SHIFT) | (tid + _ONE)
            context[0].global_tag = launch | (context[0].ctaid * threads + tid + _ONE)
            stop = _call_thread(thread, context.ctypes.data, saved[number].ctypes.data, resumes[number])
            if stop < 0:
                return stop
            if stop == 0:
                resumes[number] = _ENDED
                ended += 1
                continue
            resumes[number] = stop
            waiting += 1
            if barrier == 0:
                barrier = stop
            elif barrier != stop:
                return _DIVERGENT
        if waiting == 0:
            return 0
        if ended > 0:
            return _LEFT
