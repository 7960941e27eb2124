"""Kernels written as PTX by hand, to test the executor with."""

from __future__ import annotations

import numpy as np

from arrival_engine.gpu_kernels.arguments import Parameters
from tests.support.ptx.arena import Arena
from tests.support.ptx.launch import ExecutableKernel, Grid, packed
from tests.support.ptx.memory import ExecutedMemory

__all__ = ["BODY_LINE", "EACH_THREAD", "HEADER", "ONE_THREAD", "addresses", "kernel", "words"]

HEADER = """\
.version 9.5
.target sm_90a
.address_size 64
.extern .shared .align 16 .b8 shared_words[];
.visible .entry tested(
\t.param .u64 tested_param_0,
\t.param .u64 tested_param_1
)
.maxntid 256
{
\t.reg .pred \t%p<9>;
\t.reg .b16 \t%rs<9>;
\t.reg .b32 \t%r<9>;
\t.reg .b64 \t%rd<99>;
\tld.param.u64 \t%rd1, [tested_param_0];
\tld.param.u64 \t%rd2, [tested_param_1];
"""
BODY_LINE = HEADER.count("\n") + 1
ONE_THREAD = Grid(1, 1)


def kernel(body):
    """A kernel of two parameters, %rd1 and %rd2, with this body; its first line is BODY_LINE of the text."""
    lines = "".join(line if line.endswith(":") else f"\t{line}" for line in body.strip().splitlines(keepends=True))
    return ExecutableKernel(f"{HEADER}{lines}\n\tret;\n}}\n")


def addresses(*blocks):
    """The parameters of `kernel`: where these arrays are."""
    addresses = tuple(np.uint64(block.storage.ctypes.data) for block in blocks)
    return packed(Parameters(addresses), addresses)


def words(body, *values, grid=ONE_THREAD, order="up"):
    """What a body writes to the eight words at %rd2, which are unwritten before, given words at %rd1."""
    memory = ExecutedMemory({}, Arena(1 << 20))
    read, written = memory.upload(np.array(values or [0], np.uint64)), memory.empty(8, np.uint64)
    kernel(body).launch(grid, addresses(read, written), memory.arena, order)
    return written.storage.tolist()


# Puts the thread's number within the grid into %r4, and the address of its word of %rd2 into %rd11.
EACH_THREAD = """
    mov.u32 \t%r1, %tid.x;
    mov.u32 \t%r2, %ntid.x;
    mov.u32 \t%r3, %ctaid.x;
    mad.lo.u32 \t%r4, %r3, %r2, %r1;
    mul.wide.u32 \t%rd10, %r4, 8;
    add.s64 \t%rd11, %rd2, %rd10;
"""
