"""Tables that name one zone by several names, and what the summary says about the sites of physical arrivals."""

from __future__ import annotations

import csv
import json

import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.importing.routes import PhysicalRoutes
from tests.support.imported import assert_expands_like_the_reference
from tests.support.importing import HYBRID_SHOP, SHOPS, Count, Member, Tables, Virtual, imported, small_tables
from tests.support.named_twice import BERLIN, CALCUTTA, COLOMBO, KOLKATA, NEW_YORK, OSLO

INDIA, NORWAY = 11, 12
_OWN = "60 to a site in the zone of their count row"
START = "2026-03-28T22:00:00Z"


def tables(*counts, sites, virtual=(), edges=()):
    return Tables(START, 2, counts=counts, sites=sites, virtual=virtual, edges=edges)


def indian(**more):
    return tables(
        Count(INDIA, CALCUTTA, "card", 0, 60),
        Count(NORWAY, OSLO, "", 1, 30),
        sites=(
            Member(INDIA, KOLKATA, "IN", 1, 1.0),
            Member(INDIA, COLOMBO, "LK", 1, 1.0),
            Member(NORWAY, BERLIN, "DE", 1, 1.0),
        ),
        **more,
    )


def test_counts_and_sites_under_different_names_of_one_zone(tmp_path):
    result = imported(indian(), tmp_path / "world")
    names, homeless = result.notices
    assert (names.code, names.context) == ("ONE_ZONE_SEVERAL_NAMES", {"tzids": [CALCUTTA, KOLKATA]})
    assert names.message.startswith(f"{CALCUTTA} and {KOLKATA} are names of one zone")
    # Oslo has Berlin's clock, but is another zone.
    assert (homeless.code, homeless.context) == ("NO_SITE_IN_ZONE", {"arrivals": 30})
    assert result.physical == PhysicalRoutes(own_zone=60, any_site=30, drawn_zone=0, drawn_without_site=0.0, hybrid=0)
    expected = assert_expands_like_the_reference(indian(), tmp_path / "world", result)
    assert {(row.zone_representation, row.tzid_primary) for row in expected.rows} == {
        (CALCUTTA, KOLKATA),
        (OSLO, BERLIN),
    }


def test_sites_under_both_names_are_drawn_by_their_own_weights(tmp_path):
    both = indian()
    more = Tables(**{**vars(both), "sites": (*both.sites, Member(INDIA, CALCUTTA, "IN", 2, 3.0))})
    result = imported(more, tmp_path / "world", zones="weights")
    (path,) = (tmp_path / "world").rglob("s4_group_weights/**/part-*.parquet")
    rows = pq.read_table(path, partitioning=None).to_pylist()
    shares = {row["tz_group_id"]: row["p_group"] for row in rows if row["merchant_id"] == INDIA}
    assert shares == {CALCUTTA: 0.6, KOLKATA: 0.2, COLOMBO: 0.2}
    assert result.physical == PhysicalRoutes(own_zone=0, any_site=0, drawn_zone=90, drawn_without_site=0.0, hybrid=0)


def weights(folder, *rows):
    path = folder / "groups.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("merchant_id", "tz", "weight"), *rows])
    return [path]


def test_one_zone_has_one_group_weight(tmp_path):
    given = weights(tmp_path, (INDIA, CALCUTTA, 1), (INDIA, KOLKATA, 2))
    with pytest.raises(
        ArrivalError, match="merchant 11 has Asia/Calcutta and Asia/Kolkata, two names of one zone"
    ) as caught:
        imported(indian(), tmp_path / "world", group_weights=given)
    assert (caught.value.code, caught.value.context["line"]) == (Code.SITE_RESOLUTION_FAILED, 3)


def test_arrivals_expected_in_drawn_zones_without_a_site(tmp_path):
    given = weights(tmp_path, (SHOPS, "Europe/Berlin", 1), (SHOPS, OSLO, 3), (HYBRID_SHOP, "Asia/Tokyo", 1))
    result = imported(small_tables(), tmp_path / "world", group_weights=given)
    shops = sum(row.count for row in small_tables().counts if row.merchant_id == SHOPS)
    hybrid = sum(row.count for row in small_tables().counts if row.merchant_id == HYBRID_SHOP)
    assert (shops, hybrid) == (115, 96)
    assert (result.physical.drawn_zone, result.physical.hybrid) == (115 + 96 + 16, 96)
    # Three quarters of one merchant's, and all of the other's that its coin of 0.35 leaves physical.
    assert result.physical.drawn_without_site == pytest.approx(115 * 0.75 + 96 * 0.65)


def test_a_hybrid_merchant_without_a_site_in_its_zone(tmp_path):
    given = tables(
        Count(INDIA, NEW_YORK, "", 0, 40),
        Count(INDIA, KOLKATA, "", 0, 5),
        sites=(Member(INDIA, CALCUTTA, "IN", 1, 1.0),),
        virtual=(Virtual(INDIA, "HYBRID", ""),),
        edges=(Member(INDIA, KOLKATA, "IN", 1, 1.0),),
    )
    result = imported(given, tmp_path / "world")
    assert result.physical == PhysicalRoutes(own_zone=5, any_site=40, drawn_zone=0, drawn_without_site=0.0, hybrid=45)
    assert_expands_like_the_reference(given, tmp_path / "world", result)


def test_coordinates_are_those_of_the_zone_by_any_name(tmp_path):
    given = tables(
        Count(INDIA, KOLKATA, "", 0, 5),
        sites=(),
        virtual=(Virtual(INDIA, "VIRTUAL_ONLY", CALCUTTA),),
        edges=(Member(INDIA, CALCUTTA, "IN", 1, 1.0), Member(INDIA, KOLKATA, "IN", 2, 1.0)),
    )
    given = Tables(**{**vars(given), "sites": (Member(NORWAY, OSLO, "NO", 1, 1.0),)})
    imported(given, tmp_path / "world")
    places = set()
    for name in ("edge_catalogue_3B", "virtual_settlement_3B"):
        for path in (tmp_path / "world").rglob("*.parquet"):
            if name.removesuffix("_3B") in str(path) and "index" not in path.name:
                places |= {
                    (row["lat_deg"], row["lon_deg"]) for row in pq.read_table(path, partitioning=None).to_pylist()
                }
    assert places == {(22.533333, 88.366667)}


@pytest.mark.parametrize(
    ("zones", "says"),
    [
        (
            "counts",
            f"{_OWN}; 30 to any site of their merchant, which has none in the zone of the count row",
        ),
        ("weights", "90 to a site in a zone drawn by group weights"),
    ],
)
def test_the_summary_says_what_decides_the_sites(zones, says, tmp_path, capsys):
    imported(indian(), tmp_path / "world", zones=zones)
    folder = tmp_path / "world-tables"
    times = ("--start", START, "--end", "2026-03-29T00:00:00Z", "--bucket", "1h", "--zones", zones)
    files = ("--counts", str(folder / "counts-0.csv"), "--sites", str(folder / "sites-0.csv"))
    assert main(["import", str(tmp_path / "world"), *files, *times]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"physical {says} virtual" in shown
    assert main(["import", str(tmp_path / "world"), *files, *times, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["physical"]["own_zone"] == (60 if zones == "counts" else 0)
