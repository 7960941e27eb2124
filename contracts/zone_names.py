"""Time zones with several names: the names that are one zone when inputs are joined.

Part of the law (section 4), and therefore a constant: results cannot depend on the installed tzdata. It holds the links
of tzdata 2026f's `backward` file, under these rules:

* A name in `zone.tab` is a zone of its own, even if it is a link: Europe/Oslo has kept Berlin's time since 1970, but
  it is another country's zone.
* Any other link is another name of its target. Where the target is another country's zone, it is another name of the
  place's own zone in `zone.tab` instead: Iceland is Atlantic/Reykjavik, not Africa/Abidjan.
* EST, MST, HST, CET, MET, EET, WET, EST5EDT, CST6CDT, MST7MDT and PST8PDT name clocks, not places: each is a zone of
  its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType

# One zone per line: its current name, then its other names.
_ZONES = """
Africa/Asmara Africa/Asmera
Africa/Bamako Africa/Timbuktu
Africa/Cairo Egypt
Africa/Tripoli Libya
America/Adak America/Atka US/Aleutian
America/Anchorage US/Alaska
America/Argentina/Buenos_Aires America/Buenos_Aires
America/Argentina/Catamarca America/Argentina/ComodRivadavia America/Catamarca
America/Argentina/Cordoba America/Cordoba America/Rosario
America/Argentina/Jujuy America/Jujuy
America/Argentina/Mendoza America/Mendoza
America/Atikokan America/Coral_Harbour
America/Chicago US/Central
America/Denver America/Shiprock Navajo US/Mountain
America/Detroit US/Michigan
America/Edmonton America/Yellowknife Canada/Mountain
America/Halifax Canada/Atlantic
America/Havana Cuba
America/Indiana/Indianapolis America/Fort_Wayne America/Indianapolis US/East-Indiana
America/Indiana/Knox America/Knox_IN US/Indiana-Starke
America/Iqaluit America/Pangnirtung
America/Jamaica Jamaica
America/Kentucky/Louisville America/Louisville
America/Los_Angeles US/Pacific
America/Manaus Brazil/West
America/Mazatlan Mexico/BajaSur
America/Mexico_City Mexico/General
America/New_York US/Eastern
America/Noronha Brazil/DeNoronha
America/Nuuk America/Godthab
America/Phoenix US/Arizona
America/Regina Canada/Saskatchewan
America/Rio_Branco America/Porto_Acre Brazil/Acre
America/Santiago Chile/Continental
America/Sao_Paulo Brazil/East
America/St_Johns Canada/Newfoundland
America/St_Thomas America/Virgin
America/Tijuana America/Ensenada America/Santa_Isabel Mexico/BajaNorte
America/Toronto America/Montreal America/Nipigon America/Thunder_Bay Canada/Eastern
America/Vancouver Canada/Pacific
America/Whitehorse Canada/Yukon
America/Winnipeg America/Rainy_River Canada/Central
Antarctica/McMurdo Antarctica/South_Pole
Arctic/Longyearbyen Atlantic/Jan_Mayen
Asia/Ashgabat Asia/Ashkhabad
Asia/Dhaka Asia/Dacca
Asia/Ho_Chi_Minh Asia/Saigon
Asia/Hong_Kong Hongkong
Asia/Jerusalem Asia/Tel_Aviv Israel
Asia/Kathmandu Asia/Katmandu
Asia/Kolkata Asia/Calcutta
Asia/Macau Asia/Macao
Asia/Makassar Asia/Ujung_Pandang
Asia/Nicosia Europe/Nicosia
Asia/Seoul ROK
Asia/Shanghai Asia/Chongqing Asia/Chungking Asia/Harbin PRC
Asia/Singapore Singapore
Asia/Taipei ROC
Asia/Tehran Iran
Asia/Thimphu Asia/Thimbu
Asia/Tokyo Japan
Asia/Ulaanbaatar Asia/Choibalsan Asia/Ulan_Bator
Asia/Urumqi Asia/Kashgar
Asia/Yangon Asia/Rangoon
Atlantic/Faroe Atlantic/Faeroe
Atlantic/Reykjavik Iceland
Australia/Adelaide Australia/South
Australia/Brisbane Australia/Queensland
Australia/Broken_Hill Australia/Yancowinna
Australia/Darwin Australia/North
Australia/Hobart Australia/Currie Australia/Tasmania
Australia/Lord_Howe Australia/LHI
Australia/Melbourne Australia/Victoria
Australia/Perth Australia/West
Australia/Sydney Australia/ACT Australia/Canberra Australia/NSW
Etc/GMT Etc/GMT+0 Etc/GMT-0 Etc/GMT0 Etc/Greenwich GMT GMT+0 GMT-0 GMT0 Greenwich
Etc/UTC Etc/UCT Etc/Universal Etc/Zulu UCT UTC Universal Zulu
Europe/Chisinau Europe/Tiraspol
Europe/Dublin Eire
Europe/Istanbul Asia/Istanbul Turkey
Europe/Kyiv Europe/Kiev Europe/Uzhgorod Europe/Zaporozhye
Europe/Lisbon Portugal
Europe/London Europe/Belfast GB GB-Eire
Europe/Moscow W-SU
Europe/Warsaw Poland
Pacific/Auckland NZ
Pacific/Chatham NZ-CHAT
Pacific/Chuuk Pacific/Truk Pacific/Yap
Pacific/Easter Chile/EasterIsland
Pacific/Honolulu Pacific/Johnston US/Hawaii
Pacific/Kanton Pacific/Enderbury
Pacific/Kwajalein Kwajalein
Pacific/Pago_Pago Pacific/Samoa US/Samoa
Pacific/Pohnpei Pacific/Ponape
"""


@cache
def zone_of_name() -> Mapping[str, str]:
    """The current name of the zone by each of its other names."""
    lines = (line.split() for line in _ZONES.split("\n") if line)
    return MappingProxyType({other: current for current, *others in lines for other in others})


@cache
def _names_of_zone() -> Mapping[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for other, current in zone_of_name().items():
        names[current] = (*names.get(current, (current,)), other)
    return names


def same_zone(tzid: str) -> str:
    """The current name of a zone: the same text for all names of one zone, and `tzid` itself for a zone with one name.

    Any text is accepted; whether tzdata knows it is another question.
    """
    return zone_of_name().get(tzid, tzid)


def names_of(tzid: str) -> tuple[str, ...]:
    """All names of a zone, the current one first, the others in byte order."""
    current = same_zone(tzid)
    return _names_of_zone().get(current, (current,))


def one_name_each(tzids: Iterable[str]) -> list[int]:
    """For each of the tzids, the position of the first of them that names the same zone."""
    first: dict[str, int] = {}
    return [first.setdefault(same_zone(tzid), position) for position, tzid in enumerate(tzids)]


def shared_names(tzids: Iterable[str]) -> list[tuple[str, ...]]:
    """The zones that have several names among `tzids`: those names, in byte order."""
    found: dict[str, list[str]] = {}
    for tzid in sorted(set(tzids), key=str.encode):
        found.setdefault(same_zone(tzid), []).append(tzid)
    return [tuple(names) for _, names in sorted(found.items()) if len(names) > 1]
