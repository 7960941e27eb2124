"""Where wrong laws look for their words: other draws, buckets and streams."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.support.forging_ground import Array, Ground
from tests.support.forging_law import Address, law_address
from tests.support.model import Entity


def counted(j: Callable[[Ground], Array]) -> Address:
    def address(ground: Ground, family: str) -> tuple[Array, Array, Array]:
        _, word1, key = law_address(ground, family)
        return j(ground).astype(np.uint64), word1, key

    return address


def bucketed(bucket: Callable[[Ground], Array]) -> Address:
    def address(ground: Ground, family: str) -> tuple[Array, Array, Array]:
        word0, word1, key = law_address(ground, family)
        return word0, word1 - ground.bucket.astype(np.uint64) + bucket(ground).astype(np.uint64), key

    return address


def derived(domain: Callable[[Entity], str]) -> Address:
    def address(ground: Ground, family: str) -> tuple[Array, Array, Array]:
        key, hi0 = ground.derived(family, domain)
        word0, _, _ = law_address(ground, family)
        return word0, hi0[ground.entity] + ground.bucket.astype(np.uint64), key[ground.entity]

    return address
