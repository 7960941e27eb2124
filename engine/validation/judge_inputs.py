"""Checks of the inputs of arrivals: grid, counts, grouping, intensity."""

from __future__ import annotations

from arrival_engine.engine.process import human
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.findings import EXAMPLES_MAX, Measured
from arrival_engine.engine.validation.inputs import columns_of, source

_MICROS = 1_000_000
# Stored intensities are rounded, so a factor at its bound may exceed it by this much.
_BOUND_SLACK = 1e-6


def judge_inputs(case: Case) -> None:
    """Enter time_grid, bucket_counts, count_spread, residual_spread's sums, grouping, intensity, latent_factor."""
    _time_grid(case)
    _bucket_counts(case)
    _count_spread(case)
    _grouping(case)
    _intensity(case)


def _tally(conditions: dict[str, str]) -> str:
    """SQL columns that count each condition, with nulls as breaches, and the rows with any of them."""
    each = [f"count(*) FILTER (coalesce({bad}, true)) AS {key}" for key, bad in conditions.items()]
    every = " OR ".join(f"coalesce({bad}, true)" for bad in conditions.values()) or "false"
    return ", ".join([*each, f"count(*) FILTER ({every}) AS bad", "count(*) AS rows"])


def _time_grid(case: Case) -> None:
    rules = case.policy.block("structural_checks").block("s1_time_grid")
    conditions = rules.demanded(
        {
            "require_bucket_index_contiguous": "bucket_index <> number",
            "require_half_open_intervals": "start_us >= end_us OR start_us < coalesce(end_before, start_us)",
            "require_duration_matches_bounds": f"end_us - start_us <> bucket_duration_seconds * {_MICROS}",
        }
    )
    grid = f"""(SELECT *, row_number() OVER (ORDER BY bucket_index, start_us) - 1 AS number,
                       lag(end_us) OVER (ORDER BY bucket_index, start_us) AS end_before
                FROM (SELECT bucket_index, bucket_duration_seconds, epoch_us(bucket_start_utc::TIMESTAMP) AS start_us,
                             epoch_us(bucket_end_utc::TIMESTAMP) AS end_us
                      FROM {source(case.cursor, case.receipt, "s1_time_grid_5B", scenario_id=case.scenario_id)}))"""
    (found,) = case.cursor.records(f"SELECT {_tally(conditions)} FROM {grid}")
    bad, rows = found.pop("bad"), found.pop("rows")
    surplus = max(0, rows - rules.count("max_buckets_per_scenario"))
    every = " OR ".join(f"coalesce({condition}, true)" for condition in conditions.values())
    examples = case.cursor.records(
        f"SELECT bucket_index, start_us, end_us, bucket_duration_seconds FROM {grid} WHERE {every} "
        f"ORDER BY number LIMIT {EXAMPLES_MAX}"
    )
    measured = Measured("buckets", rows, high=rules.count("max_buckets_per_scenario"))
    facts = {**found, "surplus_buckets": surplus}
    case.book.compare(
        "time_grid", rows, bad + surplus, measured, severity=rules.severity, examples=examples, facts=facts
    )


def _bucket_counts(case: Case) -> None:
    rules = case.policy.block("structural_checks").block("s3_bucket_counts")
    counts = source(case.cursor, case.receipt, "s3_bucket_counts_5B", scenario_id=case.scenario_id)
    conditions = {
        "off_the_grid": f"bucket_index NOT BETWEEN 0 AND {case.horizon.buckets - 1}",
        **rules.demanded(
            {"require_integer_counts": "count_N <> floor(count_N)", "require_counts_nonnegative": "count_N < 0"}
        ),
        "above_max_count_per_bucket": f"count_N > {rules.count('max_count_per_bucket')}",
    }
    (found,) = case.cursor.records(
        f"SELECT {_tally(conditions)}, coalesce(max(count_N), 0)::BIGINT AS largest FROM {counts}"
    )
    bad, rows, largest = found.pop("bad"), found.pop("rows"), found.pop("largest")
    measured = Measured("largest_count", largest, high=rules.count("max_count_per_bucket"))
    every = " OR ".join(f"coalesce({condition}, true)" for condition in conditions.values())
    examples = (
        case.cursor.records(
            f"SELECT merchant_id, zone_representation, bucket_index, count_N FROM {counts} WHERE {every} "
            f"ORDER BY merchant_id, bucket_index, zone_representation LIMIT {EXAMPLES_MAX}"
        )
        if bad
        else []
    )
    case.book.compare("bucket_counts", rows, bad, measured, severity=rules.severity, examples=examples, facts=found)


