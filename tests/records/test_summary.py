"""What is made of the count rows some at a time: accounts, and the summary, its rows, row groups, bytes and errors."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.expand import ledger as ledger_module
from arrival_engine.engine.expand.ledger import Ledger
from arrival_engine.engine.records import diagnostics
from arrival_engine.engine.records.diagnostics import write_summary
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.world.load import load_world
from tests.support.world_files import write_world
from tests.support.worlds import small_world


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("summary") / "world"
    write_world(small_world(), run_root, shuffle_seed=5)
    seal(run_root)
    ledger = Ledger(load_world(run_root))
    # Any split will do: it only has to stay with its count row.
    ledger.row_totals.virtual[:] = np.arange(ledger.count_rows) % (ledger.world.rows.arrivals + 1)
    return ledger


def expected_rows(ledger):
    world, rows = ledger.world, ledger.world.rows
    entities = world.tables.entities
    return [
        {
            "merchant_id": int(world.tables.merchants.id[entities.merchant[entity]]),
            "zone_representation": world.tzids[entities.zone[entity]],
            "channel_group": world.channels[entities.channel[entity]] or None,
            "bucket_index": bucket,
            "count_N": arrivals,
            "count_physical": arrivals - virtual,
            "count_virtual": virtual,
        }
        for entity, bucket, arrivals, virtual in sorted(
            zip(*(column.tolist() for column in (*rows, ledger.row_totals.virtual)), strict=True)
        )
    ]


@pytest.mark.parametrize("group_rows", [1, 7, 1 << 18])
def test_rows_come_in_order_and_in_full_row_groups(ledger, tmp_path, monkeypatch, group_rows):
    monkeypatch.setattr(diagnostics, "_GROUP_ROWS", group_rows)
    files = [tmp_path / "first.parquet", tmp_path / "second.parquet"]
    for path in files:
        write_summary(ledger, path)
    expected = expected_rows(ledger)
    assert len({row["merchant_id"] for row in expected}) > 1
    assert pq.read_table(files[0]).select(list(expected[0])).to_pylist() == expected
    metadata = pq.read_metadata(files[0])
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert sizes[:-1] == [group_rows] * (len(sizes) - 1)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_summary_that_cannot_be_written_is_said_so(ledger, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArrivalError) as caught:
        write_summary(ledger, tmp_path / "file" / "summary.parquet")
    assert caught.value.code is Code.IO_WRITE_FAILED


@pytest.mark.parametrize("rows_at_a_time", [1, 3, 5])
def test_accounts_do_not_depend_on_how_many_rows_are_looked_at_at_a_time(ledger, monkeypatch, rows_at_a_time):
    whole = ledger.accounting()
    assert 0 < whole["arrival_edge_pick"].events < whole["arrival_time_jitter"].events == ledger.count_rows
    assert whole["arrival_time_jitter"].words == ledger.counted
    for label, use in ledger.uses().items():
        assert whole[label].events == np.count_nonzero(use.touched)
        assert whole[label].words == use.words[use.touched].sum()
    monkeypatch.setattr(ledger_module, "_ACCOUNTED_ROWS", rows_at_a_time)
    assert ledger.accounting() == whole


def test_buckets_are_those_with_arrivals(ledger):
    assert ledger.buckets().tolist() == sorted(set(ledger.world.rows.bucket.tolist()))
    assert ledger.buckets().dtype == np.int32


class HalfLedger(Ledger):
    """A ledger whose pieces end in an error, as those of a cluster do when a file is damaged."""

    def pieces(self):
        """The whole, then the error."""
        yield self
        raise ArrivalError(Code.IO_READ_FAILED, "a piece is damaged", hint="none")


def test_an_error_between_row_groups_ends_the_writing(ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(diagnostics, "_GROUP_ROWS", 3)
    half = HalfLedger(ledger.world)
    with pytest.raises(ArrivalError, match="a piece is damaged"):
        write_summary(half, tmp_path / "summary.parquet")
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("arrivals")]
