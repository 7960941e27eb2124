"""The kernel cache serves no machine code of old sources, and runs do without it where it cannot be written."""

from __future__ import annotations

import ast
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from arrival_engine.cpu_fallback.jit import kernel_sources
from tests.support import reference
from tests.support.law import MICROS
from tests.support.model import CountRow
from tests.support.paths import LAYERS, PACKAGE
from tests.support.product import write_sealed
from tests.support.worlds import BERLIN, BERLIN_GAP, TWO_ZONES, VIRTUAL, small_world

PROGRAM = """
import json, sys
import pyarrow as pa
import arrival_engine
from arrival_engine.cpu_fallback.expand import kernels_are_cached
from arrival_engine.cpu_fallback.jit import cache_unused
ready = kernels_are_cached()
table = pa.Table.from_batches(
    arrival_engine.expand(arrival_engine.plan(arrival_engine.load_world(sys.argv[1])), threads=1)
)
columns = [table[name].cast(pa.int64()).to_pylist() for name in ("ts_utc", "ts_local_primary")]
state = {"home": arrival_engine.__file__, "cached": cache_unused() is None, "ready": ready}
json.dump({**state, "times": list(zip(*columns))}, sys.stdout)
"""


def world():
    """Arrivals on both sides of the hour in which Berlin's clocks go forward."""
    return small_world(counts=tuple(CountRow(m, BERLIN, "mixed", BERLIN_GAP, 20) for m in (TWO_ZONES, VIRTUAL)))


@pytest.fixture(scope="module")
def run_root(tmp_path_factory):
    return write_sealed(world(), tmp_path_factory.mktemp("cache") / "run").run_root


@pytest.fixture(scope="module")
def lawful():
    """(ts_utc, ts_local_primary) of every arrival, by the reference."""
    return [[row.ts_utc, row.ts_local_primary] for row in reference.expand(world()).rows]


@pytest.fixture
def copied(tmp_path):
    """The package in a directory of their own, without compiled files."""
    home = tmp_path / "home"
    shutil.copytree(PACKAGE, home / "arrival_engine", ignore=shutil.ignore_patterns("__pycache__", "*.nb?"))
    return home


def times_in_a_fresh_process(home, run_root, cache, *, ready=False):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"ARRIVALS_CACHE_DIR": str(cache), "PYTHONPATH": str(home)}
    command = [sys.executable, "-c", PROGRAM, str(run_root)]
    finished = subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True, timeout=180)
    answer = json.loads(finished.stdout)
    assert Path(answer["home"]).is_relative_to(home)
    # What a run announces is what numba then does: it compiles unless this very tree's kernel lies ready.
    assert answer["ready"] is ready
    return answer["times"], answer["cached"]


def edit(source, old, new):
    text = source.read_text("utf-8")
    assert text.count(old) == 1
    source.write_text(text.replace(old, new), "utf-8")


def machine_code(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}


def test_an_edited_law_is_never_answered_from_the_cache(copied, run_root, lawful, tmp_path):
    """The law is edited in another file than the cached kernel's own, which is all that numba itself looks at."""
    cache = tmp_path / "cache"
    assert times_in_a_fresh_process(copied, run_root, cache) == (lawful, True)
    compiled = machine_code(cache)
    assert compiled

    assert times_in_a_fresh_process(copied, run_root, cache, ready=True) == (lawful, True)
    assert machine_code(cache) == compiled

    # Seconds a thousand times too large: every transition of the horizon lies in the past.
    edit(copied / "arrival_engine/cpu_fallback/law.py", "np.int64(1_000_000)", "np.int64(1_000)")
    times, _ = times_in_a_fresh_process(copied, run_root, cache)
    expected = [
        [row.ts_utc, row.ts_utc + world().zones[row.tzid_primary][-1][1] * 60 * MICROS]
        for row in reference.expand(world()).rows
    ]
    assert times == expected != lawful
    assert machine_code(cache).keys() > compiled.keys()


def compiling_modules():
    """Modules that compile functions, each with the modules of law and engine that it imports, as paths."""
    for path in sorted(path for folder in ("cpu_fallback", "engine") for path in (LAYERS / folder).rglob("*.py")):
        imports = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
        doors = [node for node in imports if node.module == "arrival_engine.cpu_fallback.jit"]
        if any(alias.name in ("njit", "intrinsic") for node in doors for alias in node.names):
            named = {f"{node.module}.{alias.name}" for node in imports for alias in node.names}
            places = [
                LAYERS.joinpath(*name.split(".")[1:end]).with_suffix(".py") for name in named for end in (-1, None)
            ]
            yield path, {place for place in places if place.is_file() and LAYERS / "contracts" not in place.parents}


def test_the_fingerprint_covers_every_module_that_compiles_and_what_it_may_compile_in():
    known, modules = set(kernel_sources()), dict(compiling_modules())
    assert {LAYERS / "engine/recomputing/kernels.py", LAYERS / "cpu_fallback/expand.py"} <= modules.keys()
    assert modules.keys() <= known
    for path, imported in modules.items():
        assert imported <= known, path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("cpu_fallback/philox.py", "ROUNDS = 10", "ROUNDS = 9"),
        ("cpu_fallback/wide.py", "ir.Constant(wide, 64)", "ir.Constant(wide, 65)"),
    ],
    ids=["constant", "intrinsic"],
)
def test_no_file_of_the_law_is_forgotten(copied, run_root, lawful, tmp_path, source, old, new):
    cache = tmp_path / "cache"
    assert times_in_a_fresh_process(copied, run_root, cache) == (lawful, True)
    edit(copied / "arrival_engine" / source, old, new)
    times, _ = times_in_a_fresh_process(copied, run_root, cache)
    assert times != lawful
    assert times == times_in_a_fresh_process(copied, run_root, tmp_path / "another cache")[0]


DAMAGES = {
    "empty": lambda data: data[:0],
    "cut off": lambda data: data[: len(data) // 2],
    "flipped": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 16]) + data[len(data) // 2 + 1 :],
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_compiled_anew_and_mended(copied, run_root, lawful, tmp_path, suffix, damage):
    """As a power cut or a full disk leaves its files."""
    cache = tmp_path / "cache"
    assert times_in_a_fresh_process(copied, run_root, cache) == (lawful, True)
    for path in cache.rglob(f"*.{suffix}"):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    environment = {"ARRIVALS_CACHE_DIR": str(cache), "PYTHONPATH": str(copied)}
    command = [sys.executable, "-c", PROGRAM, str(run_root)]
    for _ in range(2):
        finished = subprocess.run(
            command, cwd=copied, env=os.environ | environment, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, finished.stderr
        answer = json.loads(finished.stdout)
        assert answer["times"] == lawful
    assert answer["ready"]


def test_a_cache_on_a_full_disk_is_done_without(copied, run_root, lawful, tmp_path):
    """Files can be made there, and nothing written to them."""
    environment = {"ARRIVALS_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(copied)}
    command = [sys.executable, "-c", PROGRAM, str(run_root)]
    finished = subprocess.run(
        command,
        cwd=copied,
        env=os.environ | environment,
        # The disk is a pipe for the answer, a file for the cache: no file may grow at all.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["times"] == lawful
    assert machine_code(tmp_path) == {}


def test_a_cache_that_cannot_be_written_is_done_without(copied, run_root, lawful, tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_bytes(b"")
    assert times_in_a_fresh_process(copied, run_root, in_the_way / "cache") == (lawful, False)
    assert machine_code(tmp_path) == {}
