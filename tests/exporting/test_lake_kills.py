"""Exports that are killed at any moment: a table has all of an export or nothing of it, and the next one clears up."""

from __future__ import annotations

import shutil

import pytest

from tests.support.killed_exports import moments, nursery
from tests.support.lakes import (
    FORMATS,
    expected,
    leftovers,
    newest,
    other_root,  # noqa: F401 - a fixture
    put,
    run_root,  # noqa: F401 - a fixture
)

# Complete exports, which clear up, come after so many killed ones.
PATIENCE = 4


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    with nursery(tmp_path_factory.mktemp("killed") / "log") as found:
        yield found


@pytest.fixture(scope="module")
def worlds(run_root, other_root, tmp_path_factory):  # noqa: F811
    """Two run directories, and by digest the rows of their tables."""
    rows = {}
    for root in (run_root, other_root):
        folder = tmp_path_factory.mktemp("rows") / "parquet"
        digest = put(root, folder, "parquet", ids="int64").digest
        rows[digest] = expected(root, folder)
    return (run_root, other_root), rows


def moments_here(forked, worlds, folder, seed, times, to):
    """Moments for kills, by the seconds that an export takes here."""
    (root, _), _ = worlds
    whole = forked.ask(run_root=str(root), target=str(folder / f"whole-{seed}"), options={"to": to, "threads": 2})
    return moments(seed, times, whole["seconds"])


def state(target, to, worlds):
    """How many versions there are, and the digest of the newest, which is whole."""
    count, version = newest(target, to)
    if version is None:
        return 0, None
    digest = version.facts["arrivals.digest"]
    assert version.rows.equals(worlds[1][digest])
    return count, digest


def new_tables(forked, worlds, target, to, kills):
    """Kill exports to a target that holds no table until one was too quick; how many tables there were."""
    landed = tries = 0
    (root, _), (digest, _) = worlds
    for kill in kills:
        answer = forked.ask(run_root=str(root), target=str(target), options={"to": to, "threads": 2}, kill=kill)
        assert answer["outcome"] in ("killed", "written"), answer
        found = state(target, to, worlds)
        assert found in ((0, None), (1, digest))
        tries += 1
        if found[0] or tries == PATIENCE:
            landed += found[0]
            tries = 0
            finish(forked, root, target, to, found, worlds)
            shutil.rmtree(target.parent)
    return landed


def finish(forked, root, target, to, before, worlds):
    """A complete export after killed ones: it clears up."""
    answer = forked.ask(run_root=str(root), target=str(target), options={"to": to, "threads": 2, "replace": True})
    assert answer["outcome"] in ("written", "replaced", "identical"), answer
    count, digest = state(target, to, worlds)
    assert digest == answer["digest"]
    assert count == before[0] + (answer["outcome"] != "identical")
    assert not leftovers(target)


def replaced_tables(forked, worlds, target, to, kills):
    """Kill exports that replace another one; how many took effect."""
    (roots, rows), landed = worlds, 0
    digests = list(rows)
    before = None
    for number, kill in enumerate(kills):
        if before is None or before[0] > 8:
            shutil.rmtree(target.parent, ignore_errors=True)
            put(roots[0], target, to)
            before = (1, digests[0])
        root = roots[before[1] == digests[0]]
        answer = forked.ask(
            run_root=str(root), target=str(target), options={"to": to, "threads": 2, "replace": True}, kill=kill
        )
        assert answer["outcome"] in ("killed", "replaced"), answer
        found = state(target, to, worlds)
        other = digests[1 - digests.index(before[1])]
        assert found in (before, (before[0] + 1, other))
        landed += found != before
        if number % PATIENCE == 0:
            finish(forked, root, target, to, found, worlds)
            found = state(target, to, worlds)
        before = found
    return landed


@pytest.mark.parametrize("to", FORMATS)
def test_a_few_kills(forked, worlds, tmp_path, to):
    target = tmp_path / "place" / "table"
    new_tables(forked, worlds, target, to, moments_here(forked, worlds, tmp_path, 1, 4, to))
    replaced_tables(forked, worlds, target, to, moments_here(forked, worlds, tmp_path, 2, 4, to))


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_a_thousand_kills(forked, worlds, tmp_path, to):
    target = tmp_path / "place" / "table"
    landed = new_tables(forked, worlds, target, to, moments_here(forked, worlds, tmp_path, 3, 500, to))
    landed += replaced_tables(forked, worlds, target, to, moments_here(forked, worlds, tmp_path, 4, 500, to))
    # Both must happen, or the moments of the kills say nothing.
    assert 20 < landed < 980
