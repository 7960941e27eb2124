"""Checks that do not apply say so, and every breach of a limit gives the measured value beside what was expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine import ImportRequest, ReportOptions, RunOptions, import_world, report, run, synthesise, validate
from arrival_engine.config import packaged_bytes
from arrival_engine.contracts.dictionary import dataset
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation.findings import Book, Finding, Measured, Severity, outcome, statistics_text
from tests.support.validated import CALIBRATED, block, place, policed, sentinels
from tests.support.validating import broken, validated, write_proof_world

# More arrivals than any check of a statistic needs.
_PER_HOUR = 1_300
KOLKATA, PARIS, TOKYO = "Asia/Kolkata", "Europe/Paris", "Asia/Tokyo"
UNDRAWN = {"latent_factor", "count_spread", "residual_spread", "grouping", "intensity", "merchant_names"}
OFFLINE = {"edge_weights", "hybrid_share", "edge_countries", "virtual_share"}

Counts = Sequence[tuple[int, str, int, int]]


def _table(path: Path, head: str, rows: Sequence[tuple[object, ...]]) -> Path:
    path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n", "utf-8")
    return path


def _world(
    folder: Path,
    counts: Counts,
    sites: Sequence[tuple[int, str, float, str]],
    online: Sequence[tuple[int, str]] = (),
    edges: Sequence[tuple[int, str, float, str]] = (),
    **options: Any,
) -> Path:
    """An imported world with hourly buckets, sealed and run; counts are (merchant, zone, hour, arrivals)."""
    rows = [(merchant, zone, f"2026-01-12T{hour:02}:00:00Z", n) for merchant, zone, hour, n in counts]
    root, places = folder / "world", "merchant_id,tz,weight,country"
    import_world(
        ImportRequest(
            run_root=root,
            counts=[_table(folder / "counts.csv", "merchant_id,tz,bucket_start,count", rows)],
            sites=[_table(folder / "sites.csv", places, sites)],
            virtual_merchants=[_table(folder / "online.csv", "merchant_id,mode", online)] if online else [],
            edges=[_table(folder / "edges.csv", places, edges)] if edges else [],
            **options,
        )
    )
    seal(root)
    run(root, RunOptions(backend="cpu"))
    return root


def _one_of_each(folder: Path) -> Path:
    """One merchant with one site, one zone, one day."""
    return _world(folder, [(7, KOLKATA, hour, _PER_HOUR) for hour in range(24)], [(7, KOLKATA, 1, "IN")])


def _one_bucket(folder: Path) -> Path:
    """Ten merchants with the same count in one bucket, and sites of equal weights in two zones."""
    sites = [(m, zone, 1, country) for m in range(1, 11) for zone, country in ((PARIS, "FR"), (TOKYO, "JP")) * 2]
    return _world(folder, [(m, PARIS, 9, 2 * _PER_HOUR) for m in range(1, 11)], sites, zones="weights")


def _online_only(folder: Path) -> Path:
    """Merchants that only sell online, to one country."""
    counts = [(m, PARIS, hour, _PER_HOUR) for m in (1, 2) for hour in range(10)]
    sites = [(m, PARIS, 1, "FR") for m in (1, 2)]
    edges = [(m, PARIS, weight, "FR") for m in (1, 2) for weight in (1, 3)]
    return _world(folder, counts, sites, [(1, "VIRTUAL_ONLY"), (2, "VIRTUAL_ONLY")], edges)


@pytest.mark.parametrize(
    ("make", "inapplicable", "judged"),
    [
        (
            _one_of_each,
            UNDRAWN | OFFLINE | {"site_weights", "group_weights", "dst_hours", "top_zones"},
            {"offsets", "offset_variety", "weekend_share"},
        ),
        (_one_bucket, UNDRAWN | OFFLINE | {"dst_hours", "top_zones"}, {"offsets", "site_weights", "group_weights"}),
        (
            _online_only,
            UNDRAWN
            | {"site_weights", "group_weights", "hybrid_share", "edge_countries", "dst_hours", "top_zones"}
            | {"virtual_share"},
            {"offsets", "edge_weights", "coverage"},
        ),
    ],
)
def test_imported_worlds_without_the_subject_of_a_check_do_not_warn(
    make: Callable[[Path], Path], inapplicable: set[str], judged: set[str], tmp_path: Path, capsys: Any
) -> None:
    code, answer, findings = validated(make(tmp_path), capsys)
    assert (code, broken(findings, "FAIL", "WARN", "NOTE", "NOT_RUN")) == (0, set())
    # The run kept no event records.
    assert broken(findings, "NOT_APPLICABLE") == inapplicable | {"rng_events"}
    assert judged <= broken(findings, "PASS")
    for check in inapplicable:
        assert findings[check]["message"].startswith("does not apply: ")
        assert (findings[check]["rows"], findings[check]["violations"]) == (0, 0)
    assert answer["status"] == "PASS"


def test_the_reason_names_what_the_world_lacks(tmp_path: Path, capsys: Any) -> None:
    _, _, findings = validated(_one_of_each(tmp_path), capsys)
    told = {check: finding["message"].removeprefix("does not apply: ") for check, finding in findings.items()}
    assert told["virtual_share"] == "the world has no virtual merchants"
    assert told["hybrid_share"] == "the world has no hybrid merchants"
    assert told["top_zones"] == "the world has 1 zone, too few for a share of at most 0.72 in the 10 largest"
    assert told["residual_spread"] == "the counts state no intensity (mu or lambda_realised)"
    assert told["dst_hours"] == "no zone of the world's sites and edges changes its clocks in the horizon"
    assert told["site_weights"] == "no merchant has two sites in one zone"
    capsys.readouterr()
    assert main(["validate", str(tmp_path / "world"), "--quiet"]) == 0
    assert main(["validate", str(tmp_path / "world")]) == 0
    screen = capsys.readouterr().out
    assert "  -       virtual_share      does not apply: the world has no virtual merchants\n" in screen
    assert " not applicable" in screen


def test_a_hybrid_share_of_zero_is_judged_exactly(tmp_path: Path, capsys: Any) -> None:
    run_root = tmp_path / "run"
    content = packaged_bytes("arrival_routing_policy_5B").decode()
    bounds = next(line for line in content.splitlines() if "hybrid_p_virtual_bounds:" in line)
    edited = content.replace("p_virtual_hybrid: 0.35", "p_virtual_hybrid: 0").replace(
        bounds, bounds[: bounds.index(":")] + ": [0, 0.7]"
    )
    path = dataset("arrival_routing_policy_5B").locate(run_root, {})
    path.parent.mkdir(parents=True)
    path.write_text(edited, "utf-8")
    write_proof_world(run_root)
    run(run_root, RunOptions(backend="cpu"))
    code, _, findings = validated(run_root, capsys)
    assert (code, broken(findings)) == (0, set())
    assert findings["hybrid_share"]["verdict"] == "PASS"
    assert findings["hybrid_share"]["statistics"] == {"virtual": 0, "merchants": 1, "expected": 0.0, "found": 0.0}
    assert findings["coverage"]["verdict"] == "PASS"


# --- Measured values beside their ranges ------------------------------------------------------------------


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three synthetic merchants: too few for the population that the sentinels describe."""
    run_root = tmp_path_factory.mktemp("noted") / "run"
    synthesise(run_root, preset="demo", seed=1, scale=0.05)
    seal(run_root)
    run(run_root, RunOptions(backend="cpu"))
    assert validate(run_root).passed
    return run_root


