"""The layering, read off the source: who may import whom, and what no package may do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

# Each layer may import itself and those to its left.
LAYERS = ("contracts", "config", "cpu_fallback", "gpu_kernels", "engine")

# The rooms of engine/, from the ground up, and which of those before it each imports. ARCHITECTURE.md shows the same
# table. An arrow that is not here is refused; so is one that is here and that no module needs.
ROOMS = {
    "process": (),
    "rundir": ("process",),
    "tz": ("process", "rundir"),
    "alias_blobs": ("rundir",),
    "sealing": ("process", "rundir", "alias_blobs"),
    "adopting": ("process", "rundir", "sealing"),
    "merchant_names": ("rundir",),
    "world": ("process", "rundir", "tz", "alias_blobs", "sealing", "merchant_names"),
    "world_files": ("process", "rundir", "tz", "alias_blobs"),
    "synth": ("process", "rundir", "tz", "world_files"),
    "importing": ("process", "tz", "world_files", "merchant_names"),
    "expand": ("process", "rundir", "world"),
    "arrivals": ("process", "rundir", "world"),
    "readable": ("process", "rundir", "merchant_names", "world", "expand", "arrivals"),
    "pages": ("process", "rundir", "world", "expand", "arrivals"),
    "records": ("process", "rundir", "world", "expand", "arrivals"),
    "storage": ("process", "rundir", "sealing", "world", "arrivals"),
    "exporting": ("process", "rundir", "sealing", "world", "readable", "pages", "storage"),
    "run": ("process", "rundir", "sealing", "world", "expand", "arrivals", "pages", "records", "storage"),
    "cluster": ("process", "rundir", "world", "expand", "arrivals", "run"),
    "forecast": ("process", "rundir", "sealing", "world", "expand", "cluster"),
    "recomputing": (),
    "validation": ("process", "rundir", "sealing", "records", "recomputing"),
    "explaining": (
        *("process", "rundir", "tz", "sealing", "merchant_names", "world", "expand", "arrivals", "recomputing"),
    ),
    "comparing": ("process", "rundir", "merchant_names", "arrivals"),
    "parity": ("process", "rundir", "sealing", "world", "expand", "explaining"),
    "stream": ("process", "world", "expand"),
    "report": ("process", "rundir", "tz", "sealing", "merchant_names", "arrivals", "records", "validation"),
    "frames": (
        "process",
        "rundir",
        "tz",
        "alias_blobs",
        "world",
        "world_files",
        "importing",
        "expand",
        "readable",
        "exporting",
    ),
    "cli": (
        *("process", "rundir", "tz", "sealing", "adopting", "world", "synth", "importing", "storage", "run", "cluster"),
        *("forecast", "exporting"),
        *("validation", "explaining", "comparing", "parity", "stream", "report"),
    ),
}

# Packages with a home: no other folder may import them.
HOMES = {
    "numba": ("cpu_fallback/jit.py", "gpu_kernels/jit.py"),
    "llvmlite": ("cpu_fallback/jit.py",),
    "numba.cuda": ("gpu_kernels/jit.py",),
    "cuda": ("gpu_kernels/",),
    "cupy": ("gpu_kernels/",),
    "cudf": ("gpu_kernels/",),
    "rmm": ("gpu_kernels/",),
    "nvtx": ("gpu_kernels/ranges.py",),
    "click": ("engine/cli/",),
    "rich": ("engine/cli/", "engine/process/console.py", "engine/process/live_line.py", "engine/process/terminal.py"),
}

SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def relative(path):
    return path.relative_to(ROOT).as_posix()


def imported_modules(tree):
    """Every (line, dotted name) imported, also inside functions; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def layer_violations(layer, tree):
    later = set(LAYERS[LAYERS.index(layer) + 1 :])
    return [
        (line, name)
        for line, name in imported_modules(tree)
        if name == "arrival_engine" or (name.startswith("arrival_engine.") and name.split(".")[1] in later)
    ]


def home_violations(name, tree):
    return [
        (line, module)
        for line, module in imported_modules(tree)
        for package, homes in HOMES.items()
        if (module == package or module.startswith(package + ".")) and not name.startswith(homes)
    ]


