"""The axes of small and large worlds, and the words and hints of the page around the plots."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine import ImportRequest, RunOptions, import_world, report, run
from arrival_engine.engine.report.axes import log_ticks, time_ticks
from arrival_engine.engine.sealing import seal

_SVG = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
# The smallest horizon that the page draws is an hour.
HOUR = 1 / 24
# 1 January 2026, in days since 1970.
NEW_YEAR = 20454.0


# --- Ticks ------------------------------------------------------------------------------------------------


@given(st.floats(-3, 9), st.floats(0.02, 9))
def test_a_logarithmic_axis_has_several_labels(low: float, decades: float) -> None:
    first, last = 10.0**low, 10.0 ** (low + decades)
    ticks = log_ticks(first, last)
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))
    assert first <= ticks[0] <= ticks[-1] <= last


@pytest.mark.parametrize(
    ("merchants", "ticks"),
    [
        (2, [1, 2]),
        (4, [1, 2, 3, 4]),
        (60, [1, 3, 10, 30]),
        (75_000, [1, 10, 100, 1000, 10_000]),
        (10_000_000, [10.0**power for power in range(8)][::2]),
    ],
)
def test_ranks_are_whole_numbers(merchants: int, ticks: list[float]) -> None:
    assert log_ticks(1.0, float(merchants), whole=True) == ticks


@given(st.integers(0, 400 * 24), st.integers(1, 200 * 24), st.sampled_from([5, 9]))
def test_dates_are_at_equal_distances(begin: int, hours: int, most: int) -> None:
    first = NEW_YEAR + begin * HOUR
    last = first + hours * HOUR
    ticks = time_ticks(first, last, most)
    assert 2 <= len(ticks) <= most
    assert first - 1e-6 <= ticks[0][0] <= ticks[-1][0] <= last + 1e-6
    if not re.fullmatch(r"[A-Z][a-z]{2} \d{4}", ticks[0][1]):
        steps = np.diff([at for at, _ in ticks])
        assert np.allclose(steps, steps[0])
    assert len({label for _, label in ticks}) == len(ticks) or hours < 24 * 14


@pytest.mark.parametrize(
    ("hours", "most", "labels"),
    [
        (1, 9, ["1 Jan", "00:10", "00:20", "00:30", "00:40", "00:50", "01:00"]),
        (24, 9, ["1 Jan", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "2 Jan"]),
        (24 * 10, 9, ["1 Jan", "3 Jan", "5 Jan", "7 Jan", "9 Jan", "11 Jan"]),
        (24 * 10, 5, ["1 Jan", "4 Jan", "7 Jan", "10 Jan"]),
        (24 * 59, 9, ["5 Jan", "12 Jan", "19 Jan", "26 Jan", "2 Feb", "9 Feb", "16 Feb", "23 Feb"]),
        (24 * 365, 9, ["Jan 2026", "Mar 2026", "May 2026", "Jul 2026", "Sep 2026", "Nov 2026", "Jan 2027"]),
        (24 * 365 * 10, 9, ["2026", "2028", "2030", "2032", "2034"]),
    ],
)
def test_dates_in_words(hours: int, most: int, labels: list[str]) -> None:
    assert [label for _, label in time_ticks(NEW_YEAR, NEW_YEAR + hours / 24, most)] == labels


# --- Pages of small worlds --------------------------------------------------------------------------------


def _page(folder: Path, merchants: int, hours: int) -> str:
    """The report of a world with this many merchants, of one site each, that is closed at night."""
    counts = [
        f"{merchant},Europe/Berlin,2026-03-1{hour // 24}T{hour % 24:02}:00:00Z,{7 + 900 // merchant}"
        for merchant in range(1, merchants + 1)
        for hour in range(hours)
        if 7 <= hour % 24 < 19
    ]
    sites = [f"{merchant},Europe/Berlin,1,DE" for merchant in range(1, merchants + 1)]
    for name, head, rows in (
        ("counts", "merchant_id,tz,bucket_start,count", counts),
        ("sites", "merchant_id,tz,weight,country", sites),
    ):
        (folder / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n", "utf-8")
    root = folder / "world"
    import_world(ImportRequest(run_root=root, counts=[folder / "counts.csv"], sites=[folder / "sites.csv"]))
    seal(root)
    run(root, RunOptions(backend="cpu"))
    return report(root).page.read_text("utf-8")


def _labels(svg: str) -> tuple[set[str], set[str]]:
    """Texts below the horizontal axis and left of the vertical one, by their place: ticks share a line."""
    texts = [
        element
        for element in ET.fromstring(svg).iter()  # noqa: S314 - the page is our own
        if element.tag.endswith("text")
    ]
    rows: dict[str, set[str]] = {}
    columns: dict[str, set[str]] = {}
    for element in texts:
        if "font-size: 11px" not in (element.get("style") or "") or element.get("transform"):
            continue
        rows.setdefault(f"{float(element.get('y', 'nan')):.1f}", set()).add(element.text or "")
        columns.setdefault(f"{float(element.get('x', 'nan')):.1f}", set()).add(element.text or "")
    return max(rows.values(), key=len), max(columns.values(), key=len)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _page(tmp_path_factory.mktemp("four"), 4, 72)


def test_every_axis_of_a_small_world_has_two_labels(four: str) -> None:
    drawn = {re.search(r"<title[^>]*>([^<]*)", svg)[1]: _labels(svg) for svg in _SVG.findall(four)}
    checked = {"Arrivals by rank", "Found against expected", "4 sites", "Weekdays"}
    assert checked <= set(drawn)
    for title in checked:
        across, up = drawn[title]
        assert len(across) >= 2, (title, across)
        assert len(up) >= 2, (title, up)
    assert drawn["Arrivals by rank"][0] == {"1", "2", "3", "4"}


def test_closed_hours_are_not_called_unhealthy(four: str) -> None:
    texts = " ".join(re.sub(r"<[^>]*>", " ", four).split())
    assert "with few or none at night and when the shops are closed" in texts
    assert "gaps are hours when all merchants are closed" in texts
    assert "no hour is empty" not in texts
    assert "every merchant has exactly the arrivals of its counts" in texts


def test_rates_are_per_hour(four: str) -> None:
    assert "arrivals per hour" in four
    assert "an hour" not in four


def test_each_table_that_scrolls_says_so(four: str) -> None:
    regions = re.findall(r'<div class="scroll"[^>]*>\s*(<p class="hint">[^<]+</p>)?', four)
    assert len(regions) >= 2
    assert all("Scroll sideways" in hint for hint in regions)
    style = four[four.index("<style>") : four.index("</style>")]
    narrow = style[style.index("@media(max-width:640px)") : style.index("@media print")]
    assert ".hint{display:none}" in style
    assert ".hint{display:block" in narrow


def test_one_merchant_of_one_day_has_no_empty_plots(tmp_path: Path) -> None:
    page = _page(tmp_path, 1, 24)
    titles = re.findall(r"<figcaption>([^<]*)</figcaption>", page)
    assert "Arrivals per hour over 12 hours, UTC" in titles
    # One place, merchant or zone cannot be compared with others, and a Tuesday is no weekend.
    assert not {"Concentration", "1 site", "Arrivals by rank", "Weekends"} & {*titles}
    assert {"1 zone", "Weekdays"} <= {*titles}
    assert "No arrivals lie on weekends." in page
    assert "UTC, 10 Mar 2026" in page
