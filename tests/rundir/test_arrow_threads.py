"""Reading Parquet files of a run starts no thread of Arrow's, because one can abort a Python process that ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from arrival_engine.engine.run.job import run
from arrival_engine.engine.run.options import RunOptions
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation.job import validate
from tests.support.world_files import write_world
from tests.support.worlds import small_world

TASKS = Path("/proc/self/task")
PROLOGUE = """
import sys
from pathlib import Path
import numpy
from arrival_engine import verify
from arrival_engine.engine.arrivals.part_file import PartFile
from arrival_engine.engine.rundir.inputs import read_table
from arrival_engine.engine.rundir.receipt import read_receipt

receipt = read_receipt(Path(sys.argv[1]))
arrivals = receipt.path("arrival_events_5B", scenario_id=sys.argv[2])

def threads():
    # The memory pool of Arrow has a thread too, which never asks for Python.
    tasks = Path("/proc/self/task").iterdir()
    return {task.name for task in tasks if (task / "comm").read_text() != "jemalloc_bg_thd\\n"}

parts, before = [PartFile.at(path) for path in arrivals.glob("part-*")], threads()
"""
READS = {
    "verify": "verify(sys.argv[1])",
    "read_table": "read_table(receipt, 'site_timezones', ['merchant_id']).num_rows",
    "pieces": "[piece for part in parts for piece in part.pieces()]",
    "groups": "[piece for part in parts for piece in part.groups()]",
    "matching": "[piece for part in parts for piece in part.matching({'merchant_id': 1, 'arrival_seq': 1})]",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("threads") / "world"
    write_world(small_world(), root)
    seal(root)
    (scenario,) = run(root, RunOptions(backend="cpu", threads=1)).scenarios
    validate(root)
    return root, scenario.scenario_id


@pytest.mark.skipif(not TASKS.is_dir(), reason="the system does not list the threads of a process")
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_reading_starts_no_thread_of_arrow(read, finished):
    script = f"{PROLOGUE}\nassert {read}\nprint(threads() - before)"
    done = subprocess.run([sys.executable, "-c", script, *finished], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "set()\n", "")
