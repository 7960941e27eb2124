"""The hosted workflows, `.ci/run` and the commit hooks do what the Makefile does, with tools that the project pins."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = ROOT / ".github/workflows"
WORKFLOW = yaml.safe_load((WORKFLOWS / "ci.yml").read_text(encoding="utf-8"))
RELEASE = yaml.safe_load((WORKFLOWS / "release.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


def recipes():
    """The lines of every target's recipe, by target."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)+)", text, re.MULTILINE))


def targets_in(script):
    """The targets of every call of make in a shell script."""
    for line in script.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            yield from (word for word in words[1:] if not word.startswith("-") and "=" not in word)


def steps(job, workflow=WORKFLOW):
    """The commands of a job, once for each target that it names by its matrix."""
    job = workflow["jobs"][job]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    targets = job.get("strategy", {}).get("matrix", {}).get("target", [""])
    return [command.replace("${{ matrix.target }}", target) for command in commands for target in targets]


def supported_pythons():
    first, beyond = map(int, re.findall(r"3\.(\d+)", PROJECT["requires-python"]))
    return [f"3.{minor}" for minor in range(first, beyond)]


def test_the_workflow_runs_targets_of_the_makefile_and_nothing_else():
    scripts = [script for job in WORKFLOW["jobs"] for script in steps(job)]
    assert all(script.startswith("make ") for script in scripts)
    asked = {target for script in scripts for target in targets_in(script)}
    sides = {"image", "image-cuda", "conda", "audit"}
    assert asked == {"lint", "test-wheel", "coverage", "test-slow", "docs", "wheel"} | sides
    assert asked <= recipes().keys()


def test_what_ci_runs_are_targets_of_the_makefile():
    asked = list(targets_in((ROOT / ".ci/run").read_text(encoding="utf-8")))
    assert asked == ["lint", "test"]
    assert set(asked) <= recipes().keys()


def test_the_workflow_tests_every_supported_python():
    for workflow in (WORKFLOW, RELEASE):
        assert workflow["jobs"]["test"]["strategy"]["matrix"]["python-version"] == supported_pythons()


def test_actions_are_pinned_by_commit_and_both_workflows_use_the_same():
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(WORKFLOWS.glob("*.yml")))
    used = re.findall(r"uses: (.*)", text)
    pins = {re.fullmatch(r"([\w/-]+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+", line).groups() for line in used}
    assert len({action for action, _ in pins}) == len(pins)


def test_the_auditor_of_workflows_has_no_complaint():
    auditor = Path(sys.executable).with_name("zizmor")
    done = subprocess.run([auditor, "--offline", "--quiet", WORKFLOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_tag_is_released_after_its_distributions_were_tested_as_they_are():
    assert RELEASE[True] == {"push": {"tags": ["v*"]}}
    order = {name: job.get("needs") for name, job in RELEASE["jobs"].items()}
    assert order == {"build": None, "test": "build", "attest": "test", "pypi": "attest", "github": "pypi"}
    (command,) = steps("test", RELEASE)
    assert list(targets_in(command)) == ["test-wheel"]
    assert 'WHEEL="$(echo build/dist/*.whl)"' in command
    made = {
        step["with"]["name"]
        for step in RELEASE["jobs"]["build"]["steps"]
        if "if-no-files-found" in step.get("with", {})
    }
    assert made == {"dist", "extras"}


def test_rights_to_publish_are_with_jobs_that_run_no_code_of_the_repository():
    assert RELEASE["permissions"] == {}
    rights = {name: job["permissions"] for name, job in RELEASE["jobs"].items()}
    assert rights["build"] == rights["test"] == {"contents": "read"}
    assert rights["pypi"] == {"id-token": "write"}
    assert rights["github"] == {"contents": "write"}
    assert RELEASE["jobs"]["pypi"]["environment"]["name"] == "pypi"
    for name in ("attest", "pypi", "github"):
        assert not any("checkout" in step.get("uses", "") for step in RELEASE["jobs"][name]["steps"]), name
    assert [steps(name, RELEASE) for name in ("attest", "pypi")] == [[], []]
    (command,) = steps("github", RELEASE)
    assert command.startswith("gh release create ")


def test_slow_tests_run_at_night():
    # YAML reads the key `on` as true.
    assert WORKFLOW[True]["schedule"]
    assert "schedule" in WORKFLOW["jobs"]["slow"]["if"]
    assert steps("slow") == ["make test-slow"]


def test_the_pins_are_looked_up_every_night():
    assert steps("audit") == ["make audit"]
    assert WORKFLOW["jobs"]["audit"]["if"] == "github.event_name != 'pull_request'"
    (command,) = (line for line in recipes()["audit"].splitlines() if "bin/pip-audit" in line)
    assert {"--strict", "--requirement constraints.txt"} <= set(re.findall(r"--strict|--requirement \S+", command))


def test_the_hooks_are_the_steps_of_make_lint():
    (repo,) = HOOKS
    assert repo["repo"] == "local"
    tools = [hook["entry"].removeprefix(".venv/bin/").split(" --")[0] for hook in repo["hooks"]]
    linted = [line.strip("\t@").removeprefix("$(BIN)/") for line in recipes()["lint"].splitlines()]
    assert tools == [re.sub(r" (--check )?\.$", "", line) for line in linted]


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_asks_for_the_machine(form):
    document = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert document["name"]
    assert document["description"]
    labels = [field["attributes"]["label"] for field in document["body"]]
    assert any("`arrivals doctor --json`" in label for label in labels)
    ids = [field["id"] for field in document["body"]]
    assert len(set(ids)) == len(ids)
