"""The compiled Philox2x64-10: published answers, an independent implementation, carries, and the plain-Python form."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numba
import numpy as np
import pytest
import randomgen

from arrival_engine.cpu_fallback.philox import philox2x64
from arrival_engine.cpu_fallback.wide import mul_hi
from tests.support import law
from tests.support.known_answers import philox_answers
from tests.support.law import MASK64, TWO64

# Both sides of every border that a carry could be lost at.
BORDERS = (0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, MASK64 - 1, MASK64)


def compiled(word0, word1, key):
    x0, x1 = philox2x64(np.uint64(word0), np.uint64(word1), np.uint64(key))
    return int(x0), int(x1)


def independent(word0, word1, key, blocks=1):
    """The words of `blocks` successive counters by randomgen, which counts up before it generates."""
    before = ((word1 << 64 | word0) - 1) % (1 << 128)
    return randomgen.Philox(counter=before, key=key, number=2, width=64).random_raw(2 * blocks).tolist()


@pytest.mark.parametrize("answer", philox_answers(), ids=lambda a: f"{a.word0:x}-{a.word1:x}-{a.key:x}")
def test_known_answers(answer):
    assert compiled(answer.word0, answer.word1, answer.key) == (answer.x0, answer.x1)


def test_known_answers_cross_every_border_of_the_counter():
    words = {(answer.word0, answer.word1) for answer in philox_answers()}
    assert words >= set(itertools.product((2**32 - 1, 2**32, MASK64), (0, 2**32 - 1, MASK64)))


def test_equals_randomgen_on_random_counters():
    rng = random.Random(1)
    for _ in range(2000):
        word0, word1, key = (rng.getrandbits(64) for _ in range(3))
        assert list(compiled(word0, word1, key)) == independent(word0, word1, key)


@pytest.mark.parametrize("key", BORDERS, ids=hex)
def test_equals_randomgen_at_every_border(key):
    for word0, word1 in itertools.product(BORDERS, repeat=2):
        assert list(compiled(word0, word1, key)) == independent(word0, word1, key)


@pytest.mark.parametrize("start", [2**32 - 40, 2**63 - 40, TWO64 - 80], ids=hex)
def test_successive_draws_are_successive_counters(start):
    """Draw index j is counter word 0: a run of draws is one run of the other implementation's stream."""
    word1, key = MASK64, 0x586A61783CC1B02C
    words = [word for j in range(start, start + 80) for word in compiled(j, word1, key)]
    assert words == independent(start, word1, key, blocks=80)


def test_equals_the_reference_on_many_counters():
    rng = random.Random(2)
    for _ in range(10_000):
        words = [rng.getrandbits(64) for _ in range(3)]
        assert compiled(*words) == law.philox2x64(*words)


@pytest.mark.parametrize("answer", philox_answers(), ids=lambda a: f"{a.word0:x}-{a.word1:x}-{a.key:x}")
def test_plain_integers_do_not_change_the_arithmetic(answer):
    """Python ints reach the compiled law as int64: a signed operand must not make it signed or floating."""
    words = (answer.word0, answer.word1, answer.key)
    x0, x1 = philox2x64(*(word if word < 2**63 else np.uint64(word) for word in words))
    assert (int(x0), int(x1)) == (answer.x0, answer.x1)


def test_uncompiled_function_gives_the_same_words():
    """The source itself, as the CUDA simulator runs it: uint64 arithmetic that wraps."""
    scalar: Any = vars(philox2x64)["py_func"]
    with np.errstate(over="ignore"):
        for answer in philox_answers():
            x0, x1 = scalar(answer.word0, answer.word1, answer.key)
            assert (int(x0), int(x1)) == (answer.x0, answer.x1)
            assert isinstance(x0, np.uint64)
            assert isinstance(x1, np.uint64)


@pytest.fixture(scope="module")
def compiled_mul_hi():
    @numba.njit
    def high(left, right):
        return mul_hi(left, right)

    return lambda left, right: int(high(np.uint64(left), np.uint64(right)))


def test_high_word_of_a_product(compiled_mul_hi):
    rng = random.Random(3)
    pairs = [(rng.getrandbits(64), rng.getrandbits(rng.choice((1, 20, 33, 64)))) for _ in range(5000)]
    for left, right in [*itertools.product(BORDERS, repeat=2), *pairs]:
        assert compiled_mul_hi(left, right) == left * right >> 64 == int(mul_hi(left, right))
