"""Integer instructions as LLVM IR. Nothing of it is undefined: arithmetic wraps, shifts clamp as PTX says."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from tests.support.ptx.checks import I1, I32
from tests.support.ptx.emitter import Emitter
from tests.support.ptx.parse import BITS, Instruction

__all__ = ["ARITHMETIC"]

_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_UNSIGNED_COMPARISONS = {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}


def _type(instruction: Instruction, form: str) -> str:
    """The type of an operation that is written "name.type", or "name.form.type"."""
    expected = [instruction.name, *form.split(".")] if form else [instruction.name]
    *parts, kind = instruction.operation
    if parts != expected or kind not in BITS:
        raise instruction.unknown()
    return kind


def _signed(kind: str) -> bool:
    return kind[0] == "s"


def _binary(method: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> Callable[[Emitter, Instruction], None]:
    def emit(emitter: Emitter, instruction: Instruction) -> None:
        bits = BITS[_type(instruction, "")]
        to, left, right = instruction.operands
        values = (emitter.value(instruction, operand, bits) for operand in (left, right))
        emitter.put(instruction, to, method(emitter.builder, *values))

    return emit


def _unary(method: Callable[[ir.IRBuilder, ir.Value], ir.Value]) -> Callable[[Emitter, Instruction], None]:
    def emit(emitter: Emitter, instruction: Instruction) -> None:
        bits = BITS[_type(instruction, "")]
        to, operand = instruction.operands
        emitter.put(instruction, to, method(emitter.builder, emitter.value(instruction, operand, bits)))

    return emit


def _move(emitter: Emitter, instruction: Instruction) -> None:
    bits = BITS[_type(instruction, "")]
    to, source = instruction.operands
    emitter.put(instruction, to, emitter.value(instruction, source, bits))


def _to_global(emitter: Emitter, instruction: Instruction) -> None:
    """Generic addresses of global memory are the global addresses."""
    if ".".join(instruction.operation) not in ("cvta.to.global.u64", "cvta.global.u64"):
        raise instruction.unknown()
    to, source = instruction.operands
    emitter.put(instruction, to, emitter.value(instruction, source, 64))


def _convert(emitter: Emitter, instruction: Instruction) -> None:
    if len(instruction.operation) != 3 or not all(kind in BITS for kind in instruction.operation[1:]):
        raise instruction.unknown()
    _, to_kind, from_kind = instruction.operation
    to, source = instruction.operands
    value = emitter.value_low(instruction, source, BITS[from_kind])
    kind = ir.IntType(BITS[to_kind])
    if kind.width < value.type.width:
        value = emitter.builder.trunc(value, kind)
    elif kind.width > value.type.width:
        value = emitter.builder.sext(value, kind) if _signed(from_kind) else emitter.builder.zext(value, kind)
    emitter.put_wide(instruction, to, value, signed=_signed(to_kind))


def _product(emitter: Emitter, instruction: Instruction) -> ir.Value:
    """The product of operands 1 and 2: its low half, its high half or all of it."""
    b, form = emitter.builder, instruction.operation[1]
    kind = _type(instruction, form)
    if form not in ("lo", "hi", "wide"):
        raise instruction.unknown()
    bits = BITS[kind]
    values = [emitter.value(instruction, operand, bits) for operand in instruction.operands[1:3]]
    if form == "lo":
        return b.mul(*values)
    double = ir.IntType(2 * bits)
    product = b.mul(*(b.sext(value, double) if _signed(kind) else b.zext(value, double) for value in values))
    return product if form == "wide" else b.trunc(b.lshr(product, double(bits)), ir.IntType(bits))


def _multiply(emitter: Emitter, instruction: Instruction) -> None:
    to, _, _ = instruction.operands
    emitter.put(instruction, to, _product(emitter, instruction))


def _multiply_add(emitter: Emitter, instruction: Instruction) -> None:
    to, _, _, addend = instruction.operands
    product = _product(emitter, instruction)
    emitter.put(instruction, to, emitter.builder.add(product, emitter.value(instruction, addend, product.type.width)))


def _extreme(emitter: Emitter, instruction: Instruction) -> None:
    b, kind = emitter.builder, _type(instruction, "")
    to, *operands = instruction.operands
    left, right = (emitter.value(instruction, operand, BITS[kind]) for operand in operands)
    compare = b.icmp_signed if _signed(kind) else b.icmp_unsigned
    chosen = compare("<" if instruction.name == "min" else ">", left, right)
    emitter.put(instruction, to, b.select(chosen, left, right))


def _shift(emitter: Emitter, instruction: Instruction) -> None:
    """A shift by the width or more gives 0, or the sign in every bit."""
    b, kind = emitter.builder, _type(instruction, "")
    to, left, right = instruction.operands
    value, amount = emitter.value(instruction, left, BITS[kind]), emitter.value(instruction, right, 32)
    bits, signed = value.type.width, instruction.name == "shr" and _signed(kind)
    far = b.icmp_unsigned(">=", amount, I32(bits))
    near = b.select(far, I32(bits - 1), amount)
    near = near if bits == 32 else b.zext(near, value.type) if bits > 32 else b.trunc(near, value.type)
    shifted = (b.shl if instruction.name == "shl" else b.ashr if signed else b.lshr)(value, near)
    emitter.put(instruction, to, shifted if signed else b.select(far, value.type(0), shifted))


def _compare(emitter: Emitter, instruction: Instruction) -> None:
    kind = instruction.operation[-1]
    if len(instruction.operation) != 3 or kind not in BITS:
        raise instruction.unknown()
    name = instruction.operation[1]
    to, *operands = instruction.operands
    left, right = (emitter.value(instruction, operand, BITS[kind]) for operand in operands)
    if name in _UNSIGNED_COMPARISONS:
        compared = emitter.builder.icmp_unsigned(_UNSIGNED_COMPARISONS[name], left, right)
    elif name in _COMPARISONS:
        compare = emitter.builder.icmp_signed if _signed(kind) else emitter.builder.icmp_unsigned
        compared = compare(_COMPARISONS[name], left, right)
    else:
        raise instruction.unknown()
    emitter.put(instruction, to, compared)


def _select(emitter: Emitter, instruction: Instruction) -> None:
    bits = BITS[_type(instruction, "")]
    to, left, right, condition = instruction.operands
    chosen = emitter.value(instruction, condition, 1)
    values = (emitter.value(instruction, operand, bits) for operand in (left, right))
    emitter.put(instruction, to, emitter.builder.select(chosen, *values))


def _count(emitter: Emitter, instruction: Instruction) -> None:
    """Leading zeros or set bits: 32 bits wide whatever the operand is."""
    b = emitter.builder
    to, operand = instruction.operands
    value = emitter.value(instruction, operand, BITS[_type(instruction, "")])
    count = b.ctlz(value, I1(0)) if instruction.name == "clz" else b.ctpop(value)
    emitter.put(instruction, to, count if count.type.width == 32 else b.trunc(count, I32))


def _extract(emitter: Emitter, instruction: Instruction) -> None:
    """A bit field from `start` of `length` bits, each the low byte of its operand; unsigned alone."""
    b, kind = emitter.builder, _type(instruction, "")
    if _signed(kind):
        raise instruction.unknown()
    to, source, start, length = instruction.operands
    value = emitter.value(instruction, source, BITS[kind])
    bits = value.type
    low_byte = [b.and_(emitter.value(instruction, operand, 32), I32(255)) for operand in (start, length)]
    wide = ir.IntType(512)
    first, count = (b.zext(operand, wide) for operand in low_byte)
    mask = b.sub(b.shl(wide(1), count), wide(1))
    field = b.and_(b.lshr(b.zext(value, wide), first), mask)
    emitter.put(instruction, to, b.trunc(field, bits))


ARITHMETIC: dict[str, Callable[[Emitter, Instruction], None]] = {
    "mov": _move,
    "cvta": _to_global,
    "cvt": _convert,
    "add": _binary(ir.IRBuilder.add),
    "sub": _binary(ir.IRBuilder.sub),
    "and": _binary(ir.IRBuilder.and_),
    "or": _binary(ir.IRBuilder.or_),
    "xor": _binary(ir.IRBuilder.xor),
    "not": _unary(ir.IRBuilder.not_),
    "neg": _unary(ir.IRBuilder.neg),
    "mul": _multiply,
    "mad": _multiply_add,
    "min": _extreme,
    "max": _extreme,
    "shl": _shift,
    "shr": _shift,
    "setp": _compare,
    "selp": _select,
    "clz": _count,
    "popc": _count,
    "bfe": _extract,
}
