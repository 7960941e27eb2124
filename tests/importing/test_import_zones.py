"""Zones by given weights or by the sites' own, and grids of other lengths."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from arrival_engine import load_world
from arrival_engine.config import resolve_policy
from arrival_engine.engine.importing import ImportRequest, import_world
from arrival_engine.engine.sealing import seal
from tests.support.imported import sealed_run
from tests.support.importing import (
    BIG,
    SHOPS,
    imported,
    small_tables,
    write_tables,
)
from tests.support.product import arrivals_of, planned


def group_rows(root):
    (path,) = root.rglob("s4_group_weights/**/part-*.parquet")
    table = pq.read_table(path, partitioning=None)
    names = ("merchant_id", "utc_day", "tz_group_id", "p_group")
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def test_group_weights_are_the_sites_constant_shares(small):
    root, _ = small
    rows = group_rows(root)
    assert {day for _, day, _, _ in rows} == {"2026-03-28", "2026-03-29"}
    for day in ("2026-03-28", "2026-03-29"):
        mine = {tz: share for merchant, on, tz, share in rows if (merchant, on) == (SHOPS, day)}
        assert mine == pytest.approx({"America/New_York": 2.0 / 6.8, "Europe/Berlin": 4.8 / 6.8})
    assert not resolve_policy("arrival_routing_policy_5B", run_root=root).document["physical_router"][
        "use_group_weights"
    ]


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_group_weights_are_written_in_pieces_of_merchants(small, tmp_path, monkeypatch, rows):
    monkeypatch.setattr("arrival_engine.engine.importing.derived._PIECE_ROWS", rows)
    result = imported(small_tables(), tmp_path / "world")
    root, whole = small
    assert result.identity == whole.identity
    assert group_rows(tmp_path / "world") == group_rows(root)
    (path,) = (tmp_path / "world").rglob("s4_group_weights/**/part-*.parquet")
    assert pq.ParquetFile(path).num_row_groups > 1


@pytest.mark.parametrize("zones", ["counts", "weights"])
def test_group_weights_are_read_only_where_zones_are_drawn_by_them(tmp_path, zones):
    imported(small_tables(), tmp_path / "world", zones=zones)
    seal(tmp_path / "world")
    assert (load_world(tmp_path / "world").tables.groups.day.size > 0) is (zones == "weights")


def test_zones_by_given_weights(tmp_path):
    tables = small_tables()
    weights = tmp_path / "groups.csv"
    weights.write_text(f"merchant_id,tz,weight\n{SHOPS},Europe/Berlin,0\n{SHOPS},America/New_York,4\n")
    result = imported(tables, tmp_path / "world", group_weights=[weights])
    assert result.zones == "weights"
    rows = {(m, tz): share for m, _, tz, share in group_rows(tmp_path / "world")}
    assert rows[SHOPS, "America/New_York"] == 1.0
    assert rows[SHOPS, "Europe/Berlin"] == 0.0
    assert rows[BIG, "Asia/Kathmandu"] == 1.0
    seal(tmp_path / "world")
    found = arrivals_of(planned(tmp_path / "world")).table.to_pylist()
    assert {row["tzid_primary"] for row in found if row["merchant_id"] == SHOPS} == {"America/New_York"}


def test_zones_by_the_sites_own_weights(tmp_path):
    result = imported(small_tables(), tmp_path / "world", zones="weights")
    assert result.zones == "weights"
    seal(tmp_path / "world")
    found = [row for row in arrivals_of(planned(tmp_path / "world")).table.to_pylist() if row["merchant_id"] == SHOPS]
    away = sum(row["tzid_primary"] != row["zone_representation"] for row in found)
    # 105 Berlin arrivals, 30 % of the weight in New York: being this far off has a chance below one in a million.
    assert 10 <= away <= 60


@pytest.mark.parametrize(
    ("options", "buckets"),
    [
        ({"bucket": "15min"}, [900] * 29),
        ({"bucket": "1800"}, [1800] * 15),
        ({"start": "2026-03-28T20:00:00Z", "end": "2026-03-29T08:00+02:00", "bucket": "2h"}, [7200] * 5),
    ],
)
def test_grids_of_other_lengths(tmp_path, options, buckets):
    tables = replace(small_tables(), counts=tuple(row for row in small_tables().counts if row.bucket % 2 == 0))
    files = write_tables(tables, tmp_path / "tables")
    if options["bucket"] != "2h":
        options = {"end": "2026-03-29T05:15:00Z" if options["bucket"] == "15min" else "2026-03-29T05:30:00Z", **options}
    result = import_world(ImportRequest(tmp_path / "world", **files, **options))
    (path,) = (tmp_path / "world").rglob("s1_time_grid_5B.parquet")
    grid = pq.read_table(path, partitioning=None)
    assert grid["bucket_duration_seconds"].to_pylist() == buckets
    assert result.buckets == len(buckets)


def test_an_irregular_grid(tmp_path):
    files = write_tables(small_tables(), tmp_path / "tables")
    grid = tmp_path / "grid.csv"
    grid.write_text(
        "bucket_start,bucket_end\n2026-03-28T23:00Z,2026-03-29T06:00Z\n2026-03-28T22:00Z,2026-03-28T23:00:00Z\n"
    )
    counts = files["counts"][0]
    kept = [line for line in counts.read_text().splitlines() if "T2" in line or "merchant" in line]
    counts.write_text("\n".join(kept) + "\n")
    result = import_world(ImportRequest(tmp_path / "world", **files, grid=[grid]))
    assert (result.buckets, result.bucket_seconds) == (2, None)
    assert sealed_run(tmp_path / "world").scenarios[0].arrivals == result.arrivals


def test_times_of_any_offset_and_form_are_the_same_instants(tmp_path):
    texts = (
        "2026-03-29T01:00:00Z",
        "2026-03-29 03:00+02:00",
        "2026-03-28T20:00:00.000000-0500",
        "2026-03-29T02:00:00+01",
    )
    identities = set()
    for number, text in enumerate((*texts, "2026-03-29T01:00")):
        (tmp_path / "counts.csv").write_text(f"merchant_id,tz,bucket_start,count\n1,Europe/Berlin,{text},3\n")
        (tmp_path / "sites.csv").write_text("merchant_id,tz,weight,country\n1,Europe/Berlin,1,DE\n")
        request = ImportRequest(
            tmp_path / f"world-{number}", [tmp_path / "counts.csv"], [tmp_path / "sites.csv"], assume_utc=number == 4
        )
        identities.add(import_world(request).identity)
    assert len(identities) == 1
