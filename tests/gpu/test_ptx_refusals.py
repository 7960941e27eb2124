"""The executor of PTX: what it does not know is refused by its line."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.ptx.arena import Arena
from tests.support.ptx.bodies import BODY_LINE, HEADER, kernel
from tests.support.ptx.launch import ExecutableKernel, Grid
from tests.support.ptx.machine import UnknownPtxError
from tests.support.ptx.memory import ExecutedMemory


@pytest.mark.parametrize(
    "line",
    [
        "add.f64 \t%rd20, %rd1, %rd2;",
        "fma.rn.f32 \t%r1, %r1, %r1, %r1;",
        "div.u64 \t%rd20, %rd1, %rd2;",
        "add.cc.u32 \t%r1, %r2, %r3;",
        "mul.hi.u64 \t%rd20, %rd1, %rd2, %rd1;",
        "mul.u64 \t%rd20, %rd1, %rd2;",
        "ld.local.u64 \t%rd20, [%rd1];",
        "ld.u64 \t%rd20, [%rd1];",
        "ld.volatile.global.u64 \t%rd20, [%rd1];",
        "ld.global.v2.u64 \t{%rd20, %rd21, %rd22}, [%rd1];",
        "ld.param.u64 \t%rd20, [tested_param_0+4];",
        "ld.param.u64 \t%rd20, [other];",
        "st.global.u64 \t[%rd2], %r1;",
        "atom.global.cas.b64 \t%rd20, [%rd1], 1, 2;",
        "atom.global.inc.u32 \t%r1, [%rd1], 1;",
        "setp.lt.and.u32 \t%p1, %r1, %r2, %p2;",
        "setp.equ.u32 \t%p1, %r1, %r2;",
        "mov.u64 \t%rd20, %r1;",
        "mov.u64 \t%rd20, %clock64;",
        "mov.u32 \t%r1, 4294967296;",
        "mov.u32 \t%r1, nowhere;",
        "bar.sync \t1;",
        "bar.arrive \t0, 32;",
        "@%p1 bar.sync \t0;",
        "bra \t$nowhere;",
        "brx.idx \t%r1, $targets;",
        "call.uni \t(retval0), somewhere, (param0);",
        "prmt.b32 \t%r1, %r2, %r3, 0;",
        "membar.gl;",
        "exit;",
        ".local .align 8 .b8 depot[16];",
    ],
)
def test_an_unknown_line_is_refused_by_its_number(line):
    known = "".join(f"mov.u32 \t%r{i}, 0;\nmov.pred \t%p{i}, 0;\n" for i in (1, 2, 3))
    with pytest.raises(UnknownPtxError) as caught:
        kernel(known + line)
    assert caught.value.line == BODY_LINE + known.count("\n")
    assert line.strip() in str(caught.value)


def test_a_register_that_may_be_read_unwritten_is_refused():
    with pytest.raises(UnknownPtxError, match=r"may be read before they are written: \['%rd30'\]"):
        kernel("setp.eq.u64 \t%p1, %rd1, 0;\n@%p1 mov.u64 \t%rd30, 1;\nst.global.u64 \t[%rd2], %rd30;")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ((".target sm_90a", ".target sm_90a\n.func helper()"), ".func helper()"),
        ((".maxntid 256", '.pragma "nounroll";'), "nounroll"),
        (("\tret;\n}\n", "\tret;\n}\n.func late()\n"), ".func late()"),
        (("\tret;\n", "\tmov.u64 \t%rd9, 0;\n"), "goes on past its end"),
    ],
)
def test_an_unknown_module_is_refused(change, text):
    good = f"{HEADER}\tret;\n}}\n"
    ExecutableKernel(good)
    with pytest.raises(UnknownPtxError, match=text.replace("(", r"\(").replace(")", r"\)")):
        ExecutableKernel(good.replace(*change))


def test_a_launch_with_other_parameters_is_refused():
    executed, memory = kernel(""), ExecutedMemory({}, Arena(1 << 16))
    one, two = np.ones(1, np.uint64), np.ones(2, np.uint64)
    with pytest.raises(ValueError, match="1 parameters; the kernel takes 2"):
        executed.launch(Grid(1, 1), one, memory.arena)
    with pytest.raises(ValueError, match="compiled for at most 256"):
        executed.launch(Grid(1, 257), two, memory.arena)
    with pytest.raises(ValueError, match="an order is one of"):
        executed.launch(Grid(1, 1), two, memory.arena, "sideways")
