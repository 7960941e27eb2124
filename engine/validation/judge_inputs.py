"""Checks of the inputs of arrivals: grid, counts, grouping, intensity."""

from __future__ import annotations

from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.findings import EXAMPLES_MAX
from arrival_engine.engine.validation.inputs import columns_of, source
from arrival_engine.engine.validation.statistics import rounded

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
                      FROM {source(case.receipt, "s1_time_grid_5B", scenario_id=case.scenario_id)}))"""
    (found,) = case.cursor.records(f"SELECT {_tally(conditions)} FROM {grid}")
    bad, rows = found.pop("bad"), found.pop("rows")
    surplus = max(0, rows - rules.count("max_buckets_per_scenario"))
    every = " OR ".join(f"coalesce({condition}, true)" for condition in conditions.values())
    examples = case.cursor.records(
        f"SELECT bucket_index, start_us, end_us, bucket_duration_seconds FROM {grid} WHERE {every} "
        f"ORDER BY number LIMIT {EXAMPLES_MAX}"
    )
    facts = {**found, "surplus_buckets": surplus}
    case.book.judge("time_grid", rows, bad + surplus, severity=rules.severity, examples=examples, facts=facts)


def _bucket_counts(case: Case) -> None:
    rules = case.policy.block("structural_checks").block("s3_bucket_counts")
    counts = source(case.receipt, "s3_bucket_counts_5B", scenario_id=case.scenario_id)
    conditions = {
        "off_the_grid": f"bucket_index NOT BETWEEN 0 AND {case.horizon.buckets - 1}",
        **rules.demanded(
            {"require_integer_counts": "count_N <> floor(count_N)", "require_counts_nonnegative": "count_N < 0"}
        ),
        "above_max_count_per_bucket": f"count_N > {rules.count('max_count_per_bucket')}",
    }
    (found,) = case.cursor.records(f"SELECT {_tally(conditions)} FROM {counts}")
    bad, rows = found.pop("bad"), found.pop("rows")
    every = " OR ".join(f"coalesce({condition}, true)" for condition in conditions.values())
    examples = (
        case.cursor.records(
            f"SELECT merchant_id, zone_representation, bucket_index, count_N FROM {counts} WHERE {every} "
            f"ORDER BY merchant_id, bucket_index, zone_representation LIMIT {EXAMPLES_MAX}"
        )
        if bad
        else []
    )
    case.book.judge("bucket_counts", rows, bad, severity=rules.severity, examples=examples, facts=found)


def _count_spread(case: Case) -> None:
    rules = case.policy.block("realism_checks").block("count_realism")
    counts = source(case.receipt, "s3_bucket_counts_5B", scenario_id=case.scenario_id)
    (rows,) = case.cursor.row(f"SELECT count(*) FROM {counts}")
    sizes = case.cursor.rows(f"SELECT count_N, count(*) FROM {counts} WHERE count_N > 0 GROUP BY 1 ORDER BY 1")
    nonzero = sum(times for _, times in sizes)
    if nonzero < rules.count("min_nonzero_rows"):
        case.book.measure("count_spread", rows, None, severity=rules.severity, facts={"nonzero_rows": nonzero})
        return
    p50, p99 = (_quantile(sizes, nonzero, share) for share in (0.50, 0.99))
    fraction = nonzero / rows
    holds = fraction >= rules.number("nonzero_fraction_min") and p99 / p50 >= rules.number("p99_p50_ratio_min")
    facts = {
        "nonzero_rows": nonzero,
        "nonzero_fraction": rounded(fraction),
        "p50": p50,
        "p99": p99,
        "p99_p50_ratio": rounded(p99 / p50),
    }
    case.book.measure("count_spread", rows, holds, severity=rules.severity, facts=facts)


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
    groups = source(case.receipt, "s1_grouping_5B", scenario_id=case.scenario_id)
    if not groups:
        case.book.judge("grouping", 0, 0, severity=rules.severity, message="there is no s1_grouping_5B")
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
    table = source(case.receipt, "s2_realised_intensity_5B", scenario_id=case.scenario_id)
    if not table:
        case.book.judge("intensity", 0, 0, severity=rules.severity, message="there is no s2_realised_intensity_5B")
        case.book.measure("latent_factor", 0, None, severity=latent.severity)
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
    (found,) = case.cursor.records(f"SELECT {_tally(conditions)} FROM {table}")
    bad, rows = found.pop("bad"), found.pop("rows")
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
    case.book.judge(
        "intensity",
        rows,
        bad + groundless,
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
        case.book.measure("latent_factor", 0, None, severity=rules.severity)
        return
    rows, mean, low, high = case.cursor.row(
        f"SELECT count(*), fsum({factor}) / count(*), min({factor}), max({factor}) FROM {table} WHERE {given}"
    )
    if rows < rules.count("min_rows"):
        case.book.measure("latent_factor", rows, None, severity=rules.severity)
        return
    least, most = rules.bounds("factor_bounds")
    centred = abs(mean - rules.number("mean_factor_target")) <= rules.number("mean_factor_abs_tolerance")
    within = low >= least * (1 - _BOUND_SLACK) and high <= most * (1 + _BOUND_SLACK)
    facts = {"mean": rounded(mean), "low": rounded(low), "high": rounded(high)}
    case.book.measure("latent_factor", rows, centred and within, severity=rules.severity, facts=facts)
