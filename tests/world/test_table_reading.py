"""Pieces of tables as read: Arrow arrays that are sound, rows that are of this run."""

from __future__ import annotations

import pyarrow as pa
import pytest

from arrival_engine.contracts import ArrivalError
from arrival_engine.engine.rundir.pieces import validate_fully
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.world.counts import count_pieces
from tests.support import damage
from tests.support.damage import COUNTS
from tests.support.refusals import IDENTITY_BAD, OTHER_64, OTHER_SEED
from tests.support.world_files import write_world
from tests.support.worlds import small_world


def coded(codes, texts=("a", "b"), kind="int32"):
    return pa.DictionaryArray.from_arrays(pa.array(codes, kind), pa.array(texts, pa.string()), safe=False)


def with_text(data):
    """Two texts of two bytes each."""
    return pa.StringArray.from_buffers(2, pa.array([0, 2, 4], pa.int32()).buffers()[1], pa.py_buffer(data))


SOUND = {
    "codes": coded([0, 1, 0]),
    "codes and nulls": coded([None, 1, 0]),
    "nulls alone": coded([None, None]),
    "nulls of no dictionary": coded([None, None], ()),
    "no rows": coded([]),
    "a slice": coded([7, 0, 1, 7]).slice(1, 2),
    "a null over a code beyond the dictionary": pa.DictionaryArray.from_buffers(
        pa.dictionary(pa.int32(), pa.string()),
        2,
        [pa.py_buffer(b"\x01"), pa.array([1, 9], pa.int32()).buffers()[1]],
        pa.array(["a", "b"]),
    ),
    "small codes": coded([0, 1], kind="int8"),
    "texts": with_text(b"aabb"),
    "numbers": pa.array([1, None, 3]),
}
UNSOUND = {
    "a code beyond the dictionary": coded([0, 1, 2]),
    "a code below the dictionary": coded([0, -1, 1]),
    "a code of no dictionary": coded([0], ()),
    "a dictionary of no texts": pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), with_text(b"aa\xff\xfe")),
    "texts that are none": with_text(b"aa\xff\xfe"),
}


class TestValidation:
    @pytest.mark.parametrize("name", SOUND)
    def test_sound_arrays_are_accepted(self, name):
        table = pa.table({"first": pa.array([1] * len(SOUND[name])), "second": SOUND[name]})
        table.validate(full=True)
        validate_fully(table)

    @pytest.mark.parametrize("name", UNSOUND)
    def test_others_are_refused_in_arrows_words(self, name):
        good = pa.array(["a"]).cast(UNSOUND[name].type)
        table = pa.table({"first": pa.chunked_array([good, UNSOUND[name]])})
        with pytest.raises(pa.ArrowInvalid) as expected:
            table.validate(full=True)
        with pytest.raises(pa.ArrowInvalid) as caught:
            validate_fully(table)
        assert str(caught.value) == str(expected.value)


@pytest.fixture
def run_root(tmp_path):
    write_world(small_world(), tmp_path / "world")
    return tmp_path / "world"


def read_with(run_root, column, values_of):
    """The counts with another identity column, made from the one there was; read, its row groups put together."""

    def change(table):
        at = table.schema.get_field_index(column)
        return table.set_column(at, column, values_of(table[column].to_pylist()))

    damage.edit_table(run_root, COUNTS, change)
    pieces = count_pieces(read_receipt(run_root), "baseline_v1")
    return pa.concat_tables([piece.read() for piece in pieces])


def of_dictionary(texts, last):
    """As a dictionary of the first text and `texts`; the last row has code `last`."""
    return lambda rows: coded([0] * (len(rows) - 1) + [last], (rows[0], *texts))


class TestIdentity:
    @pytest.mark.parametrize("texts", [[], [OTHER_64], ["no hash"]])
    @pytest.mark.parametrize("column", ["manifest_fingerprint", "scenario_id"])
    def test_texts_that_no_row_uses_do_not_matter(self, run_root, column, texts):
        assert read_with(run_root, column, of_dictionary(texts, 0)).num_rows > 1

    @pytest.mark.parametrize("column", ["manifest_fingerprint", "parameter_hash", "scenario_id"])
    def test_one_row_of_another_run_is_refused(self, run_root, column):
        with pytest.raises(ArrivalError, match=f"{column} is '{OTHER_64}'") as caught:
            read_with(run_root, column, of_dictionary([OTHER_64], 1))
        assert caught.value.code is IDENTITY_BAD

    @pytest.mark.parametrize("row", [0, -1])
    def test_one_row_of_another_seed_is_refused(self, run_root, row):
        def change(seeds):
            seeds[row] = OTHER_SEED
            return pa.array(seeds, pa.uint64())

        with pytest.raises(ArrivalError, match=f"seed is {OTHER_SEED}") as caught:
            read_with(run_root, "seed", change)
        assert caught.value.code is IDENTITY_BAD

    def test_a_null_is_no_identity(self, run_root):
        with pytest.raises(ArrivalError, match="column scenario_id in row") as caught:
            read_with(run_root, "scenario_id", of_dictionary([], None))
        row = caught.value.context["row"]
        assert isinstance(row, int)
        assert row > 0
