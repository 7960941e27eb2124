"""PTX text of one kernel as instructions and basic blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.ptx.machine import UnknownPtxError

__all__ = ["BITS", "Block", "Instruction", "Kernel", "Parameter", "parse"]

BITS = {"pred": 1} | {f"{kind}{bits}": bits for kind in "bus" for bits in (8, 16, 32, 64)}

_MODULE_LINE = re.compile(r"\s*(//.*)?|\.(version|target|address_size)\b.*")
_SHARED = re.compile(r"\.extern \.shared \.align (\d+) \.b8 (\w+)\[\];")
# A variable that numba-cuda declares beside every kernel and that no kernel uses.
_COMMON = re.compile(r"\.common \.global \.align \d+ \.u64 (\w+);")
_ENTRY = re.compile(r"\.visible \.entry ([\w$]+)\(")
_PARAMETER = re.compile(
    r"\s*\.param (?:\.align (\d+) )?\.(\w+)(?: \.ptr(?: \.(?:global|shared|local|const))?(?: \.align \d+)?)? "
    r"([\w$]+)(?:\[(\d+)\])?,?"
)
_BOUNDS = re.compile(r"\.(?:maxntid|reqntid) (\d+)(?:, 1, 1)?")
_REGISTERS = re.compile(r"\.reg \.(\w+)\s+(%[a-z]+)<(\d+)>;")
_LABEL = re.compile(r"(\$?[\w$]+):")
_INSTRUCTION = re.compile(r"(?:@(!?)(%p\d+)\s+)?([a-z][\w.]*)\s*(.*?);")
_OPERAND = re.compile(r"\s*(\{[^}]*\}|\[[^\]]*\]|[^,{}\[\]]+)\s*(?:,|$)")
_REGISTER = re.compile(r"%[a-z]+\d+\b")
# Operations whose first operand is not written.
_WRITES_NOTHING = {"st", "red", "bar", "barrier", "bra", "ret"}
_ENDS_BLOCK = {"bra", "ret", "bar", "barrier"}


@dataclass(frozen=True)
class Parameter:
    """A kernel's parameter and its place in the packed parameters, in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Instruction:
    """One instruction; `operation` is "ld.global.u64" split at the dots, `line` counts from 1."""

    line: int
    text: str
    guard: str | None
    negated: bool
    operation: tuple[str, ...]
    operands: tuple[str, ...]
    reads: frozenset[str]
    writes: frozenset[str]

    @property
    def name(self) -> str:
        return self.operation[0]

    @property
    def is_barrier(self) -> bool:
        return self.name in ("bar", "barrier")

    def unknown(self, why: str = "") -> UnknownPtxError:
        return UnknownPtxError(self.line, self.text, why)


@dataclass
class Block:
    """Instructions that run one after the other; a barrier, branch or return is the last one."""

    label: str
    instructions: list[Instruction] = field(default_factory=list)
    successors: list[int] = field(default_factory=list)

    @property
    def last(self) -> Instruction | None:
        return self.instructions[-1] if self.instructions else None


@dataclass(frozen=True)
class Kernel:
    """registers: bits by name. shared: the arrays that are sized at launch, with their alignment."""

    name: str
    parameters: tuple[Parameter, ...]
    registers: dict[str, int]
    shared: dict[str, int]
    most_threads: int | None
    blocks: list[Block]
    lines: list[str]

    def target(self, branch: Instruction) -> int:
        """Index of the block that a branch goes to."""
        (label,) = branch.operands
        for index, block in enumerate(self.blocks):
            if block.label == label:
                return index
        raise branch.unknown("no such label")


def parse(text: str) -> Kernel:
    """The one kernel of a PTX module. Raises UnknownPtxError for a line that is not understood."""
    lines = text.rstrip("\0\n").splitlines()
    numbered = iter(enumerate(lines, 1))
    shared, name = _module_lines(numbered)
    parameters = _parameters(numbered)
    most_threads = _directives(numbered)
    registers, blocks = _body(numbered)
    for number, line in numbered:
        if not _MODULE_LINE.fullmatch(line):
            raise UnknownPtxError(number, line, "one kernel and no function is expected")
    kernel = Kernel(name, parameters, registers, shared, most_threads, blocks, lines)
    _link(kernel)
    return kernel


