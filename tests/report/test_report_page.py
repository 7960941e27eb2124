"""The page of `arrivals report`: what it says, that it stands alone, and how a browser shows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from PIL import Image

from arrival_engine import RunOptions, report, run
from arrival_engine.contracts.moments import utc_now
from arrival_engine.engine.process.human import count, size
from arrival_engine.engine.process.version import LAW_VERSION, version
from arrival_engine.engine.records.run_report import append_line, report_head
from arrival_engine.engine.report.job import PAGE
from arrival_engine.engine.report.style import DARK, LIGHT, ROLES, drawing
from arrival_engine.engine.report.svg import inline_svg
from arrival_engine.engine.rundir.receipt import read_receipt
from tests.support.product import report_lines, write_sealed
from tests.support.validated import PASSED, place
from tests.support.validating import edit_run_line, proven_run, validated
from tests.support.worlds import small_world

SCENARIO = "baseline_v1"
VOID = {"meta", "link", "br", "img", "input", "hr"}
HOSTILE = "<img src=x onerror=alert(1)>$\\frac{"
HEADINGS = [
    "Arrivals over time",
    "A clock change by two clocks: New York",
    "Hours of the day, by the local clock",
    "Zones",
    "Lorenz curves of sites and edges",
    "Merchant tail",
    "Offsets within buckets",
    "Fallbacks and anomalies",
    "Largest merchants",
    "Speed by phase",
]


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    def all(self, tag=None, kind=None):
        """Every element below, by tag and class."""
        for child in self.children:
            if isinstance(child, Element):
                if tag in (None, child.tag) and (kind is None or kind in (child.attributes.get("class") or "").split()):
                    yield child
                yield from child.all(tag, kind)

    @property
    def text(self):
        parts = (child if isinstance(child, str) else child.text for child in self.children)
        return re.sub(r"\s+", " ", "".join(parts)).strip()


class Reader(HTMLParser):
    """A strict reader: every element that is opened is closed, in order."""

    def __init__(self, page):
        super().__init__()
        self.open = [Element("", {})]
        self.feed(page)
        self.close()
        assert [element.tag for element in self.open] == [""]

    def handle_starttag(self, tag, attributes):
        element = Element(tag, dict(attributes))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.open[-1].children.append(Element(tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].children.append(data)


def read(path):
    return Reader(path.read_text("utf-8")).open[0]


@pytest.fixture(scope="module")
def run_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("page") / "run"
    proven_run(root)
    return root


@pytest.fixture(scope="module")
def page(run_root):
    """The page of a run that was not validated."""
    return read(report(run_root).page)


def facts(element):
    """Names and values of every list of facts, in order."""
    pairs = [div for facts in element.all("dl", "facts") for div in facts.all("div")]
    return {next(pair.all("dt")).text: next(pair.all("dd")).text for pair in pairs}


def tables(page):
    """Rows of cells by caption, heads first."""
    return {
        next(table.all("caption")).text: [
            [cell.text for cell in row.children if isinstance(cell, Element)] for row in table.all("tr")
        ]
        for table in page.all("table")
    }


class TestWhatItSays:
    def test_who_the_run_is_and_what_it_was_made_by(self, page, run_root):
        identity, (line,) = read_receipt(run_root).identity, report_lines(run_root)
        said = facts(page)
        assert said["Run"] == identity.run_id
        assert said["Manifest fingerprint"] == identity.manifest_fingerprint
        assert said["Parameter hash"] == identity.parameter_hash
        assert said["Seed"] == str(identity.seed)
        assert said["Seal"] == line["sealed_inputs_digest"]
        assert said["Arrival law"] == f"version {LAW_VERSION}"
        assert (said["Engine"], said["Backend"]) == (version(), "cpu")
        assert said["Random numbers"] == "philox2x64-10"
        assert said["Upstream gates"].startswith("1A PASS, ")
        assert said["Arrival digest"] == line["arrival_digest"]
        assert {name: said[name] for name in line["policy_digests"]} == line["policy_digests"]
        footer = next(page.all("footer")).text
        assert all(name in footer for name in ("duckdb", "matplotlib", "jinja2", "tzdata", version()))

    def test_totals(self, page, run_root):
        (line,) = report_lines(run_root)
        (tiles,) = page.all("dl", "tiles")
        told = {next(tile.all("dt")).text: [dd.text for dd in tile.all("dd")] for tile in tiles.all("div")}
        assert told["arrivals"] == [count(line["n_arrivals_total"]), f"in {line['n_buckets_total']} buckets"]
        assert told["physical"][0] == count(line["n_arrivals_physical"])
        assert told["virtual"][0] == count(line["n_arrivals_virtual"])
        assert told["merchants"] == ["9", "of 10"]

    def test_every_plot_has_a_sentence_on_health_and_every_drawing_a_text(self, page):
        assert [heading.text for heading in page.all("h3")][: len(HEADINGS)] == HEADINGS
        plots = list(page.all("section", "plot"))
        assert len(plots) == 8
        for plot in plots:
            (healthy,) = plot.all("p", "healthy")
            assert re.fullmatch(r"Healthy: [^.]+\.", healthy.text), healthy.text
        ids = {element.attributes["id"]: element for element in page.all() if "id" in element.attributes}
        drawings = list(page.all("svg"))
        assert len(drawings) == 16
        for svg in drawings:
            assert svg.attributes["role"] == "img"
            label, description = (ids[name] for name in svg.attributes["aria-labelledby"].split())
            assert label.text
            assert len(description.text) > 20

    def test_fallbacks_and_merchants_are_those_of_the_run(self, page, run_root):
        (line,) = report_lines(run_root)
        told = tables(page)
        kinds = {row[0].lower(): row[1] for row in told["By kind"][1:]}
        assert kinds == {name: count(number) for name, number in line["fallbacks"].items()}
        (merchants,) = (rows for caption, rows in told.items() if caption.startswith("The first 9 of 10"))
        assert [row[0] for row in merchants[1:]] == [str(rank) for rank in range(1, 10)]
        largest = [int(row[2].replace(",", "")) for row in merchants[1:]]
        assert largest == sorted(largest, reverse=True)
        assert sum(largest) == line["n_arrivals_total"]
        assert {row[5] for row in merchants[1:]} == {"1.000"}

    def test_a_run_that_was_not_validated_says_how(self, page):
        assert "Validation: not validated" in next(page.all("header")).text
        assert "arrivals validate RUN_ROOT" in page.text

    def test_verdicts_once_there_are_any(self, run_root, tmp_path, capsys):
        root = shutil.copytree(run_root, tmp_path / "run")
        _, answer, findings = validated(root, capsys)
        page = read(report(root).page)
        told = tables(page)
        whole = {row[0]: row[1] for caption in ("The run as a whole", SCENARIO) for row in told[caption][1:]}
        words = {"PASS": "passed", "WARN": "warned", "NOTE": "noted"}
        words |= {"NO_DATA": "without enough data", "NOT_APPLICABLE": "not applicable"}
        assert whole == {name: words[finding["verdict"]] for name, finding in findings.items()}
        others = {name for name, finding in findings.items() if finding["verdict"] != "PASS"}
        assert {row[0] for row in told["What did not simply pass"][1:]} == others
        verdict = "passed" if answer["status"] == "PASS" else "did not pass"
        assert f"Validation: {verdict}" in next(page.all("header")).text
        assert not list(page.all("p", "callout")) or answer["status"] == "FAIL"

        # What has lost its flag is not passed over.
        flag = place(root, PASSED) / "_passed.flag"
        flag.rename(root / "flag")
        warned = [note.text for note in read(report(root).page).all("p", "callout")]
        assert any("has lost its flag" in note for note in warned)
        (root / "flag").rename(flag)

        # Of another run of the same scenario, the bundle says nothing.
        edit_run_line(root, arrival_digest="1-0", n_arrivals_total=7)
        warned = [note.text for note in read(report(root).page).all("p", "callout")]
        assert any("validation bundle is not of these arrivals" in note for note in warned)
        assert any("12,879 arrivals, but the run report says 7" in note for note in warned)


class TestAlone:
    def test_nothing_is_loaded_from_anywhere(self, run_root, page):
        assert [element.tag for element in page.all() if element.tag in ("script", "iframe", "object", "img")] == []
        for element in page.all():
            for name, value in element.attributes.items():
                assert not name.startswith("on"), f"{element.tag} {name}"
                if name in ("src", "href", "xlink:href", "data", "poster", "srcset", "action"):
                    assert value.startswith(("#", "data:")), value
        text = (run_root / PAGE).read_text("utf-8")
        assert [found for found in re.findall(r"url\(([^)]*)\)", text) if not found.startswith("#")] == []
        assert "@import" not in text
        assert "://" not in text

    def test_every_reference_has_a_target_and_every_id_is_its_own(self, page):
        ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
        assert len(ids) == len(set(ids))
        references = [value for element in page.all() for name, value in element.attributes.items() if name == "href"]
        references += re.findall(r"url\((#[^)]*)\)", " ".join(map(str, (e.attributes for e in page.all("g")))))
        targets = {reference[1:] for reference in references if reference.startswith("#")}
        assert targets
        assert targets <= set(ids)

    @pytest.mark.usefixtures("page")
    def test_colours_come_from_the_page(self, run_root):
        text = (run_root / PAGE).read_text("utf-8")
        for role, (light, dark, stand_in) in zip(LIGHT._fields, zip(LIGHT, DARK, ROLES, strict=True), strict=True):
            assert f"--{role}:{light};" in text
            assert f"--{role}:{dark};" in text
            assert stand_in not in text
        drawings = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawings)) <= {
            "none",
            *(f"var(--{role})" for role in LIGHT._fields),
        }

    @pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
    def test_texts_and_lines_stand_out_from_their_ground(self, palette):
        for role, least in (("ink", 7), ("muted", 4.5), ("physical", 3), ("virtual", 3), ("change", 4.5)):
            assert contrast(getattr(palette, role), palette.surface) >= least, role


def contrast(one, other):
    """WCAG 2.2's contrast ratio of two #rrggbb."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


