"""Runs that must be refused: the damage, the code, what the message names, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code, compact_json, dataset
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.hashing import content_hashes, inventory_digest, row_order
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.sealing.inventory import scenario_set, take_inventory
from arrival_engine.engine.sealing.stored import places
from arrival_engine.engine.sealing.upstream import check_upstream
from tests.support import damage
from tests.support.paths import ROOT
from tests.support.product import OUTPUT_FOLDERS
from tests.support.world_files import write_world
from tests.support.worlds import small_world

CPU = RunOptions(backend="cpu", threads=2)
STRICT = replace(CPU, strict=True)
MARS = "Mars/Olympus_Mons"
OTHER_64, OTHER_SEED = "e" * 64, 43

LIMIT_BAD, OPTION_BAD = Code.LIMIT_EXCEEDED, Code.OPTION_INVALID
COUNTS_BAD, GRID_BAD = Code.S1_OR_S3_OUTPUT_MISSING, Code.TIME_GRID_MISMATCH
SITE_BAD, EDGE_BAD, ROUTING_BAD = Code.SITE_RESOLUTION_FAILED, Code.EDGE_RESOLUTION_FAILED, Code.ROUTING_POLICY_INVALID
UNIVERSE_BAD, CLOCK_BAD = Code.ROUTING_UNIVERSE_HASH_MISMATCH, Code.DST_MAPPING_FAILED
IDENTITY_BAD, GATE_BAD, UNREADABLE = (
    Code.PARTITION_OR_PK_VIOLATION,
    Code.S0_GATE_MISSING_OR_INVALID,
    Code.IO_READ_FAILED,
)


class Case(NamedTuple):
    """A damage, the code that it must get, and what the message must name."""

    harm: Callable[[Path], None]
    code: Code
    says: tuple[str, ...]
    options: RunOptions = CPU


def harm(function: Callable[..., None], *arguments: Any, **keywords: Any) -> Callable[[Path], None]:
    """`function` with everything but the run root."""
    return lambda run_root: function(run_root, *arguments, **keywords)


def put(*arguments: Any, **where: object) -> Callable[[Path], None]:
    return harm(damage.put, *arguments, where=where)


def drop(dataset_id: str, **where: object) -> Callable[[Path], None]:
    return harm(damage.drop, dataset_id, where)


def repeat(dataset_id: str, **where: object) -> Callable[[Path], None]:
    return harm(damage.repeat, dataset_id, where)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("bad-input") / "pristine"
    write_world(small_world(), run_root)
    return run_root


@pytest.fixture
def run_root(pristine, tmp_path):
    """A copy of the small world, not sealed yet."""
    return Path(shutil.copytree(pristine, tmp_path / "world"))


def report_lines(run_root):
    days = sorted(
        (run_root / "reports").glob("layer2/segment_state_runs/segment=5B/utc_day=*/segment_state_runs.jsonl")
    )
    return [json.loads(line) for day in days for line in day.read_text("ascii").splitlines()]


def leftovers(run_root):
    return sorted((run_root / "tmp").glob("arrivals-*"))


def published(run_root, scenario_id="baseline_v1"):
    return dataset("arrival_events_5B").locate(run_root, damage.tokens_of(run_root, scenario_id))


def refused(run_root, options=CPU):
    """The error of a run that must fail; its report line says the same, and nothing of it stays on disk."""
    before = len(report_lines(run_root))
    with pytest.raises(ArrivalError) as caught:
        run(run_root, options)
    error = caught.value
    assert error.hint, "every refusal says what to do"
    for output in OUTPUT_FOLDERS:
        assert not (run_root / "data/layer2/5B" / output).exists()
    assert not (run_root / "logs").exists()
    assert leftovers(run_root) == []
    *_, line = lines = report_lines(run_root)
    assert len(lines) == before + 1
    assert (line["status"], line["error_code"], line["error_message"]) == ("FAIL", error.code.value, error.message)
    return error


def check(error, case):
    assert error.code == case.code, str(error)
    for text in case.says:
        assert text in error.message, error.message


def seal_damaged(run_root, case):
    """Seal what is there. A damage that the gate finds itself must get the case's error from it too; what the run says
    is then asked under the seal of an engine whose gate did not decode alias blobs.
    """
    try:
        seal(run_root)
    except ArrivalError as error:
        check(error, case)
        assert not places(read_receipt(run_root)).gate.exists()
        _seal_unread(run_root)


def _seal_unread(run_root):
    receipt = read_receipt(run_root)
    scenarios = scenario_set(receipt)
    inventory = take_inventory(receipt, scenarios)
    hashes = content_hashes(inventory.files(), Reporter())
    sha256 = {name: found.sha256 for name, found in hashes.items()}
    sha256 |= {name: policy.sha256 for name, policy in inventory.policies().items()}
    rows = [found.row(receipt, sha256[name]) for name, found in inventory.artefacts.items()]
    rows.sort(key=row_order)
    gate = {
        **{name: receipt.document[name] for name in ("manifest_fingerprint", "parameter_hash", "seed", "run_id")},
        "created_utc": "2026-01-01T00:00:00.000000Z",
        "upstream_segments": {upstream.segment: upstream.record() for upstream in check_upstream(receipt)},
        "scenario_set": list(scenarios),
        "sealed_inputs_digest": inventory_digest(rows),
        "sealed_inputs_row_count": len(rows),
        "spec_version": "1.0.0",
    }
    where = places(receipt)
    for path, document in ((where.inventory, rows), (where.gate, gate)):
        path.parent.mkdir(parents=True)
        path.write_bytes(compact_json(document))


def command(*arguments, environment=None, **options):
    return subprocess.run(
        [sys.executable, "-m", "arrival_engine", *map(str, arguments)],
        env={**os.environ, **(environment or {})},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


# Root reads and writes everywhere; without these two capabilities the permission bits hold for root too.
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def obey_permissions():
    if os.geteuid() == 0:
        import ctypes

        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
