"""Files that are not the run's among its outputs, from the root of each dataset down."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arrival_engine.contracts import Code
from arrival_engine.contracts.dictionary import dataset
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.validation.findings import Book
from arrival_engine.engine.validation.strangers import judge_strangers
from tests.support.damage import tokens_of
from tests.support.logs import foreign_events, identity_of, spaced_lines
from tests.support.validating import SCENARIO, Arrivals, broken, command, copied, log_path, validated

OUTPUTS = "data/layer2/5B"


def _place(root: Path, dataset_id: str) -> Path:
    return dataset(dataset_id).locate(root, tokens_of(root, SCENARIO))


def _part(root: Path) -> Path:
    return Arrivals(root).paths[0]


def _copied(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return shutil.copyfile(source, target)


def _other_scenario(root: Path, dataset_id: str) -> Path:
    path = _place(root, dataset_id)
    return _copied(path, path.parent.with_name("scenario_id=stress_v1") / path.name)


def _other_seed(root: Path) -> Path:
    part = _part(root)
    other = str(part.relative_to(root)).replace("seed=42", "seed=43")
    return _copied(part, root / other)


def _events(root: Path, name: str, run_id: str = "c" * 32) -> Path:
    folder = log_path(root, "rng_event_arrival_site_pick")
    return _copied(folder / "part-000000.parquet", folder.with_name(f"run_id={run_id}") / name)


def _lines(root: Path, name: str, text: bytes) -> Path:
    path = log_path(root, "rng_event_arrival_site_pick") / name
    path.write_bytes(text)
    return path


def _written(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _linked(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


STRANGERS: dict[str, Callable[[Path], Path]] = {
    "a part one level up": lambda root: _copied(_part(root), _part(root).parent.parent / _part(root).name),
    "a part at the root": lambda root: _copied(_part(root), root / OUTPUTS / "arrival_events" / "part-000000.parquet"),
    "a part of another seed": _other_seed,
    "a hidden file": lambda root: _written(root / OUTPUTS / "arrival_events" / ".DS_Store"),
    "a link": lambda root: _linked(_part(root).parent.parent / "part-000000.parquet", _part(root)),
    "a summary of no scenario": lambda root: _other_scenario(root, "s4_arrival_summary_5B"),
    "anomalies of no scenario": lambda root: _other_scenario(root, "s4_arrival_anomalies_5B"),
    "a second summary": lambda root: _copied(
        _place(root, "s4_arrival_summary_5B"), _place(root, "s4_arrival_summary_5B").with_name("summary.parquet")
    ),
    "sites in another form": lambda root: _written(_place(root, "arrival_sites_5B").with_suffix(".csv")),
    "a second table of edges": lambda root: _copied(
        _place(root, "arrival_edges_5B"), _place(root, "arrival_edges_5B").with_name("more.parquet")
    ),
    "event records of another number": lambda root: _events(root, "part-000001.parquet"),
    "event records of another run": lambda root: _events(root, "part-000000.parquet", "d" * 32),
    "a link in the form of lines": lambda root: _linked(
        log_path(root, "rng_event_arrival_site_pick") / "x.jsonl", _part(root)
    ),
    "event lines of this engine": lambda root: _lines(root, "x.jsonl", b'{"zone_representation":"Europe/Paris"}\n'),
    "event lines in escapes": lambda root: _lines(root, "x.jsonl", b'{"zone\\u005frepresentation":"Europe/Paris"}\n'),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_file_that_is_not_the_runs_is_named(name: str, sound: Path, tmp_path: Path) -> None:
    root = copied(sound, tmp_path / "run")
    stranger = STRANGERS[name](root)
    book = Book()
    judge_strangers(read_receipt(root), [SCENARIO], book)
    (finding,) = book.findings
    assert (str(finding.verdict), finding.violations) == ("FAIL", 1)
    assert finding.examples[0]["file"] == stranger.relative_to(root).as_posix()


def test_a_run_with_a_copy_of_a_part_one_level_up_does_not_pass(sound: Path, tmp_path: Path, capsys: Any) -> None:
    root = copied(sound, tmp_path / "run")
    STRANGERS["a part one level up"](root)
    code, _, findings = validated(root, capsys)
    assert (code, broken(findings)) == (1, {"strangers"})


def test_the_files_of_several_scenarios_and_lines_of_other_engines_are_no_strangers(
    sound: Path, tmp_path: Path
) -> None:
    root = copied(sound, tmp_path / "run")
    for dataset_id in ("s4_arrival_summary_5B", "s4_arrival_anomalies_5B"):
        _other_scenario(root, dataset_id)
    _copied(_part(root), _part(root).parent.with_name("scenario_id=stress_v1") / _part(root).name)
    _events(root, "part-000001.parquet")
    _lines(root, "x.jsonl", spaced_lines(foreign_events(identity_of(root), "arrival_site_pick")))
    book = Book()
    judge_strangers(read_receipt(root), [SCENARIO, "stress_v1"], book)
    (finding,) = book.findings
    assert (str(finding.verdict), finding.examples) == ("PASS", ())


def test_a_link_in_the_place_of_a_table_is_refused_by_name(sound: Path, tmp_path: Path, capsys: Any) -> None:
    root = copied(sound, tmp_path / "run")
    path = _place(root, "s4_arrival_summary_5B")
    path.rename(tmp_path / "elsewhere.parquet")
    path.symlink_to(tmp_path / "elsewhere.parquet")
    code, answer = command(capsys, "validate", str(root))
    assert (code, answer["code"]) == (1, str(Code.S5_IO_READ_FAILED))
    assert str(path) in answer["message"]
