"""Values that cannot be used: each is refused by its code, with dataset and row, and leaves nothing behind."""

from __future__ import annotations

import pytest

from arrival_engine.engine.sealing import seal
from tests.support import damage, refusals
from tests.support.damage import COUNTS, EDGES, GRID, GROUPS, MODES, PLACEMENT, SETTLEMENT, SITE_WEIGHTS, SITE_ZONES
from tests.support.refusals import (
    CLOCK_BAD,
    COUNTS_BAD,
    EDGE_BAD,
    GRID_BAD,
    LIMIT_BAD,
    MARS,
    ROUTING_BAD,
    SITE_BAD,
    Case,
    check,
    drop,
    harm,
    put,
    refused,
    repeat,
)
from tests.support.world_disk import rfc3339
from tests.support.worlds import (
    ALONE_ONLINE,
    BERLIN,
    BERLIN_GAP,
    BIG_ID,
    HALF,
    ODD_BUCKET,
    ONE_SLOT,
    PARIS,
    SYDNEY,
    TWO_ZONES,
    VIRTUAL,
    VIRTUAL_NO_EDGES,
    small_world,
)

pristine, run_root = refusals.pristine, refusals.run_root

NAN, INF = float("nan"), float("inf")


def hours_later(run_root):
    """Shift every bucket from the second on by an hour, so that a hole opens after the first."""

    def change(rows):
        for row in rows[1:]:
            for name in ("bucket_start_utc", "bucket_end_utc"):
                day, clock = row[name].split("T")
                row[name] = f"{day}T{int(clock[:2]) + 1:02d}{clock[2:]}" if int(clock[:2]) < 23 else row[name]
        return rows

    damage.edit_rows(run_root, GRID, change)


GRID_CASES = {
    "bucket without grid row": Case(
        put(COUNTS, "bucket_index", len(small_world().grid), merchant_id=ONE_SLOT),
        GRID_BAD,
        (COUNTS, f"bucket_index {len(small_world().grid)}", f"merchant {ONE_SLOT}"),
    ),
    "grid with a hole in its indices": Case(drop(GRID, bucket_index=4), GRID_BAD, (GRID, "bucket 4", "without gap")),
    "grid that does not begin with bucket 0": Case(drop(GRID, bucket_index=0), GRID_BAD, (GRID, "bucket 0")),
    "grid row repeated": Case(repeat(GRID, bucket_index=7), GRID_BAD, (GRID, "bucket 8", "repetition")),
    "grid without rows": Case(harm(damage.edit_rows, GRID, lambda _: []), GRID_BAD, (GRID, "no rows")),
    "gap in time": Case(hours_later, GRID_BAD, (GRID, "bucket 1", "starts after")),
    "buckets overlap": Case(
        put(GRID, "bucket_start_utc", rfc3339(small_world().grid[3][0] - 1_000_000), bucket_index=3),
        GRID_BAD,
        (GRID, "bucket 3"),
    ),
    "bucket ends where it starts": Case(
        put(GRID, "bucket_end_utc", rfc3339(small_world().grid[2][0]), bucket_index=2),
        GRID_BAD,
        (GRID, "bucket 2", "end"),
    ),
    "stated duration differs": Case(
        put(GRID, "bucket_duration_seconds", 1799, bucket_index=BERLIN_GAP),
        GRID_BAD,
        (GRID, f"bucket {BERLIN_GAP}", "bucket_duration_seconds"),
    ),
    "no such instant": Case(
        put(GRID, "bucket_start_utc", "2026-02-30T00:00:00.000000Z", bucket_index=16),
        GRID_BAD,
        (GRID, "bucket 16", "2026-02-30T00:00:00.000000Z"),
    ),
    "instant of another form": Case(
        put(GRID, "bucket_start_utc", "2026-02-14 00:00", bucket_index=0),
        COUNTS_BAD,
        (GRID, "bucket_start_utc", "row 0"),
    ),
    "bucket longer than the policy allows": Case(
        harm(damage.edit_policy, PLACEMENT, max_bucket_duration_seconds="86399"),
        LIMIT_BAD,
        (GRID, "bucket 0", "max_bucket_duration_seconds = 86399"),
    ),
}

