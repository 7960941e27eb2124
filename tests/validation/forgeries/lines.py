"""Rows out of line, and single rows that are wrong: kinds 1 and 7."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.support.forging import Base
from tests.support.forging_ground import Array, Ground
from tests.support.forging_law import Columns
from tests.support.worlds import NEW_YORK
from tests.validation.forgeries.registry import forgery

SEED = 14


def shuffled(group: Array) -> Array:
    """A permutation that moves entries within their group only."""
    order = np.argsort(group, kind="stable")
    key = np.random.default_rng(SEED).random(group.size)
    drawn = np.lexsort((key, group))
    at = np.empty(group.size, np.int64)
    at[order] = drawn
    return at


def one_late(group: Array) -> Array:
    """For each entry the one before it in its group; for the first of a group the last."""
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(np.unique(group, return_inverse=True)[1])
    end = np.cumsum(sizes)
    before = np.arange(group.size) - 1
    before[end - sizes] = end - 1
    at = np.empty(group.size, np.int64)
    at[order] = order[before]
    return at


def routed(columns: Columns, at: Array) -> Columns:
    """The same rows, sites and edges those of other rows."""
    flags = {switch: flag[at] for switch, flag in columns.fallbacks.items()}
    return replace(columns, place=columns.place[at], virtual=columns.virtual[at], fallbacks=flags)


# --- 1. Columns out of line ---


@forgery(1)
def times_are_permuted_within_segments(base: Base) -> Columns:
    honest = base.honest
    return replace(honest, ts=honest.ts[shuffled(honest.segment)]).ordered()


@forgery(1)
def times_are_one_row_late(base: Base) -> Columns:
    honest = base.honest
    return replace(honest, ts=honest.ts[one_late(honest.segment)]).ordered()


@forgery(1)
def sites_are_one_row_late(base: Base) -> Columns:
    honest = base.honest
    return routed(honest, _of_class(honest, honest.virtual))


@forgery(1)
def edges_are_one_row_late(base: Base) -> Columns:
    honest = base.honest
    return routed(honest, _of_class(honest, ~honest.virtual))


def _of_class(honest: Columns, kept: Array) -> Array:
    at = np.arange(kept.size)
    moved = np.flatnonzero(~kept)
    at[moved] = moved[one_late(honest.segment[moved])]
    return at


@forgery(1)
def routes_are_one_row_late(base: Base) -> Columns:
    honest = base.honest
    return routed(honest, one_late(honest.segment))


@forgery(1)
def sites_are_permuted_within_segments(base: Base) -> Columns:
    honest, at = base.honest, np.arange(base.honest.ts.size)
    physical = np.flatnonzero(~honest.virtual)
    at[physical] = physical[shuffled(honest.segment[physical])]
    return routed(honest, at)


# --- 7. Single rows and labels ---
def _one_place(honest: Columns, virtual: bool, allowed: Array) -> Columns:
    """One row in the middle goes to another allowed place of its merchant; a physical one stays in its zone."""
    ground, place = honest.ground, honest.place.copy()
    rows = np.flatnonzero(honest.virtual == virtual)
    for row in np.roll(rows, rows.size // 2).tolist():
        present = place[row]
        others = allowed & (ground.place_merchant == ground.place_merchant[present])
        others &= np.arange(others.size) != present
        others &= (np.arange(others.size) >= len(ground.sites)) == virtual
        if not virtual:
            others &= ground.place_zone == ground.place_zone[present]
        if others.any():
            place[row] = np.argmax(others)
            return replace(honest, place=place)
    return honest


@forgery(7, "mixed", "falling back")
def one_row_goes_to_an_edge_of_weight_zero(base: Base) -> Columns:
    ground = base.ground
    return _one_place(base.honest, True, ground.place_weight == 0)


@forgery(7)
def one_row_goes_to_another_edge(base: Base) -> Columns:
    ground = base.ground
    return _one_place(base.honest, True, ground.place_weight > 0)


@forgery(7)
def one_row_goes_to_another_site(base: Base) -> Columns:
    return _one_place(base.honest, False, base.ground.place_weight > 0)


def _one_time(honest: Columns, by: int) -> Columns:
    """One row in the middle is late by so much, the order of rows unchanged."""
    ts, middle = honest.ts.copy(), honest.ts.size // 2
    last = honest.ground.bucket_start + honest.ground.bucket_length - 1
    for row in range(middle, ts.size - 1):
        free = honest.segment[row + 1] != honest.segment[row] or ts[row + 1] > ts[row] + by
        if free and ts[row] + by <= last[honest.bucket[row]]:
            ts[row] += by
            return replace(honest, ts=ts)
    return honest


@forgery(7)
def one_row_is_a_microsecond_late(base: Base) -> Columns:
    return _one_time(base.honest, 1)


@forgery(7)
def the_last_row_is_a_microsecond_early(base: Base) -> Columns:
    ts = base.honest.ts.copy()
    ts[-1] -= 1
    return replace(base.honest, ts=ts).ordered()


@forgery(7)
def two_rows_swap_their_times(base: Base) -> Columns:
    honest, ts = base.honest, base.honest.ts.copy()
    same = np.flatnonzero((honest.segment[1:] == honest.segment[:-1]) & (honest.place[1:] != honest.place[:-1]))
    row = same[same.size // 2]
    ts[[row, row + 1]] = ts[[row + 1, row]]
    return replace(honest, ts=ts).ordered()


@forgery(7, "mixed")
def two_draws_at_one_microsecond_change_places(base: Base) -> Columns:
    honest, at = base.honest, np.arange(base.honest.ts.size)
    tied = (honest.ts[1:] == honest.ts[:-1]) & (honest.entity[1:] == honest.entity[:-1])
    for row in np.flatnonzero(tied & (honest.place[1:] != honest.place[:-1]))[:1]:
        at[[row, row + 1]] = at[[row + 1, row]]
    return routed(honest, at)


@forgery(7)
def a_zone_goes_by_another_name(base: Base) -> Columns:
    return replace(base.honest, ground=base.ground.renamed(NEW_YORK, "US/Eastern"))


@forgery(7, "mixed", "falling back")
def channels_are_permuted_within_segments(base: Base) -> Columns:
    return _relabelled(base.honest, lambda ground: ground.entity_zone)


@forgery(7)
def zones_are_permuted_within_segments(base: Base) -> Columns:
    names = sorted({entity.channel for entity in base.ground.entities})
    channel = np.array([names.index(entity.channel) for entity in base.ground.entities])
    return _relabelled(base.honest, lambda ground: channel)  # noqa: ARG005


def _relabelled(honest: Columns, kept: Callable[[Ground], Array]) -> Columns:
    """Zone and channel permuted among the rows of a segment that agree in what is kept."""
    group = (
        honest.segment * (len(honest.ground.zones) + len(honest.ground.entities)) + kept(honest.ground)[honest.entity]
    )
    return replace(honest, entity=honest.entity[shuffled(group)]).ordered()
