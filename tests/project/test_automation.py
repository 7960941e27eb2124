"""The hosted workflow, `.ci/run` and the commit hooks do what the Makefile does, with tools that the project pins."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest
import yaml

from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
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


def steps(job):
    return [step["run"] for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


def test_the_workflow_runs_targets_of_the_makefile_and_nothing_else():
    scripts = [script for job in WORKFLOW["jobs"] for script in steps(job)]
    assert all(script.startswith("make ") for script in scripts)
    asked = {target for script in scripts for target in targets_in(script)}
    assert asked == {"lint", "test", "coverage", "test-slow", "docs", "wheel", "audit"}
    assert asked <= recipes().keys()


def test_what_ci_runs_are_targets_of_the_makefile():
    asked = list(targets_in((ROOT / ".ci/run").read_text(encoding="utf-8")))
    assert asked == ["lint", "test"]
    assert set(asked) <= recipes().keys()


def test_the_workflow_tests_every_supported_python():
    first, beyond = map(int, re.findall(r"3\.(\d+)", PROJECT["requires-python"]))
    tested = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python-version"]
    assert tested == [f"3.{minor}" for minor in range(first, beyond)]


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
