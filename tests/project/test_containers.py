"""The two Dockerfiles agree with the project and with each other; what they run is run here without a container."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from tests.support.known_answers import DEMO_DIGEST
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WHEEL_FOLDERS = ("config", "contracts", "cpu_fallback", "engine", "gpu_kernels", "src")
FILES = ("Dockerfile", "Dockerfile.cuda")


def instructions(name):
    """(instruction, argument) pairs of a Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line]


def arguments(name, instruction):
    return [argument for found, argument in instructions(name) if found == instruction]


def settings(name, instruction):
    """The names and values of all ENV, ARG or LABEL instructions."""
    pairs = re.findall(r'([\w.]+)=("[^"]*"|\S+)', " ".join(arguments(name, instruction)))
    return {key: value.strip('"') for key, value in pairs}


def copied_from_the_checkout(name):
    lists = [argument.split()[:-1] for argument in arguments(name, "COPY") if not argument.startswith("--from=")]
    return [source for sources in lists for source in sources]


@pytest.mark.parametrize("name", FILES)
def test_the_linter_has_no_complaint(name):
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, "--no-color", ROOT / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", FILES)
def test_the_base_is_one_supported_python_pinned_by_version_and_digest(name):
    bases = {argument.split(" AS ")[0] for argument in arguments(name, "FROM")}
    (base,) = bases
    minor = int(re.fullmatch(r"python:3\.(\d+)\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", base)[1])
    first, beyond = map(int, re.findall(r"3\.(\d+)", PROJECT["requires-python"]))
    assert first <= minor < beyond


@pytest.mark.parametrize("name", FILES)
def test_the_builder_gets_what_the_wheel_is_made_of_and_nothing_else(name):
    sources = copied_from_the_checkout(name)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    described = {"constraints.txt", "pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]}
    assert {*sources} == described | {*WHEEL_FOLDERS}
    first, *patterns = [
        line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"
    ]
    assert first == "*"
    assert {pattern[1:] for pattern in patterns if pattern[0] == "!"} == {*sources}
    # What is left out again is what Python and numba make.
    assert {pattern for pattern in patterns if pattern[0] != "!"} == {"**/__pycache__", "**/*.nbc", "**/*.nbi"}


@pytest.mark.parametrize("name", FILES)
def test_labels_and_extras_are_those_of_the_project(name):
    labels = settings(name, "LABEL")
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}version"] == PROJECT["version"]
    assert labels[f"{prefix}licenses"] == PROJECT["license"]
    assert PROJECT["description"].startswith(labels[f"{prefix}description"])
    extras = settings(name, "ARG")["EXTRAS"].split(",")
    assert {*extras} <= PROJECT["optional-dependencies"].keys()
    assert ("cuda13" in extras) == (name == "Dockerfile.cuda")


@pytest.mark.parametrize("name", FILES)
def test_the_command_runs_as_a_user_without_rights_and_its_kernels_stay_in_a_volume(name):
    (user,) = arguments(name, "USER")
    (made,) = [argument for argument in arguments(name, "RUN") if "useradd" in argument]
    assert user == "1000:1000"
    assert "useradd --uid 1000 " in made
    kernels = settings(name, "ENV")["ARRIVALS_CACHE_DIR"]
    assert f"install --directory --mode=1777 {kernels}" in made
    assert arguments(name, "VOLUME") == [f'["/data", "{kernels}"]']
    assert arguments(name, "ENTRYPOINT") == ['["arrivals"]']
    assert PROJECT["scripts"].keys() == {"arrivals"}


def test_they_differ_in_the_extras_the_title_and_the_device():
    cpu, cuda = ({*instructions(name)} for name in FILES)
    changed = sorted(instruction for instruction, _ in cpu ^ cuda)
    assert changed == ["ARG", "ARG", "ENV", "LABEL", "LABEL"]
    assert settings("Dockerfile.cuda", "ENV").keys() - settings("Dockerfile", "ENV").keys() == {
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
    }


@pytest.mark.slow
def test_the_steps_of_the_build_make_a_command_that_runs(tmp_path):
    """The steps that build and install, in folders of this test's; they need no rights and no container."""
    build, opt = tmp_path / "build", tmp_path / "opt"
    build.mkdir()
    (opt / "wheel").mkdir(parents=True)
    for source in copied_from_the_checkout("Dockerfile"):
        subprocess.run(["cp", "--recursive", "--no-dereference", ROOT / source, build], check=True)
    venv.create(tmp_path / "python", with_pip=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= settings("Dockerfile", "ARG") | {"PATH": f"{tmp_path}/python/bin:{os.environ['PATH']}"}
    makes, installs, _ = arguments("Dockerfile", "RUN")
    (moved,) = [argument for argument in arguments("Dockerfile", "COPY") if argument.startswith("--from=build ")]
    moves = f"cp {moved.removeprefix('--from=build ')}"
    for step in (makes, moves, installs):
        here = re.sub(r"(?<=\s)/(build|opt)/", rf"{tmp_path}/\1/", step)
        done = subprocess.run(
            ["bash", "-euc", here], cwd=build, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{here}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    environment["ARRIVALS_CACHE_DIR"] = str(tmp_path / "kernels")
    command = [opt / "arrivals/bin/arrivals", "demo", tmp_path / "world"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"digest     {DEMO_DIGEST}\n" in done.stdout
