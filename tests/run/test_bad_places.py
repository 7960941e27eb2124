"""Files and directories that are in the way or may not be touched, and how the command line says so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.arrivals.publish import read_published
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from tests.support import damage, refusals
from tests.support.blobs import tzc1
from tests.support.damage import (
    COUNTS,
    EDGE_BLOB,
    EDGES,
    GRID,
    HEADER,
    SITE_INDEX,
    SITE_WEIGHTS,
    TZ_BIN,
    UNIVERSE,
    words,
)
from tests.support.model import BEFORE_ALL
from tests.support.refusals import (
    CLOCK_BAD,
    COUNTS_BAD,
    CPU,
    EDGE_BAD,
    GATE_BAD,
    MARS,
    UNREADABLE,
    Case,
    command,
    harm,
    leftovers,
    obey_permissions,
    published,
    put,
    report_lines,
    seal_damaged,
)
from tests.support.worlds import ALONE_ONLINE, SYDNEY, VIRTUAL, small_world

pristine, run_root = refusals.pristine, refusals.run_root


class TestPlaces:
    @pytest.mark.parametrize(
        "folder", ["tmp", "data/layer2/5B/arrival_events", "data/layer2/5B/arrival_summary", "logs"]
    )
    def test_a_file_where_a_directory_must_be_made(self, run_root, folder):
        seal(run_root)
        shutil.rmtree(run_root / "tmp", ignore_errors=True)
        (run_root / folder).parent.mkdir(parents=True, exist_ok=True)
        (run_root / folder).write_text("in the way")
        with pytest.raises(ArrivalError) as caught:
            run(run_root, CPU)
        assert caught.value.code == Code.IO_WRITE_FAILED
        assert str(run_root / folder) in caught.value.message
        assert (run_root / folder).read_text() == "in the way"
        assert not published(run_root).exists()
        assert leftovers(run_root) == []
        assert report_lines(run_root)[-1]["error_code"] == Code.IO_WRITE_FAILED.value

    def test_a_run_report_that_cannot_be_written_does_not_hide_the_failure(self, run_root):
        (run_root / "reports").write_text("in the way")
        with pytest.raises(ArrivalError) as caught:
            run(run_root, CPU)
        assert caught.value.code == GATE_BAD

    @pytest.mark.parametrize("replace_it", [False, True])
    def test_a_file_where_the_arrivals_belong_is_no_publication(self, run_root, replace_it):
        seal(run_root)
        published(run_root).parent.mkdir(parents=True)
        published(run_root).write_text("notes")
        with pytest.raises(ArrivalError) as caught:
            run(run_root, replace(CPU, replace=replace_it))
        assert caught.value.code == Code.IO_WRITE_CONFLICT
        assert str(published(run_root)) in caught.value.message
        assert published(run_root).read_text() == "notes"
        assert leftovers(run_root) == []

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda part: part.write_bytes(b"PAR1"),
            lambda part: part.rename(part.with_name("part-000007.parquet")),
            lambda part: part.rename(part.with_name("notes.txt")),
            lambda part: part.with_name("part-000001.arrow").write_bytes(b""),
            lambda part: shutil.copy(part, part.with_name("part-000001-0123456789ab.parquet")),
        ],
        ids=["damaged", "renumbered", "foreign", "mixed", "two publications"],
    )
    def test_a_publication_that_is_not_ours_stands_unless_replaced(self, run_root, spoil):
        seal(run_root)
        first = run(run_root, CPU).scenarios[0]
        spoil(min(first.path.iterdir()))
        before = sorted((path.name, path.read_bytes()) for path in first.path.iterdir())
        with pytest.raises(ArrivalError) as caught:
            run(run_root, CPU)
        assert caught.value.code == Code.IO_WRITE_CONFLICT
        assert "--replace" in caught.value.hint
        assert sorted((path.name, path.read_bytes()) for path in first.path.iterdir()) == before
        again = run(run_root, replace(CPU, replace=True)).scenarios[0]
        assert (again.published, again.digest) == ("replaced", first.digest)
        assert str(read_published(InsidePath(Path(first.path))).digest) == first.digest

    def test_a_certain_conflict_is_met_before_the_work(self, run_root):
        seal(run_root)
        run(run_root, CPU)
        reporter = Reporter()
        with pytest.raises(ArrivalError) as caught:
            run(run_root, replace(CPU, format="arrow"), reporter)
        assert caught.value.code == Code.IO_WRITE_CONFLICT
        assert "3279 arrivals as arrow" in caught.value.message
        assert "expand and write" not in reporter.phases

    @pytest.mark.parametrize(
        "options", [{"threads": 0}, {"threads": -1}, {"batch_arrivals": 0}, {"format": "csv"}, {"backend": "abacus"}]
    )
    def test_options_that_mean_nothing_are_a_mistake_of_the_caller(self, options):
        with pytest.raises(ValueError, match=next(iter(options))):
            RunOptions(**options)


@pytest.fixture
def closed():
    """Takes permissions away from a path and gives them back at the end."""
    taken = []

    def close(path, mode):
        taken.append((path, path.stat().st_mode))
        path.chmod(mode)
        return path

    yield close
    for path, mode in reversed(taken):
        path.chmod(mode)


REFUSALS = {
    "negative count": Case(put(COUNTS, "count_N", -1), COUNTS_BAD, (COUNTS, "count_N in row 0 holds -1")),
    "unknown zone": Case(
        put(EDGES, "tzid_operational", MARS, merchant_id=ALONE_ONLINE),
        CLOCK_BAD,
        (MARS, EDGES, f"merchant {ALONE_ONLINE}"),
    ),
    "alias beyond its slice": Case(
        harm(damage.edit_edge_blob, words((HEADER + 4, 5))), EDGE_BAD, (f"merchant {VIRTUAL}", "byte 20", "alias 5")
    ),
    "late clock": Case(
        harm(damage.write_tz_cache, tzc1({**small_world().zones, SYDNEY: [(BEFORE_ALL, 600)]})),
        CLOCK_BAD,
        ("Australia/Sydney from 2026-02-14T00:00:00Z: the cache says +600 min",),
    ),
}


class TestCommandLine:
    @pytest.mark.parametrize("name", REFUSALS)
    def test_a_refusal_is_named_placed_and_advised(self, run_root, name):
        case = REFUSALS[name]
        case.harm(run_root)
        seal_damaged(run_root, case)
        done = command("run", run_root, "--backend", "cpu", "--quiet")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr + done.stdout
        assert f"error {case.code.value}" in done.stderr
        assert "\n  do" in done.stderr
        for text in case.says:
            assert text in done.stderr
        assert report_lines(run_root)[-1]["error_code"] == case.code.value
        assert not published(run_root).exists()

    def closed_run(self, run_root):
        done = command("run", run_root, "--backend", "cpu", "--json", "--quiet", preexec_fn=obey_permissions)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)

    @pytest.mark.parametrize("dataset_id", [COUNTS, GRID, SITE_WEIGHTS, EDGE_BLOB, SITE_INDEX, UNIVERSE, TZ_BIN])
    def test_an_unreadable_file(self, run_root, closed, dataset_id):
        seal(run_root)
        path = closed(damage.file_of(run_root, dataset_id), 0o000)
        document = self.closed_run(run_root)
        assert document["code"] == UNREADABLE.value
        assert str(path) in document["message"]
        assert "Permission denied" in document["message"]

    @pytest.mark.parametrize("dataset_id", [COUNTS, GRID, SITE_WEIGHTS, EDGES, TZ_BIN])
    def test_an_unreadable_directory(self, run_root, closed, dataset_id):
        seal(run_root)
        path = closed(damage.file_of(run_root, dataset_id).parent, 0o000)
        document = self.closed_run(run_root)
        assert document["code"] == UNREADABLE.value
        assert str(path) in document["message"]

    @pytest.mark.parametrize("folder", ["tmp", "data/layer2/5B", "logs", "reports"])
    def test_an_unwritable_directory(self, run_root, closed, folder):
        seal(run_root)
        (run_root / folder).mkdir(parents=True, exist_ok=True)
        closed(run_root / folder, 0o555)
        document = self.closed_run(run_root)
        assert document["code"] == Code.IO_WRITE_FAILED.value
        assert str(run_root / folder) in document["message"]
        # Arrivals without their logs or their line in the report are taken back, and logs without their line.
        assert not published(run_root).exists()
        assert not any(path.is_file() for path in (run_root / "logs").rglob("*"))
        assert leftovers(run_root) == []

    def test_an_unreadable_receipt(self, run_root, closed):
        closed(run_root / "run_receipt.json", 0o000)
        document = self.closed_run(run_root)
        assert document["code"] == UNREADABLE.value