COUNT_CASES = {
    "negative count": Case(put(COUNTS, "count_N", -1), COUNTS_BAD, (COUNTS, "count_N", "row 0", "-1")),
    "negative bucket": Case(put(COUNTS, "bucket_index", -1), COUNTS_BAD, (COUNTS, "bucket_index", "row 0", "-1")),
    "merchant zero": Case(put(COUNTS, "merchant_id", 0), COUNTS_BAD, (COUNTS, "merchant_id", "row 0", "below 1")),
    "count above the guardrail": Case(
        put(COUNTS, "count_N", 50_001, merchant_id=ONE_SLOT),
        LIMIT_BAD,
        (COUNTS, "count_N 50001", f"merchant {ONE_SLOT}", "max_arrivals_per_bucket = 50000"),
    ),
    "repeated rows add up to more than the guardrail": Case(
        put(COUNTS, "count_N", 25_001, merchant_id=TWO_ZONES, zone_representation=BERLIN, bucket_index=ODD_BUCKET),
        LIMIT_BAD,
        (COUNTS, "50002", f"merchant {TWO_ZONES}", BERLIN, f"bucket {ODD_BUCKET}", "max_arrivals_per_bucket = 50000"),
    ),
    "guardrail lowered by policy": Case(
        harm(damage.edit_policy, PLACEMENT, max_arrivals_per_bucket="2999"),
        LIMIT_BAD,
        (COUNTS, "count_N 3000", f"merchant {TWO_ZONES}", "max_arrivals_per_bucket = 2999"),
    ),
    "merchant nobody classified": Case(
        put(COUNTS, "merchant_id", 4711, merchant_id=ONE_SLOT), ROUTING_BAD, (MODES, "merchant 4711")
    ),
}

MODE_CASES = {
    "unknown mode": Case(
        put(MODES, "virtual_mode", "PHYSICAL", merchant_id=HALF),
        ROUTING_BAD,
        ("virtual_classification", "virtual_mode", "PHYSICAL"),
    ),
    "merchant without a mode": Case(drop(MODES, merchant_id=HALF), ROUTING_BAD, (MODES, f"merchant {HALF}")),
    "merchant with two modes": Case(repeat(MODES, merchant_id=HALF), ROUTING_BAD, (MODES, f"merchant {HALF}")),
    "flag against mode": Case(
        put(MODES, "is_virtual", True, merchant_id=ONE_SLOT),
        ROUTING_BAD,
        (MODES, f"merchant {ONE_SLOT}", "NON_VIRTUAL"),
    ),
    "two settlements": Case(repeat(SETTLEMENT, merchant_id=VIRTUAL), EDGE_BAD, (SETTLEMENT, f"merchant {VIRTUAL}")),
}

ZONE_CASES = {
    "in counts": Case(
        put(COUNTS, "zone_representation", MARS, merchant_id=ONE_SLOT),
        CLOCK_BAD,
        (MARS, COUNTS, f"merchant {ONE_SLOT}"),
    ),
    "in sites": Case(
        put(SITE_ZONES, "tzid", MARS, merchant_id=TWO_ZONES, legal_country_iso="AT"),
        CLOCK_BAD,
        (MARS, SITE_ZONES, f"merchant {TWO_ZONES}"),
    ),
    "in groups": Case(
        put(GROUPS, "tz_group_id", MARS, merchant_id=BIG_ID, tz_group_id=SYDNEY),
        CLOCK_BAD,
        (MARS, GROUPS, f"merchant {BIG_ID}"),
    ),
    "in settlement": Case(
        put(SETTLEMENT, "tzid_settlement", MARS, merchant_id=VIRTUAL),
        CLOCK_BAD,
        (MARS, SETTLEMENT, f"merchant {VIRTUAL}"),
    ),
    "in edges": Case(
        put(EDGES, "tzid_operational", MARS, merchant_id=ALONE_ONLINE),
        CLOCK_BAD,
        (MARS, EDGES, f"merchant {ALONE_ONLINE}"),
    ),
}

