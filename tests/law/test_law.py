"""The random choices of the compiled law against the published vectors and the plain-Python reference."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.config.policies import resolve_policy
from arrival_engine.cpu_fallback.alias import ALWAYS, BadWeightsError, build_alias_tables, pack
from arrival_engine.cpu_fallback.law import (
    alias_choice,
    alias_slot,
    coin_is_virtual,
    counter_word1,
    draw_offset,
)
from arrival_engine.cpu_fallback.philox import philox2x64
from arrival_engine.cpu_fallback.streams import FAMILIES, TIME_FAMILY, StreamFamily, derive_stream, domain
from arrival_engine.engine.rundir.settings import POLICY_IDS, settings_from
from tests.support import law
from tests.support.law import MASK64, TWO32, TWO64, LawError
from tests.support.law_cases import DAY_US, LAW, WHO, texts, words
from tests.support.model import Policy
from tests.support.strategies import SHARES
from tests.support.world_policies import write_policies

# --- Section 2: streams ----------------------------------------------------------------------------


def family_of(name, **changes):
    identity = {key: WHO[key] for key in ("manifest_fingerprint", "parameter_hash", "seed", "scenario_id")}
    return StreamFamily(name, **{**identity, **changes})


def stream_block(stream, bucket, j):
    key, hi0 = stream
    word1 = counter_word1(np.uint64(hi0), np.int32(bucket))
    return [f"{int(word):016x}" for word in philox2x64(np.uint64(j), np.uint64(word1), np.uint64(key))]


@pytest.mark.parametrize("vector", LAW["streams"], ids=lambda v: v["family"])
def test_streams_and_blocks(vector):
    assert vector["family"] in FAMILIES
    entity = domain(WHO["merchant_id"], WHO["zone"], WHO["channel_group"])
    assert entity == WHO["domain"]
    stream = derive_stream(family_of(vector["family"]), entity)
    assert [f"{word:016x}" for word in stream] == [vector["key"], vector["hi0"]]
    assert [stream_block(stream, WHO["bucket"], j) for j in range(2)] == vector["blocks"]


@given(st.tuples(*[texts] * 4), st.integers(0, MASK64), st.integers(1, MASK64), texts, texts)
@settings(max_examples=200)
def test_streams_equal_the_reference(names, seed, merchant, zone, channel):
    fingerprint, parameters, scenario, family = names
    ours = StreamFamily(family, fingerprint, parameters, seed, scenario)
    text = domain(merchant, zone, channel)
    assert text == f"merchant_id={merchant}|zone={zone}|channel_group={channel}"
    theirs = law.derive_stream(family, fingerprint, parameters, seed, scenario, text)
    assert derive_stream(ours, text) == (theirs.key, theirs.hi0)


def test_every_part_of_the_identity_changes_the_stream():
    changes = (
        {},
        {"manifest_fingerprint": "b" * 64},
        {"parameter_hash": "a" * 64},
        {"seed": 43},
        {"scenario_id": "baseline_v2"},
    )
    domains = (WHO["domain"], domain(123456788, WHO["zone"], WHO["channel_group"]), domain(123456789, WHO["zone"], ""))
    streams = {
        derive_stream(family_of(name, **change), text)
        for name, change, text in itertools.product(FAMILIES, changes, domains)
    }
    assert len(streams) == len(FAMILIES) * len(changes) * len(domains)


@given(words, st.integers(0, 2**31 - 1))
@settings(max_examples=300)
def test_counter_word_1_wraps(hi0, bucket):
    assert int(counter_word1(np.uint64(hi0), np.int32(bucket))) == (hi0 + bucket) % TWO64


@pytest.mark.parametrize("hi0", [2**32 - 1, 2**63 - 1, MASK64], ids=hex)
def test_counter_word_1_carries(hi0):
    assert [int(counter_word1(np.uint64(hi0), np.int32(b))) for b in (0, 1, 2)] == [
        hi0,
        (hi0 + 1) % TWO64,
        (hi0 + 2) % TWO64,
    ]


# --- Section 3: alias tables ------------------------------------------------------------------------


def built(lists):
    """The compiled tables of several weight lists, each as (thresholds, aliases), None where there is none."""
    starts = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    tables = build_alias_tables(np.array(list(itertools.chain(*lists)), np.float64), starts)
    return [
        (tables.threshold[first:last].tolist(), tables.alias[first:last].tolist()) if exists else None
        for exists, (first, last) in zip(tables.exists.tolist(), itertools.pairwise(starts.tolist()), strict=True)
    ]


def reference_table(weights):
    table = law.build_alias(weights)
    return None if table is None else (list(table.thresholds), list(table.aliases))


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
@settings(max_examples=300)
def test_alias_tables_equal_the_reference(lists):
    assert built(lists) == [reference_table(own) for own in lists]


def test_large_alias_tables_equal_the_reference():
    rng = random.Random(4)
    lists = [
        [rng.random() ** 6 for _ in range(20_000)],
        [1.0] * 4099,
        [0.0] * 500 + [1e-9] * 500 + [1.0],
        [rng.paretovariate(1.1) for _ in range(5000)],
    ]
    assert built(lists) == [reference_table(own) for own in lists]


def test_weights_are_summed_from_left_to_right():
    """Pairwise or compensated summation gives another total, and so other tables."""
    own = [1e16, *[1.0] * 1000]
    plain = 0.0
    for weight in own:
        plain += weight
    assert plain == 1e16 != sum(map(int, own))
    assert built([own]) == [reference_table(own)]


@pytest.mark.parametrize("bad", [-1e-300, float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_bad_weights_are_refused_and_named(bad, place):
    lists = [[1.0, 2.0], [0.5, 0.5, 0.5], [1.0]]
    lists[1][place] = bad
    with pytest.raises(BadWeightsError, match="negative or not finite") as refusal:
        built(lists)
    assert refusal.value.table == 1
    with pytest.raises(LawError):
        reference_table(lists[1])


def test_weights_whose_sum_overflows_are_refused():
    own = [1e308, 1e308]
    with pytest.raises(BadWeightsError, match="infinity") as refusal:
        built([[1.0], own])
    assert refusal.value.table == 1
    with pytest.raises(LawError):
        reference_table(own)


def compiled_pick(x, thresholds, aliases):
    packed = pack(np.array(thresholds, np.uint64), np.array(aliases, np.uint32))
    size = np.uint64(len(thresholds))
    slot = alias_slot(np.uint64(x), size)
    return int(alias_choice(np.uint64(x), size, np.uint64(slot), packed[int(slot)]))


def border_words(thresholds):
    """Words on both sides of every slot's begin and of its threshold."""
    n = len(thresholds)
    for slot, threshold in enumerate(thresholds):
        for border in (slot << 64, (slot << 64) + (threshold << 32)):
            least = -(-border // n)  # the first word at or behind the border
            yield from (word for word in (least - 1, least) if 0 <= word <= MASK64)


@given(weight_lists, st.lists(words, max_size=20))
@settings(max_examples=300)
def test_picks_equal_the_reference(own, drawn):
    table = law.build_alias(own)
    if table is None:
        return
    for x in (*drawn, *border_words(table.thresholds)):
        assert compiled_pick(x, table.thresholds, table.aliases) == law.pick(x, table)


@given(st.data(), st.integers(1, 32))
@settings(max_examples=100)
def test_picks_from_stored_slots_equal_the_reference(data, qbits):
    """3B's slots: any stored probability below 2^qbits beside any alias."""
    n = data.draw(st.integers(1, 9))
    probabilities = data.draw(st.lists(st.integers(0, 2**qbits - 1), min_size=n, max_size=n))
    aliases = data.draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n))
    table = law.AliasTable(tuple(q << (32 - qbits) for q in probabilities), tuple(aliases))
    for x in (*data.draw(st.lists(words, max_size=10)), *border_words(table.thresholds)):
        assert compiled_pick(x, table.thresholds, table.aliases) == law.pick(x, table)


