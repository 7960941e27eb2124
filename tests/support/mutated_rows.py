"""Damages to the rows of the arrivals."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tests.support.law import edge_id, site_id
from tests.support.mutations import NUMBER, edge_in, mutation, physical, rows, virtual
from tests.support.validating import (
    HOUR_US,
    Arrivals,
    Row,
    bounds_of,
    edit_parts,
    moved,
    rezoned,
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
)

# --- Rows: how many, in which order, under which key ------------------------------------------------


@rows(*NUMBER, "primary_key")
def a_row_is_gone(arrivals: Arrivals) -> None:
    row = arrivals.first(physical(TWO_ZONES), skip=700)
    arrivals.part_of(row).remove(row)


@rows(*NUMBER)
def the_last_row_is_gone(arrivals: Arrivals) -> None:
    # Nothing follows it, so no gap is left in the sequence; only the count rows know of it.
    arrivals.rows[-1].pop()


@rows(*NUMBER, "primary_key", "order", lawful=True)
def a_row_is_there_twice(arrivals: Arrivals) -> None:
    row = arrivals.first(physical(TWO_ZONES), skip=700)
    part = arrivals.part_of(row)
    part.insert(part.index(row), dict(row))


@rows("order", lawful=True)
def two_rows_change_places(arrivals: Arrivals) -> None:
    row = arrivals.first(physical(TWO_ZONES), skip=700)
    part = arrivals.part_of(row)
    at = part.index(row)
    part[at], part[at + 1] = part[at + 1], part[at]


@rows("order", "arrival_digest")
def two_rows_swap_their_sequence_numbers(arrivals: Arrivals) -> None:
    one, other = (arrivals.first(physical(TWO_ZONES), skip=skip) for skip in (700, 701))
    one["arrival_seq"], other["arrival_seq"] = other["arrival_seq"], one["arrival_seq"]


@rows("order", "arrival_digest", lawful=True)
def two_parts_change_places(arrivals: Arrivals) -> None:
    arrivals.rows[0], arrivals.rows[1] = arrivals.rows[1], arrivals.rows[0]


@rows("primary_key", "arrival_digest", "order")
def a_sequence_number_is_repeated(arrivals: Arrivals) -> None:
    one, other = (arrivals.first(physical(TWO_ZONES), skip=skip) for skip in (700, 701))
    other["arrival_seq"] = one["arrival_seq"]


@rows("counts", "arrival_digest")
def a_row_moves_to_another_count_row(arrivals: Arrivals) -> None:
    row = arrivals.first(lambda row: row["merchant_id"] == TWO_ZONES and row["zone_representation"] == NEW_YORK)
    row["channel_group"] = "card_not_present"


@rows("counts", "arrival_digest")
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


@rows("identity", lawful=True)
def a_scenario_token_is_another(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES), skip=9)["scenario_id"] = "stress_v1"


@rows("identity", lawful=True)
def a_fingerprint_is_another(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES), skip=9)["manifest_fingerprint"] = "e" * 64


@rows("identity", lawful=True)
def a_parameter_hash_is_another(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES), skip=9)["parameter_hash"] = "e" * 64


@rows("identity", lawful=True)
def a_seed_is_another(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES), skip=9)["seed"] = 43


@rows("identity", lawful=True)
def a_spec_version_is_another(arrivals: Arrivals) -> None:
    arrivals.first(physical(TWO_ZONES), skip=9)["s4_spec_version"] = "9.9.9"


@rows("routing_universe", lawful=True)
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


@rows("civil_primary", "one_hour_shift", "arrival_digest", lawful=True)
def a_local_time_is_an_hour_late(arrivals: Arrivals) -> None:
    arrivals.first(physical(ONE_SLOT))["ts_local_primary"] += HOUR_US


@rows("civil_primary", "arrival_digest", lawful=True)
def a_local_time_is_a_microsecond_late(arrivals: Arrivals) -> None:
    arrivals.first(physical(ONE_SLOT))["ts_local_primary"] += 1


@rows("civil_settlement", "one_hour_shift", "arrival_digest", lawful=True)
def a_settlement_time_is_an_hour_early(arrivals: Arrivals) -> None:
    arrivals.first(virtual(VIRTUAL), skip=40)["ts_local_settlement"] -= HOUR_US


@rows("civil_operational", lawful=True)
def an_operational_time_is_a_minute_late(arrivals: Arrivals) -> None:
    arrivals.first(virtual(VIRTUAL), skip=40)["ts_local_operational"] += 60_000_000


@rows("civil_primary", "one_hour_shift", "dst_hours", "arrival_digest", ample=True, lawful=True)
def every_local_time_of_a_zone_stays_on_winter_time(arrivals: Arrivals) -> None:
    for row in arrivals:
        if physical(BIG_ID, CASABLANCA)(row):
            row["ts_local_primary"] -= HOUR_US


@rows("clock_zones", lawful=True)
def an_operational_zone_is_another(arrivals: Arrivals) -> None:
    rezoned(arrivals.first(virtual(VIRTUAL, NEW_YORK), skip=4), "operational", SYDNEY)


@rows("clock_zones", "arrival_digest", lawful=True)
def a_settlement_zone_is_another(arrivals: Arrivals) -> None:
    rezoned(arrivals.first(virtual(VIRTUAL, NEW_YORK), skip=4), "settlement", SYDNEY)


@rows("clock_zones", lawful=True)
def a_physical_row_settles(arrivals: Arrivals) -> None:
    rezoned(arrivals.first(physical(ONE_SLOT)), "settlement", KATHMANDU)


@rows("clock_zones", "civil_settlement", "arrival_digest", lawful=True)
def a_zone_that_does_not_exist(arrivals: Arrivals) -> None:
    arrivals.first(virtual(VIRTUAL), skip=4)["tzid_settlement"] = "Europe/Atlantis"


# --- Rows: where -------------------------------------------------------------------------------------


@rows("site_edge_flag", lawful=True)
def a_row_has_a_site_and_an_edge(arrivals: Arrivals) -> None:
    row = arrivals.first(physical(HALF, PARIS))
    row["edge_id"] = edge_in(HALF, arrivals, PARIS)


@rows("site_edge_flag", "arrival_digest")
def a_row_has_neither_site_nor_edge(arrivals: Arrivals) -> None:
    arrivals.first(physical(ONE_SLOT))["site_id"] = None


@rows("site_edge_flag", "virtual_mode", "clock_zones", *NUMBER - {"counts"}, also={"alias_rows"})
def a_flag_is_flipped(arrivals: Arrivals) -> None:
    arrivals.first(physical(ONE_SLOT))["is_virtual"] = True


@rows("virtual_mode", "site_of_merchant", *NUMBER - {"counts"}, also={"alias_rows", "zone_choice"})
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
