"""Parameters of kernels as the driver takes them: one word per parameter, and one pointer to each word.

numba's ABI flattens the nested groups in order. An array becomes seven parameters: 0, 0, its elements, the bytes of
one, its address, its elements again, and the stride in bytes, 0 if it has no elements. A scalar is one parameter of
its own width. The machine code says how many bytes of each word the driver reads, so scalars lie in the low bytes of
theirs.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__all__ = ["DeviceArray", "Parameters", "words"]

_WORD = 8
_MASK = (1 << 64) - 1

if sys.byteorder != "little":
    raise ImportError("parameters of CUDA kernels are packed for little-endian hosts")


class DeviceArray:
    """An array as kernels take it: its parameters, its type, and the array that owns the memory.

    array: contiguous, of one dimension, with `__cuda_array_interface__` or, where that is missing, numpy's.
    """

    __slots__ = ("array", "type", "words")

    def __init__(self, array: Any) -> None:
        self.array = array
        self.words, self.type = _array_words(array), _type_of(array)

    def __getitem__(self, place: slice) -> DeviceArray:
        return DeviceArray(self.array[place])


def words(argument: Any) -> tuple[int, ...]:
    """The parameters of an argument, each as an unsigned 64-bit number.

    An argument is an integer, a bool, an array as in `DeviceArray`, or a tuple of such.
    """
    return tuple(word for leaf in _collect((argument,), []) for word in _words_of(leaf))


class Parameters:
    """The parameters of one kernel, kept from launch to launch: only what is another object is packed again.

    It keeps no array alive: of a DeviceArray, it remembers the words.
    """

    def __init__(self, prototypes: tuple[Any, ...]) -> None:
        """prototypes: arguments of the types that the kernel is compiled for."""
        leaves = _collect(prototypes, [])
        sizes = [len(_words_of(leaf)) for leaf in leaves]
        ends = np.cumsum(sizes).tolist()
        self._types = [_type_of(leaf) for leaf in leaves]
        self._packed: list[Any] = [None] * len(leaves)
        self._places = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        self._words = np.zeros(sum(sizes), np.uint64)
        self._pointers = self._words.ctypes.data + _WORD * np.arange(sum(sizes), dtype=np.uint64)
        self._address = int(self._pointers.ctypes.data)

    def pack(self, arguments: tuple[Any, ...]) -> int:
        """The address of the pointers for a launch with these arguments, valid until the next call.

        Raises TypeError for arguments of other types, whose bytes the driver would take for those of the right ones.
        """
        leaves = _collect(arguments, [])
        if len(leaves) != len(self._packed):
            raise TypeError(f"a kernel of {len(self._packed)} arrays and numbers got {len(leaves)}")
        for at, (leaf, packed) in enumerate(zip(leaves, self._packed, strict=True)):
            known = leaf.words if isinstance(leaf, DeviceArray) else leaf
            if known is not packed:
                if _type_of(leaf) != self._types[at]:
                    raise TypeError(f"argument {at} of a kernel is {_type_of(leaf)}, not {self._types[at]}")
                self._words[self._places[at]] = _words_of(leaf)
                self._packed[at] = known if isinstance(known, (tuple, int, np.generic)) else None
        return self._address


def _collect(argument: tuple[Any, ...], leaves: list[Any]) -> list[Any]:
    """Append numbers and arrays, in order."""
    for part in argument:
        if isinstance(part, tuple):
            _collect(part, leaves)
        else:
            leaves.append(part)
    return leaves


def _type_of(leaf: Any) -> str:
    """The type of a number, as "<i8", or of an array's elements, as "<i8 array"; numba takes a Python int for int64."""
    if isinstance(leaf, DeviceArray):
        return leaf.type
    if isinstance(leaf, np.generic):
        return leaf.dtype.str
    if isinstance(leaf, int):
        return "|b1" if isinstance(leaf, bool) else "<i8"
    return f"{_interface(leaf)['typestr']} array"


def _words_of(leaf: Any) -> tuple[int, ...]:
    if isinstance(leaf, DeviceArray):
        return leaf.words
    if isinstance(leaf, (int, np.integer, np.bool_)):
        return (int(leaf) & _MASK,)
    return _array_words(leaf)


def _array_words(array: Any) -> tuple[int, ...]:
    facts = _interface(array)
    address, _ = facts["data"]
    (elements,), itemsize = facts["shape"], int(facts["typestr"][2:])
    if facts.get("strides") not in (None, (itemsize,)):
        raise ValueError(f"an array of kernels must be contiguous, not of strides {facts['strides']}")
    return 0, 0, elements, itemsize, address or 0, elements, itemsize if elements else 0


def _interface(array: Any) -> dict[str, Any]:
    facts: dict[str, Any] = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return facts
