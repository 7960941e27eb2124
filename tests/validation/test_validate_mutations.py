"""Every check of `arrivals validate` catches the damage it is for, and as a rule that damage alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import Code
from arrival_engine.contracts.dictionary import dataset
from arrival_engine.engine.validation.rules import RULES
from tests.support import damage
from tests.support.law import edge_id, site_id
from tests.support.validating import (
    EVENTS,
    HOUR_US,
    SCENARIO,
    Arrivals,
    Row,
    arrivals_of,
    bounds_of,
    broken,
    command,
    copied,
    edit_lines,
    edit_parts,
    edit_run_line,
    local_us,
    log_path,
    moved,
    proven_run,
    report_path,
    rezoned,
    validated,
)
from tests.support.worlds import (
    BERLIN,
    BERLIN_GAP,
    BIG_ID,
    CASABLANCA,
    HALF,
    KATHMANDU,
    NEW_YORK,
    ONE_SLOT,
    PARIS,
    SYDNEY,
    TWO_ZONES,
    VIRTUAL,
    small_world,
)

Damage = Callable[[Path], None]
RowDamage = Callable[[Arrivals], None]
# What follows from arrivals that are not those of the run any more, in number or in kind.
NUMBER = {"counts", "summary", "run_report", "arrival_digest"}


@dataclass(frozen=True)
class Mutation:
    """A damage and exactly the checks that must fail; `also` are those that may, `ample` needs the larger run."""

    name: str
    damage: Damage
    fails: frozenset[str]
    also: frozenset[str]
    ample: bool


MUTATIONS: list[Mutation] = []


def mutation(*fails: str, also: Collection[str] = (), ample: bool = False) -> Callable[[Damage], Damage]:
    """Register a damage of the run directory."""

    def register(function: Damage) -> Damage:
        MUTATIONS.append(Mutation(function.__name__, function, frozenset(fails), frozenset(also), ample))
        return function

    return register


def rows(*fails: str, also: Collection[str] = (), ample: bool = False) -> Callable[[RowDamage], RowDamage]:
    """Register a damage of the rows of the arrivals."""

    def register(function: RowDamage) -> RowDamage:
        @wraps(function)
        def apply(run_root: Path) -> None:
            with arrivals_of(run_root) as arrivals:
                function(arrivals)

        mutation(*fails, also=also, ample=ample)(apply)
        return function

    return register


def physical(merchant: int, tzid: str | None = None) -> Callable[[Row], bool]:
    return lambda row: row["merchant_id"] == merchant and not row["is_virtual"] and tzid in (None, row["tzid_primary"])


def virtual(merchant: int, tzid: str | None = None) -> Callable[[Row], bool]:
    return lambda row: row["merchant_id"] == merchant and row["is_virtual"] and tzid in (None, row["tzid_primary"])


def edge_in(merchant: int, arrivals: Arrivals, tzid: str) -> int:
    """Some edge of the merchant in a zone, as the arrivals have it."""
    return int(arrivals.first(virtual(merchant, tzid))["edge_id"])


# --- Rows: how many, in which order, under which key ------------------------------------------------


@rows(*NUMBER, "primary_key")
def a_row_is_gone(arrivals: Arrivals) -> None:
    row = arrivals.first(physical(TWO_ZONES), skip=700)
    arrivals.part_of(row).remove(row)


@rows(*NUMBER, "rng_draws")
def the_last_row_is_gone(arrivals: Arrivals) -> None:
    # Nothing follows it, so no gap is left in the sequence; only the count rows know of it.
    arrivals.rows[-1].pop()


@rows(*NUMBER, "primary_key", "order")
def a_row_is_there_twice(arrivals: Arrivals) -> None:
    row = arrivals.first(physical(TWO_ZONES), skip=700)
    part = arrivals.part_of(row)
    part.insert(part.index(row), dict(row))


@rows("order")
def two_rows_change_places(arrivals: Arrivals) -> None:
    row = arrivals.first(physical(TWO_ZONES), skip=700)
    part = arrivals.part_of(row)
    at = part.index(row)
    part[at], part[at + 1] = part[at + 1], part[at]


@rows("order", "arrival_digest")
def two_rows_swap_their_sequence_numbers(arrivals: Arrivals) -> None:
    one, other = (arrivals.first(physical(TWO_ZONES), skip=skip) for skip in (700, 701))
    one["arrival_seq"], other["arrival_seq"] = other["arrival_seq"], one["arrival_seq"]


@rows("order")
def two_parts_change_places(arrivals: Arrivals) -> None:
    arrivals.rows[0], arrivals.rows[1] = arrivals.rows[1], arrivals.rows[0]


@rows("primary_key", "arrival_digest", "order")
def a_sequence_number_is_repeated(arrivals: Arrivals) -> None:
    one, other = (arrivals.first(physical(TWO_ZONES), skip=skip) for skip in (700, 701))
    other["arrival_seq"] = one["arrival_seq"]


@rows("counts", "arrival_digest", "summary")
def a_row_moves_to_another_count_row(arrivals: Arrivals) -> None:
    row = arrivals.first(lambda row: row["merchant_id"] == TWO_ZONES and row["zone_representation"] == NEW_YORK)
    row["channel_group"] = "card_not_present"


@rows("counts", "arrival_digest", "summary")
def a_channel_that_no_count_row_has(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES), skip=700)["channel_group"] = "telepathy"


# --- Rows: what stands in them -----------------------------------------------------------------------


@rows("values", "arrival_digest", "site_of_merchant")
def a_site_is_zero(arrivals: Arrivals) -> None:
    arrivals.first(physical(ONE_SLOT))["site_id"] = 0


@mutation("values", "civil_primary", "arrival_digest")
def a_local_time_is_null(run_root: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index("ts_local_primary")
        gone = pc.and_(
            pc.equal(table["merchant_id"], pa.scalar(ONE_SLOT, pa.uint64())), pc.equal(table["arrival_seq"], 3)
        )
        column = pc.if_else(gone, None, table["ts_local_primary"])
        return table.set_column(at, table.schema.field(at).with_nullable(True), column)

    edit_parts(run_root, change)


@rows("identity")
def a_scenario_token_is_another(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES), skip=9)["scenario_id"] = "stress_v1"


@rows("identity")
def a_fingerprint_is_another(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES), skip=9)["manifest_fingerprint"] = "e" * 64


@rows("identity")
def a_parameter_hash_is_another(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES), skip=9)["parameter_hash"] = "e" * 64


@rows("identity")
def a_seed_is_another(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES), skip=9)["seed"] = 43


@rows("identity")
def a_spec_version_is_another(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES), skip=9)["s4_spec_version"] = "9.9.9"


@rows("routing_universe")
def a_universe_hash_is_another(arrivals: Arrivals) -> None:
    arrivals.first(virtual(VIRTUAL), skip=9)["routing_universe_hash"] = "e" * 64


# --- Rows: when --------------------------------------------------------------------------------------


@rows("time_window", "arrival_digest")
def a_timestamp_is_one_microsecond_before_its_bucket(arrivals: Arrivals) -> None:
    row = arrivals.first(physical(ONE_SLOT))
    moved(row, bounds_of(row)[0] - 1)


@rows("time_window", "arrival_digest")
def a_timestamp_is_the_end_of_its_bucket(arrivals: Arrivals) -> None:
    row = arrivals.first(physical(ONE_SLOT), skip=10)
    moved(row, bounds_of(row)[1])


@rows("run_report", "arrival_digest")
def a_timestamp_moves_to_the_start_of_its_bucket(arrivals: Arrivals) -> None:
    row = arrivals.first(physical(ONE_SLOT))
    moved(row, bounds_of(row)[0])


@rows("civil_primary", "one_hour_shift", "arrival_digest")
def a_local_time_is_an_hour_late(arrivals: Arrivals) -> None:
    arrivals.first(physical(ONE_SLOT))["ts_local_primary"] += HOUR_US


@rows("civil_primary", "arrival_digest")
def a_local_time_is_a_microsecond_late(arrivals: Arrivals) -> None:
    arrivals.first(physical(ONE_SLOT))["ts_local_primary"] += 1


@rows("civil_settlement", "one_hour_shift", "arrival_digest")
def a_settlement_time_is_an_hour_early(arrivals: Arrivals) -> None:
    arrivals.first(virtual(VIRTUAL), skip=40)["ts_local_settlement"] -= HOUR_US


@rows("civil_operational")
def an_operational_time_is_a_minute_late(arrivals: Arrivals) -> None:
    arrivals.first(virtual(VIRTUAL), skip=40)["ts_local_operational"] += 60_000_000


@rows("civil_primary", "one_hour_shift", "dst_hours", "arrival_digest", ample=True)
def every_local_time_of_a_zone_stays_on_winter_time(arrivals: Arrivals) -> None:
    for row in arrivals:
        if physical(BIG_ID, CASABLANCA)(row):
            row["ts_local_primary"] -= HOUR_US


@rows("clock_zones")
def an_operational_zone_is_another(arrivals: Arrivals) -> None:
    rezoned(arrivals.first(virtual(VIRTUAL, NEW_YORK), skip=4), "operational", SYDNEY)


@rows("clock_zones", "arrival_digest")
def a_settlement_zone_is_another(arrivals: Arrivals) -> None:
    rezoned(arrivals.first(virtual(VIRTUAL, NEW_YORK), skip=4), "settlement", SYDNEY)


@rows("clock_zones")
def a_physical_row_settles(arrivals: Arrivals) -> None:
    rezoned(arrivals.first(physical(ONE_SLOT)), "settlement", KATHMANDU)


@rows("clock_zones", "civil_settlement", "arrival_digest")
def a_zone_that_does_not_exist(arrivals: Arrivals) -> None:
    arrivals.first(virtual(VIRTUAL), skip=4)["tzid_settlement"] = "Europe/Atlantis"


# --- Rows: where -------------------------------------------------------------------------------------


@rows("site_edge_flag")
def a_row_has_a_site_and_an_edge(arrivals: Arrivals) -> None:
    row = arrivals.first(physical(HALF, PARIS))
    row["edge_id"] = edge_in(HALF, arrivals, PARIS)


@rows("site_edge_flag", "arrival_digest")
def a_row_has_neither_site_nor_edge(arrivals: Arrivals) -> None:
    arrivals.first(physical(ONE_SLOT))["site_id"] = None


@rows("site_edge_flag", "virtual_mode", "clock_zones", "rng_draws", *NUMBER - {"counts"}, also={"alias_rows"})
def a_flag_is_flipped(arrivals: Arrivals) -> None:
    arrivals.first(physical(ONE_SLOT))["is_virtual"] = True


@rows("virtual_mode", "site_of_merchant", "rng_draws", *NUMBER - {"counts"}, also={"alias_rows", "zone_choice"})
def a_virtual_merchant_goes_to_a_shop(arrivals: Arrivals) -> None:
    row = arrivals.first(virtual(VIRTUAL), skip=40)
    shop = arrivals.first(physical(ONE_SLOT))["site_id"]
    row |= {"is_virtual": False, "edge_id": None, "site_id": shop, "tzid_settlement": None, "tzid_operational": None}
    moved(row, row["ts_utc"])


@rows("site_of_merchant", "arrival_digest")
def a_site_is_another_merchants(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES, BERLIN), skip=5)["site_id"] = site_id(BIG_ID, "DE", 9)


@rows("site_of_merchant", "arrival_digest")
def a_site_is_invented(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES, BERLIN), skip=5)["site_id"] = 4711


@rows("site_zone", "arrival_digest")
def a_site_lies_in_another_zone(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES, BERLIN), skip=5)["site_id"] = site_id(TWO_ZONES, "US", 1)


@rows("site_zone", "arrival_digest", also={"zone_choice"})
def a_primary_zone_is_another(arrivals: Arrivals) -> None:
    rezoned(arrivals.first(physical(TWO_ZONES, BERLIN), skip=5), "primary", PARIS)


@rows("zone_choice", "arrival_digest")
def a_zone_was_not_on_offer(arrivals: Arrivals) -> None:
    # That day this merchant has no group weights, so the count row's zone is the only choice.
    row = arrivals.first(lambda row: physical(HALF, PARIS)(row) and row["bucket_index"] == BERLIN_GAP)
    row["site_id"] = site_id(HALF, "NP", 1)
    rezoned(row, "primary", KATHMANDU)


@rows("edge_of_merchant", "arrival_digest")
def an_edge_is_another_merchants(arrivals: Arrivals) -> None:
    arrivals.first(virtual(VIRTUAL, NEW_YORK), skip=4)["edge_id"] = edge_id(HALF, 0)


@rows("edge_zone", "arrival_digest")
def an_edge_lies_in_another_zone(arrivals: Arrivals) -> None:
    arrivals.first(virtual(VIRTUAL, NEW_YORK), skip=4)["edge_id"] = edge_in(VIRTUAL, arrivals, BERLIN)


# --- Files -------------------------------------------------------------------------------------------


def retyped(table: pa.Table, column: str, kind: pa.DataType) -> pa.Table:
    at = table.column_names.index(column)
    return table.set_column(at, pa.field(column, kind), table[column].cast(kind))


@mutation("schema")
def a_column_has_another_type(run_root: Path) -> None:
    edit_parts(run_root, lambda table: retyped(table, "arrival_seq", pa.int32()))


@mutation("schema")
def a_column_is_missing(run_root: Path) -> None:
    edit_parts(run_root, lambda table: table.drop_columns(["edge_id"]))


@mutation("schema")
def a_column_is_too_many(run_root: Path) -> None:
    edit_parts(run_root, lambda table: table.append_column("note", pa.nulls(table.num_rows, pa.string())))


@mutation("schema")
def a_column_has_another_name(run_root: Path) -> None:
    edit_parts(run_root, lambda table: table.rename_columns({"site_id": "shop_id"}))


@mutation("files")
def a_stranger_stands_among_the_parts(run_root: Path) -> None:
    (Arrivals(run_root).paths[0].parent / "notes.txt").write_text("by hand", "ascii")


@mutation("files")
def a_part_has_another_number(run_root: Path) -> None:
    last = Arrivals(run_root).paths[-1]
    last.rename(last.with_name("part-000099.parquet"))


@mutation("files")
def a_part_says_it_is_of_another_seed(run_root: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        return table.replace_schema_metadata({**(table.schema.metadata or {}), b"arrivals.seed": b"43"})

    edit_parts(run_root, change)


# --- What the run says of itself ----------------------------------------------------------------------


@mutation("arrival_digest")
def the_reported_digest_is_forged(run_root: Path) -> None:
    edit_run_line(run_root, arrival_digest=f"12879-{'0' * 32}")


@mutation("run_report")
def a_reported_total_is_edited(run_root: Path) -> None:
    edit_run_line(run_root, n_arrivals_virtual=4140)


@mutation("run_report")
def the_reported_merged_rows_are_edited(run_root: Path) -> None:
    edit_run_line(run_root, count_rows_merged=0)


@mutation("rng_draws")
def reported_words_are_edited(run_root: Path) -> None:
    edit_run_line(run_root, rng_draws_edge=1)


@mutation("sealed_inputs")
def the_run_used_another_seal(run_root: Path) -> None:
    edit_run_line(run_root, sealed_inputs_digest="f" * 64)


@mutation("domain", "arrival_digest", "run_report")
def the_run_report_is_gone(run_root: Path) -> None:
    report_path(run_root).unlink()


@mutation("summary")
def the_summary_says_something_else(run_root: Path) -> None:
    damage.put(run_root, "s4_arrival_summary_5B", "count_virtual", 1)


@mutation("rng_draws", "rng_events")
def traced_draws_are_edited(run_root: Path) -> None:
    def change(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        records[0]["draws_total"] += 1
        return records

    edit_lines(log_path(run_root, "rng_trace_log"), change)


@mutation("rng_draws")
def a_traced_counter_is_edited(run_root: Path) -> None:
    def change(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        records[-1]["rng_counter_after_hi"] ^= 1
        return records

    edit_lines(log_path(run_root, "rng_trace_log"), change)


@mutation("rng_logs", "rng_events")
def a_trace_record_is_gone(run_root: Path) -> None:
    edit_lines(log_path(run_root, "rng_trace_log"), lambda records: records[1:])


@mutation("rng_logs", "rng_events")
def the_trace_is_no_json(run_root: Path) -> None:
    path = log_path(run_root, "rng_trace_log")
    path.write_bytes(path.read_bytes()[:-20])


@mutation("rng_logs")
def the_audit_is_of_another_run(run_root: Path) -> None:
    edit_lines(log_path(run_root, "rng_audit_log"), lambda records: [{**records[0], "run_id": "e" * 32}])


def edit_events(run_root: Path, change: Callable[[list[Row]], list[Row]]) -> None:
    (path,) = log_path(run_root, "rng_event_arrival_site_pick").glob("*.parquet")
    table = pq.read_table(path, partitioning=None)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), table.schema), path)


@mutation("rng_events")
def an_event_record_is_gone(run_root: Path) -> None:
    edit_events(run_root, lambda records: records[1:])


@mutation("rng_events")
def an_event_record_has_other_counters(run_root: Path) -> None:
    edit_events(run_root, lambda records: [{**records[0], "rng_counter_before_lo": 1}, *records[1:]])


# --- Inputs ------------------------------------------------------------------------------------------


@mutation("sealed_inputs")
def one_sealed_byte_is_edited(run_root: Path) -> None:
    path = dataset("virtual_routing_policy_3B").locate(run_root, damage.tokens_of(run_root))
    path.write_bytes(path.read_bytes() + b" ")


@mutation("sealed_inputs")
def a_policy_is_edited(run_root: Path) -> None:
    damage.edit_policy(run_root, "arrival_time_placement_policy_5B", max_arrivals_per_bucket="49999")


@mutation("sealed_inputs", "upstream")
def an_upstream_bundle_is_edited(run_root: Path) -> None:
    folder = dataset("validation_bundle_2B").locate(run_root, damage.tokens_of(run_root))
    (folder / "a.json").write_bytes(b"{}")


@mutation("domain")
def a_scenario_was_published_without_counts(run_root: Path) -> None:
    dataset(EVENTS).locate(run_root, damage.tokens_of(run_root, "stress_v1")).mkdir(parents=True)


@mutation("sealed_inputs", "time_grid")
def a_bucket_is_longer_than_it_says(run_root: Path) -> None:
    damage.put(run_root, "s1_time_grid_5B", "bucket_duration_seconds", 7, {"bucket_index": 0})


@mutation("sealed_inputs", "bucket_counts")
def a_count_lies_off_the_grid(run_root: Path) -> None:
    damage.put(run_root, "s3_bucket_counts_5B", "bucket_index", 10**6, {"count_N": 0, "merchant_id": TWO_ZONES})


@mutation("sealed_inputs", "counts", "rng_draws", "rng_events", also={"coverage"})
def a_count_is_one_more(run_root: Path) -> None:
    damage.put(run_root, "s3_bucket_counts_5B", "count_N", 10, {"count_N": 9, "merchant_id": TWO_ZONES})


@mutation("sealed_inputs", "grouping")
def an_entity_is_not_grouped(run_root: Path) -> None:
    damage.drop(run_root, "s1_grouping_5B", {"merchant_id": ONE_SLOT})


@mutation("sealed_inputs", "intensity")
def an_intensity_is_infinite(run_root: Path) -> None:
    damage.put(run_root, "s2_realised_intensity_5B", "lambda_realised", float("inf"), {"merchant_id": ONE_SLOT})


@mutation("sealed_inputs", "intensity")
def a_count_has_no_intensity(run_root: Path) -> None:
    damage.put(run_root, "s2_realised_intensity_5B", "lambda_realised", 0.0, {"merchant_id": ONE_SLOT})


@mutation("sealed_inputs", "zone_alloc")
def a_zone_is_allotted_no_site(run_root: Path) -> None:
    damage.put(run_root, "zone_alloc", "zone_site_count", 0, {"tzid": NEW_YORK})


@mutation("sealed_inputs", "alias_rows")
def a_merchant_has_no_alias_row(run_root: Path) -> None:
    index = json.loads(damage.file_of(run_root, "s2_alias_index").read_bytes())["merchants"]
    damage.edit_document(run_root, "s2_alias_index", merchants=index[1:])


@mutation("sealed_inputs", "site_of_merchant", also={"site_weights"})
def a_site_loses_its_weight(run_root: Path) -> None:
    where = {"merchant_id": TWO_ZONES, "legal_country_iso": "DE", "site_order": 3}
    damage.put(run_root, "s1_site_weights", "p_weight", 0.0, where)


# --- Realism -----------------------------------------------------------------------------------------


def squeezed(row: Row, start: int, factor: int) -> None:
    moved(row, start + (row["ts_utc"] - start) // factor)


@rows("offsets", "offsets_largest", "arrival_digest", also={"order"}, ample=True)
def offsets_fill_half_a_bucket(arrivals: Arrivals) -> None:
    for row in arrivals:
        if row["merchant_id"] in (VIRTUAL, HALF):
            squeezed(row, bounds_of(row)[0], 2)


@rows("offset_variety", "run_report", "arrival_digest", "offsets", "offsets_largest", also={"order"}, ample=True)
def every_arrival_is_at_the_start_of_its_bucket(arrivals: Arrivals) -> None:
    for row in arrivals:
        moved(row, bounds_of(row)[0])


@rows("site_weights", "arrival_digest", ample=True)
def a_site_is_met_too_often(arrivals: Arrivals) -> None:
    favourite, other = site_id(TWO_ZONES, "DE", 1), site_id(TWO_ZONES, "DE", 2)
    for row in arrivals:
        if row["site_id"] == other and row["arrival_seq"] % 2:
            row["site_id"] = favourite


@rows("group_weights", "arrival_digest", also={"site_weights"}, ample=True)
def a_zone_is_met_too_often(arrivals: Arrivals) -> None:
    for row in arrivals:
        if row["merchant_id"] == TWO_ZONES and row["site_id"] == site_id(TWO_ZONES, "US", 1) and row["arrival_seq"] % 2:
            row["site_id"] = site_id(TWO_ZONES, "DE", 1)
            rezoned(row, "primary", BERLIN)


@rows("edge_weights", "arrival_digest", also={"edge_countries"}, ample=True)
def an_edge_is_met_too_often(arrivals: Arrivals) -> None:
    found = sorted({row["edge_id"] for row in arrivals if virtual(VIRTUAL, NEW_YORK)(row)})
    for row in arrivals:
        if row["edge_id"] == found[0]:
            row["edge_id"] = found[1]


@rows(
    "hybrid_share",
    "rng_draws",
    *NUMBER - {"counts"},
    also={"edge_weights", "edge_countries", "group_weights"},
    ample=True,
)
def a_hybrid_merchant_is_virtual_too_rarely(arrivals: Arrivals) -> None:
    for row in arrivals:
        if virtual(HALF)(row) and row["bucket_index"] == BERLIN_GAP and row["arrival_seq"] % 2:
            row |= {"is_virtual": False, "edge_id": None, "site_id": site_id(HALF, "FR", 1), "tzid_primary": PARIS}
            row |= {"tzid_settlement": None, "tzid_operational": None}
            moved(row, row["ts_utc"])


@rows(
    "coverage",
    "virtual_mode",
    "site_of_merchant",
    "alias_rows",
    "rng_draws",
    *NUMBER - {"counts"},
    also={"zone_choice"},
    ample=True,
)
def a_virtual_merchant_has_no_virtual_arrival(arrivals: Arrivals) -> None:
    for row in arrivals:
        if virtual(VIRTUAL)(row):
            row |= {"is_virtual": False, "edge_id": None, "site_id": site_id(VIRTUAL, "FR", 1)}
            row |= {"tzid_settlement": None, "tzid_operational": None}
            moved(row, row["ts_utc"])


# --- The tests ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_root = tmp_path_factory.mktemp("sound") / "run"
    proven_run(run_root, small_world(), batch_arrivals=500)
    return run_root


@pytest.fixture(scope="module")
def ample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_root = tmp_path_factory.mktemp("ample") / "run"
    proven_run(run_root)
    return run_root


@pytest.mark.parametrize("case", MUTATIONS, ids=lambda case: case.name)
def test_a_damage_is_caught_by_its_checks(
    case: Mutation, request: pytest.FixtureRequest, tmp_path: Path, capsys: Any
) -> None:
    run_root = copied(request.getfixturevalue("ample" if case.ample else "sound"), tmp_path / "run")
    case.damage(run_root)
    code, answer, findings = validated(run_root, capsys)
    assert code == 1
    assert answer["status"] == "FAIL"
    failed = broken(findings)
    assert case.fails <= failed, f"missed: {sorted(case.fails - failed)}"
    assert failed <= case.fails | case.also, f"further checks failed: {sorted(failed - case.fails - case.also)}"
    assert answer["error_code"] in {str(RULES[check].code) for check in failed}
    for check in failed:
        finding = findings[check]
        assert finding["code"] == str(RULES[check].code)
        assert finding["violations"] > 0
    # The bundle of a failure has its own place and carries no flag.
    folder = Path(answer["bundle"]["folder"])
    assert folder.parent.name == "validation_failed"
    assert not (folder / "_passed.flag").exists()
    passed = dataset("validation_bundle_5B").locate(run_root, damage.tokens_of(run_root, SCENARIO))
    assert not passed.exists()


def test_where_the_schema_differs_nothing_else_is_claimed(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    a_column_has_another_type(run_root)
    _, _, findings = validated(run_root, capsys)
    unmade = broken(findings, "NOT_RUN")
    assert {"counts", "primary_key", "civil_primary", "arrival_digest", "offsets", "rng_draws"} <= unmade
    assert findings["schema"]["examples"][0] == {
        "file": "part-000000.parquet",
        "column": "arrival_seq",
        "expected": "int64",
        "found": "int32",
    }


def test_every_check_has_a_damage_that_it_catches() -> None:
    caught = {check for case in MUTATIONS for check in case.fails}
    # The rest: shown with policies of their own, or with forged streams, in tests/validation/test_validate.py.
    elsewhere = {
        "rng_overlap",
        "edge_countries",
        "latent_factor",
        "count_spread",
        "top_zones",
        "virtual_share",
        "weekend_share",
        "residual_spread",
    }
    assert caught | elsewhere == set(RULES)
    assert not caught & elsewhere


@pytest.mark.parametrize(
    ("damage_of", "check", "expected"),
    [
        (a_row_is_gone, "primary_key", {"merchant_id": TWO_ZONES, "fault": "missing"}),
        (a_local_time_is_an_hour_late, "civil_primary", {"merchant_id": ONE_SLOT, "arrival_seq": 1}),
        (a_site_is_another_merchants, "site_of_merchant", {"merchant_id": TWO_ZONES, "tzid_primary": BERLIN}),
        (a_zone_was_not_on_offer, "zone_choice", {"merchant_id": HALF, "tzid_primary": KATHMANDU}),
        (an_edge_is_another_merchants, "edge_of_merchant", {"merchant_id": VIRTUAL, "edge_id": str(edge_id(HALF, 0))}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_finding_names_the_row(
    damage_of: RowDamage, check: str, expected: Row, sound: Path, tmp_path: Path, capsys: Any
) -> None:
    run_root = copied(sound, tmp_path / "run")
    with arrivals_of(run_root) as arrivals:
        damage_of(arrivals)
    _, _, findings = validated(run_root, capsys)
    assert findings[check]["violations"] == 1
    (example,) = findings[check]["examples"]
    assert {name: example[name] for name in expected} == expected


def test_a_part_that_cannot_be_read_is_a_named_failure(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    path = Arrivals(run_root).paths[1]
    data = bytearray(path.read_bytes())
    data[200:400] = bytes(200)
    path.write_bytes(data)
    code, answer = command(capsys, "validate", str(run_root))
    assert code == 1
    assert answer["code"] == str(Code.S5_IO_READ_FAILED)
    last = json.loads(report_path(run_root).read_text("ascii").splitlines()[-1])
    assert (last["state"], last["status"], last["error_code"]) == ("S5", "FAIL", answer["code"])


def test_local_times_of_the_support_are_right() -> None:
    assert local_us(1_774_746_000_000_000 - 1, BERLIN) == 1_774_746_000_000_000 - 1 + HOUR_US
    assert local_us(1_774_746_000_000_000, BERLIN) == 1_774_746_000_000_000 + 2 * HOUR_US