def _count_spread(case: Case) -> None:
    rules = case.policy.block("realism_checks").block("count_realism")
    counts = source(case.cursor, case.receipt, "s3_bucket_counts_5B", scenario_id=case.scenario_id)
    if reason := _no_population(case):
        case.book.inapplicable("count_spread", reason, severity=rules.severity)
        return
    (rows,) = case.cursor.row(f"SELECT count(*) FROM {counts}")
    sizes = case.cursor.rows(f"SELECT count_N, count(*) FROM {counts} WHERE count_N > 0 GROUP BY 1 ORDER BY 1")
    nonzero = sum(times for _, times in sizes)
    if nonzero < rules.count("min_nonzero_rows"):
        needed = f"{human.count(rules.count('min_nonzero_rows'))} count rows above zero needed"
        case.book.undecided("count_spread", rows, needed, severity=rules.severity, facts={"nonzero_rows": nonzero})
        return
    p50, p99 = (_quantile(sizes, nonzero, share) for share in (0.50, 0.99))
    measured = [
        Measured("nonzero_fraction", nonzero / rows, rules.number("nonzero_fraction_min")),
        Measured("p99_p50_ratio", p99 / p50, rules.number("p99_p50_ratio_min")),
    ]
    facts = {"nonzero_rows": nonzero, "p50": p50, "p99": p99}
    case.book.measure("count_spread", rows, measured, severity=rules.severity, facts=facts)


def _no_population(case: Case) -> str:
    """Why the counts are not those of a simulated population of merchants; empty if they are."""
    if not source(case.cursor, case.receipt, "s2_realised_intensity_5B", scenario_id=case.scenario_id):
        return "the counts were given, and not drawn from intensities (there is no s2_realised_intensity_5B)"
    (merchants,) = case.cursor.row("SELECT count(DISTINCT merchant_id) FROM expected")
    return "one merchant has all arrivals" if merchants == 1 else ""


def _quantile(sizes: list[tuple[int, ...]], total: int, share: float) -> int:
    """The smallest value that at least this share of the rows does not exceed."""
    passed = 0
    for value, times in sizes:
        passed += times
        if passed >= share * total:
            return value
    return sizes[-1][0]


def _grouping(case: Case) -> None:
    rules = case.policy.block("structural_checks").block("s3_bucket_counts")
    groups = source(case.cursor, case.receipt, "s1_grouping_5B", scenario_id=case.scenario_id)
    if not groups:
        case.book.inapplicable("grouping", "there is no s1_grouping_5B", severity=rules.severity)
        return
    channel = "coalesce(channel_group, '')" if "channel_group" in columns_of(case.cursor, groups) else "''"
    missing = f"""FROM (SELECT DISTINCT merchant_id, zone::VARCHAR AS zone, channel::VARCHAR AS channel FROM expected)
        ANTI JOIN (SELECT merchant_id::UBIGINT AS merchant_id, zone_representation::VARCHAR AS zone,
                          {channel}::VARCHAR AS channel FROM {groups}) USING (merchant_id, zone, channel)"""
    (rows,) = case.cursor.row("SELECT count(DISTINCT (merchant_id, zone, channel)) FROM expected")
    (bad,) = case.cursor.row(f"SELECT count(*) {missing}")
    examples = case.cursor.records(f"SELECT * {missing} ORDER BY ALL LIMIT {EXAMPLES_MAX}") if bad else []
    case.book.judge("grouping", rows, bad, severity=rules.severity, examples=examples)


