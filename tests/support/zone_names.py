"""The names of one zone, derived from tzdata's own files by the law's rules (section 4)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

# Names of clocks, from the time before zones were named after places.
CLOCKS = ("EST", "MST", "HST", "CET", "MET", "EET", "WET", "EST5EDT", "CST6CDT", "MST7MDT", "PST8PDT")

# Links over a border, by `backward`, and the zone that `zone.tab` or `backzone` gives the same place.
AT_HOME = {
    "Africa/Asmera": "Africa/Asmara",
    "Africa/Timbuktu": "Africa/Bamako",
    "America/Coral_Harbour": "America/Atikokan",
    "America/Virgin": "America/St_Thomas",
    "Antarctica/South_Pole": "Antarctica/McMurdo",
    "Atlantic/Jan_Mayen": "Arctic/Longyearbyen",
    "Iceland": "Atlantic/Reykjavik",
    "Pacific/Ponape": "Pacific/Pohnpei",
    "Pacific/Truk": "Pacific/Chuuk",
    "Pacific/Yap": "Pacific/Chuuk",
}


@cache
def countries_of() -> dict[str, str]:
    """Country by zone, of every name in zone.tab."""
    rows = [line.split("\t") for line in _lines("zone.tab") if not line.startswith("#")]
    return {row[2]: row[0] for row in rows}


@cache
def links() -> dict[str, str]:
    """Target by link, of every link of the package."""
    return {name: target for kind, target, name in (line.split() for line in _lines("tzdata.zi") if line[:2] == "L ")}


def _lines(name: str) -> list[str]:
    return files("tzdata").joinpath("zoneinfo", name).read_text("utf-8").splitlines()


def current_name(tzid: str) -> str:
    """The name that a zone goes by among all its names."""
    while tzid in links() and tzid not in countries_of() and tzid not in CLOCKS:
        tzid = AT_HOME.get(tzid, links()[tzid])
    return tzid
