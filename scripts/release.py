"""Parts of a release.

python scripts/release.py check v1.2.3        the tag, the version and the changelog name the same release
python scripts/release.py notes               the changelog's section of this version
python scripts/release.py recipe SDIST        conda/recipe.yaml with the published source distribution as its source
"""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_SOURCE = "source:\n  path: ..\n"
_PUBLISHED = "https://pypi.org/packages/source/a/arrival-engine/arrival_engine-${{ version }}.tar.gz"


class ReleaseError(Exception):
    """This checkout is not the release that was asked for; the text says why."""


def version() -> str:
    """The version in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def notes() -> str:
    """The changelog's section of this version, without its heading. Raises ReleaseError where there is none."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(rf"^## \[{re.escape(version())}\] - [^\n]*\n(.*?)(?=^## \[|\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        raise ReleaseError(f"CHANGELOG.md has no section of version {version()}")
    return section[1].strip()


def check(tag: str) -> str:
    """A line that confirms the tag. Raises ReleaseError if it is not this version's, or the changelog is not ready."""
    if tag != f"v{version()}":
        raise ReleaseError(f"the tag is {tag}, and pyproject.toml has version {version()}")
    if not notes():
        raise ReleaseError(f"the section of version {version()} in CHANGELOG.md is empty")
    return f"{tag} is the release of this checkout"


def recipe(sdist: str) -> str:
    """The conda recipe for a feedstock. Raises ReleaseError for the source distribution of another version."""
    path = Path(sdist)
    if path.name != f"arrival_engine-{version()}.tar.gz":
        raise ReleaseError(f"{path.name} is not the source distribution of version {version()}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    text = (ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    if _SOURCE not in text:
        raise ReleaseError("conda/recipe.yaml does not have this checkout as its source")
    return text.replace(_SOURCE, f"source:\n  url: {_PUBLISHED}\n  sha256: {digest}\n")


def main(words: list[str]) -> int:
    """Run one command line and give its exit code."""
    try:
        match words:
            case ["check", tag]:
                print(check(tag))
            case ["notes"]:
                print(notes())
            case ["recipe", sdist]:
                print(recipe(sdist), end="")
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
