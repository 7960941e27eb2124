"""Group weights of something else, wrong fallbacks and coins: kinds 3 and 7."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.support.forging import Base
from tests.support.forging_ground import NONE, Array, Ground, Tables, law_alias, law_edges, words
from tests.support.forging_law import Blocks, Columns, Used, law_group, law_site, law_site_table, law_words, law_zone
from tests.support.law import TWO32, TWO64, offset_minutes
from tests.support.model import NON_VIRTUAL
from tests.validation.forgeries.registry import forgery

# --- 3. Group weights of something else ---

SMALL_DAY = 1000


@forgery(3)
def group_weights_are_ignored_on_small_days(base: Base) -> Columns:
    def group(g: Ground, tables: Tables) -> Array:
        return np.where(g.merchant_days < SMALL_DAY, NONE, law_group(g, tables))

    return base.law(group=group)


@forgery(3)
def group_weights_are_ignored(base: Base) -> Columns:
    return base.law(group=lambda g, tables: np.full_like(law_group(g, tables), NONE))


@forgery(3)
def group_weights_are_dealt_in_reverse(base: Base) -> Columns:
    def zone(g: Ground, _tables: Tables, table: Array, x: Array) -> Array:
        turned = Tables(g, lambda weights: law_alias([*weights][::-1]), law_edges)
        return law_zone(g, turned, np.where(table == NONE, NONE, law_group(g, turned)), x)

    return base.law(zone=zone)


@forgery(3)
def group_weights_are_uniform_on_small_days(base: Base) -> Columns:
    def zone(g: Ground, tables: Tables, table: Array, x: Array) -> Array:
        flat = Tables(g, lambda weights: ([TWO32] * len(weights), [*range(len(weights))]), law_edges)
        uniform = law_zone(g, flat, np.where(table == NONE, NONE, law_group(g, flat)), x)
        return np.where(g.merchant_days < SMALL_DAY, uniform, law_zone(g, tables, table, x))

    return base.law(zone=zone)


def _of_day(base: Base, day: Callable[[Ground], Array]) -> Columns:
    def group(g: Ground, tables: Tables) -> Array:
        own, other = law_group(g, tables), tables.of_day[g.merchant, day(g)]
        return np.where((own == NONE) | (other == NONE), own, other)

    return base.law(group=group)


@forgery(3, "mixed", "drawn")
def group_weights_are_those_of_the_day_before(base: Base) -> Columns:
    return _of_day(base, lambda g: np.maximum(g.day - 1, 0))


@forgery(3, "mixed", "drawn")
def group_weights_are_those_of_the_day_after(base: Base) -> Columns:
    return _of_day(base, lambda g: np.minimum(g.day + 1, len(g.days) - 1))


@forgery(3, "mixed", "drawn")
def group_weights_are_those_of_the_first_day(base: Base) -> Columns:
    return _of_day(base, lambda g: np.zeros(g.day.size, np.int64))


@forgery(3, "mixed", "drawn")
def group_weights_are_those_of_the_local_day(base: Base) -> Columns:
    def day(g: Ground) -> Array:
        keys, at = np.unique(g.entity * len(g.world.grid) + g.bucket, return_inverse=True)
        days = []
        for key in keys.tolist():
            entity, bucket = g.entities[key // len(g.world.grid)], key % len(g.world.grid)
            start = g.world.grid[bucket][0]
            minutes = offset_minutes(g.world.zones[entity.zone], start) if entity.zone in g.world.zones else 0
            days.append((start + 60_000_000 * minutes) // 86_400_000_000)
        first = g.world.grid[0][0] // 86_400_000_000
        return np.clip(np.array(days) - first, 0, len(g.days) - 1)[at]

    return _of_day(base, day)


# --- 7. Fallbacks and coins ---


@forgery(7, "falling back", "drawn")
def a_missing_group_table_takes_all_sites(base: Base) -> Columns:
    def site_table(g: Ground, tables: Tables, zone: Array) -> Array:
        own = law_site_table(g, tables, zone)
        return np.where((law_group(g, tables) == NONE) & (own != NONE), tables.of_merchant[g.merchant], own)

    return base.law(site_table=site_table)


@forgery(7, "falling back", "drawn")
def a_missing_group_table_takes_that_of_the_day_before(base: Base) -> Columns:
    def group(g: Ground, tables: Tables) -> Array:
        own = law_group(g, tables)
        return np.where(own == NONE, tables.of_day[g.merchant, np.maximum(g.day - 1, 0)], own)

    return base.law(group=group)


@forgery(7, "falling back", "drawn")
def a_zone_without_sites_takes_the_first_zone(base: Base) -> Columns:
    def no_site(g: Ground, tables: Tables) -> Array:
        first = [next((table for table in row if table != NONE), NONE) for row in tables.in_zone.tolist()]
        return np.array(first, np.int64)[g.merchant]

    return base.law(no_site=no_site)


@forgery(7, "falling back")
def a_missing_edge_table_picks_sites_by_another_word(base: Base) -> Columns:
    def site(g: Ground, tables: Tables, x: Array, table: Array, at: Array) -> Array:
        lacking = (g.merchant_mode[g.merchant] != NON_VIRTUAL) & ~g.has_edges[g.merchant]
        return law_site(g, tables, np.where(lacking, ~x, x), table, at)

    return base.law(site=site)


def _coin_per(base: Base, group: Callable[[Ground], Array]) -> Columns:
    def used(g: Ground, blocks: Blocks) -> Used:
        _, first, at = np.unique(group(g), return_index=True, return_inverse=True)
        return replace(law_words(g, blocks), coin=blocks.edge.x1[first[at]])

    return base.law(words=used)


@forgery(7)
def the_coin_is_tossed_per_count_row(base: Base) -> Columns:
    return _coin_per(base, lambda g: g.row)


@forgery(7)
def the_coin_is_tossed_per_day(base: Base) -> Columns:
    return _coin_per(base, lambda g: g.merchant * len(g.days) + g.day)


@forgery(7)
def the_coin_is_tossed_per_zone(base: Base) -> Columns:
    return _coin_per(base, lambda g: g.entity)


def _share(base: Base, p: float) -> Columns:
    return base.law(coin=lambda g, x: x < words(int(p * TWO64)))  # noqa: ARG005


@forgery(7, "mixed", "drawn")
def the_coin_is_a_hundredth_low(base: Base) -> Columns:
    return _share(base, 0.34)


@forgery(7, "mixed", "drawn")
def the_coin_is_two_hundredths_low(base: Base) -> Columns:
    return _share(base, 0.33)


@forgery(7)
def the_coin_is_turned(base: Base) -> Columns:
    return base.law(coin=lambda g, x: ~x < words(int(0.35 * TWO64)))  # noqa: ARG005
