"""One way to the files below a run root: `contracts.inside`. Nothing else opens, makes, renames or removes there."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from tests.project.test_layers import SOURCES, parsed, relative
from tests.support.paths import ROOT
from tests.support.world_files import write_world
from tests.support.worlds import small_world

# Functions that take a path and open, make, rename or remove what is there.
FUNCTIONS = {
    "": {"open", "ParquetFile"},
    "io": {"open", "FileIO"},
    "os": {
        *(
            "open",
            "mkdir",
            "makedirs",
            "mkfifo",
            "rename",
            "renames",
            "replace",
            "remove",
            "unlink",
            "rmdir",
            "removedirs",
        ),
        *("link", "symlink", "truncate", "chmod", "chown", "utime", "scandir", "listdir", "walk", "fwalk"),
    },
    "shutil": {"rmtree", "move", "copy", "copy2", "copyfile", "copytree", "copymode", "copystat"},
    "tempfile": {"mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile"},
    "filecmp": {"cmp", "cmpfiles", "dircmp"},
    "mmap": {"mmap"},
    "pa": {"OSFile", "memory_map", "input_stream", "output_stream"},
    "pq": {
        "ParquetFile",
        "ParquetWriter",
        "ParquetDataset",
        "read_table",
        "read_schema",
        "read_metadata",
        "write_table",
    },
    "np": {"load", "save", "savez", "savez_compressed", "memmap", "fromfile", "loadtxt", "savetxt"},
}

# Who may call them, and why: exactly these.
DOORS = {
    "contracts/openat.py": {"os.open"},
    "contracts/inside.py": {"os.mkdir", "os.open", "os.rename", "os.scandir", "os.unlink", "shutil.rmtree"},
    # Of files that are open already.
    "engine/rundir/arrow_files.py": {"ParquetFile", "pa.OSFile", "pq.ParquetWriter", "pq.write_table"},
    "engine/rundir/array_files.py": {"np.load", "np.memmap", "np.save", "np.savez"},
    "engine/run/arrow_parts.py": {"pa.OSFile"},
    "engine/cluster/tasks.py": {"np.save"},
    "engine/validation/bundle.py": {"pq.write_table"},
    # Of files that the user names, or that are the process's own.
    "engine/importing/files.py": {"pa.input_stream"},
    "engine/importing/formats.py": {"pa.input_stream"},
    "engine/importing/parquet.py": {"pq.ParquetFile", "pq.read_schema"},
    "cpu_fallback/jit.py": {"tempfile.TemporaryFile"},
    "cpu_fallback/own_files.py": {"open", "os.open"},
    "engine/process/streams.py": {"open", "os.open"},
    "engine/process/doctor.py": {"tempfile.TemporaryFile"},
}


def calls(tree):
    """The functions of the table that a module calls."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id in FUNCTIONS[""]:
            yield function.id
        elif isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            module = function.value.id
            if function.attr in FUNCTIONS.get(module, ()):
                yield f"{module}.{function.attr}"


def outside_calls(tree):
    """Methods called on the plain path of an InsidePath: only names may be taken from that."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            place = node.func.value
            if isinstance(place, ast.Attribute) and place.attr == "outside":
                yield node.func.attr


NAMES_ONLY = {"absolute", "as_posix", "is_relative_to", "joinpath", "relative_to", "with_name", "with_suffix"}
# The root is the user's own word.
ROOTS = {"engine/rundir/receipt.py": {"exists", "is_dir", "resolve"}, "engine/comparing/sides.py": {"resolve"}}


def test_only_the_doors_call_functions_that_open_paths():
    found = {relative(path): set(calls(parsed(path))) for path in SOURCES}
    assert {name: names for name, names in found.items() if names} == DOORS


def test_the_plain_path_of_a_file_is_for_names_alone():
    found = {relative(path): set(outside_calls(parsed(path))) - NAMES_ONLY for path in SOURCES}
    assert {name: names for name, names in found.items() if names} == ROOTS


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("open('x')", {"open"}),
        ("import os\ndef f(): return os.open('x', 0)", {"os.open"}),
        ("pq.read_table(path)", {"pq.read_table"}),
        ("path.open('rb')", set()),
    ],
)
def test_a_way_past_the_door_is_found(source, found):
    assert set(calls(ast.parse(source))) == found
    assert list(outside_calls(ast.parse("path.outside.read_bytes()"))) == ["read_bytes"]


# Every path that Python is asked to open, list, make, rename or remove below a run root, with the asking module.
PROGRAM = """
import json, os, sys
roots, found = json.loads(sys.argv[1]), set()
watched = {
    "open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.chmod",
    "os.link", "os.symlink", "os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile", "glob.glob",
}
def heard(event, given):
    if event in watched:
        for name in given[:2]:
            try:
                text = os.path.abspath(os.fsdecode(name)) if not isinstance(name, int) else ""
            except TypeError:
                continue
            for root in (root for root in roots if text.startswith(root + "/")):
                frame = sys._getframe(1)
                while frame and "arrival_engine" not in frame.f_globals.get("__name__", ""):
                    frame = frame.f_back
                found.add((event, text[len(os.path.dirname(root)):], frame.f_globals["__name__"] if frame else "?"))
sys.addaudithook(heard)
from arrival_engine.engine.cli.main import main
commands = json.loads(sys.argv[2])
codes = [main([*words, "--quiet"]) for words in commands]
for root in roots: os.mkdir(root + "/heard")
print(json.dumps([codes, sorted(found)]))
"""


def test_no_command_opens_a_path_below_the_run_root_by_its_name(tmp_path):
    root, synthetic = tmp_path / "run", tmp_path / "synthetic"
    write_world(small_world(), root)
    commands = [
        ["tz", "build", str(root), "--replace"],
        ["seal", str(root)],
        ["run", str(root), "--backend", "cpu", "--rng-events", "parquet"],
        ["run", str(root), "--backend", "cpu", "--replace"],
        ["run", str(root), "--backend", "cpu", "--resume"],
        ["validate", str(root)],
        ["verify", str(root)],
        ["report", str(root)],
        ["plan", str(root)],
        ["export", str(root), str(synthetic) + "-table"],
        ["export", str(root), str(synthetic) + ".duckdb", "--to", "duckdb", "--cluster-by", "day", "--no-publish"],
        ["diff", str(root), str(root)],
        ["stream", str(root), "--limit", "1"],
        ["parity", str(root), "--right", "cudasim", "--sample-batches", "1", "--batch-arrivals", "5"],
        ["synth", str(synthetic), "--preset", "demo", "--scale", "0.05"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([str(root), str(synthetic)]), json.dumps(commands)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    codes, found = json.loads(done.stdout.splitlines()[-1])
    assert found == [["os.mkdir", "/run/heard", "?"], ["os.mkdir", "/synthetic/heard", "?"]]
    assert codes == [0] * len(commands)
