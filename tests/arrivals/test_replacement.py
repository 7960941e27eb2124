"""Readers during a replacement: they find the old arrivals, the new ones, or an error, never rows of both."""

from __future__ import annotations

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from arrival_engine import diff
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.arrivals.reading import find_rows, part_files, read_pieces
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.report import published as report_published
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.validation.database import Database
from tests.support.replacement import KEY, digest, reading, take_turns


@pytest.fixture(scope="module")
def turns(tmp_path_factory):
    return take_turns(tmp_path_factory.mktemp("turns"))


@pytest.fixture
def replaced(turns):
    """Call it to replace what is published; before the test, the first world's arrivals are in place."""
    turns.publish(0)

    def publish():
        assert turns.publish(1) == "replaced"

    return publish


def names(turns):
    return {path.name for path in turns.place.iterdir()}


def test_publications_share_no_name(turns, replaced):
    before = names(turns)
    replaced()
    assert len(before) > 3
    assert before.isdisjoint(names(turns))


def test_other_cuts_of_the_same_arrivals_share_no_name(turns):
    turns.publish(0)
    before, rows = names(turns), digest(pq.read_table(turns.place, partitioning=None))
    assert turns.publish(0, batch_arrivals=150) == "replaced"
    assert before.isdisjoint(names(turns))
    assert digest(pq.read_table(turns.place, partitioning=None)) == rows == turns.rows[0]


def test_the_same_publication_has_the_same_names(turns, replaced):
    before = {path.name: path.read_bytes() for path in turns.place.iterdir()}
    replaced()
    assert turns.publish(0) == "replaced"
    assert {path.name: path.read_bytes() for path in turns.place.iterdir()} == before


def test_a_reader_that_listed_the_old_parts_does_not_get_new_ones(turns, replaced):
    listed = ds.dataset(turns.place, format="parquet")
    paths = sorted(map(str, turns.place.iterdir()))
    replaced()
    with pytest.raises(FileNotFoundError):
        listed.to_table()
    with pytest.raises(duckdb.IOException):
        duckdb.read_parquet(paths).fetchall()


def test_a_reader_in_the_middle_of_the_old_parts_does_not_go_on_with_new_ones(turns, replaced):
    paths = sorted(turns.place.iterdir())
    first = pq.ParquetFile(paths[0])
    rows = first.read(KEY)
    replaced()
    # What is open stays what it was.
    assert first.read(KEY).equals(rows)
    with pytest.raises(FileNotFoundError):
        pq.ParquetFile(paths[1])


def test_our_readers_that_listed_the_old_parts_say_so(turns, replaced):
    parts = part_files(turns.place)
    (published,) = report_published.find_published(read_receipt(turns.run_root), [])
    replaced()
    for read in (lambda: list(read_pieces(parts[0])), lambda: find_rows(parts, 1, 1)):
        with pytest.raises(ArrivalError, match="no longer there") as caught:
            read()
        assert caught.value.code is Code.IO_READ_FAILED
        assert "another run has replaced" in caught.value.hint
    database = Database(InsidePath(turns.place.parent), 1)
    with pytest.raises(ArrivalError) as caught, database.cursor() as cursor, published.relation(cursor) as rows:
        cursor.rows(f"SELECT count(*) FROM {rows}")  # noqa: S608 - no input from outside
    assert caught.value.code is Code.S5_IO_READ_FAILED
    assert "replaced" in caught.value.hint


class AtTheFirstRows(Reporter):
    """Does something once rows have been read."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def advance(self, amount=1):
        super().advance(amount)
        act, self.act = self.act, lambda: None
        act()


@pytest.mark.parametrize("batch_arrivals", [100, 10**6], ids=["some rows read", "all rows read"])
def test_a_comparison_speaks_of_one_publication(turns, batch_arrivals):
    """Also its facts about the files: it does not count the parts of one publication and the rows of another."""
    turns.publish(0, batch_arrivals=batch_arrivals)
    with pytest.raises(ArrivalError, match="no longer there"):
        diff(turns.place, turns.place, reporter=AtTheFirstRows(lambda: turns.publish(1)))


@pytest.mark.parametrize("how", ["duckdb", "dataset", "table"])
def test_reads_during_replacements_are_of_one_publication(turns, how):
    assert_old_or_new(turns, how, replacements=6)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["duckdb", "dataset", "table"])
def test_reads_during_many_replacements_are_of_one_publication(turns, how):
    assert_old_or_new(turns, how, replacements=60)


def assert_old_or_new(turns, how, replacements):
    turns.publish(1)
    with reading(turns.place, how) as found:
        for turn in range(replacements):
            assert turns.publish(turn) == "replaced"
    read = [each for each in found if ":" not in each]
    assert read
    assert set(read) <= set(turns.rows)