def forbidden_calls(tree):
    """Lines that print (results and progress have their own ways out) or let arithmetic be reordered."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node.lineno, "print()"
        if isinstance(node, ast.keyword) and node.arg == "fastmath":
            yield node.value.lineno, "fastmath"


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_point_one_way_and_keep_to_the_house_rules(path):
    tree = parsed(path)
    name = relative(path)
    assert layer_violations(name.split("/")[0], tree) == []
    assert home_violations(name, tree) == []
    assert list(forbidden_calls(tree)) == []


def test_every_layer_has_sources():
    assert {relative(path).split("/")[0] for path in SOURCES} == set(LAYERS)


def rooms_imported(tree):
    """The rooms of engine/ that a module imports from, with the line of each import."""
    for line, name in imported_modules(tree):
        parts = name.split(".")
        if parts[:2] == ["arrival_engine", "engine"] and len(parts) > 2 and parts[2] in ROOMS:
            yield line, parts[2]


def arrows_of(room):
    trees = [parsed(path) for path in sorted((ROOT / "engine" / room).rglob("*.py"))]
    return {target for tree in trees for _, target in rooms_imported(tree)} - {room}


def test_every_folder_of_the_engine_is_a_declared_room():
    found = {path.name for path in (ROOT / "engine").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found == set(ROOMS)
    assert [path.name for path in (ROOT / "engine").glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_declares_and_declares_only_rooms_before_it(room):
    rooms = list(ROOMS)
    assert set(ROOMS[room]) <= set(rooms[: rooms.index(room)])
    assert arrows_of(room) == set(ROOMS[room])


def test_an_arrow_between_rooms_is_found():
    source = "def f():\n    from arrival_engine.engine.run.job import run\n    import arrival_engine.engine.tz.zones\n"
    assert set(rooms_imported(ast.parse(source))) == {(2, "run"), (3, "tz")}


def test_the_architecture_page_shows_the_same_arrows():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \|([^|]*)\|$", page, re.MULTILINE))
    assert {room: tuple(re.findall(r"\w+", text)) for room, text in shown.items()} == ROOMS


def test_the_way_of_the_data_names_modules_that_exist_in_at_most_fifteen_hops():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    hops = re.findall(r"^ +(\d+)  ([a-z_.]+) +(?:or gpu_kernels|([A-Za-z_.]+)) ", page, re.MULTILINE)
    assert [int(number) for number, _, _ in hops] == list(range(1, len(hops) + 1))
    assert 10 <= len(hops) <= 15
    for _, module, name in hops:
        path = f"{module.replace('.', '/')}.py"
        source = next(folder / path for folder in (ROOT / "engine", ROOT) if (folder / path).is_file())
        first, _, last = name.partition(".")
        defined = {node.name for node in ast.walk(parsed(source)) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        assert {first, last} - {""} <= defined, (module, name)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import arrival_engine.engine.run", [(1, "arrival_engine.engine.run")]),
        (
            "def f():\n    from arrival_engine.engine import run",
            [(2, "arrival_engine.engine"), (2, "arrival_engine.engine.run")],
        ),
        ("from arrival_engine import run", [(1, "arrival_engine")]),
        ("from arrival_engine.contracts import Code", []),
    ],
)
def test_a_wrong_import_is_found(source, found):
    assert layer_violations("config", ast.parse(source)) == found


@pytest.mark.parametrize(
    ("name", "source", "count"),
    [
        ("engine/plan.py", "import numba", 1),
        ("engine/plan.py", "from numba import njit", 2),
        ("cpu_fallback/jit.py", "import numba", 0),
        ("cpu_fallback/jit.py", "from numba import cuda", 1),
        ("gpu_kernels/jit.py", "from numba import cuda", 0),
        ("gpu_kernels/jit.py", "from numba.cuda.core import caching", 0),
        ("gpu_kernels/expand.py", "from numba import cuda", 3),
        ("gpu_kernels/memory.py", "def f():\n    from numba import cuda", 3),
        ("engine/plan.py", "import numbat", 0),
        ("engine/plan.py", "from cuda.bindings import driver", 2),
        ("gpu_kernels/launcher.py", "from cuda.bindings import driver", 0),
        ("gpu_kernels/expand.py", "import nvtx", 1),
    ],
)
def test_a_package_away_from_home_is_found(name, source, count):
    assert len(home_violations(name, ast.parse(source))) == count


def test_forbidden_calls_are_found():
    tree = ast.parse("print(1)\n@njit(fastmath=True)\ndef f(): pass\n")
    assert list(forbidden_calls(tree)) == [(1, "print()"), (2, "fastmath")]


HEAVY = ("numpy", "numba", "llvmlite", "pyarrow", "duckdb", "rich", "jsonschema", "psutil", "pandas")


@pytest.mark.parametrize(
    "module", ["arrival_engine", "arrival_engine.contracts", "arrival_engine.config", "arrival_engine.engine.cli.main"]
)
def test_importing_a_package_loads_nothing_heavy(module):
    script = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True)
    assert done.strip() == "[]"
