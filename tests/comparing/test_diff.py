"""Comparing published arrivals: what must count as the same, and what must not."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.engine.arrivals import part_file, reading
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.comparing import DiffOptions, diff
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import seal
from tests.support.model import CountRow
from tests.support.reference import expand
from tests.support.worlds import BERLIN, BERLIN_GAP, TWO_ZONES, small_world, write_world

WORLD = small_world()
SECOND = small_world(scenario_id="second", counts=(CountRow(TWO_ZONES, BERLIN, "mixed", BERLIN_GAP, 40),))


def make(run_root, *, output=None, further=(), **options):
    write_world(WORLD, run_root, output_policy=output or {}, further_scenarios=further)
    seal(run_root)
    run(run_root, RunOptions(backend="cpu", **{"batch_arrivals": 900, **options}))
    return run_root


def partition(run_root, scenario_id=WORLD.scenario_id):
    tokens = read_receipt(run_root).identity.tokens(scenario_id=scenario_id)
    return dataset("arrival_events_5B").locate(run_root, tokens)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make(tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="module")
def arrivals(plain):
    return pa.concat_tables(pq.read_table(path, partitioning=None) for path in sorted(partition(plain).iterdir()))


@pytest.fixture
def altered(plain, arrivals, tmp_path):
    """A function from a change of the table to the comparison of the published arrivals with the changed ones."""

    def compare(change, **options):
        folder = tmp_path / "altered"
        folder.mkdir()
        pq.write_table(change(arrivals), folder / "part-000000.parquet")
        (scenario,) = diff(plain, folder, DiffOptions(**options)).scenarios
        return scenario

    return compare


def with_value(table, column, row, value):
    """The table with one value replaced, as whatever the column's type is."""
    field = table.schema.field(column)
    values = table[column].to_pylist()
    values[row] = value
    if pa.types.is_dictionary(field.type):
        changed = pa.array(values, field.type.value_type).dictionary_encode().cast(field.type)
    else:
        changed = pa.array(values, field.type)
    return table.set_column(table.column_names.index(column), field, changed)


class TestTheSame:
    @pytest.mark.parametrize(
        ("options", "output"),
        [
            ({}, None),
            ({"batch_arrivals": 100}, None),
            ({"format": "arrow", "batch_arrivals": 333}, None),
            ({}, {"timestamp_encoding": "rfc3339"}),
            ({}, {"physical_dual_clock": "mirror"}),
            ({"format": "arrow"}, {"physical_dual_clock": "mirror", "timestamp_encoding": "rfc3339"}),
            ({}, {"compression": "zstd", "row_group_rows": "1024"}),
        ],
        ids=["again", "small batches", "arrow", "rfc3339", "mirror", "arrow, mirror and rfc3339", "zstd"],
    )
    def test_however_it_is_written(self, options, output, plain, tmp_path):
        other = make(tmp_path / "run", output=output, **options)
        result = diff(plain, other)
        (scenario,) = result.scenarios
        assert result.identical
        assert scenario.same_digest
        assert scenario.a.digest == scenario.b.digest == expand(WORLD).digest
        assert (scenario.rows_in_both, scenario.columns, scenario.first) == (len(expand(WORLD).rows), {}, ())
        assert scenario.b.timestamps == (output or {}).get("timestamp_encoding", "timestamp")
        assert scenario.b.physical_clocks == (output or {}).get("physical_dual_clock", "null")
        assert scenario.b.format == options.get("format", "parquet")

    def test_a_partition_directory_is_a_side_too(self, plain):
        assert diff(plain, partition(plain)).identical
        assert diff(partition(plain), partition(plain)).identical

    def test_pieces_of_any_size(self, plain, arrivals, tmp_path, monkeypatch):
        monkeypatch.setattr(part_file, "PIECE_ROWS", 7)
        for part, first in enumerate(range(0, arrivals.num_rows, 1000)):
            pq.write_table(arrivals.slice(first, 1000), tmp_path / f"part-{part:06d}.parquet", row_group_size=11)
        (scenario,) = diff(plain, tmp_path).scenarios
        assert scenario.identical
        assert scenario.rows_in_both == arrivals.num_rows

    def test_the_null_channel_is_the_empty_one(self, altered):
        assert altered(lambda t: t.set_column(6, "channel_group", pc.fill_null(t["channel_group"], ""))).identical


