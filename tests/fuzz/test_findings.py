"""What campaigns found, each as its smallest input: the readers now refuse it by name, or read it alike."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fuzz.target import judge
from tests.fuzz.targets import TARGETS


@pytest.fixture
def opened(request, tmp_path):
    return TARGETS[request.param].open(tmp_path)


@pytest.mark.parametrize("opened", ["trace_detail"], indirect=True)
@pytest.mark.parametrize(
    "detail",
    [
        '{"scenario_id": "a", "scenario_id": "b"}',
        '{"scenario_id": "a", "x": NaN}',
        '{"scenario_id": "a", "x": 1e999}',
        '{"scenario_id": ""}',
        '{"scenario_id": "\\ud800"}',
    ],
)
def test_run_and_validation_find_the_same_scenario_in_a_trace_record(opened, detail):
    assert str(judge(opened.read, detail.encode())).startswith("read ")


@pytest.mark.parametrize("opened", ["validation_report"], indirect=True)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("verdicts", ["x"]),
        ("arrival_digests", "text"),
        ("checks", [{}]),
        ("rows", "many"),
        ("violations", "x"),
        ("check", []),
    ],
)
def test_a_validation_report_of_other_types_is_refused_by_name(opened, key, value):
    document = json.loads(opened.samples[0])
    place = document if key in document else document["checks"][0]
    place[key] = value
    outcome = judge(opened.read, json.dumps(document).encode())
    assert str(outcome).startswith("5B.S4.IO_READ_FAILED ")


ROWS = {"anomaly_code": ["A", "B"], "severity": ["WARN", "WARN"], "context": ['{"arrivals": 1}', None]}


@pytest.mark.parametrize("opened", ["anomalies"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        {"context": ["[1]", None]},
        {"context": ['{"arrivals": null}', None]},
        {"context": ['{"arrivals": "x"}', None]},
        {"context": ["[" * 5000, None]},
        {"context": ["{", None]},
        {"context": [1.5, 2.5]},
        {"anomaly_code": ["A", None]},
        {"anomaly_code": [["A"], ["B"]]},
        {"severity": pa.array([2**62, 2**62], pa.date64())},
    ],
    ids=str,
)
def test_anomalies_of_other_types_are_refused_by_name(opened, change):
    sink = io.BytesIO()
    pq.write_table(pa.table({**ROWS, **change}), sink)
    assert str(judge(opened.read, sink.getvalue())).startswith("5B.S4.IO_READ_FAILED ")


@pytest.mark.parametrize("opened", ["alias_index"], indirect=True)
@pytest.mark.parametrize("name", ["merchant_id", "offset", "length", "sites", "quantised_bits"])
def test_a_whole_number_with_a_point_is_one_for_both_readers_of_an_index(opened, name):
    document = json.loads(opened.samples[0])
    document["merchants"][0][name] = float(document["merchants"][0][name])
    assert judge(opened.read, json.dumps(document).encode()) == "read 2 slices"