class TestHostileTexts:
    def test_markup_in_data_stays_text(self, tmp_path):
        scenario = "<b onclick=x>$&'\""
        root = tmp_path / "run"
        write_sealed(small_world(), root, further_scenarios=[small_world(scenario_id=scenario)])
        run(root, RunOptions(backend="cpu", scenarios=(scenario,)))
        receipt = read_receipt(root)
        failed = {"status": "FAIL", "error_code": HOSTILE, "error_message": f"</p><script>alert(2)</script>{HOSTILE}"}
        append_line(receipt, {**report_head(receipt.identity, scenario, utc_now()), **failed})
        changes = {"thread_seconds": {HOSTILE: 1.0}, "peak_device_bytes": {HOSTILE: 3 << 20}}
        edit_run_line(root, notices=[HOSTILE], **changes)

        result = report(root)
        page = read(result.page)
        assert not {"script", "img", "b"} & {element.tag for element in page.all() if element.attributes}
        assert f"Scenario {scenario}" in [heading.text for heading in page.all("h2")]
        warned = " ".join(note.text for note in page.all("p", "callout"))
        assert f"<script>alert(2)</script>{HOSTILE}" in warned
        assert f"Scenario {SCENARIO} is sealed but has no published arrivals." in warned
        assert facts(page)["Notices"] == HOSTILE
        assert facts(page)[f"Thread time, {HOSTILE}"] == "1.0 s"
        assert facts(page)[f"Peak memory, {HOSTILE}"] == size(3 << 20)

    def test_texts_in_drawings_are_neither_markup_nor_formulas(self):
        with drawing(ROLES):
            figure = Figure(figsize=(3, 2))
            figure.add_subplot().set_title(HOSTILE + "\N{CJK UNIFIED IDEOGRAPH-6771}")
            svg = inline_svg(figure, "x", HOSTILE, HOSTILE)
        root = Reader(svg).open[0]
        assert "img" not in {element.tag for element in root.all()}
        assert HOSTILE in [element.text for element in root.all("title")]
        assert f"{HOSTILE}\N{CJK UNIFIED IDEOGRAPH-6771}" in [element.text for element in root.all("text")]