VIRTUAL = next(row for row, arrival in enumerate(expand(WORLD).rows) if arrival.is_virtual)
PHYSICAL = next(row for row, arrival in enumerate(expand(WORLD).rows) if not arrival.is_virtual)


class TestDifferent:
    @pytest.mark.parametrize(
        ("column", "row", "change"),
        [
            ("ts_utc", 17, lambda v: v + np.timedelta64(1, "us").item()),
            ("ts_local_primary", 0, lambda v: v + np.timedelta64(3600, "s").item()),
            ("zone_representation", 5, lambda v: v + "x"),
            ("channel_group", 6, lambda v: "another"),  # noqa: ARG005
            ("bucket_index", 7, lambda v: v + 1),
            ("tzid_primary", PHYSICAL, lambda v: "Etc/GMT"),  # noqa: ARG005
            ("site_id", PHYSICAL, lambda v: v ^ 1),
            ("edge_id", VIRTUAL, lambda v: v ^ 1),
            ("is_virtual", VIRTUAL, lambda v: not v),
            ("tzid_settlement", VIRTUAL, lambda v: None),  # noqa: ARG005
            ("ts_local_settlement", VIRTUAL, lambda v: v + np.timedelta64(1, "us").item()),
        ],
    )
    def test_one_value_is_found_and_shown(self, column, row, change, altered, arrivals):
        old = arrivals[column][row].as_py()
        scenario = altered(lambda t: with_value(t, column, row, change(old)))
        assert not scenario.same_digest
        assert (scenario.different_rows, scenario.only_a, scenario.only_b) == (1, 0, 0)
        assert scenario.columns == {column: 1}
        (shown,) = scenario.first
        assert (shown.merchant_id, shown.arrival_seq, shown.kind) == (
            arrivals["merchant_id"][row].as_py(),
            arrivals["arrival_seq"][row].as_py(),
            "differs",
        )
        assert list(shown.values) == [column]
        assert shown.values[column][0] == reading.json_rows(arrivals.slice(row, 1))[0][column]
        assert shown.values[column][0] != shown.values[column][1]

    @pytest.mark.parametrize(
        ("column", "row", "value"),
        [
            ("parameter_hash", 3, "c" * 64),
            ("seed", 4, 43),
            ("s4_spec_version", 5, "9"),
            ("routing_universe_hash", 6, "d" * 64),
            ("tzid_operational", VIRTUAL, "Etc/GMT"),
            ("tzid_operational", VIRTUAL, None),
            ("tzid_settlement", PHYSICAL, "Etc/GMT"),
            ("ts_local_operational", PHYSICAL, np.datetime64("2026-03-01", "us").item()),
        ],
    )
    def test_columns_beyond_the_digest_count_too(self, column, row, value, altered):
        scenario = altered(lambda t: with_value(t, column, row, value))
        assert scenario.same_digest
        assert not scenario.identical
        assert scenario.columns == {column: 1}

    def test_a_mirrored_clock_that_is_not_the_primary_one(self, tmp_path):
        mirrored = make(tmp_path / "run", output={"physical_dual_clock": "mirror"})
        table = pa.concat_tables(
            pq.read_table(path, partitioning=None) for path in sorted(partition(mirrored).iterdir())
        )
        wrong = table["ts_local_settlement"][PHYSICAL].as_py() + np.timedelta64(3600, "s").item()
        (tmp_path / "altered").mkdir()
        pq.write_table(
            with_value(table, "ts_local_settlement", PHYSICAL, wrong), tmp_path / "altered/part-000000.parquet"
        )
        (scenario,) = diff(mirrored, tmp_path / "altered").scenarios
        assert scenario.columns == {"ts_local_settlement": 1}

    def test_stated_digests_are_not_believed(self, plain, arrivals, tmp_path):
        (first, *_) = sorted(partition(plain).iterdir())
        metadata = pq.read_schema(first).metadata
        table = with_value(arrivals, "ts_utc", 0, arrivals["ts_utc"][0].as_py() + np.timedelta64(1, "us").item())
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "part-000000.parquet")
        assert not diff(plain, tmp_path).identical

    def test_rows_of_one_side(self, altered, arrivals):
        scenario = altered(lambda t: pa.concat_tables([t.slice(0, 10), t.slice(13)]), limit=2)
        assert (scenario.only_a, scenario.only_b, scenario.different_rows) == (3, 0, 0)
        assert scenario.rows_in_both == arrivals.num_rows - 3
        assert [row.kind for row in scenario.first] == ["only_a", "only_a"]
        assert scenario.first[0].values["ts_utc"] == (reading.json_rows(arrivals.slice(10, 1))[0]["ts_utc"], None)

    def test_no_rows_at_all(self, altered, arrivals):
        scenario = altered(lambda t: t.slice(0, 0))
        assert (scenario.only_a, scenario.only_b) == (arrivals.num_rows, 0)
        assert scenario.b.digest == f"0-{0:032x}"

    def test_the_first_differences_come_in_key_order(self, altered, arrivals):
        keys = list(zip(arrivals["merchant_id"].to_pylist(), arrivals["arrival_seq"].to_pylist(), strict=True))

        def change(table):
            table = with_value(table, "bucket_index", 20, 0)
            table = with_value(table, "bucket_index", 8, 0)
            return pa.concat_tables([table.slice(0, 12), table.slice(13)])

        scenario = altered(change)
        assert [(row.merchant_id, row.arrival_seq) for row in scenario.first] == [keys[8], keys[12], keys[20]]
        assert [row.kind for row in scenario.first] == ["differs", "only_a", "differs"]


