"""Loads, stores and atomics as LLVM IR, each behind its check."""

from __future__ import annotations

import re
from collections.abc import Callable

from llvmlite import ir

from tests.support.ptx.checks import I64, check_function
from tests.support.ptx.emitter import Emitter
from tests.support.ptx.machine import SHARED_WINDOW, FaultKind
from tests.support.ptx.parse import BITS, Instruction

__all__ = ["ACCESSES"]

_SPACES = ("global", "shared")
_LANES = {"v2": 2, "v4": 4}
# Memory order and scope: threads run one at a time here, and accesses whose order matters are faults.
_ORDERS = {"relaxed", "cta", "gpu", "sys"}
_ATOMICS = {"add": "add", "exch": "xchg", "and": "and", "or": "or", "xor": "xor"}
_ORDERED_ATOMICS = {"u": {"max": "umax", "min": "umin"}, "s": {"max": "max", "min": "min"}}


def _load(emitter: Emitter, instruction: Instruction) -> None:
    space = instruction.operation[1]
    if space == "param":
        _load_parameter(emitter, instruction)
        return
    kind, names = _form(instruction, instruction.operands[0])
    pointers = _pointers(emitter, instruction, "load", instruction.operands[1], (kind, len(names)))
    loaded = [emitter.builder.load(pointer, align=BITS[kind] // 8) for pointer in pointers]
    # After all loads: a lane may overwrite the register that holds the address.
    for name, value in zip(names, loaded, strict=True):
        emitter.put_wide(instruction, name, value, signed=kind[0] == "s")


def _load_parameter(emitter: Emitter, instruction: Instruction) -> None:
    match = re.fullmatch(r"\[([\w$]+)(?:\+(\d+))?\]", instruction.operands[1])
    kind = instruction.operation[-1]
    found = [parameter for parameter in emitter.kernel.parameters if match and parameter.name == match[1]]
    if not match or not found or len(instruction.operation) != 3 or kind not in BITS:
        raise instruction.unknown()
    inside, size = int(match[2] or 0), BITS[kind] // 8
    if inside + size > found[0].size:
        raise instruction.unknown("beyond the parameter")
    b = emitter.builder
    pointer = b.gep(emitter.parameters, [I64(found[0].offset + inside)])
    value = b.load(b.bitcast(pointer, ir.IntType(8 * size).as_pointer()), align=size)
    emitter.put_wide(instruction, instruction.operands[0], value, signed=kind[0] == "s")


def _store(emitter: Emitter, instruction: Instruction) -> None:
    kind, names = _form(instruction, instruction.operands[1])
    values = [emitter.value_low(instruction, name, BITS[kind]) for name in names]
    pointers = _pointers(emitter, instruction, "store", instruction.operands[0], (kind, len(names)))
    for value, pointer in zip(values, pointers, strict=True):
        emitter.builder.store(value, pointer, align=BITS[kind] // 8)


def _atomic(emitter: Emitter, instruction: Instruction) -> None:
    """`atom` gives the old value; `red` does not."""
    operation = [part for part in instruction.operation[1:] if part not in _ORDERS]
    if len(operation) != 3 or operation[0] not in _SPACES or BITS.get(operation[2]) not in (32, 64):
        raise instruction.unknown()
    _, name, kind = operation
    operators = _ATOMICS | _ORDERED_ATOMICS.get(kind[0], {})
    if name not in operators:
        raise instruction.unknown()
    *to, place, operand = instruction.operands
    value = emitter.value(instruction, operand, BITS[kind])
    (pointer,) = _pointers(emitter, instruction, "atom", place, (kind, 1), operation[0])
    old = emitter.builder.atomic_rmw(operators[name], pointer, value, "monotonic")
    if instruction.name == "atom":
        emitter.put(instruction, to[0], old)


def _form(instruction: Instruction, registers: str) -> tuple[str, list[str]]:
    """Element type and registers of "ld.space.type" or "ld.space.v2.type"."""
    _, space, *lanes, kind = instruction.operation
    names = [name.strip() for name in registers.strip("{}").split(",")]
    wanted = [_LANES.get(part, 0) for part in lanes] or [1]
    if space not in _SPACES or kind not in BITS or kind == "pred" or wanted != [len(names)]:
        raise instruction.unknown()
    return kind, names


def _pointers(
    emitter: Emitter, instruction: Instruction, access: str, place: str, form: tuple[str, int], space: str = ""
) -> list[ir.Value]:
    """Checked pointers to the accessed elements, whose type and number `form` says."""
    b, (kind, lanes) = emitter.builder, form
    space = space or instruction.operation[1]
    size = BITS[kind] // 8
    start = emitter.address(instruction, place)
    if lanes > 1:
        low = b.and_(start, I64(lanes * size - 1))
        emitter.fault_if(instruction, b.icmp_unsigned("!=", low, I64(0)), FaultKind.MISALIGNED, start)
    window = emitter.bases["global"] if space == "global" else I64(SHARED_WINDOW)
    check = check_function(emitter.module, access, size)
    pointers = []
    for lane in range(lanes):
        address = b.add(start, I64(lane * size))
        offset = b.sub(address, window)
        emitter.leave_if(instruction, b.call(check, [offset, *emitter.shadows[space]]), address)
        pointers.append(b.inttoptr(b.add(emitter.bases[space], offset), ir.IntType(8 * size).as_pointer()))
    return pointers


ACCESSES: dict[str, Callable[[Emitter, Instruction], None]] = {
    "ld": _load,
    "st": _store,
    "atom": _atomic,
    "red": _atomic,
}
