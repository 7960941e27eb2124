"""The conda recipe asks for the same versions as pyproject.toml, by conda-forge's names."""

from __future__ import annotations

import re
import tomllib

import yaml

from tests.support.paths import ROOT

DOCUMENT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = DOCUMENT["project"]
RECIPE = yaml.safe_load((ROOT / "conda/recipe.yaml").read_text(encoding="utf-8"))
# conda-forge's `duckdb` is the command line program, its `tzdata` the system's database, its `matplotlib` brings Qt.
NAMES = {"duckdb": "python-duckdb", "tzdata": "python-tzdata", "matplotlib": "matplotlib-base"}
# Extras of the product; the others are for devices, tests and documentation.
EXTRAS = ("dask", "delta", "iceberg", "report")
PYTHON = ">=${{ python_min }},<" + PROJECT["requires-python"].split("<")[1]


def by_conda_name(requirement):
    """The requirement as conda writes it: its name there, without extras, then the range."""
    name, ranges = re.fullmatch(r"([A-Za-z0-9-]+)(?:\[[^]]*\])?(.*)", requirement).groups()
    return f"{NAMES.get(name, name)} {ranges}"


def test_what_it_runs_with_is_what_the_project_asks_for():
    run = RECIPE["requirements"]["run"]
    expected = ["__linux", f"python {PYTHON}", *map(by_conda_name, PROJECT["dependencies"])]
    assert sorted(run) == sorted(expected)


def test_optional_packages_have_the_ranges_of_the_extras():
    extras = [text for extra in EXTRAS for text in PROJECT["optional-dependencies"][extra]]
    assert sorted(RECIPE["requirements"]["run_constraints"]) == sorted(map(by_conda_name, extras))


def test_it_is_built_by_the_same_backend_and_starts_the_same_command():
    host = RECIPE["requirements"]["host"]
    assert [text.replace(" ", "") for text in host[2:]] == DOCUMENT["build-system"]["requires"]
    assert host[:2] == ["python ${{ python_min }}.*", "pip"]
    commands = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert RECIPE["build"]["python"]["entry_points"] == commands


def test_it_is_a_package_of_this_version_for_every_supported_python():
    context = RECIPE["context"]
    assert str(context["version"]) == PROJECT["version"]
    assert PROJECT["requires-python"].startswith(f">={context['python_min']},")
    assert RECIPE["build"]["noarch"] == "python"
    assert RECIPE["about"]["license"] == PROJECT["license"]
    imports, script = RECIPE["tests"]
    last = int(PROJECT["requires-python"].rsplit(".", 1)[1]) - 1
    assert imports["python"]["python_version"] == ["${{ python_min }}.*", f"3.{last}.*"]
    assert script["script"] == ["arrivals demo"]
