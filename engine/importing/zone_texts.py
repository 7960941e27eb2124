"""Time zones in cells of a user's tables, and what to say about their names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from arrival_engine.contracts import Code, Notice
from arrival_engine.contracts.zone_names import same_zone, shared_names
from arrival_engine.engine.importing.foreign_zones import CLOCKS, of_abbreviation, of_offset, of_windows
from arrival_engine.engine.importing.values import Cell, Refused, absent
from arrival_engine.engine.tz.pinned import known_tzids, release

# Names of UTC are no less usual than the current one.
_USUAL = ("Etc/UTC", "Etc/GMT")
_SHOWN = 5


class ZoneReader:
    """Reads time zones of one import. accept_links: former names become the current ones of their zones.

    tzdata keeps former names as links, such as US/Eastern for America/New_York; `contracts.zone_names` has them.
    """

    def __init__(self, accept_links: bool = False) -> None:
        self._accept_links = accept_links
        self._replaced: dict[str, str] = {}

    def tzid(self, cell: Cell) -> str:
        """An IANA time zone that the pinned tzdata knows."""
        text = tzid(cell)
        current = same_zone(text)
        if not self._accept_links or current == text:
            return text
        self._replaced[text] = current
        return current

    def optional_tzid(self, cell: Cell) -> str | None:
        """An IANA time zone, or None for an empty cell."""
        return None if absent(cell) else self.tzid(cell)

    def notices(self, tzids: Iterable[str]) -> Iterator[Notice]:
        """What to say about names of zones, once all tables are read; tzids: those of the world."""
        used = sorted(set(tzids), key=str.encode)
        if self._replaced:
            pairs = [f"{former} by {current}" for former, current in sorted(self._replaced.items())]
            message = f"former names of zones are replaced: {_some(pairs)}"
            yield Notice("ZONE_NAMES_REPLACED", message, {"replaced": dict(sorted(self._replaced.items()))})
        # Zones with several names in the tables have a notice of their own.
        several = {name for names in shared_names(used) for name in names}
        former = {tz: same_zone(tz) for tz in used if same_zone(tz) not in (tz, *_USUAL) and tz not in several}
        if former:
            pairs = [f"{tz} (now {current})" for tz, current in former.items()]
            message = f"the tables have former names of zones, which stay as they are: {_some(pairs)}"
            yield Notice("FORMER_ZONE_NAMES", f"{message}; --accept-links writes the current names", {"former": former})
        clocks = {tz: CLOCKS[tz] for tz in used if tz in CLOCKS}
        if clocks:
            pairs = [f"{tz} ({place}?)" for tz, place in clocks.items()]
            message = f"the tables have zones that name a clock and no place: {_some(pairs)}"
            if {"EST", "MST"} & clocks.keys():
                message += ", and EST and MST have no summer time"
            yield Notice("CLOCKS_FOR_ZONES", f"{message}; if you mean a place, write its zone", {"clocks": clocks})


def _some(pairs: Sequence[str]) -> str:
    """The first of many in a sentence."""
    more = len(pairs) - _SHOWN
    return ", ".join(pairs[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def tzid(cell: Cell) -> str:
    """An IANA time zone that the pinned tzdata knows, as it is written."""
    if absent(cell):
        raise Refused("is empty", "give an IANA time zone such as Europe/Berlin", Code.DST_MAPPING_FAILED)
    text = str(cell)
    if text not in _known_tzids():
        raise Refused(f"is not a time zone of tzdata {release()}", _instead(text), Code.DST_MAPPING_FAILED)
    return text


@cache
def _known_tzids() -> frozenset[str]:
    return frozenset(known_tzids())


def _instead(text: str) -> str:
    """What to write for a text that is not a zone."""
    windows, clock = of_windows(text), of_offset(text)
    if windows:
        return f"did you mean {windows}? Windows has this name for it, and for other zones that share its clock"
    if clock is not None:
        same = f"; {clock} is the clock that always has this offset" if clock else ""
        return f"an offset is not a zone: give the zone of the place, such as Europe/Berlin{same}"
    near = of_abbreviation(text) or _near_zones(text)
    return f"did you mean {' or '.join(near)}?" if near else "give an IANA name such as Europe/Berlin"


def _near_zones(text: str) -> list[str]:
    """Up to three similar names: another case, only the city, or a typing error."""
    wanted = text.strip().replace(" ", "_").casefold()
    lowered = {name.casefold(): name for name in known_tzids()}
    if wanted in lowered:
        return [lowered[wanted]]
    cities = [name for name in known_tzids() if name.rpartition("/")[2].casefold() == wanted]
    if cities:
        return cities[:3]
    return [lowered[name] for name in difflib.get_close_matches(wanted, lowered, n=3, cutoff=0.7)]
