"""Guardrails of imported worlds: raised to what the tables need, and what no guardrail can allow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from arrival_engine import Question, expand_counts, explain, load_world, report, stream_arrivals, validate
from arrival_engine.config import packaged_bytes, policy_ids
from arrival_engine.config.policies import checked_policy
from arrival_engine.contracts import Code
from arrival_engine.engine.importing import import_world
from arrival_engine.engine.importing.guardrails import Needs
from arrival_engine.engine.importing.policies import load_policies
from tests.support.import_refused import GOOD, LIMIT_BAD, TIME_BAD, edited, refused, request_of
from tests.support.imported import sealed_run

PLACEMENT, VALIDATION = "arrival_time_placement_policy_5B", "validation_policy_5B"
SITES = "merchant_id,tz,country,weight\n1,Europe/Berlin,DE,1\n1,America/New_York,US,2\n2,Europe/Berlin,DE,1\n"
HEADER = "merchant_id,tz,bucket_start,count\n"
FITS = Needs(5000, 86_400, 50_000)


def world(folder, rows, **options):
    """An import of counts of merchants 1 and 2."""
    counts = HEADER + "".join(f"{','.join(map(str, row))}\n" for row in rows)
    return import_world(request_of(folder, {"counts": counts, "sites": SITES}, **options))


def raised(result):
    return {key: notice.context["needed"] for notice in result.notices for key in notice.context.get("packaged", ())}


def policies_of(root):
    return {path.stem: path.read_bytes() for path in (root / "config").rglob("*") if path.is_file()}


def test_policies_that_allow_the_world_keep_their_bytes():
    policies = load_policies("weights", FITS)
    assert policies.by_id == policies.identifying == {name: packaged_bytes(name) for name in policy_ids()}
    assert policies.notices == ()


@pytest.mark.parametrize(
    ("needs", "lines", "identifying"),
    [
        ({"buckets": 5001}, {VALIDATION: ["    max_buckets_per_scenario: 5001"]}, False),
        ({"bucket_seconds": 604_800}, {PLACEMENT: ["  max_bucket_duration_seconds: 604800"]}, True),
        (
            {"arrivals_per_bucket": 2**31 - 1},
            {
                PLACEMENT: ["  max_arrivals_per_bucket: 2147483647 # of one count row, after repeated keys are summed"],
                VALIDATION: ["    max_count_per_bucket: 2147483647"],
            },
            True,
        ),
    ],
)
def test_only_the_value_that_is_exceeded_changes(needs, lines, identifying):
    policies = load_policies("weights", replace(FITS, **needs))
    for name in policy_ids():
        before, after = packaged_bytes(name).decode(), policies.by_id[name].decode()
        changed = [new for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
        assert changed == lines.get(name, [])
        checked_policy(name, policies.by_id[name], name)
    # No arrival depends on the limits of validation.
    assert (policies.identifying != load_policies("weights", FITS).identifying) is identifying
    (notice,) = policies.notices
    assert notice.code == "GUARDRAIL_RAISED"
    assert notice.context["needed"] == next(iter(needs.values()))


def hours(first, *numbers):
    begin = datetime.fromisoformat(first)
    return [(begin + timedelta(hours=number)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for number in numbers]


def validated(root, result):
    """The digest of the world's arrivals, which pass validation."""
    (scenario,) = sealed_run(root).scenarios
    assert scenario.arrivals == result.arrivals
    assert validate(root).passed
    return str(scenario.digest)


def told(root):
    """Explain and stream the world."""
    assert explain(root, Question(1, seq=1)).agrees
    assert next(iter(stream_arrivals(load_world(root)))).num_rows > 0


def test_a_year_of_hours(tmp_path):
    first, *more = hours("2026-01-01T00:00:00+00:00", 0, 1, 2, 24, 5000, 5001, 8758, 8759)
    rows = [(1, "Europe/Berlin", first, 7), *((2, "Europe/Berlin", at, 3) for at in more)]
    result = world(tmp_path, rows)
    assert result.buckets == 8760
    assert raised(result) == {f"{VALIDATION}.structural_checks.s1_time_grid.max_buckets_per_scenario": 8760}
    digest = validated(tmp_path / "world", result)
    told(tmp_path / "world")
    # A world in memory has the same policies.
    with pytest.warns(UserWarning, match="the tables need 8,760 buckets"):
        arrivals = expand_counts(tmp_path / "counts.csv", tmp_path / "sites.csv")
    assert arrivals.digest == digest


def test_a_time_of_another_year_is_told(tmp_path):
    counts = GOOD["counts"].replace("2026-03-29T02:00:00Z,6", "2027-03-29T02:00:00Z,6")
    result = import_world(request_of(tmp_path, edited(counts=counts)))
    (gap,) = [notice for notice in result.notices if notice.code == "LONG_GAP"]
    assert (result.buckets, gap.context["buckets"]) == (8763, 8760)
    assert "from 2026-03-29T02:00:00Z to 2027-03-29T02:00:00Z" in gap.message


def test_many_arrivals_in_one_bucket(tmp_path):
    at = hours("2026-03-29T00:00:00+00:00", 0, 1)
    result = world(tmp_path, [(1, "Europe/Berlin", at[0], 60_000), (2, "Europe/Berlin", at[1], 3)])
    assert set(raised(result).values()) == {60_000}
    validated(tmp_path / "world", result)


