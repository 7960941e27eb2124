"""Step functions from UTC instants to offsets, one per zone, held as compressed rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.contracts.zone_names import names_of

SENTINEL = -(2**63)
OFFSET_LIMIT = 900
# RFC 9636, 3.2: an offset lies strictly between -25 and +26 hours; local mean time may pass the contract's
# limit.
SENTINEL_LOW, SENTINEL_HIGH = -25 * 60, 26 * 60
TZID = re.compile(r"[A-Za-z0-9._+-]+(?:/[A-Za-z0-9._+-]+)*")

Instants = npt.NDArray[np.int64]
Minutes = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class ZoneTable:
    """Zones in byte order of their names, each a list of (instant, offset) steps.

    start: int64[Z+1]; zone z owns steps start[z] to start[z+1]. instant: int64[T], Unix seconds, strictly ascending
    within a zone, the first of each zone -2^63. offset_minutes: int32[T], minutes east of UTC from then on.
    """

    tzids: tuple[str, ...]
    start: Instants
    instant: Instants
    offset_minutes: Minutes

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each zone by name."""
        return {tzid: position for position, tzid in enumerate(self.tzids)}

    def find(self, tzid: str) -> int | None:
        """Position of a zone by this name, or else by another of its names; None if the table has none of them."""
        found = (self.index.get(name) for name in (tzid, *names_of(tzid)))
        return next((position for position in found if position is not None), None)

    def steps(self, tzid: str) -> tuple[Instants, Minutes]:
        """Instants and offsets of one zone (views), by any of its names; DST_MAPPING_FAILED if the table lacks it."""
        position = self.find(tzid)
        if position is None:
            raise ArrivalError(
                Code.DST_MAPPING_FAILED,
                f"time zone {tzid!r} is not in the table of {len(self.tzids)} zones",
                hint="correct the tzid, or rebuild the cache with `arrivals tz build RUN_ROOT`",
                tzid=tzid,
            )
        piece = slice(int(self.start[position]), int(self.start[position + 1]))
        return self.instant[piece], self.offset_minutes[piece]

    def offset_at(self, tzid: str, instant_s: int) -> int:
        """Minutes east of UTC at one Unix second."""
        instants, offsets = self.steps(tzid)
        return int(offsets[int(np.searchsorted(instants, instant_s, side="right")) - 1])

    def same_as(self, other: ZoneTable) -> bool:
        """Whether both tables hold the same zones and steps."""
        return (
            self.tzids == other.tzids
            and np.array_equal(self.start, other.start)
            and np.array_equal(self.instant, other.instant)
            and np.array_equal(self.offset_minutes, other.offset_minutes)
        )


def stack(tzids: Sequence[str], zones: Sequence[tuple[Instants, Minutes]]) -> ZoneTable:
    """One table from the zones' steps, given in the order of `tzids`; its arrays are read-only."""
    start = np.zeros(len(zones) + 1, np.int64)
    np.cumsum([len(instants) for instants, _ in zones], out=start[1:])
    instant = np.concatenate([np.empty(0, np.int64), *(instants for instants, _ in zones)])
    offset = np.concatenate([np.empty(0, np.int32), *(offsets for _, offsets in zones)])
    for array in (start, instant, offset):
        array.flags.writeable = False
    return ZoneTable(tuple(tzids), start, instant, offset)
