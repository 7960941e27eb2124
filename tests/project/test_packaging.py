"""The wheel holds the five packages whole, and nothing else; it works away from the source folder."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("config", "contracts", "cpu_fallback", "engine", "gpu_kernels")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def members(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_top_levels_are_the_five_packages(members):
    tops = {name.split("/")[0] for name in members}
    version = PROJECT["project"]["version"]
    assert tops == {*PACKAGES, f"arrival_engine-{version}.dist-info"}


def test_every_file_of_the_packages_is_inside(members):
    missing = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if path.relative_to(ROOT).as_posix() not in members
    ]
    assert missing == []


def test_schemas_policies_and_type_markers_are_inside(members):
    assert {f"{package}/py.typed" for package in PACKAGES} <= members
    assert "contracts/dictionary.yaml" in members
    assert any(re.fullmatch(r"contracts/schemas/.+\.schema\.json", name) for name in members)
    assert any(re.fullmatch(r"config/layer1/2B/policy/.+\.json", name) for name in members)
    assert any(re.fullmatch(r"config/layer2/5B/.+\.yaml", name) for name in members)


def test_nothing_inside_but_code_data_and_type_markers(members):
    files = [Path(name) for name in members if ".dist-info/" not in name]
    kinds = {path.suffix for path in files if path.name != "py.typed"}
    assert kinds <= {".csv", ".html", ".json", ".py", ".yaml"}


def test_the_licence_and_the_command_are_declared(members, unpacked):
    (entry_points,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "arrivals = engine.cli.main:main" in entry_points.read_text(encoding="utf-8")
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in members)


def run_unpacked(unpacked, cwd, *arguments):
    # -P keeps the current directory off the path, so that only the wheel's contents can be found.
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_runs_from_the_wheel_alone(unpacked, tmp_path):
    done = run_unpacked(unpacked, tmp_path, "-m", "engine", "--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"arrivals {PROJECT['project']['version']}\n"


def test_every_module_of_the_cpu_backend_imports_from_the_wheel_alone(unpacked, tmp_path):
    script = (
        "import importlib, pathlib, sys\n"
        f"home = pathlib.Path({str(unpacked)!r})\n"
        "for package in ('contracts', 'config', 'cpu_fallback', 'engine'):\n"
        "    for path in sorted((home / package).rglob('*.py')):\n"
        "        name = '.'.join(path.relative_to(home).with_suffix('').parts).removesuffix('.__init__')\n"
        "        module = importlib.import_module(name)\n"
        "        assert pathlib.Path(module.__file__).is_relative_to(home), module.__file__\n"
        "assert 'numba.cuda' not in sys.modules, 'the CPU backend loaded CUDA'\n"
    )
    done = run_unpacked(unpacked, tmp_path, "-c", script)
    assert done.returncode == 0, done.stderr


def test_tests_are_not_importable_from_the_wheel(unpacked):
    assert not (unpacked / "tests").exists()
    assert not (unpacked / "bench").exists()


@pytest.mark.parametrize("name", ["config", "contracts", "cpu_fallback"])
def test_a_foreign_package_of_the_same_name_is_refused_by_name(unpacked, tmp_path, name):
    foreign = tmp_path / name
    foreign.mkdir()
    (foreign / "__init__.py").write_text("", encoding="utf-8")
    # Without -P the current directory comes first, as for anyone who types `python -m engine`.
    done = subprocess.run(
        [sys.executable, "-m", "engine", "doctor"],
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert str(foreign) in done.stderr
    assert "console script `arrivals`" in done.stderr


def test_a_folder_without_init_of_the_same_name_does_no_harm(unpacked, tmp_path):
    (tmp_path / "config").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "engine", "--version"],
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def exports_of(path):
    """The module's `__all__`, read off its source; None where it states none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


def modules_with_exports():
    sources = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources]
    stated = [(name.removesuffix(".__init__"), exports_of(path)) for name, path in zip(names, sources, strict=True)]
    return [(module, exports) for module, exports in stated if exports is not None]


@pytest.mark.parametrize(("module", "names"), modules_with_exports())
def test_exports_exist_and_are_named_once(module, names):
    # Their order is the linter's business (RUF022).
    assert len(set(names)) == len(names)
    loaded = importlib.import_module(module)
    assert [name for name in names if not hasattr(loaded, name)] == []


def test_the_pins_cover_what_the_project_asks_for():
    pinned = {
        re.split("==", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    asked = [*PROJECT["project"]["dependencies"]]
    for extra in ("test", "lint", "dask", "docs", "bench"):
        asked += PROJECT["project"]["optional-dependencies"][extra]
    asked += PROJECT["build-system"]["requires"]
    names = {re.match(r"[A-Za-z0-9_-]+", text)[0].lower().replace("_", "-") for text in asked}
    assert names - {"arrival-engine"} <= pinned  # its own extras are named as arrival-engine[...]


def test_tzdata_is_pinned_exactly_and_to_the_same_release():
    (asked,) = [text for text in PROJECT["project"]["dependencies"] if text.startswith("tzdata")]
    assert re.fullmatch(r"tzdata==\d+\.\d+", asked)
    assert asked in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_without_a_suitable_python_make_says_what_to_do(tmp_path):
    venv = tmp_path / "venv"
    done = subprocess.run(
        ["make", "-C", ROOT, f"VENV={venv}", "demo"],
        env={**os.environ, "PYTHON": "no-such-python"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Arrival Engine needs Python 3.11 to 3.14; looked for: no-such-python" in done.stderr
    assert "make PYTHON=" in done.stderr
    assert not venv.exists()


def test_every_make_target_is_explained():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split()
    listed = subprocess.check_output(["make", "-C", ROOT, "--no-print-directory", "help"], text=True)
    assert [line.split()[1] for line in listed.splitlines()] == targets
