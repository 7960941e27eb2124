"""Registers, operands and faults of the thread function that a kernel is translated to."""

from __future__ import annotations

import re

from llvmlite import ir

from tests.support.ptx.checks import I1, I32, I64, Shadow
from tests.support.ptx.machine import CONTEXT, SHARED_WINDOW, FaultKind
from tests.support.ptx.parse import Instruction, Kernel

__all__ = ["Emitter"]

_SPECIAL = {
    "%tid.x": "tid",
    "%ntid.x": "ntid",
    "%ctaid.x": "ctaid",
    "%nctaid.x": "nctaid",
    "%dynamic_smem_size": "dynamic_shared",
}
_ADDRESS = re.compile(r"\[([%\w$]+)(?:\+(-?\d+))?\]")
_NO_ADDRESS = I64(0)
_BYTES, _WORDS = ir.IntType(8).as_pointer(), I64.as_pointer()


class Emitter:
    """The thread function under construction: (context, saved registers, resume point) -> next resume point or fault.

    Every register is a variable of the function, which LLVM turns into values.
    """

    def __init__(self, kernel: Kernel, module: ir.Module) -> None:
        self.kernel, self.module = kernel, module
        self.function = ir.Function(module, ir.FunctionType(I32, [_WORDS, _WORDS, I32]), "thread")
        self.builder = ir.IRBuilder(self.function.append_basic_block("start"))
        self._context = {name: self.builder.gep(self.function.args[0], [I32(i)]) for i, name in enumerate(CONTEXT)}
        self._registers = {name: self.builder.alloca(ir.IntType(bits)) for name, bits in kernel.registers.items()}
        self.parameters = self._address_in("parameters", _BYTES)
        self.coverage = self._address_in("coverage", _WORDS)
        self.bases = {space: self.context(f"{space}_base") for space in ("global", "shared")}
        self.shadows = {
            space: Shadow(
                self.context(f"{space}_size"),
                self._address_in(f"{space}_states", _BYTES),
                self._address_in(f"{space}_writers", _WORDS),
                self._address_in(f"{space}_readers", _WORDS),
                self.context(f"{space}_tag"),
            )
            for space in ("global", "shared")
        }

    def context(self, name: str) -> ir.Value:
        """A word of the context."""
        return self.builder.load(self._context[name])

    def _address_in(self, name: str, kind: ir.PointerType) -> ir.Value:
        return self.builder.inttoptr(self.context(name), kind)

    # --- Registers and operands ---

    def register(self, name: str) -> ir.Value:
        """The value of a register, in its own width."""
        return self.builder.load(self._registers[name])

    def put(self, instruction: Instruction, name: str, value: ir.Value) -> None:
        """Assign a value of the register's width."""
        slot = self._registers.get(name)
        if slot is None or slot.type.pointee != value.type:
            raise instruction.unknown(f"{name} does not hold {value.type}")
        self.builder.store(value, slot)

    def restore(self, name: str, word: ir.Value) -> None:
        """Assign a word that was saved at a barrier."""
        slot = self._registers[name]
        wanted = slot.type.pointee
        self.builder.store(word if wanted.width == 64 else self.builder.trunc(word, wanted), slot)

    def put_wide(self, instruction: Instruction, name: str, value: ir.Value, *, signed: bool) -> None:
        """Assign a value that may be narrower than the register, extended by its sign or by zeros."""
        wanted = ir.IntType(self.kernel.registers.get(name, 0) or 1)
        if value.type.width < wanted.width:
            value = self.builder.sext(value, wanted) if signed else self.builder.zext(value, wanted)
        self.put(instruction, name, value)

    def value(self, instruction: Instruction, operand: str, bits: int) -> ir.Value:
        """An operand of exactly that many bits: a register, a number, a special register or a shared array."""
        if operand in self.kernel.registers:
            value = self.register(operand)
            if value.type.width != bits:
                raise instruction.unknown(f"{operand} has {value.type.width} bits, {bits} expected")
            return value
        if re.fullmatch(r"-?\d+", operand):
            return self._number(instruction, int(operand), bits)
        if operand in _SPECIAL:
            word = self.context(_SPECIAL[operand])
            return word if bits == 64 else self.builder.trunc(word, ir.IntType(bits))
        if operand in self.kernel.shared and bits == 64:
            return I64(SHARED_WINDOW)
        raise instruction.unknown(f"operand {operand}")

    def value_low(self, instruction: Instruction, operand: str, bits: int) -> ir.Value:
        """The low bits of an operand that may be a wider register, as `st` and `cvt` read it."""
        if self.kernel.registers.get(operand, 0) > bits:
            return self.builder.trunc(self.register(operand), ir.IntType(bits))
        return self.value(instruction, operand, bits)

    def _number(self, instruction: Instruction, number: int, bits: int) -> ir.Value:
        if bits == 1:
            return I1(int(number != 0))
        if not -(1 << (bits - 1)) <= number < 1 << bits:
            raise instruction.unknown(f"{number} has more than {bits} bits")
        return ir.IntType(bits)(number)

    def address(self, instruction: Instruction, operand: str) -> ir.Value:
        """The address that "[register+offset]" names."""
        match = _ADDRESS.fullmatch(operand)
        if not match:
            raise instruction.unknown(f"address {operand}")
        return self.builder.add(self.value(instruction, match[1], 64), I64(int(match[2] or 0)))

    # --- Faults and leaving ---

    def fault_if(
        self, instruction: Instruction, condition: ir.Value, kind: FaultKind, address: ir.Value = _NO_ADDRESS
    ) -> None:
        """Leave the thread with a fault where the condition holds."""
        self.leave_if(instruction, self.builder.select(condition, I32(int(kind)), I32(0)), address)

    def leave_if(self, instruction: Instruction, kind: ir.Value, address: ir.Value) -> None:
        """Leave the thread with the fault `kind` unless it is 0."""
        b = self.builder
        with b.if_then(b.icmp_unsigned("!=", kind, I32(0)), likely=False):
            b.store(I64(instruction.line), self._context["fault_line"])
            b.store(address, self._context["fault_address"])
            b.ret(b.neg(kind))

    def stop_at(self, instruction: Instruction, resume: int) -> None:
        """Leave the thread at a barrier; it goes on at block `resume`."""
        self.builder.store(I64(instruction.line), self._context["fault_line"])
        self.builder.ret(I32(resume))
