"""Names of zones in tables: former names, clocks without a place, and names of other programs."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from arrival_engine.contracts.zone_names import same_zone, zone_of_name
from arrival_engine.engine.importing import import_world
from arrival_engine.engine.importing.foreign_zones import CLOCKS, of_abbreviation, of_offset, of_windows
from arrival_engine.engine.importing.zone_texts import tzid
from arrival_engine.engine.tz.pinned import known_tzids
from tests.support.import_refused import ZONE_BAD, refused, request_of

ROWS = "merchant_id,tz,bucket_start,count\n1,{tz},2026-03-29T01:00:00Z,3\n"
SITES = "merchant_id,tz,country,weight\n1,{tz},DE,1\n"


def world_of(folder, zone, site, **options):
    folder.mkdir(exist_ok=True)
    return import_world(request_of(folder, {"counts": ROWS.format(tz=zone), "sites": SITES.format(tz=site)}, **options))


def notices(result):
    return {notice.code: notice for notice in result.notices}


def test_former_names_stay_unless_they_are_to_be_replaced(tmp_path):
    kept = world_of(tmp_path / "kept", "US/Eastern", "US/Eastern")
    (notice,) = kept.notices
    assert (notice.code, notice.context) == ("FORMER_ZONE_NAMES", {"former": {"US/Eastern": "America/New_York"}})
    assert "--accept-links" in notice.message
    replaced = world_of(tmp_path / "replaced", "US/Eastern", "US/Eastern", accept_links=True)
    (notice,) = replaced.notices
    assert (notice.code, notice.context) == ("ZONE_NAMES_REPLACED", {"replaced": {"US/Eastern": "America/New_York"}})
    current = world_of(tmp_path / "current", "America/New_York", "America/New_York")
    assert current.notices == ()
    assert replaced.identity == current.identity != kept.identity


def test_names_of_one_zone_have_one_notice(tmp_path):
    result = world_of(tmp_path / "both", "Asia/Calcutta", "Asia/Kolkata")
    assert notices(result).keys() == {"ONE_ZONE_SEVERAL_NAMES"}
    result = world_of(tmp_path / "one", "Asia/Calcutta", "Asia/Kolkata", accept_links=True)
    assert notices(result).keys() == {"ZONE_NAMES_REPLACED"}
    assert result.tzids == 1


def test_utc_is_as_usual_a_name_as_the_current_one(tmp_path):
    assert world_of(tmp_path / "kept", "UTC", "UTC").notices == ()
    replaced = notices(world_of(tmp_path / "replaced", "UTC", "UTC", accept_links=True))["ZONE_NAMES_REPLACED"]
    assert replaced.context == {"replaced": {"UTC": "Etc/UTC"}}


def test_a_link_that_is_the_zone_of_a_country_is_not_replaced(tmp_path):
    assert world_of(tmp_path / "oslo", "Europe/Oslo", "Europe/Oslo", accept_links=True).notices == ()


@pytest.mark.parametrize("accept_links", [False, True])
def test_clocks_without_a_place_are_told(tmp_path, accept_links):
    (notice,) = world_of(tmp_path / "clock", "EST", "EST", accept_links=accept_links).notices
    assert (notice.code, notice.context) == ("CLOCKS_FOR_ZONES", {"clocks": {"EST": "America/New_York"}})
    assert "EST and MST have no summer time" in notice.message


NAMES = {
    "W. Europe Standard Time": "Europe/Berlin",
    "w. europe daylight time": "Europe/Berlin",
    "Eastern Standard Time": "America/New_York",
    "Central Standard Time (Mexico)": "America/Mexico_City",
    "India Standard Time": "Asia/Kolkata",
    "Russia Time Zone 3": "Europe/Samara",
    "PST": "America/Los_Angeles",
    "CEST": "Europe/Berlin",
    "UTC+1": "Etc/GMT-1",
    "GMT-05:00": "Etc/GMT+5",
    "+0200": "Etc/GMT-2",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_another_program_is_refused_with_one_that_is_read(tmp_path, name):
    tables = {"counts": ROWS.format(tz=name), "sites": SITES.format(tz="Europe/Berlin")}
    error = refused(request_of(tmp_path, tables), ZONE_BAD, f"line 2: tz {name!r} is not a time zone of tzdata")
    proposed = [word for word in re.findall(r"[A-Z][\w+/-]+[\w+]", error.hint) if word in known_tzids()]
    assert NAMES[name] in proposed
    assert world_of(tmp_path / "again", NAMES[name], "Europe/Berlin").arrivals == 3


@pytest.mark.parametrize("name", ["GMT+5:30", "+99:00", "UTC+15"])
def test_an_offset_without_a_clock_of_its_own(tmp_path, name):
    tables = {"counts": ROWS.format(tz=name), "sites": SITES.format(tz="Europe/Berlin")}
    error = refused(request_of(tmp_path, tables), ZONE_BAD, "an offset is not a zone", "such as Europe/Berlin")
    assert "Etc/" not in error.hint


def test_every_proposed_zone_is_the_current_name_of_one():
    from arrival_engine.engine.importing import foreign_zones

    proposed = [*foreign_zones._windows().values(), *CLOCKS.values(), *sum(foreign_zones._ABBREVIATIONS.values(), ())]
    for zone in proposed:
        assert tzid(zone) == same_zone(zone) == zone
    assert set(CLOCKS) <= set(known_tzids())
    assert not set(CLOCKS) & zone_of_name().keys()
    assert not [name for name in foreign_zones._ABBREVIATIONS if name in known_tzids()]
    assert len(foreign_zones._windows()) == 135


def test_texts_of_no_other_program():
    assert (of_windows("Europe/Berlin"), of_abbreviation("Berlin"), of_offset("Berlin")) == ("", (), None)


def test_links_of_tzdata_are_what_the_law_says_they_are():
    """Every name that is replaced is a link of tzdata, or of the place's own zone."""
    text = resources.files("tzdata").joinpath("zoneinfo", "tzdata.zi").read_text("utf-8")
    links = {line.split()[2] for line in text.splitlines() if line.startswith("L ")}
    assert set(zone_of_name()) <= links | {"Etc/UCT"}
