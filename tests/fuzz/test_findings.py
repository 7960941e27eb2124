"""What campaigns found, each as its smallest input: the readers now refuse it by name, or read it alike."""

from __future__ import annotations

import io
import json
import os
from codecs import BOM_UTF8
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import Identity
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.arrivals.part_file import PartFile
from arrival_engine.engine.importing.parquet import batches
from arrival_engine.engine.importing.room import Room
from arrival_engine.engine.rundir.arrow_files import parquet_metadata
from arrival_engine.engine.rundir.pieces import TablePiece, holding
from arrival_engine.engine.rundir.sealed_files import InputFile
from arrival_engine.engine.sealing.upstream import SEGMENTS
from tests.fuzz.mutation import packed, unpacked
from tests.fuzz.tables import CSV
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
    ids=["list", "null", "word", "deep", "open", "number", "no code", "list of codes", "far date"],
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


@pytest.mark.parametrize("opened", ["receipt"], indirect=True)
@pytest.mark.parametrize("root", ["a\0b", "\ud800", "x/\udfff"], ids=["NUL", "surrogate", "another"])
def test_an_external_root_that_is_not_a_path_is_refused_by_name(opened, root):
    document = json.loads(opened.samples[0]) | {"external_roots": [root]}
    outcome = judge(opened.read, json.dumps(document).encode())
    assert str(outcome).startswith("5B.S4.S0_GATE_MISSING_OR_INVALID engine/rundir/")


@pytest.mark.parametrize("opened", ["url"], indirect=True)
@pytest.mark.parametrize("url", ["file://[/a", "file://[::1/run", "file:///a%00b"])
def test_a_file_url_that_is_not_one_is_refused_by_name(opened, url):
    assert str(judge(opened.read, url.encode())).startswith("5B.S4.IO_READ_FAILED engine/storage/url.py")


@pytest.mark.parametrize("opened", ["csv_import"], indirect=True)
class TestCsv:
    @pytest.mark.parametrize(
        ("data", "outcome"),
        [
            (b"\n" + BOM_UTF8 + CSV.encode(), "5B.S4.SCHEMA_VIOLATION engine/importing/files.py:_refuse:"),
            (BOM_UTF8 * 2 + CSV.encode(), "5B.S4.SCHEMA_VIOLATION engine/importing/files.py:_refuse:"),
            (BOM_UTF8 + b"\n\n", "5B.S4.SCHEMA_VIOLATION engine/importing/files.py:_refuse:"),
            (BOM_UTF8 + b"\n\n" + CSV.encode(), "read 3 rows "),
        ],
        ids=["after a line", "twice", "alone", "before lines"],
    )
    def test_a_byte_order_mark_is_taken_at_the_beginning_alone(self, opened, data, outcome):
        assert str(judge(opened.read, data)).startswith(outcome)

    def test_a_row_that_is_too_long_and_not_unicode_is_named_and_nothing_else_printed(self, opened, capfd):
        outcome = judge(opened.read, CSV.encode() + b"\xff,b,\xff,c,c,c,c\n")
        assert str(outcome).startswith("5B.S4.SCHEMA_VIOLATION engine/importing/files.py:_explain:")
        assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("opened", ["lock_file"], indirect=True)
@pytest.mark.parametrize(
    "data",
    [b"[" * 5000, b'{"pid": 1, "pid": 2}', b"\xff", b"", b"null", b'{"machine": []}'],
    ids=["deep", "twice", "not UTF-8", "empty", "null", "list"],
)
def test_a_lock_file_of_other_content_names_no_holder(opened, data):
    assert str(judge(opened.read, data)).startswith("read ")