def test_buckets_of_a_week_and_of_a_month(tmp_path):
    weeks = [(1, "Europe/Berlin", f"2026-03-{day:02}T00:00:00Z", 400) for day in (2, 9, 23)]
    (tmp_path / "weeks").mkdir()
    result = world(tmp_path / "weeks", weeks, bucket="1w")
    assert (result.bucket_seconds, set(raised(result).values())) == (604_800, {604_800})
    grid = tmp_path / "grid.csv"
    grid.write_text(
        "bucket_start,bucket_end\n2026-01-01T00:00Z,2026-02-01T00:00Z\n2026-02-01T00:00Z,2026-03-01T00:00Z\n"
    )
    months = [(1, "Europe/Berlin", "2026-01-01T00:00:00Z", 400), (2, "Europe/Berlin", "2026-02-01T00:00:00Z", 5)]
    result = world(tmp_path, months, grid=[grid])
    assert (result.bucket_seconds, set(raised(result).values())) == (None, {31 * 86_400})
    validated(tmp_path / "world", result)


def test_a_policy_that_no_arrival_depends_on_gives_no_other_parameter_hash(tmp_path):
    at = hours("2026-01-01T00:00:00+00:00", 0, 8759)
    (tmp_path / "short").mkdir()
    short = world(tmp_path / "short", [(1, "Europe/Berlin", at[0], 7)], bucket="1h")
    long = world(tmp_path, [(1, "Europe/Berlin", moment, 7) for moment in at], bucket="1h")
    assert short.identity.parameter_hash == long.identity.parameter_hash
    differing = {
        name
        for name, data in policies_of(tmp_path / "world").items()
        if data != policies_of(tmp_path / "short" / "world")[name]
    }
    assert differing == {VALIDATION}


# --- The law's own limits ---------------------------------------------------------------------------


def test_more_arrivals_than_can_be_ordered(tmp_path):
    """42 bits hold an offset within 31 days, so that 22 are left for the place among the arrivals of a bucket."""
    grid = tmp_path / "grid.csv"
    grid.write_text("bucket_start,bucket_end\n2026-01-01T00:00Z,2026-02-01T00:00Z\n")
    start = "2026-01-01T00:00:00Z"
    rows = [(1, "Europe/Berlin", start, 2**22), (1, "America/New_York", start, 1), (2, "Europe/Berlin", start, 2**22)]
    text = HEADER + "".join(f"{','.join(map(str, row))}\n" for row in rows)
    request = request_of(tmp_path, {"counts": text, "sites": SITES}, grid=[grid])
    error = refused(
        request, LIMIT_BAD, "merchant 1 has 4,194,305 arrivals from 2026-01-01T00:00:00Z", "4,194,304 of one"
    )
    assert error.context["line"] in (2, 3)
    assert world(tmp_path, [rows[0], rows[2]], grid=[grid]).arrivals == 2**23


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bucket": "300000d"}, ("not between 1678 and 2261", "years")),
        ({"bucket": "999999999d"}, ("a time after the year 9999",)),
    ],
)
def test_grids_that_no_run_can_have(tmp_path, options, says):
    refused(request_of(tmp_path, GOOD, **options), TIME_BAD, *says)


def test_a_grid_that_does_not_fit_the_memory(tmp_path):
    error = refused(
        request_of(tmp_path, GOOD, bucket="1s", start="1970-01-01T00:00Z"),
        Code.RESOURCES_INSUFFICIENT,
        "the grid has 1,774,",
        "longer buckets",
    )
    assert error.context["needed_bytes"] > error.context["limit_bytes"]


def test_weeks_without_a_length_are_refused_with_the_length(tmp_path):
    rows = "".join(f"1,Europe/Berlin,card,2026-03-{day:02}T06:00:00Z,3\n" for day in (2, 9, 16, 23))
    counts = GOOD["counts"].splitlines()[0] + "\n" + rows
    error = refused(
        request_of(tmp_path, edited(counts=counts, virtual_merchants=None, edges=None)), TIME_BAD, "usually 7 d apart"
    )
    (option, given) = error.hint.removeprefix("give ").partition(" if ")[0].split()
    assert (option, given) == ("--bucket", "604800s")
    tables = edited(counts=counts, virtual_merchants=None, edges=None)
    assert import_world(request_of(tmp_path, tables, bucket=given)).buckets == 4


@pytest.mark.slow
def test_five_years_of_hours_of_two_hundred_merchants_and_a_million_arrivals_in_one_bucket(tmp_path):
    first = hours("2021-01-01T00:00:00+00:00", *range(0, 43_824, 73))
    sites = "merchant_id,tz,country,weight\n" + "".join(f"{m},Europe/Berlin,DE,1\n" for m in range(1, 201))
    rows = [f"{m},Europe/Berlin,{at},1\n" for m in range(1, 201) for at in first]
    rows.append(f"1,Europe/Berlin,{first[-1]},1000000\n")
    counts = HEADER + "".join(rows)
    result = import_world(request_of(tmp_path, {"counts": counts, "sites": sites}, bucket="1h"))
    assert result.buckets > 43_700
    assert set(raised(result).values()) == {result.buckets, 1_000_001}
    validated(tmp_path / "world", result)
    told(tmp_path / "world")
    assert report(tmp_path / "world").validated
