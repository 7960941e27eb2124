"""Imported worlds: the same from any form of the same tables, expanded as the reference expands them, validated."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.config import resolve_policy
from arrival_engine.contracts import ArrivalError, Code, check_document, conform, dataset, datasets
from arrival_engine.engine.importing import ImportRequest, import_world
from arrival_engine.engine.importing.example import write_example
from arrival_engine.engine.run.job import RunOptions, run
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation.job import validate
from tests.support import reference
from tests.support.compare import assert_same_rows
from tests.support.importing import (
    BIG,
    HYBRID_SHOP,
    ONLINE,
    SHOPS,
    Count,
    Form,
    Member,
    Tables,
    Virtual,
    contents,
    imported,
    reference_world,
    small_tables,
    write_tables,
)
from tests.support.paths import ROOT
from tests.support.product import arrivals_of, assert_same_accounting, planned
from tests.support.worlds import instant_us


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small tables as a world, sealed."""
    root = tmp_path_factory.mktemp("import") / "world"
    result = imported(small_tables(), root)
    return root, result


def universe_hash(root):
    (path,) = root.rglob("edge_universe_hash_3B.json")
    return json.loads(path.read_bytes())["universe_hash"]


def assert_expands_like_the_reference(tables, root, result):
    seal(root)
    world = reference_world(tables, result)
    expected = reference.expand(world)
    found = arrivals_of(planned(root, 50), threads=2)
    assert_same_rows(expected.rows, found.table, routing_universe_hash=universe_hash(root))
    assert str(found.ledger.digest) == expected.digest
    assert_same_accounting(expected, found.ledger)
    assert len(expected.rows) == result.arrivals
    return expected


# --- The world as a whole -----------------------------------------------------------------------------


def test_every_dataset_conforms_and_carries_the_identity(small):
    root, result = small
    tokens = result.identity.tokens(scenario_id=result.scenario_id)
    absent = []
    for entry in datasets():
        if not entry.sealed or entry.role not in ("dataset", "policy"):
            continue
        files = [root / entry.path] if entry.role == "policy" else entry.files(root, tokens)
        if not files or not all(path.is_file() for path in files):
            absent.append(entry.id)
            continue
        if entry.role == "policy":
            assert resolve_policy(entry.id, run_root=root).origin == "run"
        elif entry.format == "parquet":
            for path in files:
                conform(entry.id, pq.read_table(path, partitioning=None), where=path.name)
        elif entry.format == "json":
            (path,) = files
            check_document(entry.schema, json.loads(path.read_bytes()), code=Code.SCHEMA_VIOLATION, where=entry.id)
    # What no table of a user's says: coordinates, intensities, groups, day effects, allocation.
    assert absent == [
        "s1_grouping_5B",
        "s2_realised_intensity_5B",
        "site_locations",
        "s3_day_effects",
        "zone_alloc",
        "zone_alloc_universe_hash",
    ]


def test_the_result_says_what_the_tables_hold(small):
    _, result = small
    tables = small_tables()
    assert result.arrivals == sum(row.count for row in tables.counts)
    assert (result.merchants, result.hybrid_merchants, result.virtual_merchants) == (4, 1, 1)
    assert (result.sites, result.edges, result.tzids) == (7, 5, 9)
    assert (result.buckets, result.bucket_seconds) == (9, 3600)
    assert (result.start_utc, result.end_utc) == ("2026-03-28T22:00:00Z", "2026-03-29T07:00:00Z")
    assert (result.input_rows, result.zero_rows, result.merged_rows) == (48, 3, 0)
    assert result.count_rows == 45
    assert result.virtual_share == pytest.approx((72 + 0.35 * 96) / result.arrivals)
    assert not result.reused


def test_the_small_tables_expand_as_the_reference_expands_them(tmp_path):
    tables = small_tables()
    result = imported(tables, tmp_path / "world")
    expected = assert_expands_like_the_reference(tables, tmp_path / "world", result)
    of = {merchant: [row for row in expected.rows if row.merchant_id == merchant] for merchant in (SHOPS, ONLINE, BIG)}
    # Arrivals keep to their count rows' zones, across the clock change, which the London and Berlin nights have.
    assert all(row.tzid_primary == row.zone_representation for row in of[SHOPS])
    assert {row.is_virtual for row in of[ONLINE]} == {True}
    assert {row.is_virtual for row in expected.rows if row.merchant_id == HYBRID_SHOP} == {True, False}
    offsets = {row.ts_local_primary - row.ts_utc for row in of[SHOPS] if row.tzid_primary == "Europe/Berlin"}
    assert offsets == {3600 * 10**6, 7200 * 10**6}


# --- The same tables, the same world ---------------------------------------------------------------


FORMS = (
    Form(shuffle=1),
    Form(files=3),
    Form("parquet"),
    Form("parquet", shuffle=2, files=2),
    Form(by_index=True),
    Form("parquet", by_index=True),
)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_order_files_and_formats_do_not_matter(small, tmp_path, form):
    root, result = small
    again = imported(small_tables(), tmp_path / "world", form)
    assert again.identity == result.identity
    # `small` may be sealed by now, which adds files.
    written = contents(tmp_path / "world")
    assert written == {path: data for path, data in contents(root).items() if path in written}


