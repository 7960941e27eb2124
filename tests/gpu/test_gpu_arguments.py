"""Parameters of kernels: what is packed, and what is refused."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from arrival_engine.gpu_kernels.arguments import DeviceArray, Parameters, words
from arrival_engine.gpu_kernels.layout import KERNELS, SETTLE


def leaves_changed(group, change):
    """The group with every number and array replaced in turn, one at a time."""
    for at, part in enumerate(group):
        for other in leaves_changed(part, change) if isinstance(part, tuple) else [change(part)]:
            parts = [*group[:at], other, *group[at + 1 :]]
            yield type(group)(*parts) if hasattr(group, "_fields") else tuple(parts)


def of_another_type(leaf):
    other = {"i": np.uint64, "u": np.int64, "b": np.uint8}[np.asarray(leaf).dtype.kind]
    return np.zeros(1, other) if isinstance(leaf, np.ndarray) else other(0)


def packed(parameters, arguments):
    count = len(words(arguments))
    pointers = (ctypes.POINTER(ctypes.c_uint64) * count).from_address(parameters.pack(arguments))
    return tuple(pointer[0] for pointer in pointers)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_each_argument_of_another_type_is_refused(kernel):
    """The driver would take its bytes for those of the right type."""
    parameters = Parameters(kernel.prototypes())
    parameters.pack(kernel.prototypes())
    others = list(leaves_changed(kernel.prototypes(), of_another_type))
    assert len(others) > 40
    for arguments in others:
        with pytest.raises(TypeError, match="of a kernel is"):
            parameters.pack(arguments)


def test_an_array_in_place_of_a_number_is_refused_and_so_is_one_argument_less():
    arguments = SETTLE.prototypes()
    parameters = Parameters(arguments)
    with pytest.raises(TypeError, match=r"<i8 array, not <i8"):
        parameters.pack((arguments[0], arguments[1]._replace(arrivals=np.zeros(1, np.int64)), *arguments[2:]))
    with pytest.raises(TypeError, match="arrays and numbers got"):
        parameters.pack(arguments[:-1])


def test_what_was_refused_is_packed_when_it_is_right():
    parameters = Parameters((np.int64(0), np.zeros(1, np.uint64)))
    keys = DeviceArray(np.arange(5, dtype=np.uint64))
    for wrong in ((np.uint64(1), keys), (np.int64(1), DeviceArray(np.arange(5)))):
        with pytest.raises(TypeError):
            parameters.pack(wrong)
        assert packed(parameters, right := (np.int64(-2), keys)) == words(right)


def test_an_array_with_gaps_is_refused():
    with pytest.raises(ValueError, match="contiguous"):
        DeviceArray(np.arange(8)[::2])
