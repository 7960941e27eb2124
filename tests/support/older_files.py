"""Files as each released version writes them, kept in tests/support/older/VERSION, and what made them.

    python -m tests.support.older_files        adds those of this version; what is there already stays

The world is small, and only the gate receipt holds a time of day.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from arrival_engine import RunOptions, run
from arrival_engine.contracts import dataset
from arrival_engine.contracts.identity import Identity
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.part_names import part_name
from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.version import version
from arrival_engine.engine.run.part_ledger import PartLedger
from arrival_engine.engine.rundir.hashing import content_sha256
from arrival_engine.engine.storage import run_directory
from arrival_engine.engine.storage.manifest import partition
from arrival_engine.engine.world.load import load_world
from tests.support.product import write_sealed
from tests.support.s3_server import put_tree, serving
from tests.support.worlds import small_world

OLDER = Path(__file__).parent / "older"
VERSIONS = sorted(path.name for path in OLDER.iterdir())
WORLD = small_world(counts=tuple(replace(row, n=min(row.n, 6)) for row in small_world().counts))
IDENTITY = Identity(WORLD.manifest_fingerprint, WORLD.parameter_hash, WORLD.seed, WORLD.run_id)
BATCH = 30
OPTIONS = RunOptions(backend="cpu", batch_arrivals=BATCH)
# Of the parts, so many are in the ledger.
FINISHED = 2
SEAL = ("run_receipt", "s0_gate_receipt_5B", "sealed_inputs_5B")


def place_of(dataset_id: str, run_root: Path) -> Path:
    return dataset(dataset_id).locate(run_root, IDENTITY.tokens(scenario_id=WORLD.scenario_id))


def make(folder: Path) -> None:
    """Write the seal, the manifest with its parts, a part in Arrow's format, and a ledger that was broken off."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        copy_of = _copies_of_a_sealed_world(Path(scratch))
        arrow = copy_of("arrow")
        for name in SEAL:
            shutil.copy(place_of(name, arrow), folder)
        receipt = folder / "run_receipt.json"
        receipt.write_text(receipt.read_text("ascii").replace(str(scratch), "runs"), "ascii")
        run(arrow, replace(OPTIONS, format="arrow"))
        shutil.copy(min(place_of("arrival_events_5B", arrow).iterdir()), folder)
        with serving(Path(scratch)) as server:
            store = server.store("world")
            put_tree(copy_of("sealed again"), store)
            with run_directory(server.url("world"), Reporter()) as directory:
                run(directory.root, OPTIONS, shipping=directory.shipping)
            here = partition(IDENTITY, WORLD.scenario_id)
            for item in store.list(here):
                store.download(item.path, InsidePath(folder) / Path(item.path).name)
        _write_ledger(copy_of("killed"), folder)


def _copies_of_a_sealed_world(scratch: Path) -> Callable[[str], Path]:
    sealed = write_sealed(WORLD, scratch / "sealed").run_root
    return lambda name: shutil.copytree(sealed, scratch / name)


def _write_ledger(run_root: Path, folder: Path) -> None:
    planned = plan(load_world(run_root), BATCH)
    (run_root / "events").mkdir()
    ledger = PartLedger(InsidePath(run_root), planned, "parquet")
    ledger.begin()
    with choose_backend("cpu").open(planned, Reporter()) as expand:
        for batch in planned.batches[:FINISHED]:
            result = expand(batch)
            (made,) = folder.glob(f"part-{batch.index:06d}-*.parquet")
            part = Path(shutil.copy(made, run_root / "events" / part_name(batch.index, "parquet")))
            sha256 = content_sha256([InsidePath(part)])
            receipt = PartReceipt(part.name, batch.arrivals, part.stat().st_size, result.digest, sha256)
            ledger.record(batch.index, receipt)
    shutil.copytree(run_root / "ledger", folder, dirs_exist_ok=True)


if __name__ == "__main__":
    if version() not in VERSIONS:
        make(OLDER / version())