def test_repeated_rows_add_up_and_zeros_do_not_matter(small, tmp_path):
    _, result = small
    tables = small_tables()
    split = []
    for row in tables.counts:
        if row.count > 1:
            split += [row._replace(count=1), row._replace(count=row.count - 1)]
        elif row.count:
            split.append(row)
    again = imported(replace(tables, counts=tuple(split)), tmp_path / "world")
    assert again.identity == result.identity
    assert again.merged_rows == sum(row.count > 1 for row in tables.counts)
    assert again.zero_rows == 0
    assert [notice.code for notice in again.notices] == ["COUNT_ROWS_MERGED"]


def test_sites_and_edges_without_numbers_are_numbered_by_what_they_are(tmp_path):
    tables = small_tables()
    identities = set()
    for name, rows in (("a", tables.sites), ("b", tables.sites[::-1])):
        files = write_tables(tables, tmp_path / name)
        for path, members in ((files["sites"][0], rows), (files["edges"][0], tables.edges)):
            lines = [f"{m.merchant_id},{m.tz},{m.country},{m.weight}" for m in members]
            path.write_text("\n".join(["merchant_id,tz,country,weight", *lines]) + "\n")
        identities.add(import_world(ImportRequest(tmp_path / f"world-{name}", **files)).identity)
    assert len(identities) == 1
    (path,) = (tmp_path / "world-a").rglob("s1_site_weights/**/part-*.parquet")
    table = pq.read_table(path, partitioning=None)
    keys = zip(*(table[name].to_pylist() for name in ("merchant_id", "legal_country_iso", "site_order")), strict=True)
    assert [key for key in keys if key[0] == SHOPS] == [
        (SHOPS, "AT", 1),
        (SHOPS, "DE", 1),
        (SHOPS, "DE", 2),
        (SHOPS, "US", 1),
    ]


CHANGES = {
    "count": lambda t: {"counts": (t.counts[0]._replace(count=8), *t.counts[1:])},
    "channel": lambda t: {"counts": (t.counts[0]._replace(channel="cash"), *t.counts[1:])},
    "bucket": lambda t: {"counts": (t.counts[0]._replace(bucket=8), *t.counts[1:])},
    "grid": lambda _: {"buckets": 10},
    "weight": lambda t: {"sites": (t.sites[0]._replace(weight=3.5), *t.sites[1:])},
    "country": lambda t: {"sites": (t.sites[0]._replace(country="CH"), *t.sites[1:])},
    "order": lambda t: {"sites": (t.sites[0]._replace(order=4), *t.sites[1:])},
    "mode": lambda t: {"virtual": (t.virtual[0]._replace(mode="VIRTUAL_ONLY"), *t.virtual[1:])},
    "settlement": lambda t: {"virtual": (t.virtual[0]._replace(settlement_tz=""), *t.virtual[1:])},
    "edge": lambda t: {"edges": (t.edges[0]._replace(weight=4.0), *t.edges[1:])},
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_contents_are_another_world(small, tmp_path, change):
    _, result = small
    tables = small_tables()
    other = imported(replace(tables, **CHANGES[change](tables)), tmp_path / "world")
    assert other.identity.manifest_fingerprint != result.identity.manifest_fingerprint


def test_seed_and_scenario_are_identity_and_no_content(small, tmp_path):
    _, result = small
    other = imported(replace(small_tables(), seed=2**64 - 1), tmp_path / "world", scenario_id="höchste Last")
    assert other.identity.manifest_fingerprint == result.identity.manifest_fingerprint
    assert other.identity.run_id != result.identity.run_id
    run_result = sealed_run(tmp_path / "world")
    assert [scenario.scenario_id for scenario in run_result.scenarios] == ["höchste Last"]


def sealed_run(root):
    seal(root)
    return run(root, RunOptions(backend="cpu", threads=2))


# --- Any valid tables -----------------------------------------------------------------------------


ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")
WEIGHTS = st.one_of(st.sampled_from((0.0, 1.0, 1e-9, 7.25)), st.floats(0.0, 1e6, allow_subnormal=False))


@st.composite
def any_tables(draw):
    """A few merchants of any mode over a clock change; each has what its mode needs."""
    ids = draw(st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=3, unique=True))
    buckets = draw(st.integers(1, 6))
    counts, sites, virtual, edges = [], [], [], []
    for merchant in ids:
        mode = draw(st.sampled_from(("", "NON_VIRTUAL", "HYBRID", "VIRTUAL_ONLY")))
        if mode:
            settled = draw(st.sampled_from(("", *ZONES))) if mode != "NON_VIRTUAL" else ""
            virtual.append(Virtual(merchant, mode, settled))
        for kind, wanted in ((sites, mode != "VIRTUAL_ONLY"), (edges, mode in ("HYBRID", "VIRTUAL_ONLY"))):
            weights = draw(st.lists(WEIGHTS, min_size=1, max_size=4).filter(lambda ws: sum(ws) > 1e-3))
            if wanted or (kind is sites and draw(st.booleans())):
                kind += [
                    Member(merchant, draw(st.sampled_from(ZONES)), draw(st.sampled_from(("DE", "US"))), order, weight)
                    for order, weight in enumerate(weights, 1)
                ]
        counts += draw(
            st.lists(
                st.builds(
                    Count,
                    st.just(merchant),
                    st.sampled_from(ZONES),
                    st.sampled_from(("", "web", 'Bär, "groß"')),
                    st.integers(0, buckets - 1),
                    st.integers(0, 9),
                ),
                max_size=6,
            )
        )
    if not sites:
        sites.append(Member(ids[0], ZONES[0], "DE", 1, 1.0))
    if not any(row.count for row in counts):
        counts.append(Count(ids[0], ZONES[0], "", 0, 1))
    start = draw(st.sampled_from(("2026-03-29T00:00:00Z", "2026-04-04T13:30:00Z")))
    return Tables(start, buckets, tuple(counts), tuple(sites), tuple(virtual), tuple(edges), draw(st.integers(0, 99)))


