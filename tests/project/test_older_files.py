"""Files that each released version wrote are read by this one, to the same values."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from arrival_engine import run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.part_names import part_name
from arrival_engine.engine.arrivals.part_file import PartFile
from arrival_engine.engine.run.part_ledger import PartLedger, run_terms
from arrival_engine.engine.rundir.hashing import content_sha256
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing.stored import read_stored
from arrival_engine.engine.storage import open_store
from arrival_engine.engine.storage.manifest import partition, read_manifest
from tests.support import reference
from tests.support.compare import assert_same_rows
from tests.support.older_files import BATCH, FINISHED, IDENTITY, OLDER, OPTIONS, SEAL, VERSIONS, WORLD, place_of
from tests.support.product import planned, write_sealed

ARRIVALS, DIGEST = 125, "125-3f80260410836197c8782f28d047da60"
SEALED_INPUTS_DIGEST = "1384bbd0d4e1322b90826c26f27f86b4fbb3c028696a8a4e33ef6798cbdd03bb"


@pytest.fixture(params=VERSIONS)
def older(request):
    """The files of one version."""
    return OLDER / request.param


def test_the_first_version_is_there():
    assert "0.1.0" in VERSIONS


def test_the_values_are_those_of_the_law():
    assert reference.expand(WORLD).digest == DIGEST


def rows_of(path):
    return pa.concat_tables(PartFile.at(path).pieces()).unify_dictionaries()


def test_a_manifest_and_the_parts_it_lists(older, tmp_path):
    here = tmp_path / partition(IDENTITY, WORLD.scenario_id)
    shutil.copytree(older, here)
    manifest = read_manifest(open_store(tmp_path), IDENTITY, WORLD.scenario_id)
    assert manifest is not None
    assert (manifest.arrivals, manifest.digest, manifest.format) == (ARRIVALS, DIGEST, "parquet")
    assert manifest.source.engine_version == older.name
    assert manifest.source.sealed_inputs_digest == SEALED_INPUTS_DIGEST
    for part in manifest.parts:
        file = PartFile.at(here / part.name)
        assert (file.rows(), str(file.digest())) == (part.rows, part.arrival_digest)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_part_files(older, form):
    expected = reference.expand(WORLD)
    paths = sorted(older.glob(f"part-*.{form}"))
    tables = [rows_of(path) for path in paths]
    rows = expected.rows if form == "parquet" else expected.rows[: tables[0].num_rows]
    (universe,) = set(tables[0]["routing_universe_hash"].to_pylist())
    assert_same_rows(rows, pa.concat_tables(tables), routing_universe_hash=universe)
    assert PartFile.at(paths[0]).digest() == PartFile.at(older / "part-000000.parquet").digest()


def test_a_seal(older, tmp_path):
    for name in SEAL:
        place = place_of(name, tmp_path)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(older / place.name, place)
    stored = read_stored(read_receipt(tmp_path))
    assert stored is not None
    assert stored.gate["sealed_inputs_digest"] == SEALED_INPUTS_DIGEST
    assert len(stored.rows) == stored.gate["sealed_inputs_row_count"]


@pytest.fixture
def killed(older, tmp_path):
    """A world of today, and what the older version left in its tmp/ when it was killed."""
    run_root = write_sealed(WORLD, tmp_path / "world").run_root
    staged = run_root / "tmp" / f"arrivals-{WORLD.scenario_id}-0123456789abcdef"
    for name, folder in (("*.npy", "ledger"), ("ledger.jsonl", "ledger"), ("part-*.parquet", "events")):
        (staged / folder).mkdir(parents=True, exist_ok=True)
        for path in sorted(older.glob(name)):
            shutil.copy(path, staged / folder)
    return run_root


def ledger_of(run_root: Path) -> Path:
    (found,) = run_root.glob("tmp/arrivals-*/ledger/ledger.jsonl")
    return found


def test_a_ledger_of_other_code_is_refused_by_name_and_its_parts_are_kept(killed):
    terms = json.loads(ledger_of(killed).read_bytes().partition(b"\n")[0])
    ours = run_terms(planned(killed, BATCH), "parquet")
    other = [name for name in ours if ours[name] != terms.get(name)]
    assert "code_digest" in other
    staged = sorted(killed.glob("tmp/arrivals-*/events/part-*"))
    with pytest.raises(ArrivalError) as caught:
        run(killed, replace(OPTIONS, resume=True))
    assert (caught.value.code, caught.value.context["term"]) == (Code.IO_WRITE_CONFLICT, other[0])
    assert sorted(killed.glob("tmp/arrivals-*/events/part-*")) == staged


def test_lines_of_a_ledger_are_understood(killed):
    """Under today's terms, the parts that the ledger lists are those to go on with, under their names and hashes."""
    ledger = ledger_of(killed)
    staged = ledger.parent.parent
    today = planned(killed, BATCH)
    lines = ledger.read_bytes().split(b"\n")[1:]
    ledger.write_bytes(b"\n".join([json.dumps(run_terms(today, "parquet")).encode(), *lines]))
    told: list[str] = []
    finished = PartLedger(InsidePath(staged), today, "parquet").resume(told.append)
    assert (sorted(finished), told) == ([*range(FINISHED)], [])
    for index, part in finished.items():
        assert (part.index, part.name) == (index, part_name(index, "parquet"))
        assert part.sha256 == content_sha256([InsidePath(staged) / "events" / part.name])
