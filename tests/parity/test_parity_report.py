"""`arrivals parity`: both reports say the same, the page stands alone, and the exit code follows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from arrival_engine.contracts import Code
from arrival_engine.engine.process.version import LAW_VERSION, code_digest
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import read_seal
from tests.support.parity import check, flipped, tampering, unchanged
from tests.support.paths import ROOT

# --- The report ------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags that are open, and what the page refers to."""

    VOID = ("meta",)

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.references = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.references += [value for name, value in attributes if name in ("src", "href", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read_page(path):
    source = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(source)
    page.close()
    assert page.open == []
    assert page.references == []
    assert not page.tags & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"https?://|url\(|@import", source)
    assert "prefers-color-scheme: dark" in source
    assert "@media print" in source
    return source


def sides_of(report):
    return report["left"], report["right"]


def test_both_reports_say_the_same(run_root, planned, tmp_path):
    result = check(run_root, tmp_path / "out", tampering(unchanged), sample_batches=2)
    report = json.loads(result.report_json.read_bytes())
    identity = read_receipt(run_root).identity
    assert (report["status"], report["identical"], report["first_difference"]) == ("PASS", True, None)
    assert (report["law_version"], report["code_digest"]) == (LAW_VERSION, code_digest())
    assert report["world"]["manifest_fingerprint"] == identity.manifest_fingerprint
    assert report["world"]["seed"] == str(identity.seed)
    assert report["world"]["sealed_inputs_digest"] == read_seal(read_receipt(run_root)).digest
    assert report["compared"]["batches"] == [0, len(planned.batches) - 1]
    assert report["compared"]["whole"] is False
    assert report["environment"]["packages"]["numpy"] == np.__version__
    for side in sides_of(report):
        assert side["digest"] == result.left.digest
        assert set(side["phase_seconds"]) == {"load", "expand"}
        assert all(rate > 0 for rate in side["arrivals_per_second"].values())
        assert [batch["index"] for batch in side["batches"]] == report["compared"]["batches"]
        assert side["kernels"] is None
    assert all(column["identical"] for column in report["columns"])
    page = read_page(result.report_html)
    assert "<title>Identical: parity of cpu and tampered</title>" in page
    assert result.left.digest in page
    chart = ET.fromstring(re.search(r"<div class='chart'.*?</div></div>", page)[0])  # noqa: S314 - written just now
    widths = [float(bar.get("style")[len("width:") : -1]) for bar in chart.findall(".//span[@style]")]
    rates = [side["arrivals_per_second"][name] for name in ("expand", "load and expand") for side in sides_of(report)]
    assert widths == [pytest.approx(100 * rate / max(rates), abs=0.01) for rate in rates]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["parity_report.html", "parity_report.json"]


def test_a_difference_is_in_both_reports_and_text_is_escaped(run_root, tmp_path):
    backend = replace(tampering(flipped(1, 0, "primary")), name="<b>&", reason="<script>")
    result = check(run_root, tmp_path, backend)
    report = json.loads(result.report_json.read_bytes())
    first = report["first_difference"]
    assert (report["status"], first["batch"], first["row"], first["values"][0]["name"]) == ("FAIL", 1, 0, "primary")
    assert first["trace"]["derived"][0]["confirms"] == "left"
    history = first["trace"]["explanation"]["history"]
    page = read_page(result.report_html)
    assert "DIFFERENT" in page
    for block in history["blocks"]:
        assert block["x0"] in page
    for wanted in ("&lt;b&gt;&amp;", "First difference", history["entity"]["zone_representation"]):
        assert wanted in page
    error = result.failure()
    assert error.code is Code.RERUN_NONDETERMINISTIC
    assert error.context["differing"] == {"columns.primary": 1}
    assert error.context["draw"] == history["bucket"]["draw"]


# --- The command -----------------------------------------------------------------------------------


def arrivals(*arguments, program="arrival_engine"):
    command = [sys.executable, "-m", program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.cuda_sim
def test_the_kernels_in_the_simulator_have_the_cpus_bits(run_root, tmp_path):
    done = arrivals("parity", run_root, "--right", "cudasim", "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["status"], shown["identical"], shown["refused"]) == ("PASS", True, [])
    assert shown["left"]["digest"] == shown["right"]["digest"]
    report = json.loads((tmp_path / "parity_report.json").read_bytes())
    assert report["compared"]["whole"] is True
    assert (report["left"]["simulated"], report["right"]["simulated"]) == (False, True)
    page = read_page(tmp_path / "parity_report.html")
    assert "says nothing of a device" in page
    assert "cudasim (simulation)" in page


@pytest.mark.cuda_sim
def test_a_wrong_bit_ends_the_command_with_one(run_root):
    options = ("parity", run_root, "--right", "cudasim", "--batch-arrivals", 50, "--sample-batches", 1)
    done = arrivals(*options, program="tests.support.faults.wrong_bit")
    assert done.returncode == 1, done.stderr
    assert re.search(r"columns.settlement +1 of", done.stdout)
    assert "Philox2x64-10" in done.stdout
    assert "RERUN_NONDETERMINISTIC" in done.stderr
    report = json.loads((run_root / "reports" / "parity" / "parity_report.json").read_bytes())
    found = report["first_difference"]
    assert (report["status"], found["batch"], found["row"]) == ("FAIL", 0, 2)
    assert [(item["name"], item["confirms"]) for item in found["trace"]["derived"]] == [("settlement", "left")]


def test_a_side_against_itself_is_bad_usage(run_root):
    done = arrivals("parity", run_root, "--left", "cudasim", "--right", "cudasim")
    assert done.returncode == 2
    assert "nothing to compare" in done.stderr


def test_the_verdict_comes_first_and_largest(run_root, tmp_path):
    page = read_page(check(run_root, tmp_path / "same", tampering(unchanged), sample_batches=1).report_html)
    body = page[page.index("<body>") :]
    assert re.match(r"<body>\s*<h1 class=\"good\">Identical</h1>\s*<p class=\"lead\">Scenario ", body)
    assert body.index("</h1>") < body.index("class='notes'") < body.index("The two sides")
    sizes = {
        tag: float(size)
        for tag, size in re.findall(r"^(h1|h2|\.lead|\.notes) \{[^}]*font-size: ([\d.]+)rem", page, re.MULTILINE)
    }
    assert sizes["h1"] > 2 * max(size for tag, size in sizes.items() if tag != "h1")
    assert "Arrivals per second" in page
    assert "registers per thread" in page
    different = read_page(check(run_root, tmp_path / "other", tampering(flipped(0, 3, "ts_us"))).report_html)
    assert '<h1 class="bad">Different</h1>' in different


def test_tables_with_several_columns_say_that_they_scroll(run_root, tmp_path):
    page = read_page(check(run_root, tmp_path / "out", tampering(unchanged), sample_batches=1).report_html)
    headed = [table for table in page.split("<div class='wide'")[1:] if "<thead>" in table]
    assert headed
    assert all("class='hint'" in table.split("<table")[0] for table in headed)
