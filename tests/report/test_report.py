"""What `arrivals report` says of records, what it writes, and how it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from arrival_engine import ReportOptions, RunOptions, report, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.moments import utc_now
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.records.run_report import append_line, report_head
from arrival_engine.engine.report.job import PAGE
from arrival_engine.engine.report.published import find_published
from arrival_engine.engine.report.records import read_anomalies, read_run
from arrival_engine.engine.report.share_plots import gini
from arrival_engine.engine.rundir.receipt import read_receipt
from tests.support.model import CountRow
from tests.support.paths import ROOT
from tests.support.product import write_sealed
from tests.support.reported import SCENARIO
from tests.support.validating import copied, edit_run_line, report_path, validated
from tests.support.worlds import (
    BERLIN,
    HALF,
    TWO_ZONES,
    VIRTUAL,
    small_world,
)

PLOTS = ("arrivals-over-time", "clock-change", "hour-of-day", "zones", "lorenz", "merchants", "offsets", "speed")


class TestRecords:
    def test_verdicts_are_those_of_the_bundle(self, proven, tmp_path, capsys):
        root = copied(proven, tmp_path / "run")
        assert read_run(read_receipt(root)).verdicts is None
        code, _, findings = validated(root, capsys)
        verdicts = read_run(read_receipt(root)).verdicts
        assert verdicts.passed == (code == 0)
        told = {check.name: check for checks in verdicts.checks.values() for check in checks}
        assert {name: check.verdict for name, check in told.items()} == {
            name: finding["verdict"] for name, finding in findings.items()
        }
        assert sum(verdicts.tally.values()) == len(findings)
        assert report(root).validated is verdicts.passed

    def test_the_latest_bundle_counts_also_when_it_failed(self, proven, tmp_path, capsys):
        root = copied(proven, tmp_path / "run")
        validated(root, capsys)
        edit_run_line(root, n_arrivals_virtual=1)
        code, _, findings = validated(root, capsys)
        assert (code, findings["run_report"]["verdict"]) == (1, "FAIL")
        assert read_run(read_receipt(root)).verdicts.passed is False

    def test_a_line_of_the_report_cannot_lead_elsewhere(self, proven, tmp_path, capsys):
        root = copied(proven, tmp_path / "run")
        validated(root, capsys)
        lines = [json.loads(line) for line in report_path(root).read_text("ascii").splitlines()]
        shutil.copytree(root / lines[-1]["bundle_path"], tmp_path / "elsewhere")
        lines[-1]["bundle_path"] = "../elsewhere"
        report_path(root).write_text("".join(json.dumps(line) + "\n" for line in lines), "ascii")
        assert read_run(read_receipt(root)).verdicts.folder.outside.is_relative_to(root)

    def test_a_failure_counts_until_a_run_has_succeeded(self, proven, tmp_path):
        root = copied(proven, tmp_path / "run")
        receipt = read_receipt(root)

        def line(scenario, status):
            head = report_head(receipt.identity, scenario, utc_now())
            append_line(receipt, {**head, "status": status, "error_code": None, "error_message": None})
            return [failed.get("scenario_id") for failed in read_run(receipt).failures]

        assert read_run(receipt).failures == ()
        assert line(SCENARIO, "FAIL") == [SCENARIO]
        assert line(SCENARIO, "FAIL") == [SCENARIO]
        assert line(None, "FAIL") == [SCENARIO, None]
        assert line("another", "PASS") == [SCENARIO]
        assert line(SCENARIO, "PASS") == []

    def test_anomalies_by_kind_are_the_fallbacks_of_the_run(self, proven):
        receipt = read_receipt(proven)
        fallbacks = read_run(receipt).lines[SCENARIO]["fallbacks"]
        anomalies = {anomaly.code: anomaly for anomaly in read_anomalies(receipt, SCENARIO)}
        assert {code.lower(): anomaly.arrivals for code, anomaly in anomalies.items()} == fallbacks
        assert all(anomaly.entities > 0 and anomaly.severity == "WARN" for anomaly in anomalies.values())

    def test_a_record_that_is_no_json_is_named(self, proven, tmp_path):
        root = copied(proven, tmp_path / "run")
        with report_path(root).open("a") as file:
            file.write("{half\n")
        reporter = Reporter()
        report(root, reporter=reporter)
        (notice,) = reporter.notices
        assert "line 2 is set aside: cut off or damaged" in notice.message


class TestFailures:
    def test_nothing_published(self, tmp_path):
        write_sealed(small_world(), tmp_path / "run")
        with pytest.raises(ArrivalError, match="no published arrivals") as raised:
            report(tmp_path / "run")
        assert raised.value.code is Code.IO_READ_FAILED
        assert "arrivals run" in raised.value.hint
        assert not (tmp_path / "run" / "reports").exists()

    def test_an_unknown_scenario(self, proven):
        with pytest.raises(ArrivalError, match="absent; published: baseline_v1") as raised:
            report(proven, ReportOptions(scenarios=("absent",)))
        assert raised.value.code is Code.OPTION_INVALID

    @pytest.mark.parametrize("damage", ["truncated", "gone between two lists", "another format"])
    def test_parts_that_cannot_be_read(self, damage, proven, tmp_path):
        root = copied(proven, tmp_path / "run")
        first, *_, last = find_published(read_receipt(root), [])[0].parts
        if damage == "truncated":
            last.write_bytes(last.read_bytes()[:-1000])
        elif damage == "another format":
            first.rename(first.with_suffix(".arrow"))
        else:
            first.write_bytes(b"")
        with pytest.raises(ArrivalError) as raised:
            report(root)
        assert raised.value.code is Code.IO_READ_FAILED
        assert "--replace" in raised.value.hint or "restore" in raised.value.hint
        assert not (root / PAGE).exists()

    def test_a_page_that_cannot_be_written_leaves_the_old_one(self, proven, tmp_path):
        page = tmp_path / "page.html"
        (page / "old").mkdir(parents=True)
        with pytest.raises(ArrivalError) as raised:
            report(proven, ReportOptions(out=page))
        assert raised.value.code is Code.IO_WRITE_FAILED
        assert [path.name for path in tmp_path.rglob("*")] == ["page.html", "old"]

    def test_an_unknown_figure_format(self):
        with pytest.raises(ValueError, match="svg or png"):
            ReportOptions(figure_format="gif")  # type: ignore[arg-type]


def arrivals(*arguments, **environment):
    command = [sys.executable, "-P", "-m", "arrival_engine", *map(str, arguments)]
    settings = {**os.environ, "COLUMNS": "100", **environment}
    return subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, text=True, check=False)


class TestCommand:
    def test_the_same_run_gives_the_same_bytes_whatever_the_process(self, proven, reported, tmp_path):
        (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: path\naxes.grid: True\n")
        done = arrivals(
            *("report", proven, "--out", tmp_path / "there.html", "--figures", tmp_path / "there"),
            PYTHONHASHSEED="7",
            TZ="Asia/Kathmandu",
            MATPLOTLIBRC=str(tmp_path / "matplotlibrc"),
        )
        assert done.returncode == 0, done.stderr
        assert str(tmp_path / "there.html") in done.stdout
        assert (tmp_path / "there.html").read_bytes() == reported.page.read_bytes()
        assert [path.name for path in reported.figures] == [f"{name}.svg" for name in PLOTS]
        for path in reported.figures:
            there = tmp_path / "there" / Path(*path.parts[-2:])
            assert there.read_bytes() == path.read_bytes(), path.name

    def test_json_and_png_figures(self, proven, tmp_path, found):
        root = copied(proven, tmp_path / "run")
        done = arrivals("report", root, "--json", "--figures", tmp_path / "f", "--figure-format", "png")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert (answer["status"], answer["page"], answer["validated"]) == ("PASS", str(root / PAGE), None)
        (scenario,) = answer["scenarios"]
        assert (scenario["arrivals"], scenario["virtual"]) == (found.arrivals, found.virtual)
        assert scenario["sites_gini"] == round(gini(found.sites), 6)
        assert [Path(path).name for path in answer["figures"]] == [f"{name}.png" for name in PLOTS]
        for path in answer["figures"]:
            with Image.open(path) as image:
                assert len(image.convert("RGB").getcolors(1 << 20)) > 20, path
                assert image.width >= 1700

    def test_svg_figures_stand_alone(self, reported):
        for path in reported.figures:
            root = ET.fromstring(path.read_bytes())  # noqa: S314 - our own
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            links = [value for element in root.iter() for name, value in element.attrib.items() if "href" in name]
            assert all(link.startswith("#") for link in links)
            style = root.find("{http://www.w3.org/2000/svg}style").text
            assert "prefers-color-scheme:dark" in style
            assert "--ink:" in style

    def test_without_a_publication_it_says_what_to_do(self, tmp_path):
        write_sealed(small_world(), tmp_path / "run")
        done = arrivals("report", tmp_path / "run")
        assert done.returncode == 1
        assert "error 5B.S4.IO_READ_FAILED" in done.stderr
        assert "arrivals run" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_format_without_figures_is_bad_usage(self, proven):
        done = arrivals("report", proven, "--figure-format", "png")
        assert done.returncode == 2
        assert "--figure-format needs --figures" in done.stderr


def test_scenarios_without_much_in_them_are_reported_too(tmp_path):
    """An empty one, one row; and one that is sealed but was never run."""
    row = CountRow(TWO_ZONES, BERLIN, "card_present", 3, 1)
    worlds = [
        small_world(scenario_id="empty", counts=(replace(row, n=0),)),
        small_world(scenario_id="one", counts=(row,)),
    ]
    root = tmp_path / "run"
    write_sealed(small_world(), root, further_scenarios=worlds)
    run(root, RunOptions(backend="cpu", scenarios=("empty", "one")))
    result = report(root, ReportOptions(figures=tmp_path / "figures"))
    assert {scenario.scenario_id: scenario.arrivals for scenario in result.scenarios} == {"empty": 0, "one": 1}
    names = {folder.name: {path.stem for path in folder.iterdir()} for folder in (tmp_path / "figures").iterdir()}
    assert names == {"empty": {"speed"}, "one": set(PLOTS) - {"clock-change", "merchants"}}
    page = result.page.read_text("utf-8")
    assert "This scenario has no arrivals" in page
    assert "Scenario baseline_v1 is sealed but has no published arrivals." in page
    only = report(root, ReportOptions(scenarios=("empty", "empty"), out=tmp_path / "empty.html"))
    assert [scenario.scenario_id for scenario in only.scenarios] == ["empty"]
    assert SCENARIO not in only.page.read_text("utf-8")


def test_a_world_without_virtual_merchants(tmp_path):
    world = small_world()
    counts = tuple(row for row in world.counts if row.merchant_id not in (VIRTUAL, HALF, 2**64 - 1))
    root = tmp_path / "run"
    write_sealed(replace(world, counts=counts), root)
    run(root, RunOptions(backend="cpu"))
    (scenario,) = report(root).scenarios
    assert (scenario.virtual, scenario.edges, scenario.edges_gini) == (0, 0, 0.0)
    page = (root / PAGE).read_text("utf-8")
    assert "There are no virtual arrivals." in page
    assert "No edge has arrivals." in page
