"""Running where something is published already: left alone, refused or replaced, never half of either."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache

import pyarrow.parquet as pq
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.digest import Digest
from tests.support import reference
from tests.support.product import (
    copy_without_outputs,
    located,
    on_disk,
    published_parts,
    published_table,
    report_lines,
    staged,
    write_sealed,
)
from tests.support.worlds import small_world

CPU = RunOptions(backend="cpu", threads=2, batch_arrivals=500)
DIAGNOSTICS = ("s4_arrival_summary_5B", "s4_arrival_anomalies_5B", "arrival_sites_5B", "arrival_edges_5B")


@cache
def expansion():
    return reference.expand(small_world())


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The small world, sealed and run once: its run root."""
    written = write_sealed(small_world(), tmp_path_factory.mktemp("again") / "run")
    run(written.run_root, CPU)
    return written.run_root


@pytest.fixture
def sealed(published, tmp_path):
    """A copy of the sealed small world before any run."""
    return copy_without_outputs(published, tmp_path / "run")


def fixed_files(run_root):
    """Identity and time stamp of every published file."""
    world = small_world()
    places = [located(name, run_root, world) for name in DIAGNOSTICS]
    events = located("arrival_events_5B", run_root, world)
    files = [events, *events.iterdir(), *places]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize(
    "options",
    [{}, {"threads": 1}, {"batch_arrivals": 10**6}, {"replace": True}],
    ids=["same", "threads", "batches", "replace"],
)
def test_the_same_arrivals_again_are_left_as_they_are(sealed, options):
    """Whatever the cut into parts, the same digest is the same set of arrivals."""
    run(sealed, CPU)
    before = fixed_files(sealed)
    (result,) = run(sealed, replace(CPU, **options)).scenarios
    assert (result.published, result.digest) == ("identical", expansion().digest)
    assert result.compared == ("bytes" if "replace" in options else "statements")
    assert fixed_files(sealed) == before
    assert [line["published"] for line in report_lines(sealed)] == ["published", "identical"]
    assert staged(sealed) == []


def fewer(counts):
    return counts[:3]


def as_many(counts):
    """The same number of arrivals, of which some have another channel."""
    return tuple(replace(row, channel="other") for row in counts)


@pytest.fixture(params=[fewer, as_many])
def occupied(request, sealed):
    """The sealed small world with the arrivals of other counts in the place of its own."""
    other = small_world(counts=request.param(small_world().counts))
    with on_disk(other) as written:
        run(written.run_root, CPU)
        place = located("arrival_events_5B", written.run_root, other)
        shutil.copytree(place, located("arrival_events_5B", sealed, small_world()))
    return sealed


def part_bytes(run_root):
    return {part.name: part.read_bytes() for part in published_parts(run_root, small_world())}


def standing_digest(run_root):
    """The digest that the part files in place state, added up."""
    metadata = (pq.read_schema(part).metadata for part in published_parts(run_root, small_world()))
    return str(sum((Digest.parse(each[b"arrivals.digest"].decode()) for each in metadata), Digest()))


def test_other_arrivals_in_place_are_a_conflict(occupied):
    before, standing = part_bytes(occupied), standing_digest(occupied)
    with pytest.raises(ArrivalError, match="already exists") as conflict:
        run(occupied, CPU)
    assert conflict.value.code == Code.IO_WRITE_CONFLICT
    # Another number of arrivals is noticed before any of them is drawn.
    same_number = Digest.parse(standing).rows == len(expansion().rows)
    assert (expansion().digest if same_number else f"{len(expansion().rows)} arrivals") in conflict.value.message
    assert standing in conflict.value.message
    assert "--replace" in conflict.value.hint
    assert part_bytes(occupied) == before
    (line,) = report_lines(occupied)
    assert (line["status"], line["error_code"]) == ("FAIL", str(Code.IO_WRITE_CONFLICT))
    for name in (*DIAGNOSTICS, "rng_trace_log", "rng_audit_log"):
        assert not located(name, occupied, small_world()).exists()


def test_other_arrivals_are_replaced_on_request(occupied, published):
    (result,) = run(occupied, replace(CPU, replace=True)).scenarios
    assert (result.published, result.digest) == ("replaced", expansion().digest)
    assert part_bytes(occupied) == part_bytes(published)
    for name in DIAGNOSTICS:
        found, wanted = (located(name, run_root, small_world()) for run_root in (occupied, published))
        assert found.read_bytes() == wanted.read_bytes()
    assert staged(occupied) == []
    assert [line["published"] for line in report_lines(occupied)] == ["replaced"]


def test_the_same_arrivals_in_another_format_are_a_conflict_until_replaced(sealed):
    run(sealed, CPU)
    with pytest.raises(ArrivalError) as conflict:
        run(sealed, replace(CPU, format="arrow"))
    assert conflict.value.code == Code.IO_WRITE_CONFLICT
    (result,) = run(sealed, replace(CPU, format="arrow", replace=True)).scenarios
    assert result.published == "replaced"
    assert {part.suffix for part in published_parts(sealed, small_world())} == {".arrow"}
    assert published_table(sealed, small_world())["site_id"].to_pylist() == [row.site_id for row in expansion().rows]


@pytest.mark.parametrize("name", ["part-000000.parquet", "part-00000.parquet", "notes.txt"])
def test_files_that_are_no_arrivals_are_a_conflict(sealed, name):
    place = located("arrival_events_5B", sealed, small_world())
    place.mkdir(parents=True)
    (place / name).write_bytes(b"something else")
    with pytest.raises(ArrivalError) as conflict:
        run(sealed, CPU)
    assert conflict.value.code == Code.IO_WRITE_CONFLICT
    assert [(path.name, path.read_bytes()) for path in place.iterdir()] == [(name, b"something else")]
    (result,) = run(sealed, replace(CPU, replace=True)).scenarios
    assert result.published == "replaced"
    assert [path.name[:12] for path in sorted(place.iterdir())] == [f"part-{index:06d}-" for index in range(3)]


def test_an_empty_directory_in_place_is_no_conflict(sealed):
    located("arrival_events_5B", sealed, small_world()).mkdir(parents=True)
    (result,) = run(sealed, CPU).scenarios
    assert (result.published, result.digest) == ("published", expansion().digest)
    assert published_table(sealed, small_world()).num_rows == len(expansion().rows)


def test_a_failing_run_leaves_published_arrivals_alone(sealed):
    run(sealed, CPU)
    before = fixed_files(sealed)
    with pytest.raises(ArrivalError):
        run(sealed, replace(CPU, strict=True, replace=True))
    assert fixed_files(sealed) == before
    assert [line["status"] for line in report_lines(sealed)] == ["PASS", "FAIL"]


def test_damaged_arrivals_are_replaced_on_request(sealed):
    """What its files say of themselves is the same; `arrivals run --replace` is what a reader is told to do."""
    run(sealed, CPU)
    part = published_parts(sealed, small_world())[0]
    sound = part.read_bytes()
    part.write_bytes(sound[: len(sound) // 3] + bytes(200) + sound[len(sound) // 3 + 200 :])
    (result,) = run(sealed, replace(CPU, replace=True)).scenarios
    assert (result.published, part.read_bytes()) == ("replaced", sound)
