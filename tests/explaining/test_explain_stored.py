"""Explanations beside what is stored, tampered with or not, and as a command."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.contracts.moments import utc_text
from arrival_engine.engine.arrivals.reading import json_rows
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.explaining import Question, explain
from arrival_engine.engine.explaining.facts import document
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import read_seal, seal
from arrival_engine.engine.world.load import load_world
from tests.support import reference
from tests.support.explained import MERCHANTS, WORLD, histories, parts, publish, view_of
from tests.support.law import site_id
from tests.support.worlds import (
    BIG_ID,
    HALF,
    TWO_ZONES,
    VIRTUAL,
    instant_us,
    write_world,
)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("explain") / "sealed"
    write_world(WORLD, run_root)
    seal(run_root)
    return run_root


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("explain") / "run")


def test_every_stored_row_is_the_derived_one(published):
    stored = {
        (row["merchant_id"], row["arrival_seq"]): row
        for path in parts(published)
        for row in json_rows(pq.read_table(path, partitioning=None))
    }
    derived = [history.row for merchant in MERCHANTS for history in histories(view_of(published, merchant))]
    assert len(derived) == len(stored)
    for row in derived:
        assert stored[row["merchant_id"], row["arrival_seq"]] == row


DUAL = ("tzid_settlement", "ts_local_settlement", "tzid_operational", "ts_local_operational")
OTHER_VALUES = {
    "parameter_hash": "c" * 64,
    "seed": 41,
    "zone_representation": "Etc/GMT",
    "channel_group": None,
    "bucket_index": 0,
    "ts_utc": np.datetime64("2026-03-29T01:00:00", "us").item(),
    "tzid_primary": "Etc/GMT",
    "ts_local_primary": np.datetime64("2026-03-29T01:00:00", "us").item(),
    "tzid_settlement": "Etc/GMT",
    "ts_local_settlement": np.datetime64("2026-03-29T01:00:00", "us").item(),
    "is_virtual": True,
    "site_id": 5,
    "edge_id": 5,
}


@pytest.fixture
def damage(published):
    """A function from a change of the published part that holds arrival 1000 of TWO_ZONES to the explanation of it."""
    number = 1000

    def explained(change):
        tables = {path: pq.read_table(path, partitioning=None) for path in parts(published)}
        (path,) = (path for path, table in tables.items() if number in table["arrival_seq"].to_pylist())
        original, table = path.read_bytes(), tables[path]
        row = table["arrival_seq"].to_pylist().index(number)
        try:
            pq.write_table(change(table, row), path)
            return explain(published, Question(TWO_ZONES, seq=number))
        finally:
            path.write_bytes(original)

    return explained


@pytest.mark.parametrize("column", OTHER_VALUES)
def test_a_tampered_value_is_named(column, damage):
    def change(table, row):
        field = table.schema.field(column)
        values = table[column].to_pylist()
        values[row] = OTHER_VALUES[column]
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        return table.set_column(table.column_names.index(column), column, pa.array(values, kind))

    found = damage(change)
    assert not found.agrees
    assert found.kernel.outcome == "agrees"
    assert found.stored.outcome == "differs"
    (difference,) = found.stored.differences
    assert difference.column == column
    assert difference.derived == found.history.row[column]
    assert difference.found == found.stored.row[column] != difference.derived


def test_a_dropped_row_is_missing(damage):
    found = damage(lambda table, row: pa.concat_tables([table.slice(0, row), table.slice(row + 1)]))
    assert (found.agrees, found.stored.outcome) == (False, "missing")


def test_a_repeated_row_is_noticed(damage):
    found = damage(lambda table, row: pa.concat_tables([table, table.slice(row, 1)]))
    assert (found.agrees, found.stored.outcome) == (False, "repeated")


def test_a_column_too_many_is_noticed(damage):
    found = damage(lambda table, _: table.append_column("extra", pa.array(range(table.num_rows))))
    (difference,) = found.stored.differences
    assert (found.agrees, difference.column) == (False, "extra")


def test_a_part_without_its_key_is_refused(damage):
    with pytest.raises(ArrivalError, match="has no column arrival_seq") as caught:
        damage(lambda table, _: table.drop_columns(["arrival_seq"]))
    assert caught.value.code is Code.SCHEMA_VIOLATION


def test_no_output_is_needed(sealed):
    found = explain(sealed, Question(HALF, seq=3))
    assert (found.agrees, found.kernel.outcome, found.stored.outcome) == (True, "agrees", "absent")


def test_a_time_beyond_any_calendar_is_shown_as_a_number(damage):
    def change(table, row):
        micros = table["ts_local_primary"].cast(pa.int64()).to_pylist()
        micros[row] = 2**62
        changed = pa.array(micros).cast(pa.timestamp("us"))
        return table.set_column(table.column_names.index("ts_local_primary"), "ts_local_primary", changed)

    (difference,) = damage(change).stored.differences
    assert difference.found == f"{2**62} us after 1970"


def test_nothing_of_other_merchants_counts_is_read(sealed, tmp_path):
    run_root = tmp_path / "run"
    shutil.copytree(sealed, run_root)
    tokens = read_receipt(run_root).identity.tokens(scenario_id=WORLD.scenario_id)
    path = dataset("s3_bucket_counts_5B").locate(run_root, tokens)
    pq.write_table(pq.read_table(path, partitioning=None).sort_by("merchant_id"), path, row_group_size=1)
    metadata = pq.read_metadata(path)
    data = bytearray(path.read_bytes())
    for group in range(metadata.num_row_groups):
        columns = [metadata.row_group(group).column(index) for index in range(metadata.num_columns)]
        if next(c.statistics.min for c in columns if c.path_in_schema == "merchant_id") != HALF:
            first = columns[0].dictionary_page_offset
            data[first : first + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(ArrivalError) as caught:
        load_world(run_root, seal=read_seal(read_receipt(run_root)))
    assert caught.value.code is Code.IO_READ_FAILED
    assert explain(run_root, Question(HALF, seq=3)).history == explain(sealed, Question(HALF, seq=3)).history


@pytest.mark.parametrize(
    ("options", "output"),
    [
        ({"format": "arrow", "batch_arrivals": 300}, {"row_group_rows": "1024"}),
        ({}, {"timestamp_encoding": "rfc3339"}),
        ({"format": "arrow"}, {"physical_dual_clock": "mirror", "timestamp_encoding": "rfc3339"}),
    ],
    ids=["arrow", "rfc3339", "mirror"],
)
def test_output_of_any_form_agrees(options, output, tmp_path):
    run_root = publish(tmp_path / "run", output=output, **options)
    for merchant, seq in ((TWO_ZONES, 2999), (HALF, 1), (VIRTUAL, 42)):
        found = explain(run_root, Question(merchant, seq=seq))
        assert found.stored.outcome == "agrees", found.stored.differences
        filled = not found.history.mode.is_virtual and output.get("physical_dual_clock") == "mirror"
        assert [found.history.row[name] is None for name in DUAL] == [
            not found.history.mode.is_virtual and not filled
        ] * 4


class TestCommand:
    def test_prints_the_whole_history(self, published, capsys):
        assert main(["explain", str(published), "--merchant", str(HALF), "--seq", "3"]) == 0
        shown = capsys.readouterr().out
        wanted = reference.explain(WORLD, HALF, 3)
        assert shown.startswith(f"arrival 3 of merchant {HALF}: {utc_text(wanted.row.ts_utc)} at ")
        for family, (x0, x1) in wanted.blocks.items():
            stream = wanted.streams[family]
            assert f"{family}: key {stream.key:016x}, hi0 {stream.hi0:016x}" in shown
            assert f"x0 = {x0:016x}" in shown
            assert f"x1 = {x1:016x}" in shown
        assert f"domain text merchant_id={HALF}|zone=" in shown
        assert f"= {wanted.offset_us} us" in shown
        assert "stored row: agrees in every column" in shown
        assert "CPU kernel: agrees in every column" in shown
        assert "note: the inputs were not compared with their seal" in shown

    def test_lines_are_whole_where_nobody_reads_them_on_a_terminal(self, published, capsys):
        assert main(["explain", str(published), "--merchant", str(TWO_ZONES), "--seq", "1"]) == 0
        shown = capsys.readouterr().out
        assert f"parameter_hash = {'b' * 64}\n" in shown
        assert f"{parts(published)[0]}\n" in shown

    def test_json_keeps_words_whole(self, published, capsys):
        assert main(["explain", str(published), "--merchant", str(BIG_ID), "--seq", "2", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["status"] == "PASS"
        assert {key: found[key] for key in ("history", "kernel", "stored", "notices")} == document(
            explain(published, Question(BIG_ID, seq=2))
        )
        assert found["history"]["entity"]["merchant_id"] == BIG_ID
        assert all(
            len(block[name]) == 16 for block in found["history"]["blocks"] for name in ("key", "hi0", "x0", "x1")
        )

    def test_an_instant_and_a_site_by_name(self, published, capsys):
        words = ["explain", str(published), "--merchant", str(TWO_ZONES), "--json"]
        at = instant_us("2026-03-29T01:00:00")
        assert main([*words, "--ts", "2026-03-29T03:00:00+02:00", "--site", "DE:3"]) == 0
        by_name = json.loads(capsys.readouterr().out)
        assert main([*words, "--ts", "2026-03-29T01:00:00Z", "--site", str(site_id(TWO_ZONES, "DE", 3))]) == 0
        assert json.loads(capsys.readouterr().out) == by_name
        wanted = explain(published, Question(TWO_ZONES, at_us=at, site=site_id(TWO_ZONES, "DE", 3)))
        assert by_name["history"] == document(wanted.history)

    def test_a_tampered_row_fails(self, tmp_path, capsys):
        run_root = publish(tmp_path / "run", batch_arrivals=10**6)
        (part,) = parts(run_root)
        table = pq.read_table(part, partitioning=None)
        buckets = table["bucket_index"].to_pylist()
        buckets[0] += 1
        pq.write_table(table.set_column(table.column_names.index("bucket_index"), "bucket_index", [buckets]), part)
        merchant, seq = (table[name][0].as_py() for name in ("merchant_id", "arrival_seq"))
        assert main(["explain", str(run_root), "--merchant", str(merchant), "--seq", str(seq)]) == 1
        shown = capsys.readouterr().out
        assert "stored row: DIFFERS" in shown
        assert f"bucket_index = {buckets[0] - 1}  but stored: {buckets[0]}" in shown
        assert main(["explain", str(run_root), "--merchant", str(merchant), "--seq", str(seq), "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["status"] == "FAIL"

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["--seq", "1", "--site", "DE:1"],
            ["--seq", "0"],
            ["--ts", "2026-03-29T01:00:00"],
            ["--ts", "soon"],
            ["--site", "Berlin"],
        ],
        ids=" ".join,
    )
    def test_bad_usage(self, words, published, capsys):
        assert main(["explain", str(published), "--merchant", "1", *words]) == 2
        assert "Usage: arrivals explain" in capsys.readouterr().err
