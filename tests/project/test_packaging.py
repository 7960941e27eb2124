"""The wheel holds one package whole, and nothing else; it works away from the source folder."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from arrival_engine.engine.process.version import TZDATA_RELEASE, TZDATA_VERSION
from tests.support.known_answers import DEMO_DIGEST
from tests.support.paths import PACKAGE, ROOT, SRC

FOLDERS = ("config", "contracts", "cpu_fallback", "engine", "gpu_kernels")
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


def test_the_package_under_test_is_the_one_that_was_asked_for(pytestconfig, tmp_path):
    """The checkout's, or the installed one where `make test-wheel` leaves the checkout's off the path."""
    in_tree = SRC in pytestconfig.getini("pythonpath")
    asked = PACKAGE if in_tree else Path(sysconfig.get_path("purelib")) / "arrival_engine"
    ours = [module for name, module in sys.modules.items() if name.split(".")[0] == "arrival_engine"]
    assert ours
    assert [module.__file__ for module in ours if not Path(module.__file__).is_relative_to(asked)] == []
    script = "import arrival_engine.engine as engine; print(engine.__file__)"
    child = subprocess.check_output([sys.executable, "-c", script], cwd=tmp_path, text=True).strip()
    assert Path(child) == asked / "engine/__init__.py"


def test_a_source_distribution_builds_the_same_wheel(members, tmp_path):
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == members


def test_the_wheel_adds_one_name_to_an_installation(members):
    tops = {name.split("/")[0] for name in members}
    version = PROJECT["project"]["version"]
    assert tops == {"arrival_engine", f"arrival_engine-{version}.dist-info"}


def test_an_editable_installation_adds_the_same_one_name():
    assert sorted(path.name for path in SRC.iterdir()) == ["arrival_engine"]
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["src/arrival_engine"]


def test_every_link_of_the_package_is_a_folder_at_the_top():
    links = {path.name: path.readlink() for path in PACKAGE.iterdir() if path.is_symlink()}
    assert links == {name: Path("../..") / name for name in FOLDERS}


def test_every_file_of_the_package_is_inside(members):
    missing = [
        name
        for folder in ("", *FOLDERS)
        for path in ((PACKAGE / folder).rglob("*") if folder else PACKAGE.glob("*"))
        if path.is_file() and "__pycache__" not in path.parts
        if (name := path.relative_to(SRC).as_posix()) not in members
    ]
    assert missing == []


def test_schemas_policies_and_the_type_marker_are_inside(members):
    assert "arrival_engine/py.typed" in members
    assert "arrival_engine/contracts/dictionary.yaml" in members
    for pattern in (
        r"contracts/schemas/.+\.schema\.json",
        r"config/layer1/2B/policy/.+\.json",
        r"config/layer2/5B/.+\.yaml",
    ):
        assert any(re.fullmatch(f"arrival_engine/{pattern}", name) for name in members), pattern


def test_nothing_inside_but_code_data_and_type_markers(members):
    files = [Path(name) for name in members if ".dist-info/" not in name]
    kinds = {path.suffix for path in files if path.name != "py.typed"}
    assert kinds <= {".csv", ".html", ".json", ".py", ".yaml"}


def test_the_licence_and_the_command_are_declared(members, unpacked):
    (entry_points,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "arrivals = arrival_engine.__main__:main" in entry_points.read_text(encoding="utf-8")
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
    done = run_unpacked(unpacked, tmp_path, "-m", "arrival_engine", "--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"arrivals {PROJECT['project']['version']}\n"


def test_every_module_of_the_cpu_backend_imports_from_the_wheel_alone(unpacked, tmp_path):
    script = (
        "import importlib, pathlib, sys\n"
        f"home = pathlib.Path({str(unpacked)!r})\n"
        "for package in ('contracts', 'config', 'cpu_fallback', 'engine'):\n"
        "    for path in sorted((home / 'arrival_engine' / package).rglob('*.py')):\n"
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


@pytest.fixture(scope="module")
def foreign_project(wheel, tmp_path_factory):
    """A project whose own modules have the names of our folders, and an environment with the wheel in it."""
    project = tmp_path_factory.mktemp("project")
    for name in ("contracts", "engine", "tests"):
        (project / name).mkdir()
        (project / name / "__init__.py").write_text(f"OWNER = 'project'  # {name}\n", encoding="utf-8")
    for name in ("config", "cpu_fallback", "gpu_kernels"):
        (project / f"{name}.py").write_text("OWNER = 'project'\n", encoding="utf-8")
    venv.create(project / ".venv", with_pip=False)
    python = project / ".venv/bin/python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    # The dependencies are those of this environment; a path in a .pth file brings no .pth files of its own.
    (site,) = (project / ".venv").glob("lib/python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(ours), encoding="utf-8")
    return project


def in_project(project, *command):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_beside_a_projects_own_modules_each_finds_its_own(foreign_project):
    script = (
        "import config, contracts, cpu_fallback, engine, gpu_kernels, tests, arrival_engine\n"
        "assert {m.OWNER for m in (config, contracts, cpu_fallback, engine, gpu_kernels, tests)} == {'project'}\n"
        "print(arrival_engine.__file__, arrival_engine.run.__module__)\n"
    )
    done = in_project(foreign_project, foreign_project / ".venv/bin/python", "-c", script)
    assert done.returncode == 0, done.stderr
    home, module = done.stdout.split()
    assert Path(home).is_relative_to(foreign_project / ".venv")
    assert module == "arrival_engine.engine.run.job"


@pytest.mark.slow
def test_the_demo_runs_inside_a_project_with_modules_of_the_same_names(foreign_project, tmp_path):
    done = in_project(foreign_project, ".venv/bin/arrivals", "demo", tmp_path / "world")
    assert done.returncode == 0, done.stderr
    assert f"digest     {DEMO_DIGEST}\n" in done.stdout


def test_the_package_is_the_command_there_too(foreign_project):
    done = in_project(foreign_project, ".venv/bin/python", "-m", "arrival_engine", "--version")
    assert (done.returncode, done.stdout) == (0, f"arrivals {PROJECT['project']['version']}\n")


def exports_of(path):
    """The module's `__all__`, read off its source; None where it states none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


def modules_with_exports():
    sources = [
        *PACKAGE.glob("*.py"),
        *(path for folder in FOLDERS for path in sorted((PACKAGE / folder).rglob("*.py"))),
    ]
    names = [".".join(path.relative_to(SRC).with_suffix("").parts) for path in sources]
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
    for extra, packages in PROJECT["project"]["optional-dependencies"].items():
        # A device's packages, Spark and the fuzzer are installed by those who ask for them.
        asked += packages if extra not in {"cuda12", "cuda13", "spark", "fuzz"} else []
    asked += PROJECT["build-system"]["requires"]
    names = {re.match(r"[A-Za-z0-9_-]+", text)[0].lower().replace("_", "-") for text in asked}
    assert names - {"arrival-engine"} <= pinned  # its own extras are named as arrival-engine[...]


def test_tzdata_is_a_range_that_has_the_release_of_the_constraints():
    (asked,) = [text for text in PROJECT["project"]["dependencies"] if text.startswith("tzdata")]
    least = re.fullmatch(r"tzdata>=(\d+\.\d+)", asked)[1]
    assert tuple(map(int, least.split("."))) <= tuple(map(int, TZDATA_VERSION.split(".")))
    assert f"tzdata=={TZDATA_VERSION}" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_the_two_names_of_the_tzdata_release_agree():
    year, number = TZDATA_VERSION.split(".")
    assert f"{year}{chr(ord('a') - 1 + int(number))}" == TZDATA_RELEASE


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