def _intensity(case: Case) -> None:
    """Check the intensity table, if there is one, and its latent factor."""
    rules = case.policy.block("structural_checks").block("s2_realised_intensity")
    latent = case.policy.block("realism_checks").block("lgcp_realism")
    table = source(case.cursor, case.receipt, "s2_realised_intensity_5B", scenario_id=case.scenario_id)
    if not table:
        reason = "there is no s2_realised_intensity_5B"
        case.book.inapplicable("intensity", reason, severity=rules.severity)
        case.book.inapplicable("latent_factor", reason, severity=latent.severity)
        return
    names = columns_of(case.cursor, table)
    conditions = {
        **rules.demanded(
            {
                "require_finite_lambda": "NOT isfinite(lambda_realised)",
                "require_nonnegative_lambda": "lambda_realised < 0",
            }
        ),
        "above_max_lambda_realised": f"lambda_realised > {rules.number('max_lambda_realised')!r}",
    }
    finite = "coalesce(max(lambda_realised) FILTER (isfinite(lambda_realised)), 0)::DOUBLE"
    (found,) = case.cursor.records(f"SELECT {_tally(conditions)}, {finite} AS largest FROM {table}")
    bad, rows, largest = found.pop("bad"), found.pop("rows"), found.pop("largest")
    channel = "coalesce(channel_group, '')" if "channel_group" in names else "''"
    zero = rules.demanded({"require_lambda_zero_implies_count_zero": "lambda_realised > 0"})
    # A count row without a positive intensity row: absent and zero intensities alike.
    unfounded = f"""FROM expected ANTI JOIN (
        SELECT merchant_id::UBIGINT AS merchant_id, TRY_CAST(zone_representation::VARCHAR AS zone_t) AS zone,
               TRY_CAST({channel}::VARCHAR AS channel_t) AS channel, bucket_index::INTEGER AS bucket_index
        FROM {table} WHERE {" AND ".join(zero.values()) or "true"}) USING (merchant_id, zone, channel, bucket_index)"""
    (groundless,) = case.cursor.row(f"SELECT count(*) {unfounded}")
    examples = case.cursor.records(f"SELECT * {unfounded} ORDER BY ALL LIMIT {EXAMPLES_MAX}") if groundless else []
    for example in examples:
        example.update({name: str(value) for name, value in example.items() if name in ("zone", "channel")})
    case.book.compare(
        "intensity",
        rows,
        bad + groundless,
        Measured("largest_lambda", largest, high=rules.number("max_lambda_realised")),
        severity=rules.severity,
        examples=examples,
        facts={**found, "counts_without_intensity": groundless},
    )
    _latent_factor(case, table, names)


def _latent_factor(case: Case, table: str, names: set[str]) -> None:
    rules = case.policy.block("realism_checks").block("lgcp_realism")
    if "lambda_random_component" in names:
        factor, given = "lambda_random_component", "lambda_random_component IS NOT NULL"
    elif "lambda_baseline" in names:
        factor, given = "lambda_realised / lambda_baseline", "lambda_baseline > 0"
    else:
        reason = "s2_realised_intensity_5B states neither the factor nor the baseline"
        case.book.inapplicable("latent_factor", reason, severity=rules.severity)
        return
    if reason := _no_population(case):
        case.book.inapplicable("latent_factor", reason, severity=rules.severity)
        return
    rows, mean, low, high = case.cursor.row(
        f"SELECT count(*), fsum({factor}) / count(*), min({factor}), max({factor}) FROM {table} WHERE {given}"
    )
    if rows < rules.count("min_rows"):
        needed = f"{human.count(rules.count('min_rows'))} rows with a factor needed"
        case.book.undecided("latent_factor", rows, needed, severity=rules.severity)
        return
    least, most = rules.bounds("factor_bounds")
    target, tolerance = rules.number("mean_factor_target"), rules.number("mean_factor_abs_tolerance")
    measured = [
        Measured("mean", mean, target - tolerance, target + tolerance),
        Measured("low", low, least * (1 - _BOUND_SLACK)),
        Measured("high", high, high=most * (1 + _BOUND_SLACK)),
    ]
    case.book.measure("latent_factor", rows, measured, severity=rules.severity)