SITE_CASES = {
    **{
        f"site weight {value}": Case(
            put(SITE_WEIGHTS, "p_weight", value, merchant_id=TWO_ZONES, legal_country_iso="AT"),
            SITE_BAD,
            ("s1_site_weights", "p_weight", "row 1", text),
        )
        for value, text in ((-0.1, "-0.1"), (NAN, "nan"), (INF, "inf"), (-INF, "-inf"), (1.5, "1.5"))
    },
    "all sites weigh nothing": Case(
        put(SITE_WEIGHTS, "p_weight", 0.0, merchant_id=ONE_SLOT), SITE_BAD, (f"merchant {ONE_SLOT}", "positive weight")
    ),
    "merchant without sites": Case(
        drop(SITE_WEIGHTS, merchant_id=ONE_SLOT), SITE_BAD, (f"merchant {ONE_SLOT}", "no site")
    ),
    "site without a zone": Case(
        drop(SITE_ZONES, merchant_id=BIG_ID, site_order=9), SITE_BAD, (SITE_ZONES, f"merchant {BIG_ID}", "DE:9")
    ),
    "site weighed twice": Case(
        repeat(SITE_WEIGHTS, merchant_id=TWO_ZONES, site_order=3),
        SITE_BAD,
        (SITE_WEIGHTS, f"merchant {TWO_ZONES}", "DE:3"),
    ),
    "site in two zones": Case(
        repeat(SITE_ZONES, merchant_id=TWO_ZONES, site_order=3), SITE_BAD, (SITE_ZONES, f"merchant {TWO_ZONES}", "DE:3")
    ),
    "country in lower case": Case(
        put(SITE_WEIGHTS, "legal_country_iso", "de", merchant_id=TWO_ZONES, site_order=3),
        SITE_BAD,
        ("legal_country_iso", "'de'"),
    ),
    **{
        f"group weight {value}": Case(
            put(GROUPS, "p_group", value, merchant_id=HALF, tz_group_id=PARIS, utc_day="2026-03-08"),
            SITE_BAD,
            ("s4_group_weights", "p_group", text),
        )
        for value, text in ((-0.1, "-0.1"), (NAN, "nan"), (INF, "inf"), (1.5, "1.5"))
    },
    "group weighed twice": Case(
        repeat(GROUPS, merchant_id=HALF, tz_group_id=PARIS, utc_day="2026-03-08"),
        SITE_BAD,
        (GROUPS, f"merchant {HALF}", "2026-03-08", PARIS),
    ),
    "no such day": Case(
        put(GROUPS, "utc_day", "2026-02-30", merchant_id=HALF, tz_group_id=PARIS, utc_day="2026-03-08"),
        SITE_BAD,
        (GROUPS, f"merchant {HALF}", "2026-02-30"),
    ),
}

EDGE_CASES = {
    **{
        f"edge weight {value}": Case(
            put(EDGES, "edge_weight", value, merchant_id=ALONE_ONLINE),
            EDGE_BAD,
            ("edge_catalogue", "edge_weight", "row 8", text),
        )
        for value, text in ((-0.1, "-0.1"), (NAN, "nan"), (INF, "inf"))
    },
    "edge without a catalogue row": Case(
        harm(damage.edit_rows, EDGES, lambda rows: rows[1:]),
        EDGE_BAD,
        (EDGES, f"merchant {VIRTUAL}", "5 slots", "4 edges"),
    ),
    "edge without an alias slot": Case(
        harm(damage.edit_rows, EDGES, lambda rows: [*rows, {**rows[0], "edge_id": "00000000000000ff"}]),
        EDGE_BAD,
        (EDGES, f"merchant {VIRTUAL}", "5 slots", "6 edges"),
    ),
    "merchant with edges and no alias slice": Case(
        harm(
            damage.edit_rows,
            EDGES,
            lambda rows: [*rows, {**rows[0], "merchant_id": VIRTUAL_NO_EDGES}],
        ),
        EDGE_BAD,
        (EDGES, f"merchant {VIRTUAL_NO_EDGES}", "0 slots", "1 edges"),
    ),
    "edge twice": Case(repeat(EDGES, merchant_id=ALONE_ONLINE), EDGE_BAD, (EDGES, f"merchant {ALONE_ONLINE}", "twice")),
    "edge id zero": Case(
        put(EDGES, "edge_id", "0" * 16, merchant_id=ALONE_ONLINE),
        EDGE_BAD,
        (EDGES, f"merchant {ALONE_ONLINE}", "0" * 16),
    ),
    "edge id in upper case": Case(
        put(EDGES, "edge_id", "0" * 15 + "A", merchant_id=ALONE_ONLINE),
        EDGE_BAD,
        ("edge_catalogue", "edge_id", "row 8"),
    ),
}


VALUE_CASES = {
    f"{kind}: {name}": case
    for kind, cases in {
        "grid": GRID_CASES,
        "counts": COUNT_CASES,
        "modes": MODE_CASES,
        "unknown zone": ZONE_CASES,
        "sites": SITE_CASES,
        "edges": EDGE_CASES,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", VALUE_CASES)
def test_values_that_cannot_be_used(run_root, name):
    case = VALUE_CASES[name]
    case.harm(run_root)
    seal(run_root)
    check(refused(run_root, case.options), case)