class TestLockstep:
    @settings(max_examples=25)
    @given(data=st.data())
    def test_any_two_subsets_in_any_pieces(self, data, arrivals, tmp_path_factory):
        base = arrivals.slice(data.draw(st.integers(0, 50)), 60)
        keys = list(zip(base["merchant_id"].to_pylist(), base["arrival_seq"].to_pylist(), strict=True))
        sides, kept = [], []
        for _ in range(2):
            mask = data.draw(st.lists(st.booleans(), min_size=60, max_size=60))
            group = data.draw(st.integers(1, 60))
            folder = tmp_path_factory.mktemp("side")
            pq.write_table(base.filter(pa.array(mask)), folder / "part-000000.parquet", row_group_size=group)
            sides.append(folder)
            kept.append({key for key, keep in zip(keys, mask, strict=True) if keep})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(part_file, "PIECE_ROWS", data.draw(st.integers(1, 70)))
            (scenario,) = diff(sides[0], sides[1], DiffOptions(limit=1000)).scenarios
        assert scenario.rows_in_both == len(kept[0] & kept[1])
        assert (scenario.only_a, scenario.only_b) == (len(kept[0] - kept[1]), len(kept[1] - kept[0]))
        assert [(row.merchant_id, row.arrival_seq) for row in scenario.first] == sorted(kept[0] ^ kept[1])
        assert scenario.identical == (kept[0] == kept[1])
        assert scenario.same_digest == (kept[0] == kept[1])

    @pytest.mark.parametrize("row_groups", [1 << 20, 40])
    def test_rows_out_of_order_are_refused_by_name(self, row_groups, plain, arrivals, tmp_path):
        table = pa.concat_tables([arrivals.slice(0, 40), arrivals.slice(41, 1), arrivals.slice(40, 1)])
        pq.write_table(table, tmp_path / "part-000000.parquet", row_group_size=row_groups)
        with pytest.raises(ArrivalError) as caught:
            diff(plain, tmp_path)
        assert caught.value.code is Code.PARTITION_OR_PK_VIOLATION
        assert caught.value.context["arrival_seq"] == arrivals["arrival_seq"][40].as_py()

    def test_a_repeated_row_is_refused(self, plain, arrivals, tmp_path):
        pq.write_table(arrivals, tmp_path / "part-000000.parquet")
        pq.write_table(arrivals.slice(arrivals.num_rows - 1), tmp_path / "part-000001.parquet")
        with pytest.raises(ArrivalError) as caught:
            diff(plain, tmp_path)
        assert caught.value.code is Code.PARTITION_OR_PK_VIOLATION


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return make(tmp_path_factory.mktemp("two") / "run", further=[SECOND])