@settings(max_examples=12)
@given(any_tables(), st.sampled_from(("csv", "parquet")), st.integers(1, 2**32))
def test_any_valid_tables_import_and_expand_and_shuffled_rows_are_the_same_world(tables, kind, shuffle):
    folder = Path(tempfile.mkdtemp(prefix="arrivals-import-"))
    try:
        result = imported(tables, folder / "a")
        again = imported(tables, folder / "b", Form(kind, shuffle))
        assert contents(folder / "a") == contents(folder / "b")
        assert again.identity == result.identity
        assert_expands_like_the_reference(tables, folder / "a", result)
    finally:
        shutil.rmtree(folder)


# --- Zones by group weights, and other grids -----------------------------------------------------------


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


# --- Where it goes, and what comes of it -----------------------------------------------------------------


def test_the_same_world_is_left_alone_and_anything_else_refused(tmp_path):
    tables = small_tables()
    root = tmp_path / "world"
    imported(tables, root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "import.lock"}
    again = imported(tables, root, Form("parquet", shuffle=3))
    assert again.reused
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "import.lock"}
    with pytest.raises(ArrivalError, match="holds another run") as caught:
        imported(replace(tables, seed=7), root)
    assert caught.value.code == Code.IO_WRITE_CONFLICT
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ArrivalError, match=r"notes\.txt"):
        imported(tables, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_the_example_runs_and_validates(tmp_path):
    example = write_example(tmp_path / "coffee")
    assert sum(path.stat().st_size for path in example.files) < 100_000
    files = {option.removeprefix("--").replace("-", "_"): [path] for option, path in example.options.items()}
    result = import_world(ImportRequest(tmp_path / "world", **files))
    assert (result.hybrid_merchants, result.virtual_merchants, result.notices) == (1, 1, ())
    (scenario,) = sealed_run(tmp_path / "world").scenarios
    assert scenario.arrivals == result.arrivals
    assert not any(scenario.fallbacks.values())
    report = validate(tmp_path / "world")
    assert report.passed
    # The opening hour moves by one UTC hour with the clock, on 29 March in Berlin.
    counts = pq.read_table(
        dataset("s3_bucket_counts_5B").locate(
            tmp_path / "world", result.identity.tokens(scenario_id=result.scenario_id)
        ),
        partitioning=None,
    ).to_pylist()
    first = {}
    for row in counts:
        if row["zone_representation"] == "Europe/Berlin":
            day = row["bucket_index"] // 24
            first[day] = min(first.get(day, 99), row["bucket_index"] % 24)
    assert list(first.values()) == [6] * 5 + [5] * 5


def test_example_tables_are_never_written_over_others(tmp_path):
    first = write_example(tmp_path / "coffee")
    assert write_example(tmp_path / "coffee") == first
    (tmp_path / "coffee" / "sites.csv").write_text("mine")
    (tmp_path / "coffee" / "counts.csv").unlink()
    with pytest.raises(ArrivalError, match=r"sites\.csv is there already") as caught:
        write_example(tmp_path / "coffee")
    assert caught.value.code == Code.IO_WRITE_CONFLICT
    assert not (tmp_path / "coffee" / "counts.csv").exists()


def test_the_example_is_what_its_script_writes(tmp_path):
    import runpy

    root = ROOT
    script = runpy.run_path(str(root / "examples" / "make_coffee.py"))
    script["main"](tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    packaged = {path.name: path.read_bytes() for path in (root / "engine/importing/example").glob("*.csv")}
    assert written == packaged


def test_instants_of_the_support_are_the_products(small):
    # The helpers write times by the standard library; the grid that came of them is the one that was meant.
    root, _ = small
    (path,) = root.rglob("s1_time_grid_5B.parquet")
    starts = pq.read_table(path, partitioning=None)["bucket_start_utc"].to_pylist()
    first = instant_us(small_tables().start)
    assert [instant_us(text) for text in starts] == [first + 3600 * 10**6 * bucket for bucket in range(9)]
