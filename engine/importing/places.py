"""A place in each time zone, only for columns of the contract that need coordinates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

import numpy as np

from arrival_engine.contracts.zone_names import same_zone
from arrival_engine.engine.world_files.virtual import Places

# ISO 6709 without separators, as zone.tab has it: +-DDMM+-DDDMM or +-DDMMSS+-DDDMMSS.
_FORM = re.compile(r"([+-])(\d{2})(\d{2})(\d{2})?([+-])(\d{3})(\d{2})(\d{2})?")


def places_of(tzids: Sequence[str]) -> Places:
    """The principal place of each zone by tzdata's zone.tab; 0, 0 for zones without a place, such as Etc/UTC."""
    known = _zone_tab()
    found = [known.get(same_zone(tzid), (0, 0)) for tzid in tzids]
    return Places(tzids, np.array([lat for lat, _ in found], np.int64), np.array([lon for _, lon in found], np.int64))


@cache
def _zone_tab() -> dict[str, tuple[int, int]]:
    text = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if line and not line.startswith("#"))
    return {row[2]: _micro_degrees(row[1]) for row in rows}


def _micro_degrees(text: str) -> tuple[int, int]:
    match = _FORM.fullmatch(text)
    if match is None:
        return 0, 0
    parts = match.groups()
    return _angle(parts[:4]), _angle(parts[4:])


def _angle(parts: Sequence[str | None]) -> int:
    sign, degrees, minutes, seconds = parts
    total = int(degrees or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    # Integer arithmetic, rounded to the nearest 1e-6 degree.
    micro = (total * 1_000_000 + 1800) // 3600
    return -micro if sign == "-" else micro
