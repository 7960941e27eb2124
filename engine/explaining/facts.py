"""The records of an explanation, in the order in which the law decides them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from arrival_engine.contracts import Notice
from arrival_engine.contracts.errors import json_safe

RowValues = Mapping[str, object]


class Word(int):
    """A 64-bit word; shown as sixteen hexadecimal digits."""

    def __str__(self) -> str:
        return f"{int(self):016x}"


@dataclass(frozen=True)
class Entity:
    """Whose arrival it is; `domain` is the text that its streams are derived from.

    merchant: the merchant's text; None if the merchant ids of the world are numbers.
    """

    merchant_id: int
    zone_representation: str
    channel_group: str | None
    domain: str
    merchant: str | None = None


@dataclass(frozen=True)
class Bucket:
    """When it may happen: N arrivals of the entity in [start, end), of which it is draw j."""

    index: int
    start_utc: str
    end_utc: str
    duration_us: int
    count: int
    draw: int


@dataclass(frozen=True)
class Block:
    """One family's block: the words x0, x1 at counter (word0, word1) under the key, and what each decides."""

    family: str
    key: Word
    hi0: Word
    word0: int
    word1: Word
    x0: Word
    x1: Word
    x0_decides: str
    x1_decides: str


@dataclass(frozen=True)
class Offset:
    """floor((x0 * D + floor(D / 2)) / 2^64), with its numbers; `numerator`, what is divided, in decimal."""

    x0: Word
    duration_us: int
    numerator: str
    offset_us: int
    ts_utc: str


@dataclass(frozen=True)
class Coin:
    """The HYBRID coin: virtual where word < threshold = floor(p * 2^64); `p` is the threshold's value, rounded."""

    word: Word
    threshold: Word
    p: float
    is_virtual: bool


@dataclass(frozen=True)
class Mode:
    """How the merchant trades, and what that makes of this arrival."""

    mode: str
    edges: int
    settlement_tzid: str | None
    coin: Coin | None
    is_virtual: bool


@dataclass(frozen=True)
class Pick:
    """One alias pick: slot = floor(word * size / 2^64), taken if fraction < threshold, else its alias.

    fraction, threshold: of 2^32. share: the chance that the table gives what was chosen.
    """

    table: str
    size: int
    word: Word
    slot: int
    slot_name: str
    fraction: int
    threshold: int
    alias: int
    alias_name: str
    taken: Literal["slot", "alias"]
    chosen: int
    chosen_name: str
    share: float


@dataclass(frozen=True)
class Fallback:
    """Something missing that the law works around; `forbidden` where the policy stops a run instead."""

    name: str
    what: str
    forbidden: bool


@dataclass(frozen=True)
class Clock:
    """One local time: the offset in force since a transition (None: since ever), until the next one (None: for good).

    roles: which of the contract's three clocks this is.
    """

    roles: tuple[str, ...]
    tzid: str
    utc_second: int
    since_utc: str | None
    until_utc: str | None
    offset_minutes: int
    local: str


@dataclass(frozen=True)
class Sequence:
    """Where it stands: arrival_seq = merchant's arrivals in earlier buckets + place among those of this bucket."""

    earlier_buckets: int
    place_in_bucket: int
    arrivals_in_bucket: int
    arrival_seq: int
    arrivals_of_merchant: int


@dataclass(frozen=True)
class Difference:
    """One column in which a row found elsewhere is not the derived one."""

    column: str
    derived: object
    found: object


@dataclass(frozen=True)
class Comparison:
    """The derived row against another source of it; `where` names the source.

    outcome: absent (no output there), missing (output without this row), repeated, refused (the policy forbids an
    arrival of the segment), agrees, differs.
    """

    source: Literal["kernel", "stored row"]
    outcome: Literal["absent", "missing", "repeated", "refused", "agrees", "differs"]
    where: str
    row: RowValues | None = None
    differences: tuple[Difference, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the derivation."""
        return self.outcome in ("absent", "refused", "agrees")


@dataclass(frozen=True)
class History:
    """How one arrival came about; `row` has the 21 columns in the contract's JSON form."""

    scenario_id: str
    entity: Entity
    bucket: Bucket
    blocks: tuple[Block, ...]
    offset: Offset
    sequence: Sequence
    mode: Mode
    picks: tuple[Pick, ...]
    fallbacks: tuple[Fallback, ...]
    clocks: tuple[Clock, ...]
    row: RowValues


@dataclass(frozen=True)
class Explanation:
    """One arrival's history as derived, what two other sources say of it, and what the reader should know."""

    history: History
    kernel: Comparison
    stored: Comparison
    notices: tuple[Notice, ...]

    @property
    def agrees(self) -> bool:
        """Whether kernel and stored row, as far as there are any, are the derived row."""
        return self.kernel.ok and self.stored.ok


def document(value: object) -> object:
    """An explanation, or a part of it, as JSON-safe data; 64-bit words as text, which every reader keeps whole."""
    if isinstance(value, Word):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: document(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): document(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [document(item) for item in value]
    return json_safe(value)