@pytest.mark.parametrize("path", ["\ud800", "a" * 300, "b/" * 60 + "c" * 256], ids=["surrogate", "long", "deep"])
class TestMemberPaths:
    @pytest.mark.parametrize("opened", ["upstream_bundle"], indirect=True)
    def test_a_bundle_upstream_that_names_no_possible_file_does_not_pass(self, opened, path):
        for sample in opened.samples:
            index, flag = unpacked(sample[1:], 2)
            document = json.loads(index)
            entries = document if isinstance(document, list) else next(iter(document.values()))
            entries[0]["path"] = path
            data = sample[:1] + packed([json.dumps(document).encode(), flag])
            # 3A's members may be elsewhere.
            outcome = str(judge(opened.read, data)).split()[:3]
            assert outcome in (["read", SEGMENTS[sample[0]], "FAIL"], ["read", "3A", "PASS"])

    @pytest.mark.parametrize("opened", ["validation_bundle"], indirect=True)
    def test_a_validation_bundle_that_names_no_possible_file_is_refused(self, opened, path):
        index, *rest = unpacked(opened.samples[0], 3)
        document = json.loads(index)
        document["entries"][0]["path"] = path
        document["entries"].sort(key=lambda entry: entry["path"])
        outcome = judge(opened.read, packed([json.dumps(document).encode(), *rest]))
        assert str(outcome).startswith("5B.S5.")


@pytest.mark.parametrize("opened", ["parquet_import"], indirect=True)
@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()], ids=str)
@pytest.mark.parametrize("days", [-1_274_145_347, -800_000, 3_000_000])
def test_dates_of_no_calendar_are_refused_by_name(opened, kind, days):
    table = pq.read_table(io.BytesIO(opened.samples[0][1:]))
    number = days * 86_400_000 if kind == pa.date64() else days
    dates = pa.array([number] * len(table), pa.int64() if kind == pa.date64() else pa.int32()).cast(kind)
    sink = io.BytesIO(b"\0")
    sink.seek(1)
    pq.write_table(table.set_column(2, "bucket_start", dates), sink)
    outcome = judge(opened.read, sink.getvalue())
    assert str(outcome).startswith("5B.S4.TIME_GRID_MISMATCH engine/importing/reading.py:_distinct:")


@pytest.mark.parametrize(
    ("opened", "text"),
    [
        ("parquet_import", b"merchant_id"),
        ("parquet_import", b"Etc/UTC"),
        ("part_parquet", b"merchant_id"),
        ("part_arrow", b"merchant_id"),
        ("part_arrow", b"UTC"),
    ],
    indirect=["opened"],
)
def test_names_and_texts_of_a_table_that_are_not_unicode_are_refused_by_name(opened, text):
    data = opened.samples[0].replace(text, text[:-1] + b"\xff")
    assert data != opened.samples[0]
    assert str(judge(opened.read, data)).startswith(("5B.S4.", "5B.S5."))


def _matched(path):
    return list(PartFile.at(InsidePath.of_user(path)).matching({"merchant_id": 1, "arrival_seq": 1}))


def _imported(path):
    return list(batches(path, path.name, ["merchant_id"], Room.here()))


def _held(path):
    """The ranges of row groups of a run's input that may hold a merchant."""
    place = InsidePath.of_user(path)
    identity = Identity("0" * 64, "0" * 64, 1, "0" * 32)
    footer = parquet_metadata(place)
    groups = range(footer.num_row_groups)
    piece = TablePiece(identity, "s3_bucket_counts_5B", InputFile(place), footer, groups, 0, ("merchant_id",), {})
    return [part.groups for part in holding([piece], "merchant_id", [1])]


@pytest.mark.parametrize("read", [_matched, _imported, _held])
def test_no_damaged_bit_of_a_footer_ends_the_process(read, tmp_path):
    """Arrow's own view of a damaged chunk does, so the files are read in a process of their own."""
    file = tmp_path / "table.parquet"
    cells = pa.array([1, None], pa.uint64())
    pq.write_table(pa.table({"merchant_id": cells, "arrival_seq": cells}), file, store_schema=False)
    assert sum(len(table) for table in read(file)) > 0
    process = os.fork()
    if not process:
        try:
            _read_damaged(read, file)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def _read_damaged(read, file):
    """End this process with 0 once the file was read with each byte of its footer damaged."""
    sound = file.read_bytes()
    for at in range(len(sound) - 8 - int.from_bytes(sound[-8:-4], "little"), len(sound) - 8):
        file.write_bytes(sound[:at] + bytes([sound[at] ^ 0x20]) + sound[at + 1 :])
        with suppress(Exception):
            read(file)
    os._exit(0)