# --- In a browser ----------------------------------------------------------------------------------

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
# A hang guard, many times what a page takes.
PATIENCE_S = 120
PROBE = """<script>
const facts = {
  width: innerWidth,
  scrolls: document.documentElement.scrollWidth > innerWidth,
  height: document.documentElement.scrollHeight,
  ground: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  plots: [...document.querySelectorAll('figure svg')].map(svg => {
    const box = svg.getBoundingClientRect();
    return [box.left, box.top + scrollY, box.right, box.bottom + scrollY].map(Math.round);
  }),
  clipped: [...document.querySelectorAll('figure svg')].filter(svg => {
    const whole = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].some(text => {
      const box = text.getBoundingClientRect();
      return box.left < whole.left - 2 || box.right > whole.right + 2
          || box.top < whole.top - 2 || box.bottom > whole.bottom + 2;
    });
  }).length,
};
document.title = JSON.stringify(facts);
</script>"""


@pytest.fixture(scope="module")
def probed(run_root, page, tmp_path_factory):
    """The page with a script at its end that says how it was laid out."""
    assert page.text
    path = tmp_path_factory.mktemp("browser") / "page.html"
    path.write_text((run_root / PAGE).read_text("utf-8").replace("</body>", f"{PROBE}</body>"), "utf-8")
    return path


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
class TestInABrowser:
    def test_in_light_on_a_desktop(self, probed, tmp_path):
        layout = browse(probed, tmp_path, 1280)
        assert (layout["width"], layout["scrolls"], layout["clipped"]) == (1280, False, 0)
        assert (rgb(layout["ground"]), rgb(layout["ink"])) == ((247, 248, 249), colour(LIGHT.ink))
        shown = [box for box in layout["plots"] if box[2] > box[0]]
        assert len(shown) == 13
        with screenshot(probed, tmp_path, 1280, layout["height"]) as image:
            for box in shown:
                assert_drawn(image.crop(box), LIGHT)

    def test_in_dark(self, probed, tmp_path):
        layout = browse(probed, tmp_path, 1280, "--blink-settings=preferredColorScheme=0")
        assert (rgb(layout["ground"]), rgb(layout["ink"])) == ((16, 19, 22), colour(DARK.ink))
        with screenshot(probed, tmp_path, 1280, layout["height"], "--blink-settings=preferredColorScheme=0") as image:
            for box in layout["plots"]:
                if box[2] > box[0]:
                    assert_drawn(image.crop(box), DARK)

    def test_on_a_narrow_screen_nothing_sticks_out(self, probed, tmp_path):
        framed = tmp_path / "frame.html"
        text = probed.read_text("utf-8").replace("&", "&amp;").replace('"', "&quot;")
        # A window has a least width; a frame has none.
        framed.write_text(
            f'<iframe width="400" height="800" style="border:0" srcdoc="{text}"></iframe>'
            "<script>onload = () => { document.title = frames[0].document.title }</script>",
            "utf-8",
        )
        layout = browse(framed, tmp_path, 1000)
        assert (layout["width"], layout["scrolls"], layout["clipped"]) == (400, False, 0)
        assert len([box for box in layout["plots"] if box[2] > box[0]]) == 13

    def test_it_prints(self, probed, tmp_path):
        chromium(probed, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}")
        data = (tmp_path / "page.pdf").read_bytes()
        assert data.startswith(b"%PDF")
        pages = len(re.findall(rb"/Type\s*/Page\b", data))
        assert 4 <= pages <= 20