RANGES = {"top_zones": "at most 0.72", "virtual_share": "0.03 to 0.08", "residual_spread": "1.2 to 1.6"}


def _texts(findings: Mapping[str, Any]) -> dict[str, str]:
    """What each note must say, put together from the report's own numbers."""
    texts = {}
    for check, expected in RANGES.items():
        ((name, value),) = [
            (n, v) for n, v in findings[check]["statistics"].items() if n in findings[check]["expected"]
        ]
        assert findings[check]["expected"] == {name: expected}
        texts[check] = f"{name} {value}, expected {expected}"
    return texts


def test_a_note_gives_value_and_range_everywhere(noted: Path, tmp_path: Path, capsys: Any) -> None:
    code, _, findings = validated(noted, capsys)
    assert (code, broken(findings, "NOTE"), broken(findings, "WARN")) == (0, set(RANGES), set())
    texts = _texts(findings)
    assert {check: findings[check]["message"] for check in RANGES} == texts

    assert main(["validate", str(noted)]) == 0
    screen = capsys.readouterr().out.splitlines()
    for check, text in texts.items():
        (line,) = [line for line in screen if line.split()[:2] == ["note", check]]
        assert f" rows: {text}" in line
        assert line.count(text.split(",")[0]) == 1

    table = pq.read_table(place(noted, "validation_bundle_5B") / "validation_issue_table_5B.parquet").to_pylist()
    issues = {row["context"]["check"]: row for row in table}
    assert {check: row["message"] for check, row in issues.items()} == texts

    page = report(noted, ReportOptions(out=tmp_path / "report.html")).page.read_text("utf-8")
    for text in texts.values():
        assert text in page


