"""Numbers of threads and blocks of kernel launches."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_THREADS", "LaunchShape"]

# Threads of the largest block, which the kernels' shared arrays and register budget are sized for.
MAX_THREADS = 256
# numba warns of an idle device below this number of blocks.
_LEAST_DEVICE_BLOCKS = 128


@dataclass(frozen=True)
class LaunchShape:
    """Threads per block and blocks per grid, without effect on results. Raises ValueError for an invalid shape."""

    threads: int
    blocks: int

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= MAX_THREADS:
            raise ValueError(f"a block has 1 to {MAX_THREADS} threads, not {self.threads}")
        if self.blocks < 1:
            raise ValueError(f"a grid has at least one block, not {self.blocks}")

    @classmethod
    def of_device(cls, multiprocessors: int) -> LaunchShape:
        """Full blocks, in several waves, so that a late block leaves few multiprocessors idle."""
        return cls(MAX_THREADS, max(32 * multiprocessors, _LEAST_DEVICE_BLOCKS))
