"""Parquet and DuckDB exports that are killed at any moment: readers see one whole export or none."""

from __future__ import annotations

import itertools

import pytest

from arrival_engine import ExportOptions, export
from tests.support import exports
from tests.support.killed_exports import moments, nursery

FORMATS = ("parquet", "duckdb")
# Of each format and in each test; with those of Delta and Iceberg, a thousand and more.
MANY = 130
FEW = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return exports.published(tmp_path_factory.mktemp("exported") / "run", factor=5)


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    with nursery(tmp_path_factory.mktemp("killed") / "log") as found:
        yield found


def moments_here(forked, root, folder, seed, times, to):
    """Moments for kills, by the seconds that an export takes here."""
    whole = forked.ask(run_root=str(root), target=str(folder / "whole"), options={"to": to, "threads": 2})
    return moments(seed, times, whole["seconds"])


def export_killed(forked, root, target, kill, **options):
    """One export that is killed; the outcome if it was quicker."""
    answer = forked.ask(run_root=str(root), target=str(target), options={"threads": 2, **options}, kill=kill)
    assert answer["outcome"] in ("killed", "written", "replaced", "identical"), answer
    return answer["outcome"]


def new_exports(forked, world, folder, to, times):
    """Into empty places, by merchant and by day in turn; how many were killed, and how many were seen."""
    root, made = world
    killed = seen = 0
    for number, kill in enumerate(moments_here(forked, root, folder, 17, times, to)):
        target = folder / f"table-{number}"
        options = {"to": to, "cluster_by": "day" if number % 4 > 1 else "merchant"}
        was_killed = export_killed(forked, root, target, kill, **options) == "killed"
        digest = exports.seen(to, target)
        assert digest == made.digest if not was_killed else digest in (None, made.digest)
        killed, seen = killed + was_killed, seen + (digest is not None)
        outcome = export(root, target, ExportOptions(**options)).outcome
        assert outcome == ("written" if digest is None else "identical")
        assert exports.seen(to, target) == made.digest
        assert exports.hidden(target) == []
        assert target.with_name(f"{target.name}.croissant.json").exists()
    return killed, seen


def replacements(forked, world, folder, to, times):
    """Over another export, which has ids of another form; how many were killed."""
    root, made = world
    target = folder / "table"
    export(root, target, ExportOptions(to=to))
    killed = 0
    kills = moments_here(forked, root, folder, 19, times, to)
    for ids, kill in zip(itertools.cycle(["int64", "decimal", "uint64"]), kills, strict=False):
        killed += export_killed(forked, root, target, kill, to=to, ids=ids, replace=True) == "killed"
        assert exports.seen(to, target) == made.digest
    export(root, target, ExportOptions(to=to, ids="text", replace=True))
    assert exports.seen(to, target) == made.digest
    assert exports.hidden(target) == []
    return killed


@pytest.mark.parametrize("to", FORMATS)
def test_a_killed_export_is_whole_or_not_there(forked, world, tmp_path, to):
    killed, _ = new_exports(forked, world, tmp_path, to, FEW)
    assert killed


@pytest.mark.parametrize("to", FORMATS)
def test_a_killed_replacement_leaves_the_old_export_or_the_new_one(forked, world, tmp_path, to):
    assert replacements(forked, world, tmp_path, to, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_many_killed_exports_are_whole_or_not_there(forked, world, tmp_path, to):
    killed, seen = new_exports(forked, world, tmp_path, to, MANY)
    # A quarter of the exports wait to be killed.
    assert killed > MANY // 4
    assert seen


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_many_killed_replacements_leave_the_old_export_or_the_new_one(forked, world, tmp_path, to):
    assert replacements(forked, world, tmp_path, to, MANY) > MANY // 4