def chromium(path, profile, *arguments):
    """Run the browser once; what it wrote to standard output. Fails on any message of the page's console."""
    command = [
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"),
        *(f"--user-data-dir={profile / 'profile'}", "--force-device-scale-factor=1", *arguments, path.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    return done.stdout


def browse(path, profile, width, *arguments):
    """How the page was laid out in a window of this width."""
    dom = chromium(path, profile, f"--window-size={width},900", "--dump-dom", *arguments)
    found = re.search(r"<title>(\{.*?\})</title>", dom)
    assert found, dom[:2000]
    return json.loads(found.group(1))


def screenshot(path, profile, width, height, *arguments):
    target = profile / "page.png"
    chromium(path, profile, f"--window-size={width},{height}", f"--screenshot={target}", *arguments)
    return Image.open(target).convert("RGB")


def colour(text):
    return tuple(int(text[place : place + 2], 16) for place in (1, 3, 5))


def rgb(text):
    return tuple(map(int, re.findall(r"\d+", text)))


def assert_drawn(image, palette):
    """Most of a plot is its ground, and there is something of the axes' texts and of the data on it."""
    colours = {shade: number for number, shade in image.getcolors(1 << 22)}
    assert max(colours, key=colours.get) in (colour(palette.surface), colour(palette.band))
    data = [colour(getattr(palette, role)) for role in ("physical", "virtual", "change", "ink")]
    assert sum(colours.get(shade, 0) for shade in data) > 40, sorted(colours, key=colours.get)[-5:]
    assert len(colours) > 30
