"""What PTX must not have: instructions that round, spill, call or divide. And what machine code consists of."""

from __future__ import annotations

import re
import struct

__all__ = ["body", "instructions", "violations"]

_FORBIDDEN = {
    "floating point": r"\.b?f(16|32|64)(x2)?\b",  # arithmetic that could round, and conversions to and from it
    "local memory": r"\.local\b",  # a thread's own memory: spills, or tuples passed through memory
    "call": r"^(\(.*\)\s*)?call\b",
    "division": r"^(div|rem)\.",  # a subroutine on every device
}


def body(text: str) -> list[str]:
    """Instructions and declarations of the kernel, without labels and comments."""
    lines = (line.strip() for line in text[text.index("{") :].splitlines())
    return [line for line in lines if line and line[0] not in "{}/$" and not line.endswith(":")]


def violations(text: str) -> set[str]:
    """The kinds of forbidden lines that the kernel has."""
    return {kind for kind, pattern in _FORBIDDEN.items() if any(re.search(pattern, line) for line in body(text))}


# Fields of ELF's file header: offset, entry size and number of section headers, and the one of their names.
_SECTIONS, _TABLE = 0x28, 0x3A
_NO_BITS = 8


def instructions(cubin: bytes) -> dict[str, bytes]:
    """The machine instructions of each function in an ELF file of NVIDIA's, by the function's name."""
    (start,) = struct.unpack_from("<Q", cubin, _SECTIONS)
    size, count, names_at = struct.unpack_from("<HHH", cubin, _TABLE)
    # Each header: name, type, flags, address, offset, size, link, info, alignment, entry size.
    headers = [struct.unpack_from("<IIQQQQIIQQ", cubin, start + index * size) for index in range(count)]
    names = headers[names_at][4]
    found = {}
    for name, kind, _, _, offset, length, *_ in headers:
        text = cubin[names + name : cubin.index(b"\0", names + name)].decode()
        if text.startswith(".text.") and kind != _NO_BITS:
            found[text.removeprefix(".text.")] = cubin[offset : offset + length]
    return found