def test_pick_in_a_table_of_many_slots():
    n = 2**31 - 1
    for x in (0, 1, MASK64, MASK64 // 3, -(-TWO64 // n), -(-TWO64 // n) - 1):
        assert int(alias_slot(np.uint64(x), np.uint64(n))) == x * n // TWO64


def test_packing_keeps_a_slot_that_is_always_taken():
    packed = pack(np.array([ALWAYS, 0, TWO32 - 1], np.uint64), np.array([0, 0, 2**32 - 1], np.uint32))
    assert packed.tolist() == [TWO32 - 1, 0, MASK64]
    assert compiled_pick(MASK64 // 3, [TWO32, 0, 0], [0, 0, 0]) == 0


# --- Section 4: time, coin, clocks ------------------------------------------------------------------


def compiled_offset(x0, duration):
    return int(draw_offset(np.uint64(x0), np.uint64(duration)))


def test_offsets_of_the_time_stream():
    key, hi0 = derive_stream(family_of(TIME_FAMILY), WHO["domain"])
    word1 = counter_word1(np.uint64(hi0), np.int32(WHO["bucket"]))
    wanted = LAW["offsets_of_time_stream"]
    drawn = [philox2x64(np.uint64(j), np.uint64(word1), np.uint64(key))[0] for j in range(4)]
    assert [compiled_offset(x0, wanted["duration_us"]) for x0 in drawn] == wanted["offsets_us"]


@pytest.mark.parametrize("vector", LAW["offsets"], ids=lambda v: f"{v['x0']}-{v['duration_us']}")
def test_offset_edges(vector):
    assert compiled_offset(int(vector["x0"], 16), vector["duration_us"]) == vector["offset_us"]


@given(words, st.one_of(st.integers(1, 20), st.integers(1, DAY_US), st.integers(1, 2**63 - 1)))
@settings(max_examples=500)
def test_offsets_equal_the_reference(x0, duration):
    offset = compiled_offset(x0, duration)
    assert offset == law.offset_us(x0, duration) < duration


@given(st.one_of(st.sampled_from((1, 2, 3, 7, 10**6, 1801 * 10**6, DAY_US)), st.integers(1, DAY_US)), st.data())
@settings(max_examples=200)
def test_offset_steps_exactly_where_the_law_says(duration, data):
    """The first word of an offset and the last one of the offset before it, at either end and anywhere between."""
    inner = data.draw(st.integers(0, duration - 1))
    for offset in {0, inner, duration - 1}:
        first = max(-(-((offset << 64) - duration // 2) // duration), 0)
        assert compiled_offset(first, duration) == offset
        if offset:
            assert compiled_offset(first - 1, duration) == offset - 1


def packaged_policies(run_root=None):
    return {policy_id: resolve_policy(policy_id, run_root=run_root) for policy_id in POLICY_IDS}


def test_coin_of_the_packaged_policy():
    (coin,) = LAW["coins"]
    document = packaged_policies()["arrival_routing_policy_5B"].document
    assert str(document["hybrid_policy"]["p_virtual_hybrid"]) == coin["p"]
    assert settings_from(packaged_policies()).coin == int(coin["threshold"], 16)


@pytest.mark.parametrize("share", SHARES)
def test_coin_takes_the_decimal_exactly_as_written(share, tmp_path):
    write_policies(Policy(p_virtual_hybrid=share), tmp_path, {})
    assert settings_from(packaged_policies(tmp_path)).coin == law.coin_threshold(share)


@given(words, words)
@settings(max_examples=200)
def test_coin_is_below_its_threshold(x1, threshold):
    assert coin_is_virtual(np.uint64(x1), np.uint64(threshold)) is (x1 < threshold)
    assert coin_is_virtual(np.uint64(threshold), np.uint64(threshold)) is False