Numbered = Iterator[tuple[int, str]]


def _module_lines(numbered: Numbered) -> tuple[dict[str, int], str]:
    shared: dict[str, int] = {}
    for number, line in numbered:
        if match := _SHARED.fullmatch(line):
            shared[match[2]] = int(match[1])
        elif match := _ENTRY.fullmatch(line):
            return shared, match[1]
        elif not (_MODULE_LINE.fullmatch(line) or _COMMON.fullmatch(line)):
            raise UnknownPtxError(number, line)
    raise UnknownPtxError(0, "", "no kernel")


def _parameters(numbered: Numbered) -> tuple[Parameter, ...]:
    found: list[Parameter] = []
    end = 0
    for number, line in numbered:
        if line.strip() == ")":
            return tuple(found)
        match = _PARAMETER.fullmatch(line)
        if not match or match[2] not in BITS:
            raise UnknownPtxError(number, line)
        element = BITS[match[2]] // 8
        alignment = int(match[1] or element)
        offset = -(-end // alignment) * alignment
        found.append(Parameter(match[3], offset, element * int(match[4] or 1)))
        end = offset + found[-1].size
    raise UnknownPtxError(0, "", "the parameters do not end")


def _directives(numbered: Numbered) -> int | None:
    most_threads = None
    for number, line in numbered:
        if line.strip() == "{":
            return most_threads
        match = _BOUNDS.fullmatch(line.strip())
        if not match:
            raise UnknownPtxError(number, line)
        most_threads = int(match[1])
    raise UnknownPtxError(0, "", "no body")


def _body(numbered: Numbered) -> tuple[dict[str, int], list[Block]]:
    registers: dict[str, int] = {}
    blocks = [Block("entry")]
    for number, whole in numbered:
        line = whole.split("//")[0].strip()
        if line == "}":
            break
        match = _REGISTERS.fullmatch(line)
        if match and match[1] in BITS:
            registers |= {f"{match[2]}{i}": BITS[match[1]] for i in range(int(match[3]))}
        elif label := _LABEL.fullmatch(line):
            blocks.append(Block(label[1]))
        elif line:
            instruction = _instruction(number, line)
            if undeclared := (instruction.reads | instruction.writes) - registers.keys():
                raise instruction.unknown(f"not declared: {', '.join(sorted(undeclared))}")
            blocks[-1].instructions.append(instruction)
            if instruction.name in _ENDS_BLOCK:
                blocks.append(Block(f"after line {number}"))
    return registers, blocks


def _instruction(number: int, line: str) -> Instruction:
    match = _INSTRUCTION.fullmatch(line)
    if not match:
        raise UnknownPtxError(number, line)
    operation = tuple(match[3].split("."))
    operands = tuple(part.strip() for part in _OPERAND.findall(match[4]))
    written = operands[0] if operands and operation[0] not in _WRITES_NOTHING else ""
    writes = frozenset(_REGISTER.findall(written))
    if written and not writes:
        raise UnknownPtxError(number, line, "the first operand is not a register")
    read = operands[1:] if written else operands
    reads = {name for operand in read for name in _REGISTER.findall(operand)}
    guard = match[2]
    return Instruction(
        number,
        line,
        guard,
        bool(match[1]),
        operation,
        operands,
        frozenset(reads | ({guard} if guard else set())),
        writes,
    )


def _link(kernel: Kernel) -> None:
    """Fill in the successors: a block goes on to the next unless it ends in an unguarded branch or return."""
    blocks = kernel.blocks
    if not blocks[-1].instructions:
        blocks.pop()
    for index, block in enumerate(blocks):
        last = block.last
        if last and last.name == "bra":
            block.successors.append(kernel.target(last))
        if last and last.name in ("bra", "ret") and not last.guard:
            continue
        if index + 1 == len(blocks):
            raise UnknownPtxError(
                last.line if last else 0, last.text if last else "", "the kernel goes on past its end"
            )
        block.successors.append(index + 1)
