"""Counters off, and words used twice: kinds 1, 2 and 4."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.support.forging import Base
from tests.support.forging_ground import Array, Ground
from tests.support.forging_law import Blocks, Columns, Used, law_address, law_words
from tests.support.model import SITE_FAMILY, TIME_FAMILY, Entity
from tests.validation.forgeries.addresses import bucketed, counted, derived
from tests.validation.forgeries.registry import forgery


# --- 1. Stale tails of vectors ---
@forgery(1)
def tails_of_vectors_are_stale(base: Base) -> Columns:
    def j(g: Ground) -> Array:
        return np.where((g.j >= g.n - g.n % 4) & (g.j >= 4), g.j - 4, g.j)

    return base.law(address=counted(j))


@forgery(1)
def tails_of_site_words_are_stale(base: Base) -> Columns:
    def address(ground: Ground, family: str) -> tuple[Array, Array, Array]:
        stale = counted(lambda g: np.where((g.j >= g.n - g.n % 4) & (g.j >= 4), g.j - 4, g.j))
        return (stale if family == SITE_FAMILY else law_address)(ground, family)

    return base.law(address=address)


# --- 2. Counters off ---


@forgery(2)
def draws_count_from_one(base: Base) -> Columns:
    return base.law(address=counted(lambda g: g.j + 1))


@forgery(2)
def draws_count_down(base: Base) -> Columns:
    return base.law(address=counted(lambda g: g.n - g.j))


@forgery(2)
def draws_go_on_over_the_count_rows_of_an_entity(base: Base) -> Columns:
    def j(g: Ground) -> Array:
        order = np.argsort(g.entity, kind="stable")
        at = np.empty(g.j.size, np.int64)
        first = np.searchsorted(g.entity[order], np.arange(len(g.entities)))
        at[order] = np.arange(g.j.size) - first[g.entity[order]]
        return at

    return base.law(address=counted(j))


@forgery(2)
def buckets_count_from_one(base: Base) -> Columns:
    return base.law(address=bucketed(lambda g: g.bucket + 1))


@forgery(2)
def draws_are_off_by_five_after_a_batch_seam(base: Base) -> Columns:
    first = base.rows_of_part(0)
    return base.law(address=counted(lambda g: g.j + 5 * (np.arange(g.j.size) >= first)))


@forgery(2)
def counter_words_change_places(base: Base) -> Columns:
    def address(ground: Ground, family: str) -> tuple[Array, Array, Array]:
        word0, word1, key = law_address(ground, family)
        return word1, word0, key

    return base.law(address=address)


# --- 4. One random word used twice ---


def _reused(base: Base, change: Callable[[Used, Blocks], Used]) -> Columns:
    def used(g: Ground, blocks: Blocks) -> Used:
        return change(law_words(g, blocks), blocks)

    return base.law(words=used)


@forgery(4)
def the_word_of_the_time_decides_the_site(base: Base) -> Columns:
    return _reused(base, lambda used, blocks: replace(used, site=blocks.time.x0))


@forgery(4)
def the_word_of_the_time_decides_the_group(base: Base) -> Columns:
    return _reused(base, lambda used, blocks: replace(used, group=blocks.time.x0))


@forgery(4)
def the_word_of_the_time_decides_the_edge(base: Base) -> Columns:
    return _reused(base, lambda used, blocks: replace(used, edge=blocks.time.x0))


@forgery(4)
def the_word_of_the_time_decides_the_coin(base: Base) -> Columns:
    return _reused(base, lambda used, blocks: replace(used, coin=blocks.time.x0))


@forgery(4)
def the_word_of_the_group_decides_the_site(base: Base) -> Columns:
    return _reused(base, lambda used, blocks: replace(used, site=blocks.site.x0))


@forgery(4)
def the_word_of_the_site_decides_the_group(base: Base) -> Columns:
    return _reused(base, lambda used, blocks: replace(used, group=blocks.site.x1))


@forgery(4)
def the_coin_decides_the_edge(base: Base) -> Columns:
    return _reused(base, lambda used, blocks: replace(used, edge=blocks.edge.x1))


@forgery(4)
def the_word_of_the_edge_decides_the_coin(base: Base) -> Columns:
    return _reused(base, lambda used, blocks: replace(used, coin=blocks.edge.x0))


@forgery(4)
def two_merchants_share_a_stream(base: Base) -> Columns:
    ground = base.ground
    shared = {merchant: ground.merchants[at - at % 2] for at, merchant in enumerate(ground.merchants)}

    def domain(entity: Entity) -> str:
        return replace(entity, merchant_id=shared[entity.merchant_id]).domain

    return base.law(address=derived(domain))


@forgery(4)
def all_zones_of_a_merchant_share_a_stream(base: Base) -> Columns:
    first = {entity.merchant_id: entity.zone for entity in reversed(base.ground.entities)}

    def domain(entity: Entity) -> str:
        return replace(entity, zone=first[entity.merchant_id]).domain

    return base.law(address=derived(domain))


@forgery(4)
def the_second_half_of_the_horizon_repeats_the_first(base: Base) -> Columns:
    return base.law(address=bucketed(lambda g: g.bucket % (len(g.world.grid) // 2)))


@forgery(4)
def times_and_sites_share_a_stream(base: Base) -> Columns:
    def address(ground: Ground, family: str) -> tuple[Array, Array, Array]:
        return law_address(ground, TIME_FAMILY if family == SITE_FAMILY else family)

    return base.law(address=address)
