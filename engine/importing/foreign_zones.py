"""Time zones that have other names in other programs: the IANA name that each may stand for.

Windows' names are those of CLDR's `windowsZones.xml` with the zone of territory 001, by its current name (Unicode CLDR,
copyright 1991-2026 Unicode, Inc., Unicode License v3, see LICENSE.unicode).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

# An IANA name, then the name of Windows.
_WINDOWS = """
Australia/Darwin AUS Central Standard Time
Australia/Sydney AUS Eastern Standard Time
Asia/Kabul Afghanistan Standard Time
America/Anchorage Alaskan Standard Time
America/Edmonton Alberta Standard Time
America/Adak Aleutian Standard Time
Asia/Barnaul Altai Standard Time
Asia/Riyadh Arab Standard Time
Asia/Dubai Arabian Standard Time
Asia/Baghdad Arabic Standard Time
America/Argentina/Buenos_Aires Argentina Standard Time
Europe/Astrakhan Astrakhan Standard Time
America/Halifax Atlantic Standard Time
Australia/Eucla Aus Central W. Standard Time
Asia/Baku Azerbaijan Standard Time
Atlantic/Azores Azores Standard Time
America/Bahia Bahia Standard Time
Asia/Dhaka Bangladesh Standard Time
Europe/Minsk Belarus Standard Time
Pacific/Bougainville Bougainville Standard Time
America/Vancouver British Columbia Standard Time
America/Regina Canada Central Standard Time
Atlantic/Cape_Verde Cape Verde Standard Time
Asia/Yerevan Caucasus Standard Time
Australia/Adelaide Cen. Australia Standard Time
America/Guatemala Central America Standard Time
Asia/Bishkek Central Asia Standard Time
America/Cuiaba Central Brazilian Standard Time
Europe/Budapest Central Europe Standard Time
Europe/Warsaw Central European Standard Time
Pacific/Guadalcanal Central Pacific Standard Time
America/Chicago Central Standard Time
America/Mexico_City Central Standard Time (Mexico)
Pacific/Chatham Chatham Islands Standard Time
Asia/Shanghai China Standard Time
America/Havana Cuba Standard Time
Etc/GMT+12 Dateline Standard Time
Africa/Nairobi E. Africa Standard Time
Australia/Brisbane E. Australia Standard Time
Europe/Chisinau E. Europe Standard Time
America/Sao_Paulo E. South America Standard Time
Pacific/Easter Easter Island Standard Time
America/New_York Eastern Standard Time
America/Cancun Eastern Standard Time (Mexico)
Africa/Cairo Egypt Standard Time
Asia/Yekaterinburg Ekaterinburg Standard Time
Europe/Kyiv FLE Standard Time
Pacific/Fiji Fiji Standard Time
Europe/London GMT Standard Time
Europe/Bucharest GTB Standard Time
Asia/Tbilisi Georgian Standard Time
America/Nuuk Greenland Standard Time
Atlantic/Reykjavik Greenwich Standard Time
America/Port-au-Prince Haiti Standard Time
Pacific/Honolulu Hawaiian Standard Time
Asia/Kolkata India Standard Time
Asia/Tehran Iran Standard Time
Asia/Jerusalem Israel Standard Time
Asia/Amman Jordan Standard Time
Europe/Kaliningrad Kaliningrad Standard Time
Asia/Seoul Korea Standard Time
Africa/Tripoli Libya Standard Time
Pacific/Kiritimati Line Islands Standard Time
Australia/Lord_Howe Lord Howe Standard Time
Asia/Magadan Magadan Standard Time
America/Punta_Arenas Magallanes Standard Time
America/Winnipeg Manitoba Standard Time
Pacific/Marquesas Marquesas Standard Time
Indian/Mauritius Mauritius Standard Time
Asia/Beirut Middle East Standard Time
America/Montevideo Montevideo Standard Time
Africa/Casablanca Morocco Standard Time
America/Denver Mountain Standard Time
America/Mazatlan Mountain Standard Time (Mexico)
Asia/Yangon Myanmar Standard Time
Asia/Novosibirsk N. Central Asia Standard Time
Africa/Windhoek Namibia Standard Time
Asia/Kathmandu Nepal Standard Time
Pacific/Auckland New Zealand Standard Time
America/St_Johns Newfoundland Standard Time
Pacific/Norfolk Norfolk Standard Time
Asia/Irkutsk North Asia East Standard Time
Asia/Krasnoyarsk North Asia Standard Time
Asia/Pyongyang North Korea Standard Time
Asia/Omsk Omsk Standard Time
America/Santiago Pacific SA Standard Time
America/Los_Angeles Pacific Standard Time
America/Tijuana Pacific Standard Time (Mexico)
Asia/Karachi Pakistan Standard Time
America/Asuncion Paraguay Standard Time
Asia/Qyzylorda Qyzylorda Standard Time
Europe/Paris Romance Standard Time
Asia/Srednekolymsk Russia Time Zone 10
Asia/Kamchatka Russia Time Zone 11
Europe/Samara Russia Time Zone 3
Europe/Moscow Russian Standard Time
America/Cayenne SA Eastern Standard Time
America/Bogota SA Pacific Standard Time
America/La_Paz SA Western Standard Time
Asia/Bangkok SE Asia Standard Time
America/Miquelon Saint Pierre Standard Time
Asia/Sakhalin Sakhalin Standard Time
Pacific/Apia Samoa Standard Time
Africa/Sao_Tome Sao Tome Standard Time
Europe/Saratov Saratov Standard Time
Asia/Singapore Singapore Standard Time
Africa/Johannesburg South Africa Standard Time
Africa/Juba South Sudan Standard Time
Asia/Colombo Sri Lanka Standard Time
Africa/Khartoum Sudan Standard Time
Asia/Damascus Syria Standard Time
Asia/Taipei Taipei Standard Time
Australia/Hobart Tasmania Standard Time
America/Araguaina Tocantins Standard Time
Asia/Tokyo Tokyo Standard Time
Asia/Tomsk Tomsk Standard Time
Pacific/Tongatapu Tonga Standard Time
Asia/Chita Transbaikal Standard Time
Europe/Istanbul Turkey Standard Time
America/Grand_Turk Turks And Caicos Standard Time
America/Indiana/Indianapolis US Eastern Standard Time
America/Phoenix US Mountain Standard Time
Asia/Ulaanbaatar Ulaanbaatar Standard Time
America/Caracas Venezuela Standard Time
Asia/Vladivostok Vladivostok Standard Time
Europe/Volgograd Volgograd Standard Time
Australia/Perth W. Australia Standard Time
Africa/Lagos W. Central Africa Standard Time
Europe/Berlin W. Europe Standard Time
Asia/Hovd W. Mongolia Standard Time
Asia/Tashkent West Asia Standard Time
Asia/Hebron West Bank Standard Time
Pacific/Port_Moresby West Pacific Standard Time
Asia/Yakutsk Yakutsk Standard Time
America/Whitehorse Yukon Standard Time
"""
_SUMMER = re.compile(r" (?:Daylight|Summer) Time\b", re.IGNORECASE)

# Abbreviations, and the zones that most tables mean. Those that tzdata knows as names are `CLOCKS`.
_ABBREVIATIONS: Mapping[str, tuple[str, ...]] = {
    "ACST": ("Australia/Adelaide", "Australia/Darwin"),
    "AEDT": ("Australia/Sydney",),
    "AEST": ("Australia/Sydney", "Australia/Brisbane"),
    "AKST": ("America/Anchorage",),
    "AST": ("America/Halifax", "Asia/Riyadh"),
    "AWST": ("Australia/Perth",),
    "BRT": ("America/Sao_Paulo",),
    "BST": ("Europe/London", "Asia/Dhaka"),
    "CDT": ("America/Chicago",),
    "CEST": ("Europe/Berlin", "Europe/Paris"),
    "CST": ("America/Chicago", "Asia/Shanghai"),
    "EDT": ("America/New_York",),
    "EEST": ("Europe/Athens", "Europe/Helsinki"),
    "GST": ("Asia/Dubai",),
    "HKT": ("Asia/Hong_Kong",),
    "IST": ("Asia/Kolkata", "Europe/Dublin", "Asia/Jerusalem"),
    "JST": ("Asia/Tokyo",),
    "KST": ("Asia/Seoul",),
    "MDT": ("America/Denver",),
    "MESZ": ("Europe/Berlin",),
    "MEZ": ("Europe/Berlin",),
    "MSK": ("Europe/Moscow",),
    "NST": ("America/St_Johns",),
    "NZDT": ("Pacific/Auckland",),
    "NZST": ("Pacific/Auckland",),
    "PDT": ("America/Los_Angeles",),
    "PKT": ("Asia/Karachi",),
    "PST": ("America/Los_Angeles", "Asia/Manila"),
    "SAST": ("Africa/Johannesburg",),
    "SGT": ("Asia/Singapore",),
    "WEST": ("Europe/Lisbon",),
    "WIB": ("Asia/Jakarta",),
}

CLOCKS: Mapping[str, str] = MappingProxyType(
    {
        "CET": "Europe/Berlin",
        "CST6CDT": "America/Chicago",
        "EET": "Europe/Helsinki",
        "EST": "America/New_York",
        "EST5EDT": "America/New_York",
        "HST": "Pacific/Honolulu",
        "MET": "Europe/Berlin",
        "MST": "America/Denver",
        "MST7MDT": "America/Denver",
        "PST8PDT": "America/Los_Angeles",
        "WET": "Europe/Lisbon",
    }
)
"""Names of tzdata that stand for a clock and not for a place, with a place that tables may mean by them."""

_OFFSET = re.compile(r"(?:UTC|GMT)? ?([+-])([0-9]{1,2})(?::?([0-9]{2}))?", re.IGNORECASE)


def of_windows(text: str) -> str:
    """The zone of a name of Windows; empty for any other text."""
    return _windows().get(_SUMMER.sub(" Standard Time", text.strip()).casefold(), "")


@cache
def _windows() -> Mapping[str, str]:
    lines = (line.partition(" ") for line in _WINDOWS.strip().split("\n"))
    return {name.casefold(): zone for zone, _, name in lines}


def of_abbreviation(text: str) -> tuple[str, ...]:
    """The zones that an abbreviation may stand for; empty for any other text."""
    return _ABBREVIATIONS.get(text.strip().upper(), ())


def of_offset(text: str) -> str | None:
    """The name of the clock that always has this offset, such as Etc/GMT-1 for UTC+1; empty if there is none.

    None for a text that is not an offset.
    """
    match = _OFFSET.fullmatch(text.strip())
    if match is None:
        return None
    hours, minutes = int(match[2]), int(match[3] or 0)
    if minutes or not 0 < hours <= (14 if match[1] == "+" else 12):
        return ""
    # The signs of these names are those of POSIX: west of Greenwich is positive.
    return f"Etc/GMT{'-' if match[1] == '+' else '+'}{hours}"
