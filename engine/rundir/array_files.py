"""NumPy files below a root. Nothing in them is ever unpickled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts.inside import InsidePath


def save_array(path: InsidePath, array: NDArray[Any]) -> None:
    """Write a `.npy` file."""
    with path.open("wb") as file:
        np.save(file, array)


def save_arrays(path: InsidePath, **arrays: Any) -> None:
    """Write a `.npz` file."""
    with path.open("wb") as file:
        np.savez(file, **arrays)


def load_array(path: InsidePath) -> NDArray[Any]:
    """The array of a `.npy` file. Raises OSError, ValueError."""
    with path.open("rb") as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def map_array(path: InsidePath) -> NDArray[Any]:
    """The same, read from the disk where it is looked at. Raises OSError, ValueError."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"a .npy file of version {version}, not (1, 0)")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if by_columns else "C")


@contextmanager
def loaded_arrays(path: InsidePath) -> Iterator[Any]:
    """The arrays of a `.npz` file by name. Raises OSError, ValueError."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays
