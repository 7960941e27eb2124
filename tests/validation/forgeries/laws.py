"""The right distribution by another law, and lost precision: kinds 5 and 6."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from tests.support.forging import Base
from tests.support.forging_ground import Array, Ground, Tables, mixed, philox, words
from tests.support.forging_law import Blocks, Columns, Used, law_address, law_offset, law_site, law_words
from tests.support.law import TWO32, TWO64
from tests.support.model import EdgeTable
from tests.validation.forgeries.registry import forgery

# --- 5. The right distribution by another law ---


def queued_alias(weights: object, *, pop_small: int = 0, pop_large: int = 0) -> tuple[list[int], list[int]] | None:
    """An alias table that takes other ends of its stacks than the law."""
    given = [float(weight) for weight in weights]  # type: ignore[attr-defined]
    total = 0.0
    for weight in given:
        total += weight
    if total == 0.0:
        return None
    whole = [int(weight / total * 2147483648.0 + 0.5) for weight in given]
    limit, scaled = sum(whole), [w * len(whole) for w in whole]
    threshold, alias = [TWO32] * len(whole), list(range(len(whole)))
    small = [i for i, s in enumerate(scaled) if s < limit]
    large = [i for i, s in enumerate(scaled) if s >= limit]
    while small and large:
        s, big = small.pop(pop_small), large.pop(pop_large)
        threshold[s], alias[s] = scaled[s] * TWO32 // limit, big
        scaled[big] -= limit - scaled[s]
        (small if scaled[big] < limit else large).append(big)
    return threshold, alias


@forgery(5, "mixed", "drawn")
def alias_tables_take_from_queues(base: Base) -> Columns:
    return base.law(alias=queued_alias)


@forgery(5)
def alias_slots_are_in_another_order(base: Base) -> Columns:
    def alias(weights: object) -> tuple[list[int], list[int]] | None:
        backwards = queued_alias([*weights][::-1], pop_small=-1, pop_large=-1)  # type: ignore[misc]
        if backwards is None:
            return None
        threshold, aliases = backwards
        last = len(threshold) - 1
        return threshold[::-1], [last - slot for slot in aliases[::-1]]

    def site(g: Ground, tables: Tables, x: Array, table: Array, at: Array) -> Array:
        # The largest word picks the first slot.
        return law_site(g, tables, ~x, table, at)

    return base.law(alias=alias, site=site)


@forgery(5)
def edges_are_built_anew_from_their_weights(base: Base) -> Columns:
    def edges(table: EdgeTable) -> tuple[list[int], list[int]] | None:
        return queued_alias([edge.weight for edge in table.edges])

    return base.law(edges=edges)


@forgery(5)
def key_bytes_are_reversed(base: Base) -> Columns:
    def address(ground: Ground, family: str) -> tuple[Array, Array, Array]:
        word0, word1, key = law_address(ground, family)
        return word0, word1, key.byteswap()

    return base.law(address=address)


@forgery(5)
def the_upper_counter_word_is_read_backwards(base: Base) -> Columns:
    def address(ground: Ground, family: str) -> tuple[Array, Array, Array]:
        word0, word1, key = law_address(ground, family)
        return word0, word1.byteswap(), key

    return base.law(address=address)


@forgery(5)
def philox_has_nine_rounds(base: Base) -> Columns:
    return base.law(generator=partial(philox, rounds=9))


@forgery(5)
def philox_has_seven_rounds(base: Base) -> Columns:
    return base.law(generator=partial(philox, rounds=7))


@forgery(5)
def philox_has_three_rounds(base: Base) -> Columns:
    return base.law(generator=partial(philox, rounds=3))


@forgery(5)
def words_come_from_another_generator(base: Base) -> Columns:
    def generator(word0: Array, word1: Array, key: Array) -> tuple[Array, Array]:
        state = mixed(mixed(key + words(0x9E3779B97F4A7C15)) ^ word1) ^ word0
        return mixed(state + words(0x9E3779B97F4A7C15)), mixed(state + words(0x3C6EF372FE94F82A))

    return base.law(generator=generator)


@forgery(5)
def words_change_places(base: Base) -> Columns:
    def generator(word0: Array, word1: Array, key: Array) -> tuple[Array, Array]:
        x0, x1 = philox(word0, word1, key)
        return x1, x0

    return base.law(generator=generator)


@forgery(5)
def offsets_are_mirrored(base: Base) -> Columns:
    return base.law(offset=lambda g, x: g.length - 1 - law_offset(g, x))


@forgery(5)
def offsets_are_rotated(base: Base) -> Columns:
    return base.law(offset=lambda g, x: (law_offset(g, x) + g.length // 3) % g.length)


@forgery(5)
def offsets_are_equally_spaced(base: Base) -> Columns:
    return base.law(offset=lambda g, x: (2 * g.j + 1) * g.length // (2 * g.n))  # noqa: ARG005


def strata(x: Array, group: Array) -> Array:
    """Words in the order of the given ones within their group, spread evenly over all words."""
    order = np.lexsort((x, group))
    sizes = np.bincount(np.unique(group, return_inverse=True)[1])
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    rank = np.arange(x.size) - first
    even = ((rank + 0.5) / np.repeat(sizes, sizes) * float(TWO64)).astype(np.uint64)
    at = np.empty(x.size, np.uint64)
    at[order] = even
    return at


@forgery(5)
def sites_meet_exact_quotas(base: Base) -> Columns:
    def site(g: Ground, tables: Tables, x: Array, table: Array, at: Array) -> Array:
        return tables.sites.pick(strata(x[at], g.row[at] * (int(table.max()) + 1) + table[at]), table[at])

    return base.law(site=site)


@forgery(5)
def edges_and_coins_meet_exact_quotas(base: Base) -> Columns:
    def used(g: Ground, blocks: Blocks) -> Used:
        edge, coin = (strata(x, g.merchant) for x in (blocks.edge.x0, blocks.edge.x1))
        return replace(law_words(g, blocks), edge=edge, coin=coin)

    return base.law(words=used)


# --- 6. Lost precision ---


def _rounded(unit: int) -> Callable[[Ground, Array], Array]:
    return lambda g, x: law_offset(g, x) // unit * unit


@forgery(6)
def offsets_are_whole_seconds(base: Base) -> Columns:
    return base.law(offset=_rounded(1_000_000))


@forgery(6)
def offsets_are_whole_milliseconds(base: Base) -> Columns:
    return base.law(offset=_rounded(1000))


def _bits(kept: int) -> Callable[[Ground, Array], Array]:
    def offset(g: Ground, x: Array) -> Array:
        lost = np.uint64(64 - kept)
        return law_offset(g, x >> lost << lost)

    return offset


@forgery(6)
def offsets_have_twelve_bits(base: Base) -> Columns:
    return base.law(offset=_bits(12))


@forgery(6)
def offsets_have_twenty_four_bits(base: Base) -> Columns:
    return base.law(offset=_bits(24))


@forgery(6)
def offsets_are_single_precision(base: Base) -> Columns:
    def offset(g: Ground, x: Array) -> Array:
        unit = ((x >> np.uint64(40)).astype(np.float32) + np.float32(0.5)) / np.float32(1 << 24)
        return np.minimum((unit * g.length.astype(np.float32)).astype(np.int64), g.length - 1)

    return base.law(offset=offset)
