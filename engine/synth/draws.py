"""Named random draws of a world: each purpose has its own Philox stream, read by position."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from arrival_engine.engine.synth import kernels

_32 = np.uint64(32)


class Draws:
    """Random words that depend only on a world's fingerprint, the purpose's name and the position."""

    def __init__(self, manifest_fingerprint: str) -> None:
        self._fingerprint = manifest_fingerprint

    def stream(self, purpose: str) -> tuple[np.uint64, np.uint64]:
        """Philox key and high counter word of a purpose."""
        digest = hashlib.sha256(f"arrival-engine.synth|{self._fingerprint}|{purpose}".encode()).digest()
        key, high = (np.uint64(int.from_bytes(digest[at : at + 8], "big")) for at in (0, 8))
        return key, high

    def words(self, purpose: str, count: int) -> npt.NDArray[np.uint64]:
        """uint64[count]."""
        return kernels.stream_words(*self.stream(purpose), count)

    def uniforms(self, purpose: str, count: int) -> npt.NDArray[np.float64]:
        """float64[count] in (0, 1), multiples of 2^-54."""
        return ((self.words(purpose, count) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def below(self, purpose: str, bound: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """int64[len(bound)]: item i is in [0, bound[i]), for bounds up to 2^32."""
        words = self.words(purpose, len(bound)) >> _32
        return ((words * bound.astype(np.uint64)) >> _32).astype(np.int64)

    def order(self, purpose: str, count: int) -> npt.NDArray[np.int64]:
        """A random permutation of 0 to count-1."""
        return np.argsort(self.words(purpose, count), kind="stable").astype(np.int64)
