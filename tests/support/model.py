"""A world in memory, and what the law makes of it: plain records without behaviour of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.law import AliasTable, Stream, text_word

BEFORE_ALL = -(1 << 63)

TIME_FAMILY = "S4.arrival_time_jitter.v2"
SITE_FAMILY = "S4.arrival_site_pick.v2"
EDGE_FAMILY = "S4.arrival_edge_pick.v2"

NON_VIRTUAL, VIRTUAL_ONLY, HYBRID = "NON_VIRTUAL", "VIRTUAL_ONLY", "HYBRID"
MODES = (NON_VIRTUAL, VIRTUAL_ONLY, HYBRID)

MISSING_GROUP_TABLE = "missing_group_table"
NO_SITE_IN_ZONE = "no_site_in_zone"
MISSING_EDGE_TABLE = "missing_edge_table"
FALLBACKS = (MISSING_GROUP_TABLE, NO_SITE_IN_ZONE, MISSING_EDGE_TABLE)
FAIL = "fail"


# --- A world in memory -----------------------------------------------------------------------------


@dataclass(frozen=True)
class CountRow:
    merchant_id: int
    zone: str
    channel: str | None
    bucket: int
    n: int


@dataclass(frozen=True)
class Site:
    merchant_id: int
    country: str
    site_order: int
    tzid: str
    weight: float


@dataclass(frozen=True)
class GroupWeight:
    merchant_id: int
    utc_day: str
    tzid: str
    weight: float


@dataclass(frozen=True)
class Edge:
    """One edge with the alias slot that belongs to its rank; weight and country only matter on disk."""

    edge_id: str
    tzid: str
    prob_q: int
    alias: int
    weight: float = 1.0
    country: str = "DE"


@dataclass(frozen=True)
class EdgeTable:
    prob_qbits: int
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Policy:
    """The switches of section 4; a fallback switch is ``fail`` or any other text, which means: fall back."""

    use_group_weights: bool = True
    p_virtual_hybrid: str = "0.35"
    missing_group_table: str = "fallback"
    no_site_in_zone: str = "fallback"
    missing_edge_table: str = "fallback"

    def refuses(self, fallback: str) -> bool:
        return str(getattr(self, fallback)) == FAIL


@dataclass(frozen=True)
class World:
    """One scenario of one run: ``grid[b]`` is bucket b as (start, end) in µs, ``zones`` holds per tzid the
    ascending (instant in s, minutes east) pairs, the first at -2^63."""

    manifest_fingerprint: str
    parameter_hash: str
    seed: int
    scenario_id: str
    run_id: str
    grid: tuple[tuple[int, int], ...]
    counts: tuple[CountRow, ...]
    sites: tuple[Site, ...]
    group_weights: tuple[GroupWeight, ...]
    modes: Mapping[int, str]
    settlement: Mapping[int, str]
    edges: Mapping[int, EdgeTable]
    zones: Mapping[str, tuple[tuple[int, int], ...]]
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True)
class Entity:
    merchant_id: int
    zone: str
    channel: str

    @property
    def domain(self) -> str:
        return f"merchant_id={self.merchant_id}|zone={self.zone}|channel_group={self.channel}"

    @property
    def order(self) -> tuple[int, bytes, bytes]:
        return self.merchant_id, self.zone.encode(), self.channel.encode()


# --- What the law makes of it ------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One arrival; times in µs, wall clocks as µs of a clock without zone, dual clocks None when physical."""

    manifest_fingerprint: str
    parameter_hash: str
    seed: int
    scenario_id: str
    merchant_id: int
    zone_representation: str
    channel_group: str
    bucket_index: int
    draw_index: int
    arrival_seq: int
    ts_utc: int
    tzid_primary: str
    ts_local_primary: int
    tzid_settlement: str | None
    ts_local_settlement: int | None
    tzid_operational: str | None
    ts_local_operational: int | None
    is_virtual: bool
    site_id: int | None
    edge_id: int | None

    def digest_words(self) -> tuple[int, ...]:
        routed = self.edge_id if self.is_virtual else self.site_id
        settled = (0, 0)
        if self.tzid_settlement is not None and self.ts_local_settlement is not None:
            settled = (text_word(self.tzid_settlement), self.ts_local_settlement)
        return (
            self.merchant_id,
            text_word(self.zone_representation),
            text_word(self.channel_group),
            self.bucket_index,
            self.arrival_seq,
            self.ts_utc,
            int(self.is_virtual),
            routed or 0,
            text_word(self.tzid_primary),
            self.ts_local_primary,
            *settled,
        )


@dataclass(frozen=True)
class Pick:
    """One alias pick as it happened: the table's name, its slots' labels, the word and the slot chosen."""

    table: str
    labels: tuple[str, ...]
    slots: AliasTable
    word: int
    chosen: int


@dataclass(frozen=True)
class Route:
    is_virtual: bool
    tzid: str
    target_id: int
    picks: tuple[Pick, ...]
    fallbacks: tuple[str, ...]
    coin: tuple[int, int] | None  # the word and the threshold it must stay below


@dataclass(frozen=True)
class CountRowUse:
    """Section 6 for one count row with N > 0: blocks reserved and words drawn by family."""

    entity: Entity
    bucket: int
    n: int
    physical: int
    virtual: int
    blocks: Mapping[str, int]
    words: Mapping[str, int]
    counter_word1: Mapping[str, int]


@dataclass(frozen=True)
class Expansion:
    """What the law makes of a world. `merged_rows` counts every input row beyond the first of its key,
    `merged_drawn_rows` only those among rows with N > 0."""

    rows: tuple[Row, ...]
    merged_rows: int
    merged_drawn_rows: int
    fallbacks: Mapping[str, int]
    count_rows: tuple[CountRowUse, ...]
    digest: str

    def blocks(self, family: str) -> int:
        return sum(use.blocks[family] for use in self.count_rows)

    def words(self, family: str) -> int:
        return sum(use.words[family] for use in self.count_rows)


@dataclass(frozen=True)
class Explanation:
    row: Row
    streams: Mapping[str, Stream]
    blocks: Mapping[str, tuple[int, int]]
    offset_us: int
    route: Route

    def __str__(self) -> str:
        row = self.row
        count_row = f"{row.zone_representation}|{row.channel_group}|bucket {row.bucket_index}"
        lines = [f"merchant {row.merchant_id} seq {row.arrival_seq}: draw {row.draw_index} of {count_row}"]
        for family, stream in self.streams.items():
            x0, x1 = self.blocks[family]
            lines.append(f"{family}: key {stream.key:016x} hi0 {stream.hi0:016x} -> {x0:016x} {x1:016x}")
        lines.append(f"offset {self.offset_us} us -> ts_utc {row.ts_utc}")
        if self.route.coin is not None:
            lines.append(f"coin {self.route.coin[0]:016x} < {self.route.coin[1]:016x}: {self.route.is_virtual}")
        lines += [f"{p.table}: {p.word:016x} -> {p.labels[p.chosen]} of {p.labels}" for p in self.route.picks]
        lines += [f"fallback: {name}" for name in self.route.fallbacks]
        lines.append(f"{'edge' if row.is_virtual else 'site'} {self.route.target_id:016x} in {self.route.tzid}")
        return "\n".join(lines)
