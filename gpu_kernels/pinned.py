"""Page-locked host memory from the driver, for copies that run while the host does something else."""

from __future__ import annotations

import ctypes
import weakref

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.gpu_kernels.launcher import DriverContext, checked

__all__ = ["pinned_bytes"]


def pinned_bytes(context: DriverContext, nbytes: int) -> NDArray[np.uint8]:
    """Uninitialised page-locked memory, freed with the last array that lies in it. Raises RESOURCES_INSUFFICIENT."""
    from cuda.bindings import driver

    try:
        with context.entered():
            # Portable: page-locked for all devices, not for this one alone.
            answer = driver.cuMemHostAlloc(nbytes, driver.CU_MEMHOSTALLOC_PORTABLE)
            address = int(checked(answer, f"allocating {nbytes} bytes of pinned memory"))
    except (MemoryError, ArrivalError) as failure:
        raise ArrivalError(
            Code.RESOURCES_INSUFFICIENT,
            f"the host cannot provide {nbytes} bytes of pinned memory: {failure}",
            hint="lower --threads or --batch-arrivals, or raise the limit on locked memory (ulimit -l)",
        ) from failure
    memory = (ctypes.c_uint8 * nbytes).from_address(address)
    # At the end of the process the driver may be gone already; its memory goes with the process.
    weakref.finalize(memory, _free, context, address).atexit = False
    array: NDArray[np.uint8] = np.ctypeslib.as_array(memory)
    return array


def _free(context: DriverContext, address: int) -> None:
    from cuda.bindings import driver

    with context.entered():
        driver.cuMemFreeHost(address)
