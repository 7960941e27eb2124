"""The checks of memory accesses, as LLVM functions that translated code calls."""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from tests.support.ptx.machine import ATOMIC, MANY, ByteState, FaultKind

__all__ = ["I1", "I8", "I32", "I64", "Shadow", "check_function"]

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
_BYTES, _WORDS = I8.as_pointer(), I64.as_pointer()
_INTERVAL_SHIFT = 32


class Shadow(NamedTuple):
    """A memory's size, the state, last writer and last reader of each of its bytes, and the thread's tag."""

    size: ir.Value
    states: ir.Value
    writers: ir.Value
    readers: ir.Value
    tag: ir.Value


def check_function(module: ir.Module, kind: str, nbytes: int) -> ir.Function:
    """Function (offset, Shadow) -> 0 or a FaultKind, which also records the access.

    load: every byte is initialised, and in this interval no other thread and no atomic wrote it.
    store: every byte is allocated, and in this interval no other thread read or wrote it, and no atomic did.
    atom: every byte is initialised, and in this interval no other thread read it or wrote it but by an atomic.
    """
    name = f"check_{kind}{nbytes}"
    if name in module.globals:
        return module.globals[name]
    parameters = [I64, I64, _BYTES, _WORDS, _WORDS, I64]
    function = ir.Function(module, ir.FunctionType(I32, parameters), name)
    function.linkage = "internal"
    function.attributes.add("alwaysinline")
    offset, *shadow = function.args
    _Check(ir.IRBuilder(function.append_basic_block("entry")), nbytes, offset, Shadow(*shadow)).build(kind)
    return function


class _Check:
    """Builds one check function. Vectors have one lane per accessed byte."""

    def __init__(self, builder: ir.IRBuilder, nbytes: int, offset: ir.Value, shadow: Shadow) -> None:
        self._b, self._nbytes, self._offset, self._shadow = builder, nbytes, offset, shadow
        self._words = ir.VectorType(I64, nbytes)

    def build(self, kind: str) -> None:
        self._place()
        states = self._lanes(self._shadow.states, I8)
        self._refuse(self._states_are(states, "==", ByteState.UNALLOCATED), FaultKind.NOT_ALLOCATED)
        if kind != "store":
            self._refuse(self._states_are(states, "!=", ByteState.INITIALISED), FaultKind.UNINITIALISED)
        self._races(kind)
        if kind == "load":
            self._record_reader()
        else:
            self._record_writer(atomic=kind == "atom")
        self._b.ret(I32(0))

    def _place(self) -> None:
        b, size = self._b, self._shadow.size
        too_small = b.icmp_unsigned("<", size, I64(self._nbytes))
        beyond = b.icmp_unsigned(">", self._offset, b.sub(size, I64(self._nbytes)))
        self._refuse(b.or_(too_small, beyond), FaultKind.OUT_OF_BOUNDS)
        low = b.and_(self._offset, I64(self._nbytes - 1))
        self._refuse(b.icmp_unsigned("!=", low, I64(0)), FaultKind.MISALIGNED)

    def _races(self, kind: str) -> None:
        b = self._b
        writers, readers = self._lanes(self._shadow.writers, I64), self._lanes(self._shadow.readers, I64)
        written = self._by_others(writers)
        if kind == "atom":
            written = b.and_(written, b.icmp_unsigned("!=", writers, self._tagged(ATOMIC)))
        self._refuse(self._any(written), FaultKind.RACE)
        if kind != "load":
            self._refuse(self._any(self._by_others(readers)), FaultKind.RACE)

    def _record_reader(self) -> None:
        readers = self._lanes(self._shadow.readers, I64)
        several = self._by_others(readers)
        self._store(self._shadow.readers, self._b.select(several, self._tagged(MANY), self._own()))

    def _record_writer(self, *, atomic: bool) -> None:
        self._store(self._shadow.writers, self._tagged(ATOMIC) if atomic else self._own())
        initialised = ir.Constant(ir.VectorType(I8, self._nbytes), [int(ByteState.INITIALISED)] * self._nbytes)
        self._store(self._shadow.states, initialised)

    def _by_others(self, tags: ir.Value) -> ir.Value:
        """Lanes whose tag is of this interval and not this thread's."""
        b = self._b
        shift = ir.Constant(self._words, [_INTERVAL_SHIFT] * self._nbytes)
        this_interval = b.icmp_unsigned("==", b.lshr(tags, shift), b.lshr(self._own(), shift))
        return b.and_(this_interval, b.icmp_unsigned("!=", tags, self._own()))

    def _own(self) -> ir.Value:
        return self._repeated(self._shadow.tag)

    def _tagged(self, low: int) -> ir.Value:
        """This interval's tag with another low half, in every lane."""
        b = self._b
        interval = b.and_(self._shadow.tag, I64(0xFFFFFFFF << _INTERVAL_SHIFT))
        return self._repeated(b.or_(interval, I64(low)))

    def _repeated(self, word: ir.Value) -> ir.Value:
        empty = ir.Constant(self._words, ir.Undefined)
        first = self._b.insert_element(empty, word, I32(0))
        return self._b.shuffle_vector(first, empty, ir.Constant(ir.VectorType(I32, self._nbytes), [0] * self._nbytes))

    def _states_are(self, states: ir.Value, comparison: str, state: ByteState) -> ir.Value:
        wanted = ir.Constant(states.type, [int(state)] * self._nbytes)
        return self._any(self._b.icmp_unsigned(comparison, states, wanted))

    def _any(self, lanes: ir.Value) -> ir.Value:
        bits = ir.IntType(self._nbytes)
        return self._b.icmp_unsigned("!=", self._b.bitcast(lanes, bits), bits(0))

    def _pointer(self, shadow: ir.Value, element: ir.IntType) -> ir.Value:
        lanes = ir.VectorType(element, self._nbytes)
        return self._b.bitcast(self._b.gep(shadow, [self._offset]), lanes.as_pointer())

    def _lanes(self, shadow: ir.Value, element: ir.IntType) -> ir.Value:
        return self._b.load(self._pointer(shadow, element), align=element.width // 8)

    def _store(self, shadow: ir.Value, lanes: ir.Value) -> None:
        element = lanes.type.element
        self._b.store(lanes, self._pointer(shadow, element), align=element.width // 8)

    def _refuse(self, condition: ir.Value, kind: FaultKind) -> None:
        with self._b.if_then(condition, likely=False):
            self._b.ret(I32(int(kind)))
