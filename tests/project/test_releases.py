"""What the project says about itself in several places is the same in all of them."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib

import pytest

from tests.support.known_answers import DEMO_DIGEST
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_supported_pythons_are_the_same_everywhere():
    first, beyond = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups())
    supported = [f"3.{minor}" for minor in range(first, beyond)]
    classifier = "Programming Language :: Python :: "
    listed = [text.removeprefix(classifier) for text in PROJECT["classifiers"] if text.startswith(classifier)]
    assert listed == ["3", *supported]
    spoken = f"Python {supported[0]} to {supported[-1]}"
    for name in ("README.md", "CONTRIBUTING.md", "scripts/venv.sh"):
        assert spoken in text_of(name), name
    venv = text_of("scripts/venv.sh")
    assert f"(3, {first}) <= sys.version_info[:2] <= (3, {beyond - 1})" in venv
    assert re.search(r"PYTHON:-python3 ([^}]+)", venv)[1].split() == [f"python{name}" for name in reversed(supported)]


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    assert f"\nversion: {version}\n" in text_of("CITATION.cff")
    released = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert released[0] == ("Unreleased", "")
    newest, day = released[1]
    assert newest == version
    assert day
    assert f"date-released: {day}" in text_of("CITATION.cff")


def test_the_page_on_installation_names_every_extra():
    rows = re.findall(r"^\| (`.+?) \|", text_of("docs/how-to/install.md"), re.MULTILINE)
    named = [extra for row in rows for extra in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(PROJECT["optional-dependencies"])


def released(*words):
    command = [sys.executable, ROOT / "scripts/release.py", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_notes_of_a_release_are_its_section_of_the_changelog():
    done = released("notes")
    assert done.returncode == 0, done.stderr
    notes = done.stdout.strip()
    assert f"## [{PROJECT['version']}]" not in notes
    before, after = text_of("CHANGELOG.md").split(notes)
    assert re.search(rf"## \[{re.escape(PROJECT['version'])}\] - \S+\n\n$", before)
    assert not after.strip() or after.strip().startswith("## [")


@pytest.mark.parametrize(("tag", "code"), [(f"v{PROJECT['version']}", 0), (PROJECT["version"], 1), ("v99.0.0", 1)])
def test_a_tag_that_is_not_this_version_is_no_release(tag, code):
    done = released("check", tag)
    assert done.returncode == code, done.stdout
    assert (PROJECT["version"] in done.stderr) == bool(code)


def test_the_recipe_of_a_release_has_its_source_distribution(tmp_path):
    sdist = tmp_path / f"arrival_engine-{PROJECT['version']}.tar.gz"
    sdist.write_bytes(b"a source distribution")
    done = released("recipe", sdist)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert f"  sha256: {hashlib.sha256(sdist.read_bytes()).hexdigest()}" in lines
    ours = text_of("conda/recipe.yaml").splitlines()
    assert [line for line in ours if line not in lines] == ["  path: .."]
    assert released("recipe", tmp_path / "arrival_engine-99.0.0.tar.gz").returncode == 1


def test_the_digest_that_images_and_wheels_are_compared_with_is_that_of_the_demo(tmp_path):
    command = tmp_path / "arrivals"
    command.write_text('#!/bin/sh\necho "  digest     $DIGEST"\n', encoding="utf-8")
    command.chmod(0o755)
    for digest, code in ((DEMO_DIGEST, 0), (DEMO_DIGEST.replace("1", "2"), 1)):
        done = subprocess.run(
            [ROOT / "scripts/demo_digest.sh", command], env={**os.environ, "DIGEST": digest}, check=False
        )
        assert done.returncode == code
