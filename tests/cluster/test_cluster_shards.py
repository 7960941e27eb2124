"""Survey, shards and what is handed in, without a cluster: a local run's plan, and tasks that are safe to repeat."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.cluster import shards as shards_module
from arrival_engine.engine.cluster.blocks import read_block
from arrival_engine.engine.cluster.depot import EVENTS, LEDGERS, Depot
from arrival_engine.engine.cluster.ledgers import StoredLedger
from arrival_engine.engine.cluster.receipts import check_receipt, worker_facts
from arrival_engine.engine.cluster.shards import cut_shards, plan_of_shard
from arrival_engine.engine.cluster.survey import merge_surveys, survey_pieces
from arrival_engine.engine.cluster.tasks import Errand, expand_shard, lookup_world, software, write_catalogue
from arrival_engine.engine.expand.ledger import Ledger
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import seal, verify_seal
from arrival_engine.engine.world.counts import count_pieces, merge_drawn
from arrival_engine.engine.world.load import load_world, read_source
from tests.support.product import copy_without_outputs
from tests.support.refusals import ROOT, published
from tests.support.world_files import write_world
from tests.support.worlds import small_world


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """Rows of one key in several of seven count files, in no order."""
    run_root = tmp_path_factory.mktemp("shards") / "sealed"
    write_world(small_world(), run_root, split_files=7, shuffle_seed=3)
    seal(run_root)
    return run_root


@pytest.fixture(scope="module")
def source(sealed):
    receipt = read_receipt(sealed)
    return read_source(receipt, None, seal=verify_seal(receipt), strict=False)


@pytest.fixture(scope="module")
def whole(sealed):
    return load_world(sealed)


def survey_of(source, depot, each=2):
    pieces = count_pieces(source.receipt, source.scenario_id)
    assert len(pieces) == 7
    groups = [pieces[first : first + each] for first in range(0, len(pieces), each)]
    buckets = source.grid().start_us.size
    # Workers answer in any order.
    most = source.settings.max_count
    parts = [survey_pieces(index, group, buckets, most, depot) for index, group in enumerate(groups)]
    return merge_surveys(parts[::-1])


@pytest.fixture(scope="module")
def depot(tmp_path_factory):
    return Depot.open(InsidePath(tmp_path_factory.mktemp("shards")) / "depot")


@pytest.fixture(scope="module")
def survey(source, depot):
    return survey_of(source, depot)


class TestSurvey:
    @pytest.mark.parametrize("each", [1, 3, 7])
    def test_segments_and_entities_are_those_of_the_whole_world(self, each, source, whole, tmp_path):
        survey = survey_of(source, Depot.open(InsidePath(tmp_path)), each)
        planned = plan(whole)
        assert survey.arrival_start().tolist() == planned.segments.arrival_start.tolist()
        first_rows = planned.segments.row_start[:-1]
        assert survey.sums.bucket.tolist() == whole.rows.bucket[first_rows].tolist()
        merchant = whole.tables.entities.merchant[whole.rows.entity[first_rows]]
        assert survey.sums.merchant_ids[survey.sums.merchant].tolist() == whole.tables.merchants.id[merchant].tolist()
        assert (survey.counts.input_rows, survey.counts.zero_rows) == (
            whole.input_rows,
            whole.zero_rows,
        )
        assert survey.drawn_rows - whole.rows.arrivals.size == whole.merged_rows
        assert int(survey.sums.rows.sum()) == survey.drawn_rows

    def test_lookup_tables_are_those_of_the_whole_world(self, source, survey, whole):
        world = lookup_world(source, survey.counts, accept_tz_cache=False)
        assert (world.tzids, world.channels, world.notices) == (whole.tzids, whole.channels, whole.notices)
        assert world.rows.arrivals.size == 0
        for ours, theirs in zip(flat(world.tables), flat(whole.tables), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def flat(tables):
    for group in tables:
        yield from group if isinstance(group, tuple) else [group]


class TestShards:
    @pytest.mark.parametrize("batch_arrivals", [1, 7, 100, 3000, 10**9])
    @pytest.mark.parametrize("workers", [1, 2, 5])
    def test_they_are_the_batches_of_a_local_run_in_contiguous_ranges(self, batch_arrivals, workers, survey, whole):
        batches = plan(whole, batch_arrivals).batches
        shards = cut_shards(survey, batch_arrivals, workers)
        assert [shard.index for shard in shards] == list(range(len(shards)))
        assert [part for shard in shards for part in shard.parts] == [batch.index for batch in batches]
        assert [n for shard in shards for n in shard.batch_arrivals] == [batch.arrivals for batch in batches]
        assert [n for shard in shards for n in shard.batch_segments] == [
            last - first for first, last in (batch.segments for batch in batches)
        ]
        assert sum(shard.count_rows for shard in shards) == survey.drawn_rows

    def test_a_shard_has_no_more_batches_or_count_rows_than_allowed(self, survey, monkeypatch):
        monkeypatch.setattr(shards_module, "MOST_BATCHES", 3)
        assert max(len(shard.parts) for shard in cut_shards(survey, 1, 1)) <= 3
        monkeypatch.setattr(shards_module, "MOST_COUNT_ROWS", 2)
        shards = cut_shards(survey, 1, 1)
        assert all(shard.count_rows <= 2 or len(shard.parts) == 1 for shard in shards)
        assert any(len(shard.parts) > 1 for shard in shards)

    def test_more_parts_than_names_are_refused(self, survey, monkeypatch):
        monkeypatch.setattr(shards_module, "MOST_PARTS", 3)
        with pytest.raises(ArrivalError, match="more than the 3 parts") as caught:
            cut_shards(survey, 1, 1)
        assert "--batch-arrivals" in caught.value.hint

    @pytest.mark.parametrize("batch_arrivals", [1, 100])
    def test_plans_of_shards_are_the_whole_plan(self, batch_arrivals, source, depot, survey, whole):
        lookup = lookup_world(source, survey.counts, accept_tz_cache=False)
        plans = [
            plan_of_shard(lookup, survey.counts.catalogue, counts_of(source, depot, shard), shard, batch_arrivals)
            for shard in cut_shards(survey, batch_arrivals, 1)
        ]
        planned = plan(whole, batch_arrivals)
        for name in whole.rows._fields:
            together = np.concatenate([getattr(part.world.rows, name) for part in plans])
            assert together.tolist() == getattr(whole.rows, name).tolist()
        before = np.concatenate([part.segments.arrivals_before for part in plans])
        assert before.tolist() == planned.segments.arrivals_before.tolist()
        assert [batch.arrivals for part in plans for batch in part.batches] == [b.arrivals for b in planned.batches]

    def test_counts_that_changed_since_the_survey_are_refused(self, source, depot, survey):
        lookup = lookup_world(source, survey.counts, accept_tz_cache=False)
        shard = cut_shards(survey, 100, 1)[0]
        counts = counts_of(source, depot, shard)
        more = replace(counts, rows=counts.rows._replace(arrivals=counts.rows.arrivals + 1))
        mars = counts.catalogue._replace(zones=("Mars/Olympus_Mons",) * len(counts.catalogue.zones))
        new_zone = replace(counts, catalogue=mars)
        for changed in (more, new_zone):
            with pytest.raises(ArrivalError, match="the bucket counts") as caught:
                plan_of_shard(lookup, survey.counts.catalogue, changed, shard, 100)
            assert caught.value.code is Code.BUCKET_COUNT_MISMATCH


def counts_of(source, depot, shard):
    drawn = [read_block(index, shard.merchant_ids, depot) for index in shard.blocks]
    counts = merge_drawn(drawn, source.grid().start_us.size, source.settings.max_count)
    assert set(counts.catalogue.merchant_ids.tolist()) == set(shard.merchant_ids)
    return counts


class TestHandingIn:
    @pytest.fixture
    def errand(self, source, tmp_path):
        errand = Errand(source, Depot.open(InsidePath(tmp_path)), "cpu", "parquet", 100, software())
        write_catalogue(survey_of(source, errand.depot).counts.catalogue, errand.depot)
        return errand

    @pytest.fixture
    def shards(self, survey):
        shards = cut_shards(survey, 100, 1)
        assert len(shards) > 2
        return shards

    def test_shards_in_any_order_and_twice_at_a_time_make_the_parts_of_a_local_run(
        self, errand, shards, sealed, tmp_path
    ):
        receipts = []

        def work(order):
            receipts.extend(expand_shard(errand, shards[index], Reporter(), "one", 1) for index in order)

        count = len(shards)
        threads = [threading.Thread(target=work, args=(order,)) for order in (range(count), range(count - 1, -1, -1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(receipt.shard for receipt in receipts) == sorted([*range(count)] * 2)
        here = copy_without_outputs(sealed, tmp_path / "here")
        run(here, RunOptions(backend="cpu", batch_arrivals=100))
        # Parts get their token when they are published.
        parts = {f"{name[:11]}.parquet": data for name, data in contents(published(here)).items()}
        assert contents(errand.depot.folder / EVENTS) == parts
        assert list((errand.depot.folder / "attempts").iterdir()) == []
        first = {receipt.shard: receipt for receipt in receipts}
        for receipt in receipts:
            assert (receipt.parts, receipt.ledger_sha256) == (
                first[receipt.shard].parts,
                first[receipt.shard].ledger_sha256,
            )
            check_receipt(receipt, shards[receipt.shard], "parquet")

    def test_ledgers_of_shards_are_the_ledger_of_the_whole(self, errand, shards, survey, sealed):
        receipts = [expand_shard(errand, shard, Reporter(), "one", 1) for shard in shards]
        world = lookup_world(errand.source, survey.counts, accept_tz_cache=False)
        stored = StoredLedger(world, errand.depot, receipts)
        ledger = whole_ledger(sealed)
        assert stored.accounting() == ledger.accounting()
        assert stored.fallbacks() == ledger.fallbacks()
        assert stored.buckets().tolist() == ledger.buckets().tolist()
        for name in ("digest", "at_start", "at_end", "virtual", "counted", "count_rows"):
            assert getattr(stored, name) == getattr(ledger, name), name
        of_entity = stored.world.tables.entities.merchant
        owners = [set(of_entity[piece.world.rows.entity].tolist()) for piece in stored.pieces()]
        assert len(owners) > 2
        assert sum(map(len, owners)) == len(set().union(*owners)), "a merchant lies in two pieces"

    def test_a_ledger_that_is_not_what_was_handed_in_is_refused(self, errand, shards, survey):
        receipts = [expand_shard(errand, shards[0], Reporter(), "one", 1)]
        path = next((errand.depot.folder / LEDGERS).iterdir())
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
        world = lookup_world(errand.source, survey.counts, accept_tz_cache=False)
        with pytest.raises(ArrivalError, match="not what worker one wrote"):
            list(StoredLedger(world, errand.depot, receipts).pieces())

    def test_nothing_can_be_handed_in_any_more_once_the_client_has_collected(self, errand, shards):
        class Collecting(Reporter):
            """The client ends the run while the task is at its first part."""

            def advance(self, amount=1):
                super().advance(amount)
                if errand.depot.folder.exists():
                    collected.append(errand.depot.close())

        collected = []
        expand_shard(errand, shards[0], Reporter(), "one", 1)
        before = contents(errand.depot.folder / EVENTS)
        with pytest.raises(ArrivalError) as caught:
            expand_shard(errand, shards[1], Collecting(), "late", 1)
        assert caught.value.code is Code.IO_WRITE_FAILED
        assert contents(collected[0].folder / EVENTS) == before
        assert not errand.depot.folder.exists()

    def test_a_worker_without_the_run_directory_says_so(self, errand, shards, tmp_path):
        with pytest.raises(ArrivalError, match=r"a worker on .* does not find .*elsewhere") as caught:
            expand_shard(
                replace(errand, depot=Depot(InsidePath(tmp_path) / "elsewhere")), shards[0], Reporter(), "one", 1
            )
        assert caught.value.code is Code.IO_READ_FAILED
        assert "mount" in caught.value.hint

    def test_a_worker_with_other_software_is_refused(self, errand, shards):
        with pytest.raises(ArrivalError, match=r"a worker has pyarrow .* the client has 0\.1") as caught:
            expand_shard(replace(errand, software={**software(), "pyarrow": "0.1"}), shards[0], Reporter(), "one", 1)
        assert caught.value.code is Code.CLUSTER_UNAVAILABLE

    def test_a_receipt_that_does_not_say_what_was_planned_is_refused(self, errand, shards):
        receipt = expand_shard(errand, shards[0], Reporter(), "one", 1)
        part = receipt.parts[0]
        for wrong in (
            replace(receipt, parts=receipt.parts[1:]),
            replace(receipt, parts=(replace(part, rows=part.rows + 1), *receipt.parts[1:])),
            replace(receipt, digest=replace(receipt.digest, a=receipt.digest.a ^ 1)),
        ):
            with pytest.raises(ArrivalError, match="shard 0 was handed in") as caught:
                check_receipt(wrong, shards[0], "parquet")
            assert caught.value.code is Code.BUCKET_COUNT_MISMATCH

    def test_the_throughput_of_a_worker_covers_its_whole_time(self, errand, shards):
        receipt = expand_shard(errand, shards[0], Reporter(), "b", 1)
        first = replace(receipt, began=10.0, ended=12.0)
        later = replace(receipt, began=13.0, ended=15.0, peak_rss_bytes=receipt.peak_rss_bytes + 1)
        (alone, both) = worker_facts([later, replace(first, worker="a"), first])
        assert (alone.worker, alone.shards, alone.seconds) == ("a", 1, 2.0)
        assert (both.worker, both.shards, both.seconds) == ("b", 2, 5.0)
        assert both.arrivals == 2 * shards[0].arrivals
        assert both.arrivals_per_second == both.arrivals / 5.0
        assert both.peak_rss_bytes == later.peak_rss_bytes


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def whole_ledger(run_root):
    from arrival_engine.engine.expand.backend import choose_backend

    planned = plan(load_world(run_root), 100)
    ledger = Ledger(planned.world)
    with choose_backend("cpu").open(planned, Reporter()) as expand:
        for batch in planned.batches:
            ledger.add(expand(batch))
    return ledger


def test_without_dask_a_run_says_what_to_install(sealed):
    program = (
        "import sys; sys.modules['distributed'] = None\n"
        "from arrival_engine.engine.cli.main import main\n"
        f"sys.exit(main(['run', {str(sealed)!r}, '--scheduler', 'local', '--quiet']))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error ARRIVALS.DEPENDENCY_MISSING" in done.stderr
    assert "arrival-engine[dask]" in done.stderr
    assert "Traceback" not in done.stderr
