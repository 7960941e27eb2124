"""The names of one zone: the packaged table against tzdata's own files, and look-ups in a cache by any name."""

import numpy as np
import pytest

from arrival_engine.contracts.errors import ArrivalError
from arrival_engine.contracts.zone_names import names_of, one_name_each, same_zone, shared_names, zone_of_name
from arrival_engine.engine.tz.pinned import known_tzids
from arrival_engine.engine.tz.zones import SENTINEL
from tests.support.zone_names import CLOCKS, countries_of, current_name, links
from tests.support.zone_tables import seconds, table


def test_the_table_follows_from_tzdata_by_the_rules_of_the_law():
    assert {tzid: same_zone(tzid) for tzid in known_tzids()} == {tzid: current_name(tzid) for tzid in known_tzids()}
    assert set(zone_of_name()) == set(links()) - set(countries_of()) - set(CLOCKS)


def test_a_current_name_is_a_place_of_zone_tab_or_universal_time():
    current = set(zone_of_name().values())
    assert current - set(countries_of()) == {"Etc/GMT", "Etc/UTC"}
    assert not current & set(zone_of_name())


def test_all_names_of_a_zone_have_had_one_clock_since_1970(exact):
    start = seconds(1970, 1, 1)
    for other, current in zone_of_name().items():
        shown = []
        for tzid in (other, current):
            instants, offsets = exact.steps(tzid)
            later = instants > start
            shown.append((exact.offset_at(tzid, start), instants[later].tolist(), offsets[later].tolist()))
        assert shown[0] == shown[1], (other, current)


@pytest.mark.parametrize(
    "names",
    [
        ("Asia/Kolkata", "Asia/Calcutta"),
        ("America/New_York", "US/Eastern"),
        ("Asia/Ho_Chi_Minh", "Asia/Saigon"),
        ("Europe/Kyiv", "Europe/Kiev", "Europe/Uzhgorod", "Europe/Zaporozhye"),
        ("Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "UTC", "Universal", "Zulu"),
        (
            "Etc/GMT",
            "Etc/GMT+0",
            "Etc/GMT-0",
            "Etc/GMT0",
            "Etc/Greenwich",
            "GMT",
            "GMT+0",
            "GMT-0",
            "GMT0",
            "Greenwich",
        ),
        ("Atlantic/Reykjavik", "Iceland"),
        ("Arctic/Longyearbyen", "Atlantic/Jan_Mayen"),
    ],
)
def test_names_of_one_zone(names):
    for tzid in names:
        assert names_of(tzid) == names


@pytest.mark.parametrize(
    "names",
    [
        ("Europe/Oslo", "Europe/Berlin", "Europe/Stockholm", "Europe/Copenhagen"),
        ("Atlantic/Reykjavik", "Africa/Abidjan", "Africa/Accra"),
        ("Etc/UTC", "Etc/GMT", "Africa/Abidjan", "Europe/London"),
        ("EST", "America/Panama", "America/New_York", "EST5EDT"),
        ("CET", "MET", "Europe/Brussels", "Europe/Berlin"),
    ],
)
def test_zones_with_one_clock_that_are_not_one_zone(names):
    assert len({same_zone(tzid) for tzid in names}) == len(names)


def test_names_that_occur_together():
    tzids = ("Europe/Oslo", "US/Eastern", "Asia/Kolkata", "Asia/Calcutta", "Europe/Berlin", "America/New_York")
    assert shared_names(tzids) == [("America/New_York", "US/Eastern"), ("Asia/Calcutta", "Asia/Kolkata")]
    assert one_name_each(tzids) == [0, 1, 2, 2, 4, 1]


def test_a_cache_is_read_by_any_name_of_a_zone():
    calcutta = table(Asia__Calcutta=[(SENTINEL, 330)], Europe__Berlin=[(SENTINEL, 60)])
    assert calcutta.offset_at("Asia/Kolkata", 0) == 330
    # Each name has its own steps where the cache has them.
    both = table(Asia__Calcutta=[(SENTINEL, 330)], Asia__Kolkata=[(SENTINEL, 331)])
    assert [both.offset_at(tzid, 0) for tzid in ("Asia/Calcutta", "Asia/Kolkata")] == [330, 331]
    # The current name comes before older ones.
    kyiv = table(Europe__Kyiv=[(SENTINEL, 120)], Europe__Uzhgorod=[(SENTINEL, 60)])
    assert kyiv.offset_at("Europe/Kiev", 0) == 120
    with pytest.raises(ArrivalError, match="Europe/Oslo"):
        calcutta.steps("Europe/Oslo")
    assert np.array_equal(calcutta.steps("Asia/Kolkata")[1], calcutta.steps("Asia/Calcutta")[1])
