"""What the project says about itself in several places is the same in all of them."""

from __future__ import annotations

import re
import tomllib

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
