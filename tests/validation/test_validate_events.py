"""Event records: what the run report says was kept must stand whole, in either form, and be the law's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arrival_engine import RunOptions, run, validate
from tests.support.logs import foreign_events, identity_of, spaced_lines
from tests.support.validating import broken, copied, log_path, proven_run, validated
from tests.support.worlds import small_world

FAMILIES = ("arrival_time_jitter", "arrival_site_pick", "arrival_edge_pick")


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with event records as JSON Lines."""
    root = tmp_path_factory.mktemp("lines") / "run"
    proven_run(root, small_world(), batch_arrivals=500, rng_events="jsonl")
    return root


def _records(root: Path, family: str = "arrival_site_pick") -> Path:
    return log_path(root, f"rng_event_{family}") / "part-000000.jsonl"


def _edited(root: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = _records(root)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def test_other_engines_lines_and_other_spacing_change_nothing(lines: Path, tmp_path: Path) -> None:
    root = copied(lines, tmp_path / "run")
    foreign = spaced_lines(foreign_events(identity_of(root), "arrival_site_pick"))
    _edited(root, lambda found: [foreign, *(json.dumps(json.loads(line)).encode() + b"\n" for line in found), b"\n5\n"])
    assert validate(root).passed


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda found: found[1:], "stated"),
        (lambda found: found[:-1], "is missing"),
        pytest.param(lambda _: [], "is missing", marks=pytest.mark.slow),
        pytest.param(lambda found: [*found, found[-1]], "stated", marks=pytest.mark.slow),
        (lambda found: [found[1], found[0], *found[2:]], "stated"),
        (lambda found: [found[0].replace(b'"blocks":', b'"blocks":1,"blocks":'), *found[1:]], "stated"),
        (lambda found: [found[0].replace(b'"run_id":"c', b'"run_id":"d'), *found[1:]], "stated"),
        (lambda found: [found[0].replace(b'"seed":42', b'"seed":42,"more":1'), *found[1:]], "stated"),
    ],
    ids=["first gone", "last gone", "all gone", "twice", "order", "a key twice", "another run", "one more field"],
)
def test_lines_that_are_not_the_laws_are_named(
    change: Callable[[list[bytes]], list[bytes]], fault: str, lines: Path, tmp_path: Path, capsys: Any
) -> None:
    root = copied(lines, tmp_path / "run")
    _edited(root, change)
    code, _, findings = validated(root, capsys)
    assert (code, broken(findings)) == (1, {"rng_events"})
    first = findings["rng_events"]["examples"][0]
    assert fault in (first.get("fault"), *first)


def test_records_in_a_second_form_are_named(lines: Path, sound: Path, tmp_path: Path, capsys: Any) -> None:
    root = copied(sound, tmp_path / "run")
    _records(root).write_bytes(_records(lines).read_bytes())
    code, _, findings = validated(root, capsys)
    assert (code, broken(findings)) == (1, {"rng_events"})
    (example,) = findings["rng_events"]["examples"]
    assert example["fault"] == "part-000000.jsonl stands beside part-000000.parquet"


def test_a_run_without_the_option_leaves_records_that_are_still_judged(
    lines: Path, tmp_path: Path, capsys: Any
) -> None:
    root = copied(lines, tmp_path / "run")
    run(root, RunOptions(backend="cpu", batch_arrivals=500))
    assert validate(root).passed
    _records(root, "arrival_edge_pick").unlink()
    _, _, findings = validated(root, capsys)
    assert broken(findings) == {"rng_events"}
    assert "--rng-events jsonl" in findings["rng_events"]["message"]
    # Replaced arrivals take their records along, and then none are missed.
    run(root, RunOptions(backend="cpu", batch_arrivals=500, format="arrow", replace=True))
    assert not _records(root).exists()
    _, _, findings = validated(root, capsys)
    assert findings["rng_events"]["verdict"] == "NOT_APPLICABLE"
