"""Row groups of any number and size: the same rows, and no file is opened once per row group."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.process.machine import memory_limit_bytes
from arrival_engine.engine.rundir.pieces import PIECE_ROWS, holding
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.rundir.sealed_files import InputFile
from arrival_engine.engine.rundir.table_limits import check_room, check_sizes
from arrival_engine.engine.world.counts import count_pieces, merge_drawn, read_counts
from tests.support import damage
from tests.support.damage import COUNTS
from tests.support.world_files import write_world
from tests.support.worlds import small_world

SCENARIO = "baseline_v1"


@pytest.fixture
def run_root(tmp_path):
    write_world(small_world(), tmp_path / "world")
    return tmp_path / "world"


def stored(run_root):
    return pq.read_table(damage.file_of(run_root, COUNTS), partitioning=None)


def store(run_root, table, rows_per_group):
    pq.write_table(table, damage.file_of(run_root, COUNTS), row_group_size=rows_per_group)


def counts_of(run_root, merchant_ids=None):
    drawn = read_counts(read_receipt(run_root), SCENARIO, 10**6, 10**9, 2, merchant_ids)
    counts = merge_drawn(drawn, 10**6, 2**31 - 1)
    merchants = counts.catalogue.merchant_ids[counts.catalogue.merchant[counts.rows.entity]].tolist()
    return counts.input_rows, merchants, [column.tolist() for column in counts.rows]


def repeated(run_root, rows):
    """The rows of the world over and over, every count 1."""
    table = stored(run_root)
    table = table.take(pa.array(np.arange(rows) % table.num_rows)).combine_chunks()
    at = table.schema.get_field_index("count_N")
    return table.set_column(at, table.schema.field(at), pa.array([1] * rows, table.schema.field(at).type))


class TestManyRowGroups:
    @pytest.mark.parametrize("rows_per_group", [1, 3])
    def test_rows_are_those_of_one_row_group(self, rows_per_group, run_root):
        expected = counts_of(run_root)
        store(run_root, stored(run_root), rows_per_group)
        assert counts_of(run_root) == expected

    def test_files_are_opened_as_often_for_four_times_as_many_row_groups(self, run_root, monkeypatch):
        opened = []
        original = pq.ParquetFile.__init__

        def counted(file, *arguments, **options):
            opened.append(arguments)
            original(file, *arguments, **options)

        monkeypatch.setattr(pq.ParquetFile, "__init__", counted)
        numbers = []
        for rows in (100, 400):
            store(run_root, repeated(run_root, rows), 1)
            opened.clear()
            assert counts_of(run_root)[0] == rows
            numbers.append(len(opened))
        assert numbers[0] == numbers[1] > 0

    def test_pieces_hold_every_row_group_once_and_are_bounded(self, run_root):
        store(run_root, repeated(run_root, 2 * PIECE_ROWS + 1000), PIECE_ROWS // 3)
        pieces = count_pieces(read_receipt(run_root), SCENARIO)
        assert [*itertools.chain(*(piece.groups for piece in pieces))] == list(range(7))
        sizes = [piece.read().num_rows for piece in pieces]
        assert [piece.first_row for piece in pieces] == [0, *itertools.accumulate(sizes[:-1])]
        assert len(pieces) == 3
        assert max(sizes) <= PIECE_ROWS

    def test_only_row_groups_that_may_hold_the_merchant_are_read(self, run_root):
        table = stored(run_root).sort_by("merchant_id")
        store(run_root, table, 2)
        merchant = table["merchant_id"][table.num_rows // 2].as_py()
        read, merchants, _ = counts_of(run_root, [merchant])
        assert set(merchants) == {merchant}
        held = sum(value == merchant for value in table["merchant_id"].to_pylist())
        assert held <= read <= held + 2

    def test_runs_of_row_groups_know_their_first_rows(self, run_root):
        table = stored(run_root).sort_by("merchant_id")
        both = pa.concat_tables([table, table])
        store(run_root, both, 2)
        merchant = table["merchant_id"][0].as_py()
        pieces = count_pieces(read_receipt(run_root), SCENARIO)
        first, second = holding(pieces, "merchant_id", [merchant])
        for run in (first, second):
            expected = both.slice(run.first_row, 2 * len(run.groups))["bucket_index"].to_pylist()
            assert run.read()["bucket_index"].to_pylist() == expected


class TestLargeRowGroups:
    def test_they_are_read_in_bounded_tables(self, run_root):
        table = repeated(run_root, PIECE_ROWS + 7)
        store(run_root, table, table.num_rows)
        (piece,) = count_pieces(read_receipt(run_root), SCENARIO)
        assert [read.num_rows for read in piece.tables()] == [PIECE_ROWS, 7]
        expected = counts_of(run_root)
        assert expected[0] == PIECE_ROWS + 7
        store(run_root, table, PIECE_ROWS // 4)
        assert counts_of(run_root) == expected

    def test_a_fault_beyond_the_first_table_is_named_by_its_place(self, run_root):
        table = repeated(run_root, PIECE_ROWS + 7)
        at = table.schema.get_field_index("zone_representation")
        zones = table["zone_representation"].to_pylist()
        zones[-2] = ""
        table = table.set_column(at, table.schema.field(at), pa.array(zones).cast(table.schema.field(at).type))
        store(run_root, table, table.num_rows)
        with pytest.raises(ArrivalError, match=f"from row {PIECE_ROWS}: column zone_representation in row 5"):
            counts_of(run_root)


class TestBombs:
    @pytest.mark.parametrize("used", [False, True], ids=["that no row uses", "that a row uses"])
    @pytest.mark.parametrize("column", ["zone_representation", "channel_group", "scenario_id"])
    def test_a_text_that_is_far_too_long_is_refused_before_it_is_read(self, column, used, run_root):
        table = stored(run_root)
        at = table.schema.get_field_index(column)
        texts = pa.array([table[column][0].as_py() or "mixed", "x" * (1 << 26)])
        codes = pa.array([0] * (table.num_rows - 1) + [int(used)], pa.int32())
        table = table.set_column(at, column, pa.DictionaryArray.from_arrays(codes, texts))
        path = damage.file_of(run_root, COUNTS)
        pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=1 << 27)
        assert path.stat().st_size < 1 << 16
        before = pa.total_allocated_bytes(), pa.default_memory_pool().max_memory()
        del table, texts
        with pytest.raises(ArrivalError, match=f"column {column} of row group 0 takes 6") as caught:
            counts_of(run_root)
        assert caught.value.code is Code.LIMIT_EXCEEDED
        assert pa.default_memory_pool().max_memory() <= before[1]

    def test_long_names_of_zones_are_no_bombs(self, run_root):
        table = stored(run_root)
        at = table.schema.get_field_index("zone_representation")
        table = table.set_column(at, "zone_representation", pa.array(["x" * 1000] * table.num_rows))
        store(run_root, table, table.num_rows)
        assert counts_of(run_root)[0] == table.num_rows

    def test_pages_that_do_not_fit_the_memory_are_refused_by_their_sizes(self, run_root):
        limit, _ = memory_limit_bytes()
        with pytest.raises(ArrivalError, match=r"a row group needs about .* this process may have") as caught:
            check_room("a row group", limit)
        assert caught.value.code is Code.RESOURCES_INSUFFICIENT
        assert caught.value.context["limit_bytes"] == limit
        check_sizes(COUNTS, InputFile(read_receipt(run_root).files(COUNTS, scenario_id=SCENARIO)[0]), {"count_N"}, 1)