class TestSides:
    def test_scenarios_meet_by_name(self, plain, two):
        result = diff(two, two)
        assert [scenario.scenario_id for scenario in result.scenarios] == ["baseline_v1", "second"]
        assert result.identical
        result = diff(plain, two)
        assert ([s.scenario_id for s in result.scenarios], result.only_a, result.only_b) == (
            ["baseline_v1"],
            (),
            ("second",),
        )
        assert result.scenarios[0].identical
        assert not result.identical

    def test_one_scenario_may_be_asked_for(self, plain, two):
        assert diff(plain, two, DiffOptions("baseline_v1")).identical
        assert [s.scenario_id for s in diff(two, two, DiffOptions("second")).scenarios] == ["second"]
        with pytest.raises(ArrivalError, match="no arrivals of scenario second"):
            diff(plain, two, DiffOptions("second"))

    def test_a_directory_meets_the_scenario_of_its_name(self, plain, two):
        assert not diff(partition(plain), two).identical
        assert diff(partition(plain), two, DiffOptions("baseline_v1")).identical

    def test_two_directories_meet_whatever_their_names(self, two):
        (scenario,) = diff(partition(two), partition(two, "second")).scenarios
        assert scenario.scenario_id == "baseline_v1 / second"
        assert scenario.rows_in_both == 40
        assert scenario.columns["scenario_id"] == 40

    @pytest.mark.parametrize("name", ["nothing", "empty", "unsealed"])
    def test_a_side_without_arrivals_is_named(self, name, plain, tmp_path):
        if name == "empty":
            (tmp_path / name).mkdir()
        if name == "unsealed":
            write_world(WORLD, tmp_path / name)
        with pytest.raises(ArrivalError) as caught:
            diff(plain, tmp_path / name)
        assert caught.value.code is Code.IO_READ_FAILED
        assert caught.value.context["path"] == str(tmp_path / name)

    def test_other_columns_are_refused(self, plain, arrivals, tmp_path):
        pq.write_table(arrivals.drop_columns(["site_id"]), tmp_path / "part-000000.parquet")
        with pytest.raises(ArrivalError, match="other columns than arrival events: site_id") as caught:
            diff(plain, tmp_path)
        assert caught.value.code is Code.SCHEMA_VIOLATION

    def test_a_type_that_cannot_be_compared_is_refused(self, plain, arrivals, tmp_path):
        table = arrivals.set_column(9, "ts_utc", pa.array(["yesterday"] * arrivals.num_rows))
        pq.write_table(table, tmp_path / "part-000000.parquet")
        with pytest.raises(ArrivalError, match="column ts_utc, string") as caught:
            diff(plain, tmp_path)
        assert caught.value.code is Code.SCHEMA_VIOLATION

    def test_damaged_bytes_are_refused(self, plain, tmp_path):
        (tmp_path / "part-000000.parquet").write_bytes(b"PAR1 and then nothing")
        with pytest.raises(ArrivalError) as caught:
            diff(plain, tmp_path)
        assert caught.value.code is Code.IO_READ_FAILED


class TestCommand:
    def test_the_same(self, plain, capsys):
        assert main(["diff", str(plain), str(plain)]) == 0
        assert "baseline_v1: the same arrivals" in capsys.readouterr().out

    def test_different(self, plain, arrivals, tmp_path, capsys):
        table = with_value(arrivals, "bucket_index", 3, 0)
        pq.write_table(pa.concat_tables([table.slice(0, 5), table.slice(6)]), tmp_path / "part-000000.parquet")
        assert main(["diff", str(plain), str(tmp_path)]) == 1
        shown = capsys.readouterr().out
        assert "different arrivals" in shown
        assert "values of bucket_index  1 differ" in shown
        assert f"merchant {arrivals['merchant_id'][3].as_py()}, arrival 4: bucket_index" in shown
        assert "only in A (ts_utc" in shown

    def test_json(self, plain, arrivals, tmp_path, capsys):
        pq.write_table(with_value(arrivals, "bucket_index", 3, 0), tmp_path / "part-000000.parquet")
        assert main(["diff", str(plain), str(tmp_path), "--json"]) == 1
        document = json.loads(capsys.readouterr().out)
        assert (document["status"], document["identical"]) == ("FAIL", False)
        assert document["scenarios"][0]["columns"] == {"bucket_index": 1}
        assert main(["diff", str(plain), str(plain), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["identical"] is True
