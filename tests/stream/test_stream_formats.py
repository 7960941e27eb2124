"""The formats of a stream, and the options that it takes."""

from __future__ import annotations

import csv
import io
import json
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pytest

from arrival_engine import stream_arrivals
from arrival_engine.contracts import ArrivalError, Code, check_document
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.stream import StreamOptions, stream_to
from arrival_engine.engine.stream.encode import ID_COLUMNS, encoder
from tests.support import reference
from tests.support.model import CountRow
from tests.support.product import planned, write_sealed
from tests.support.streaming import GRID, SCHEMA, Memory, assert_same, plain, sent, streamed, texts
from tests.support.world_disk import rfc3339
from tests.support.worlds import (
    BERLIN,
    ODD_BUCKET,
    TWO_ZONES,
    small_world,
)


class TestFormats:
    def test_json_lines_are_the_contract_s_rows(self, small_plan):
        data, result = sent(small_plan.world)
        assert data.endswith(b"}\n")
        lines = data.decode().splitlines()
        rows = [json.loads(line) for line in lines]
        expected = texts(streamed(small_plan))
        assert rows == expected
        assert all(list(row) == SCHEMA.names for row in rows)
        check_document("arrival_events_5B", rows[::50], code=Code.SCHEMA_VIOLATION, where="the stream")
        assert lines[17] == json.dumps(expected[17], separators=(",", ":"))
        assert result.rows == len(rows)
        assert result.digest == reference.expand(small_world()).digest

    def test_ids_as_strings_are_strings_wherever_they_are_ids(self, small_plan):
        data, _ = sent(small_plan.world, ids="string")
        rows = [json.loads(line) for line in data.splitlines()]
        for found, expected in zip(rows, texts(streamed(small_plan)), strict=True):
            for name in ID_COLUMNS:
                expected[name] = None if expected[name] is None else str(expected[name])
            assert found == expected

    def test_csv_has_a_header_and_the_same_rows(self, small_plan):
        data, _ = sent(small_plan.world, format="csv")
        header, *rows = csv.reader(io.StringIO(data.decode(), newline=""))
        assert header == SCHEMA.names
        for found, expected in zip(rows, texts(streamed(small_plan)), strict=True):
            cells = {name: "" if value is None else str(value) for name, value in expected.items()}
            cells["is_virtual"] = cells["is_virtual"].lower()
            assert dict(zip(header, found, strict=True)) == cells

    def test_csv_read_by_arrow_is_the_record_batches_again(self, small_plan):
        data, _ = sent(small_plan.world, format="csv")
        expected = plain(streamed(small_plan))
        options = pa.csv.ConvertOptions(column_types=expected.schema, strings_can_be_null=True, null_values=[""])
        found = pa.csv.read_csv(io.BytesIO(data), convert_options=options)
        # CSV cannot say which columns never have a null.
        assert_same(found.cast(expected.schema), expected)

    def test_arrow_is_the_record_batches(self, small_plan):
        data, _ = sent(small_plan.world, format="arrow")
        with pa.ipc.open_stream(data) as reader:
            assert reader.schema.equals(SCHEMA)
            table = reader.read_all()
        assert_same(table, streamed(small_plan))
        assert data.endswith(b"\xff\xff\xff\xff\0\0\0\0")

    @pytest.mark.parametrize("file_format", ["jsonl", "csv", "arrow"])
    @pytest.mark.parametrize(
        "columns",
        [("edge_id",), ("channel_group",), ("seed", "scenario_id"), ("site_id", "ts_utc", "merchant_id")],
        ids=",".join,
    )
    def test_columns_asked_for_come_in_that_order(self, small_plan, file_format, columns):
        data, result = sent(small_plan.world, format=file_format, columns=columns)
        expected = streamed(small_plan).select(columns)
        assert result.rows == expected.num_rows
        if file_format == "arrow":
            assert_same(pa.ipc.open_stream(data).read_all(), expected)
        elif file_format == "jsonl":
            assert [json.loads(line) for line in data.splitlines()] == texts(expected)
        else:
            header, *rows = csv.reader(io.StringIO(data.decode(), newline=""))
            assert header == list(columns)
            wanted = [["" if cell is None else str(cell) for cell in row.values()] for row in texts(expected)]
            assert rows == wanted

    @pytest.mark.parametrize("file_format", ["jsonl", "csv", "arrow"])
    def test_no_rows_are_a_whole_stream_without_rows(self, small_plan, file_format):
        data, result = sent(small_plan.world, format=file_format, end=rfc3339(GRID[0][0]))
        assert (result.rows, result.digest) == (0, None)
        if file_format == "arrow":
            table = pa.ipc.open_stream(data).read_all()
            assert table.schema.equals(SCHEMA)
            assert table.num_rows == 0
        else:
            assert data.decode() == ("" if file_format == "jsonl" else ",".join(SCHEMA.names) + "\n")

    @pytest.mark.parametrize("limit", [0, 1, 100, 3278, 3279, 4000])
    def test_a_limit_is_kept(self, small_plan, limit):
        whole, _ = sent(small_plan.world)
        data, result = sent(small_plan.world, limit=limit)
        assert data == b"".join(whole.splitlines(keepends=True)[:limit])
        assert (result.rows, result.digest) == (min(limit, 3279), None)

    @pytest.mark.parametrize(
        "output_policy",
        [{"timestamp_encoding": "rfc3339"}, {"timestamp_encoding": "rfc3339", "physical_dual_clock": '"mirror"'}],
        ids=["rfc3339", "mirror"],
    )
    def test_the_output_policy_is_honoured(self, tmp_path, small_plan, output_policy):
        world = planned(write_sealed(small_world(), tmp_path / "world", output_policy=output_policy).run_root).world
        table = pa.Table.from_batches(stream_arrivals(world))
        assert table.schema.field("ts_utc").type == pa.string()
        data, _ = sent(world)
        assert [json.loads(line) for line in data.splitlines()] == plain(table).to_pylist()
        if len(output_policy) == 1:
            assert data == sent(small_plan.world)[0]
        arrow, _ = sent(world, format="arrow")
        assert_same(pa.ipc.open_stream(arrow).read_all(), table)

    @pytest.mark.parametrize("file_format", ["jsonl", "csv"])
    def test_texts_with_every_awkward_character_come_back(self, file_format):
        texts = ["", 'a"b', "c,d", "e\nf", "g\r\nh", "i\\j", "k\tl", "\x01", "é ü 漢 😀", "null", " m ", None, "n"]
        batch = pa.record_batch({"seq": range(len(texts)), "text": pa.array(texts).dictionary_encode()})
        encode = encoder(file_format, batch.schema)
        head, parts = encode.head(), [encode.rows(batch.slice(0, 5)), encode.rows(batch.slice(5))]

        def read(data):
            if file_format == "jsonl":
                return [json.loads(line)["text"] for line in data.decode().split("\n")[:-1]]
            return [row[1] for row in csv.reader(io.StringIO(data.decode(), newline=""))][1:]

        wanted = ["" if text is None and file_format == "csv" else text for text in texts]
        assert read(b"".join([head.data, *(part.data for part in parts)])) == wanted
        # Where each row ends is known, line breaks within it or not.
        first = parts[0]
        assert [read(bytes(head.data) + bytes(first.data[:end])) for end in first.ends] == [
            wanted[: rows + 1] for rows in range(5)
        ]

    @pytest.mark.parametrize("mark", ["=", "+", "-", "@", "'", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
    def test_no_text_in_csv_begins_like_a_formula(self, tmp_path, mark):
        # The number formats of spreadsheets take "=", "+", "-" and "@" for the beginning of a formula.
        channels = {f"{mark}cmd|' /C calc'!A0", f'{mark},"x', mark, f"a{mark}"}
        rows = tuple(CountRow(TWO_ZONES, BERLIN, channel, ODD_BUCKET, 3) for channel in sorted(channels))
        world = planned(write_sealed(small_world(counts=rows), tmp_path / "world").run_root).world
        data, result = sent(world, format="csv")
        _, *found = csv.reader(io.StringIO(data.decode(), newline=""))
        cells = {row[SCHEMA.names.index("channel_group")] for row in found}
        assert not any(cell[:1] in "=+-@\uff1d\uff0b\uff0d\uff20" for row in found for cell in row if cell)
        assert {cell.removeprefix("'") for cell in cells} == channels
        assert f"a{mark}" in cells
        lines, told = sent(world)
        assert {json.loads(line)["channel_group"] for line in lines.splitlines()} == channels
        assert told.digest == result.digest

    @pytest.mark.parametrize("mark", ["\0", "\n", "\x1b[2J", "\x9b", "\u202e", "\u2028"])
    def test_a_channel_of_more_than_one_line_is_refused(self, tmp_path, mark):
        rows = (CountRow(TWO_ZONES, BERLIN, f"web{mark}x", ODD_BUCKET, 3),)
        written = write_sealed(small_world(counts=rows), tmp_path / "world")
        with pytest.raises(ArrivalError) as caught:
            planned(written.run_root)
        assert caught.value.code is Code.S1_OR_S3_OUTPUT_MISSING
        assert "column channel_group in row 0 holds" in caught.value.message
        assert "has a control character, a line end or a mark of writing direction" in caught.value.message

    def test_a_dictionary_that_changes_is_noticed(self):
        schema = pa.schema([("tzid", pa.dictionary(pa.int32(), pa.string()))])
        encode = encoder("jsonl", schema)
        for tzids in (["Europe/Berlin", "Etc/UTC"], ["Etc/UTC", "Europe/Berlin"]):
            batch = pa.record_batch([pa.array(tzids).dictionary_encode()], schema=schema)
            rows = [json.loads(line) for line in bytes(encode.rows(batch).data).splitlines()]
            assert [row["tzid"] for row in rows] == tzids


class TestOptions:
    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"format": "xml"}, "format"),
            ({"ids": "hex"}, "ids"),
            ({"ids": "string", "format": "csv"}, "jsonl alone"),
            ({"ids": "string", "format": "arrow"}, "jsonl alone"),
            ({"speed": Fraction(0)}, "above zero"),
            ({"limit": -1}, "negative"),
            ({"columns": ("merchant",)}, "no column 'merchant'"),
            ({"columns": ("seed", "seed")}, "more than once"),
            ({"start": "yesterday"}, "RFC 3339"),
            ({"start": "2026-02-02T00:00:00Z", "end": "2026-02-01T00:00:00Z"}, "after the end"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, wrong, said):
        with pytest.raises(ValueError, match=said):
            StreamOptions(**wrong)

    @pytest.mark.parametrize(
        ("options", "filtered"),
        [
            ({}, False),
            ({"columns": ("seed",), "format": "csv"}, False),
            ({"merchants": (TWO_ZONES,)}, True),
            ({"limit": 10**9}, True),
            ({"start": rfc3339(GRID[0][0])}, True),
            ({"end": rfc3339(GRID[-1][1])}, True),
        ],
    )
    def test_a_digest_is_told_of_whole_scenarios_only(self, small_plan, options, filtered):
        _, result = sent(small_plan.world, **options)
        assert (result.digest is None) == filtered
        assert ("digest" in str(result)) == (not filtered)

    def test_a_window_outside_the_horizon_is_a_notice(self, small_plan):
        cases: list[tuple[dict[str, Any], int]] = [
            ({"start": "2027-01-01T00:00:00Z"}, 1),
            ({"end": "2020-01-01T00:00:00Z"}, 1),
            ({}, 0),
        ]
        for options, found in cases:
            reporter = Reporter()
            stream_to(small_plan.world, Memory(), StreamOptions(limit=1, **options), reporter)
            assert [notice.code for notice in reporter.notices] == ["WINDOW_OUTSIDE_HORIZON"] * found
