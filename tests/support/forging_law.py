"""The law in NumPy, every piece of it exchangeable: arrivals as a wrong engine would make them.

Written from the law, with nothing of the product. `expand(Law(...))` with no argument is the law itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tests.support.forging_ground import (
    FAMILIES,
    NONE,
    Array,
    Ground,
    Slots,
    Tables,
    law_alias,
    law_edges,
    philox,
    product,
    words,
)
from tests.support.law import coin_threshold
from tests.support.model import (
    HYBRID,
    NON_VIRTUAL,
    VIRTUAL_ONLY,
    EdgeTable,
)

# --- The law, in pieces -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """Both words of every draw of a family."""

    x0: Array
    x1: Array


@dataclass(frozen=True)
class Blocks:
    """The words of the three families."""

    time: Block
    site: Block
    edge: Block


@dataclass(frozen=True)
class Used:
    """The word that decides each thing."""

    time: Array
    group: Array
    site: Array
    edge: Array
    coin: Array


Address = Callable[["Ground", str], tuple[Array, Array, Array]]


def law_address(ground: Ground, family: str) -> tuple[Array, Array, Array]:
    """Counter words 0 and 1, and the key, of every draw."""
    key, hi0 = ground.streams[family]
    return ground.j.astype(np.uint64), hi0[ground.entity] + ground.bucket.astype(np.uint64), key[ground.entity]


def law_words(ground: Ground, blocks: Blocks) -> Used:  # noqa: ARG001
    return Used(blocks.time.x0, blocks.site.x0, blocks.site.x1, blocks.edge.x0, blocks.edge.x1)


def law_offset(ground: Ground, x: Array) -> Array:
    length = ground.length.astype(np.uint64)
    high, low = product(x, length)
    half = length >> np.uint64(1)
    return (high + (low + half < low)).astype(np.int64)


def law_coin(ground: Ground, x: Array) -> Array:
    return x < words(coin_threshold(ground.world.policy.p_virtual_hybrid))


def law_group(ground: Ground, tables: Tables) -> Array:
    """The group table of each draw, or NONE."""
    return tables.of_day[ground.merchant, ground.day]


def law_zone(ground: Ground, tables: Tables, table: Array, x: Array) -> Array:
    """The zone of each draw: one of its group table, or that of its count row."""
    zone = ground.entity_zone[ground.entity].copy()
    grouped = table != NONE
    zone[grouped] = tables.groups.pick(x[grouped], table[grouped])
    return zone


def law_site_table(ground: Ground, tables: Tables, zone: Array) -> Array:
    """The table of the merchant's sites in the zone, or NONE."""
    return tables.in_zone[ground.merchant, zone]


def law_no_site(ground: Ground, tables: Tables) -> Array:
    """The table of sites where the zone has none."""
    return tables.of_merchant[ground.merchant]


def law_site(ground: Ground, tables: Tables, x: Array, table: Array, at: Array) -> Array:  # noqa: ARG001
    """The sites of the draws `at`, the physical ones."""
    return tables.sites.pick(x[at], table[at])


@dataclass(frozen=True)
class Law:
    """The pieces of the law; each is a function that a wrong law has another one for."""

    address: Address = law_address
    generator: Callable[[Array, Array, Array], tuple[Array, Array]] = philox
    words: Callable[[Ground, Blocks], Used] = law_words
    offset: Callable[[Ground, Array], Array] = law_offset
    coin: Callable[[Ground, Array], Array] = law_coin
    alias: Callable[[Sequence[float]], Slots | None] = law_alias
    edges: Callable[[EdgeTable], Slots | None] = law_edges
    group: Callable[[Ground, Tables], Array] = law_group
    zone: Callable[[Ground, Tables, Array, Array], Array] = law_zone
    site_table: Callable[[Ground, Tables, Array], Array] = law_site_table
    no_site: Callable[[Ground, Tables], Array] = law_no_site
    site: Callable[[Ground, Tables, Array, Array, Array], Array] = law_site


@dataclass
class Columns:
    """One entry per arrival; `place` numbers sites and edges, `fallbacks` are flags by switch."""

    ground: Ground
    entity: Array
    bucket: Array
    j: Array
    ts: Array
    place: Array
    virtual: Array
    fallbacks: dict[str, Array]

    @property
    def merchant(self) -> Array:
        return self.ground.entity_merchant[self.entity]

    def ordered(self) -> Columns:
        """The arrivals by (merchant, time, zone, channel, draw)."""
        return self.taken(np.lexsort((self.j, self.entity, self.ts, self.merchant)))

    def taken(self, at: Array) -> Columns:
        flags = {switch: flag[at] for switch, flag in self.fallbacks.items()}
        e, b, j, ts, p, v = (c[at] for c in (self.entity, self.bucket, self.j, self.ts, self.place, self.virtual))
        return Columns(self.ground, e, b, j, ts, p, v, flags)

    @property
    def segment(self) -> Array:
        """The number of each arrival's (merchant, bucket)."""
        return np.unique(self.merchant * len(self.ground.world.grid) + self.bucket, return_inverse=True)[1]

    @property
    def sequence(self) -> Array:
        """`arrival_seq` of arrivals in order."""
        merchants, first = np.unique(self.merchant, return_index=True)
        return np.arange(self.ts.size) - first[np.searchsorted(merchants, self.merchant)] + 1

    def same(self, other: Columns) -> bool:
        """Whether the rows would be the same, in the same order."""
        if [*self.ground.shown] != [*other.ground.shown]:
            return False
        names = ("entity", "bucket", "ts", "place")
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)


def expand(ground: Ground, law: Law) -> Columns:
    """The arrivals that a law makes, in order."""
    blocks = [Block(*law.generator(*law.address(ground, family))) for family in FAMILIES]
    used = law.words(ground, Blocks(*blocks))
    tables = Tables(ground, law.alias, law.edges)
    mode, edged = ground.merchant_mode[ground.merchant], ground.has_edges[ground.merchant]
    virtual = edged & ((mode == VIRTUAL_ONLY) | ((mode == HYBRID) & law.coin(ground, used.coin)))
    physical = ~virtual
    place = np.zeros(ground.row.size, np.int64)
    place[virtual] = tables.edges.pick(used.edge[virtual], tables.of_edges[ground.merchant[virtual]])
    if ground.world.policy.use_group_weights:
        table = law.group(ground, tables)
        no_group = physical & (law_group(ground, tables) == NONE)
    else:
        table, no_group = np.full(ground.row.size, NONE), np.zeros(ground.row.size, bool)
    zone = law.zone(ground, tables, table, used.group)
    sites = law.site_table(ground, tables, zone)
    no_site = physical & (sites == NONE)
    sites = np.where(no_site, law.no_site(ground, tables), sites)
    # Virtual merchants may have no site at all.
    place[physical] = law.site(ground, tables, used.site, sites, np.flatnonzero(physical))
    return Columns(
        ground,
        ground.entity,
        ground.bucket,
        ground.j,
        ground.start + law.offset(ground, used.time),
        place,
        virtual,
        {
            "missing_group_table": no_group,
            "no_site_in_zone": no_site,
            "missing_edge_table": ~edged & (mode != NON_VIRTUAL),
        },
    ).ordered()
