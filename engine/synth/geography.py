"""Countries, their time zones and their weights (`geography.csv`).

Zone names and coordinates are from the IANA database (zone.tab, public domain). Weights are rough shares of
card turnover. A country also lists the nearest zones of its neighbours with a tiny weight, because polygons overlap
along borders. So several countries share a zone, and a merchant's count keys repeat.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Geography:
    """Countries and zones, both ascending by name.

    Country c has `weight[c]` and is in `region[c]`; it owns rows start[c] to start[c+1] of `zone` (index
    into `tzids`) and `zone_weight`, zones ascending. `lat`, `lon` int64[Z]: a place in the zone, 1e-6 degrees.
    """

    countries: tuple[str, ...]
    region: Ints
    weight: Ints
    start: Ints
    zone: Ints
    zone_weight: Ints
    tzids: tuple[str, ...]
    lat: Ints
    lon: Ints

    def sizes(self) -> Ints:
        """Number of zones of each country."""
        return np.diff(self.start)


def load_geography(zones_per_country: int) -> Geography:
    """The table, with each country cut to its `zones_per_country` heaviest zones (ties by name)."""
    text = files("arrival_engine.engine.synth").joinpath("geography.csv").read_text(encoding="ascii")
    by_country: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(text.splitlines()):
        by_country.setdefault(row["country"], []).append(row)
    countries = sorted(by_country)
    regions = sorted({row["region"] for rows in by_country.values() for row in rows})
    kept: list[list[dict[str, str]]] = []
    for country in countries:
        rows = sorted(by_country[country], key=lambda row: (-int(row["zone_weight"]), row["tzid"]))
        kept.append(sorted(rows[:zones_per_country], key=lambda row: row["tzid"]))
    flat = [row for rows in kept for row in rows]
    tzids = sorted({row["tzid"] for row in flat})
    number = {tzid: z for z, tzid in enumerate(tzids)}
    place = {row["tzid"]: row for row in flat}
    start = np.zeros(len(countries) + 1, np.int64)
    np.cumsum([len(rows) for rows in kept], out=start[1:])
    return Geography(
        countries=tuple(countries),
        region=np.array([regions.index(rows[0]["region"]) for rows in kept], np.int64),
        weight=np.array([int(rows[0]["country_weight"]) for rows in kept], np.int64),
        start=start,
        zone=np.array([number[row["tzid"]] for row in flat], np.int64),
        zone_weight=np.array([int(row["zone_weight"]) for row in flat], np.int64),
        tzids=tuple(tzids),
        lat=np.array([_micro(place[tzid]["lat_deg"]) for tzid in tzids], np.int64),
        lon=np.array([_micro(place[tzid]["lon_deg"]) for tzid in tzids], np.int64),
    )


def _micro(degrees: str) -> int:
    return round(float(degrees) * 1_000_000)
