"""What translated code, memory and launches agree on: the context of a thread, states of bytes, faults."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

__all__ = [
    "ATOMIC",
    "CONTEXT",
    "CONTEXT_TYPE",
    "MANY",
    "SHARED_WINDOW",
    "ByteState",
    "Fault",
    "FaultKind",
    "UnknownPtxError",
]


class UnknownPtxError(NotImplementedError):
    """PTX that the executor does not know, with its line number and text."""

    def __init__(self, line: int, text: str, why: str = "") -> None:
        super().__init__(f"PTX line {line} `{text.strip()[:200]}`" + (f": {why}" if why else ""))
        self.line = line


class FaultKind(IntEnum):
    """Why an execution stops. Translated code returns the negative number."""

    OUT_OF_BOUNDS = 1
    MISALIGNED = 2
    NOT_ALLOCATED = 3
    UNINITIALISED = 4
    RACE = 5
    ENDLESS_LOOP = 6
    DIVERGENT_BARRIER = 7
    LEFT_BEFORE_BARRIER = 8


class Fault(Exception):  # noqa: N818 - the machine's word
    """An access or barrier that a device would not report but may get wrong."""

    def __init__(self, kind: FaultKind, text: str) -> None:
        super().__init__(f"{kind.name.lower().replace('_', ' ')}: {text}")
        self.kind = kind


class ByteState(IntEnum):
    """State of one byte of memory."""

    UNALLOCATED = 0
    ALLOCATED = 1
    INITIALISED = 2


# The context of a thread: one word per name. `..._states`, `..._writers` and `..._readers` are addresses of shadows:
# one byte, one word and one word per byte of memory. A tag is the interval in the high half and a thread + 1 in the low
# half; accesses are compared if their intervals are equal.
CONTEXT = (
    "parameters",  # address of the packed parameters
    "tid",
    "ntid",
    "ctaid",
    "nctaid",
    "dynamic_shared",  # bytes
    "global_base",
    "global_size",
    "global_states",
    "global_writers",
    "global_readers",
    "global_tag",
    "shared_base",
    "shared_size",
    "shared_states",
    "shared_writers",
    "shared_readers",
    "shared_tag",
    "coverage",  # address of one counter per block of the kernel
    "fuel",  # blocks that a thread may run between two barriers
    "fault_line",
    "fault_address",
)
CONTEXT_TYPE = np.dtype([(name, np.uint64) for name in CONTEXT])

# Low halves of tags that are not a thread's: several threads have read a byte; only atomics have written it.
MANY = 0xFFFFFFFF
ATOMIC = 0xFFFFFFFE
# Where shared memory begins as kernels see it; not 0, because an address near 0 is a mistake.
SHARED_WINDOW = 0x10000
