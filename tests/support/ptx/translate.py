"""A kernel as LLVM IR: one function that runs a thread to its next barrier.

thread(context, saved registers, resume) -> 0 at the end, the block to go on with at a barrier, or minus a FaultKind
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from tests.support.ptx.accesses import ACCESSES
from tests.support.ptx.arithmetic import ARITHMETIC
from tests.support.ptx.checks import I32, I64
from tests.support.ptx.emitter import Emitter
from tests.support.ptx.flow import live_registers, resume_points
from tests.support.ptx.machine import FaultKind, UnknownPtxError
from tests.support.ptx.parse import Block, Instruction, Kernel

__all__ = ["Translation", "translated"]

_INSTRUCTIONS = ARITHMETIC | ACCESSES


class Translation(NamedTuple):
    """LLVM IR with the function `thread`, and the words that it saves of a thread at a barrier."""

    text: str
    saved_words: int


def translated(kernel: Kernel) -> Translation:
    """Raises UnknownPtxError for what is not known, and for a register that may be read before it is written."""
    return _Translator(kernel).run()


class _Translator:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._live = live_registers(kernel)
        if self._live[0]:
            raise UnknownPtxError(0, kernel.name, f"may be read before they are written: {sorted(self._live[0])}")
        self._resumes = resume_points(kernel)
        saved = sorted(frozenset().union(*(self._live[index] for index in self._resumes)))
        self._saved = {name: index for index, name in enumerate(saved)}
        module = ir.Module("kernel")
        self._emitter = Emitter(kernel, module)
        self._builder = self._emitter.builder
        self._fuel = self._builder.alloca(I64)
        self._builder.store(self._emitter.context("fuel"), self._fuel)
        self._blocks = [self._builder.function.append_basic_block() for _ in kernel.blocks]

    def run(self) -> Translation:
        self._enter()
        for index, block in enumerate(self._kernel.blocks):
            self._builder.position_at_end(self._blocks[index])
            self._count(index, block)
            for instruction in block.instructions:
                self._instruction(instruction, index)
            if not self._builder.block.is_terminated:
                self._builder.branch(self._blocks[index + 1])
        return Translation(str(self._emitter.module), max(len(self._saved), 1))

    def _enter(self) -> None:
        """Go on where the thread stopped, with the registers that are still needed."""
        b = self._builder
        never = b.function.append_basic_block("never")
        switch = b.switch(b.function.args[2], never)
        switch.add_case(I32(0), self._blocks[0])
        for index in self._resumes:
            resume = b.function.append_basic_block("resume")
            switch.add_case(I32(index), resume)
            b.position_at_end(resume)
            for name in sorted(self._live[index]):
                self._emitter.restore(name, b.load(self._place(name)))
            b.branch(self._blocks[index])
        b.position_at_end(never)
        b.unreachable()

    def _place(self, name: str) -> ir.Value:
        return self._builder.gep(self._builder.function.args[1], [I32(self._saved[name])])

    def _count(self, index: int, block: Block) -> None:
        """Count the block as run, and stop a thread that runs without end."""
        b = self._builder
        counter = b.gep(self._emitter.coverage, [I32(index)])
        b.store(b.add(b.load(counter), I64(1)), counter)
        fuel = b.sub(b.load(self._fuel), I64(1))
        b.store(fuel, self._fuel)
        if block.instructions:
            dry = b.icmp_signed("<", fuel, I64(0))
            self._emitter.fault_if(block.instructions[0], dry, FaultKind.ENDLESS_LOOP)

    def _instruction(self, instruction: Instruction, index: int) -> None:
        if instruction.name == "bra":
            self._branch(instruction, index)
        elif instruction.name == "ret":
            self._return(instruction, index)
        elif instruction.is_barrier:
            self._barrier(instruction, index + 1)
        elif instruction.name not in _INSTRUCTIONS:
            raise instruction.unknown()
        elif instruction.guard:
            with self._builder.if_then(self._guard(instruction)):
                self._plain(instruction)
        else:
            self._plain(instruction)

    def _plain(self, instruction: Instruction) -> None:
        try:
            _INSTRUCTIONS[instruction.name](self._emitter, instruction)
        except (ValueError, IndexError) as failure:
            raise instruction.unknown("another number of parts or operands was expected") from failure

    def _guard(self, instruction: Instruction) -> ir.Value:
        condition = self._emitter.register(instruction.guard or "")
        return self._builder.not_(condition) if instruction.negated else condition

    def _branch(self, instruction: Instruction, index: int) -> None:
        if instruction.operation not in (("bra",), ("bra", "uni")):
            raise instruction.unknown()
        self._leave_to(instruction, self._blocks[self._kernel.target(instruction)], index)

    def _return(self, instruction: Instruction, index: int) -> None:
        if instruction.operation != ("ret",):
            raise instruction.unknown()
        end = self._builder.function.append_basic_block("end")
        self._leave_to(instruction, end, index)
        self._builder.position_at_end(end)
        self._builder.ret(I32(0))

    def _leave_to(self, instruction: Instruction, target: ir.Block, index: int) -> None:
        if instruction.guard:
            self._builder.cbranch(self._guard(instruction), target, self._blocks[index + 1])
        else:
            self._builder.branch(target)

    def _barrier(self, instruction: Instruction, resume: int) -> None:
        whole_block = (("bar", "sync"), ("barrier", "sync", "aligned"))
        if instruction.guard or instruction.operation not in whole_block or instruction.operands != ("0",):
            raise instruction.unknown()
        b = self._builder
        for name in sorted(self._live[resume]):
            value = self._emitter.register(name)
            b.store(value if value.type.width == 64 else b.zext(value, I64), self._place(name))
        self._emitter.stop_at(instruction, resume)
