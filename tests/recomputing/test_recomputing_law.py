"""The law of the recomputation, piece by piece: against published answers, the law's vectors and the reference."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.contracts.identity import Identity
from arrival_engine.engine.recomputing import kernels
from arrival_engine.engine.recomputing.kernel_shapes import NONE, Slots
from arrival_engine.engine.recomputing.streams import FAMILIES, Deriver, Entity
from arrival_engine.engine.recomputing.tables import build
from tests.support import law
from tests.support.known_answers import law_vectors, philox_answers
from tests.support.model import Policy
from tests.support.recomputed import inputs_of
from tests.support.strategies import SHARES
from tests.support.worlds import small_world

LAW = law_vectors()
WHO = LAW["identity"]
ENTITY = Entity(WHO["merchant_id"], WHO["zone"], WHO["channel_group"])
words = st.one_of(st.integers(0, law.MASK64), st.sampled_from((0, 1, 2**32 - 1, 2**32, 2**63, law.MASK64)))
texts = st.text(max_size=12)


def block(word0, word1, key):
    return tuple(int(word) for word in kernels.block(np.uint64(word0), np.uint64(word1), np.uint64(key)))


def identity(fingerprint=WHO["manifest_fingerprint"], parameters=WHO["parameter_hash"], seed=WHO["seed"]):
    return Identity(manifest_fingerprint=fingerprint, parameter_hash=parameters, seed=seed, run_id="0" * 32)


# --- Section 2: streams -----------------------------------------------------------------------------


@given(words, words)
@settings(max_examples=300)
def test_the_product_is_exact(a, b):
    high, low = (int(word) for word in kernels.multiply(np.uint64(a), np.uint64(b)))
    assert (high << 64) + low == a * b


@pytest.mark.parametrize("answer", philox_answers())
def test_philox_known_answers(answer):
    assert block(answer.word0, answer.word1, answer.key) == (answer.x0, answer.x1)


@given(words, words, words)
@settings(max_examples=200)
def test_blocks_equal_the_reference(word0, word1, key):
    assert block(word0, word1, key) == law.philox2x64(word0, word1, key)


@pytest.mark.parametrize("vector", LAW["streams"], ids=lambda v: v["family"])
def test_streams_and_blocks(vector):
    assert vector["family"] in FAMILIES.values()
    assert ENTITY.domain == WHO["domain"]
    stream = Deriver(identity(), WHO["scenario_id"], vector["family"]).stream(ENTITY)
    assert (stream.key, stream.hi0) == (int(vector["key"], 16), int(vector["hi0"], 16))
    found = [[f"{word:016x}" for word in block(j, stream.word1(WHO["bucket"]), stream.key)] for j in range(2)]
    assert found == vector["blocks"]


entities = st.builds(Entity, st.integers(1, law.MASK64), texts, texts)
hex64 = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")


@given(hex64, hex64, st.integers(0, law.MASK64), texts, texts, entities)
@settings(max_examples=100)
def test_streams_equal_the_reference(fingerprint, parameters, seed, scenario, family, entity):
    stream = Deriver(identity(fingerprint, parameters, seed), scenario, family).stream(entity)
    domain = f"merchant_id={entity.merchant_id}|zone={entity.zone}|channel_group={entity.channel}"
    theirs = law.derive_stream(family, fingerprint, parameters, seed, scenario, domain)
    assert (stream.key, stream.hi0) == (theirs.key, theirs.hi0)


# --- Section 3: alias tables ------------------------------------------------------------------------


def built(lists):
    """The tables of several weight lists, built together, each as (thresholds, aliases)."""
    starts = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    size, room = int(starts[-1]), max(map(len, lists), default=0)
    slots = Slots(starts, np.zeros(size, np.uint64), np.zeros(size, np.int32), np.zeros(size, np.int32))
    weights = np.array(list(itertools.chain(*lists)), np.float64)
    assert kernels.alias_tables(weights, slots, np.empty(room, np.uint64), np.empty(room, np.int64)) == NONE
    spans = [slice(*bounds) for bounds in itertools.pairwise(starts.tolist())]
    return [(slots.threshold[span].tolist(), slots.alias[span].tolist()) for span in spans]


def reference_table(weights):
    """The reference's table; without one, no slot has a threshold."""
    table = law.build_alias(weights)
    return ([0] * len(weights),) * 2 if table is None else (list(table.thresholds), list(table.aliases))


def test_alias_vectors():
    vectors = LAW["alias_tables"]
    expected = [(vector["thresholds"], vector["aliases"]) for vector in vectors]
    assert built([vector["weights"] for vector in vectors]) == expected


weights = st.one_of(
    st.sampled_from((0.0, -0.0, 1.0, 0.1, 0.5, 1e-12, 5e-324, 2.0**-31, 2.0**-32, 1e300)),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1e306),
)
weight_lists = st.one_of(
    st.lists(weights, max_size=12),
    st.lists(st.sampled_from((0.25, 0.5)), max_size=40),
    st.builds(lambda n, ratio: [ratio**i for i in range(n)], st.integers(1, 80), st.floats(0.3, 1.0)),
)


@given(st.lists(weight_lists, max_size=6))
@settings(max_examples=200)
def test_alias_tables_equal_the_reference(lists):
    assert built(lists) == [reference_table(own) for own in lists]


def test_large_alias_tables_equal_the_reference():
    rng = random.Random(5)
    lists = [
        [rng.random() ** 6 for _ in range(20_000)],
        [1.0] * 4099,
        [0.0] * 500 + [1e-9] * 500 + [1.0],
        [1e16, *[1.0] * 1000],
    ]
    assert built(lists) == [reference_table(own) for own in lists]


# --- Section 4: time and coin -----------------------------------------------------------------------


@pytest.mark.parametrize("vector", LAW["offsets"], ids=lambda v: f"{v['x0']}-{v['duration_us']}")
def test_offset_vectors(vector):
    assert kernels.offset(np.uint64(int(vector["x0"], 16)), np.uint64(vector["duration_us"])) == vector["offset_us"]


def test_offsets_of_the_time_stream():
    stream = Deriver(identity(), WHO["scenario_id"], FAMILIES["arrival_time_jitter"]).stream(ENTITY)
    wanted = LAW["offsets_of_time_stream"]
    drawn = [block(j, stream.word1(WHO["bucket"]), stream.key)[0] for j in range(4)]
    offsets = [int(kernels.offset(np.uint64(x0), np.uint64(wanted["duration_us"]))) for x0 in drawn]
    assert offsets == wanted["offsets_us"]


@given(words, st.one_of(st.integers(1, 20), st.integers(1, 86_400_000_000), st.integers(1, 2**62)))
@settings(max_examples=300)
def test_offsets_equal_the_reference(x0, duration):
    assert int(kernels.offset(np.uint64(x0), np.uint64(duration))) == law.offset_us(x0, duration)


@pytest.mark.parametrize("share", SHARES)
def test_the_coin_is_the_decimal_as_written(share):
    tables = build(inputs_of(small_world(policy=Policy(p_virtual_hybrid=share))))
    assert tables.law.coin.tolist() == [law.coin_threshold(share)]


def test_the_coin_of_the_vectors():
    (coin,) = LAW["coins"]
    tables = build(inputs_of(small_world(policy=Policy(p_virtual_hybrid=coin["p"]))))
    assert tables.law.coin.tolist() == [int(coin["threshold"], 16)]