def test_a_failure_gives_value_and_range(tmp_path: Path, capsys: Any) -> None:
    run_root = policed(
        tmp_path / "run",
        CALIBRATED,
        sentinels("enforce_b"),
        ("max_count_per_bucket: 50000", "max_count_per_bucket: 2999"),
        ("mean_factor_target: 1", "mean_factor_target: 2"),
        ("min_rows: 1000", "min_rows: 5"),
        block("lgcp_realism", "error"),
    )
    code, answer, findings = validated(run_root, capsys)
    assert code == 1
    assert findings["bucket_counts"]["message"] == "largest_count 3000, expected at most 2999"
    found = findings["latent_factor"]
    assert found["message"] == f"mean {found['statistics']['mean']}, expected 1.95 to 2.05"
    assert findings["virtual_share"]["message"].endswith(", expected 0.03 to 0.08")
    assert "largest_count 3000, expected at most 2999" in answer["error_message"]


def test_warnings_beyond_the_limit_say_what_the_first_measured(tmp_path: Path, capsys: Any) -> None:
    run_root = policed(tmp_path / "run", CALIBRATED, sentinels("warn_only"), ("max_warnings: 8", "max_warnings: 0"))
    code, answer, findings = validated(run_root, capsys)
    first = next(finding for finding in answer["findings"] if finding["verdict"] == "WARN")
    several = len(broken(findings, "WARN"))
    assert (code, several > 1) == (1, True)
    head = f"{several} checks warn, 0 allowed; the first is {first['check']}"
    assert answer["error_message"] == f"{head}: {first['message']}"


_LIMITS = st.one_of(st.none(), st.floats(-1e9, 1e9))


@given(st.floats(-1e9, 1e9), st.tuples(_LIMITS, _LIMITS).filter(any))
def test_a_range_is_closed_and_its_text_never_contradicts_the_verdict(
    value: float, limits: tuple[float | None, float | None]
) -> None:
    low, high = limits
    measured = Measured("x", value, low, high)
    assert measured.holds == (not (low is not None and value < low) and not (high is not None and value > high))
    shown = float(measured.text.split()[1].rstrip(","))
    assert measured._replace(value=shown).holds == measured.holds


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.03, 0.08, "0.03 to 0.08"), (None, 0.72, "at most 0.72"), (1e-9, None, "at least 1e-09"), (0, 0, "0")],
)
def test_ranges_in_words(low: float | None, high: float | None, text: str) -> None:
    assert Measured("x", 1, low, high).expected == text


def test_no_statistic_is_told_twice_and_none_with_a_limit_without_it() -> None:
    book = Book("s")
    measured = [Measured("share", 0.9, high=0.72), Measured("mean", 1.0, 0.95, 1.05)]
    book.measure("top_zones", 5, measured, severity=Severity.WARN, facts={"zones": 11})
    (finding,) = book.findings
    assert finding.message == "share 0.9, expected at most 0.72"
    shown = statistics_text(finding.statistics, finding.expected, finding.message, 4)
    assert shown == "share 0.9, expected at most 0.72; mean 1.0 (0.95 to 1.05), zones 11"
    assert outcome([book], 0).error == (
        str(Finding("top_zones", finding.verdict, finding.severity).rule.code),
        "1 check warns, 0 allowed; the first is top_zones: share 0.9, expected at most 0.72",
    )
