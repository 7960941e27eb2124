"""Local memory as a part of global memory, for an executor that has none.

A device keeps it there too: each thread has as many bytes as its kernel declares. Below 10.0, numba-cuda-mlir's kernels
keep some variables there; see `defects`.
"""

from __future__ import annotations

import re

__all__ = ["PARAMETER", "in_global_memory"]

# The address of the first thread's bytes, a parameter after all others.
PARAMETER = "local_memory"

_DEPOT = re.compile(r"\t\.local \.align \d+ \.b8 \t(\w+)\[(\d+)\];\n\t\.reg \.b64 \t%SP;\n\t\.reg \.b64 \t%SPL;\n")
_REGISTERS = "\t.reg .b64 \t%stack<2>;\n\t.reg .b32 \t%place<4>;\n"
_ADDRESS = f"""\
\tmov.u32 \t%place0, %tid.x;
\tmov.u32 \t%place1, %ntid.x;
\tmov.u32 \t%place2, %ctaid.x;
\tmad.lo.s32 \t%place3, %place2, %place1, %place0;
\tmul.wide.u32 \t%stack1, %place3, {{size}};
\tld.param.u64 \t%stack0, [{PARAMETER}];
\tadd.s64 \t%stack0, %stack0, %stack1;
"""
# A generic address is a global one then, whichever of the two it was.
_REWRITTEN = (
    (r"\bcvta\.(to\.)?local\.u64\b", "mov.u64"),
    (r"\b(ld|st)\.local\.", r"\1.global."),
    (r"\b(ld|st)\.([bus]\d+)\b", r"\1.global.\2"),
    (r"%SPL\b", "%stack0"),
    (r"%SP\b", "%stack1"),
)


def in_global_memory(text: str) -> tuple[str, int]:
    """PTX without local memory, and the bytes per thread that it takes from PARAMETER's address on; 0 if none."""
    depot = _DEPOT.search(text)
    if depot is None:
        return text, 0
    name, size = depot[1], int(depot[2])
    head, body = text[: depot.start()], text[depot.end() :]
    head = re.sub(r"\n\)\n", f",\n\t.param .u64 {PARAMETER}\n)\n", head, count=1)
    body = body.replace(f"\tmov.u64 \t%SPL, {name};\n", _ADDRESS.format(size=size))
    for pattern, replacement in _REWRITTEN:
        body = re.sub(pattern, replacement, body)
    return f"{head}{_REGISTERS}{body}", size
