"""Hooks of mkdocs: generated parts of pages, pages from outside docs/, links between the two.

`docs_reference.NAME_part` replaces a line `<!-- generated: NAME -->` in every build. Generated parts are never
committed, so they cannot be out of date.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent

# Files in the root of the repository that are pages of the site, and their places there.
ROOT_PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "RELEASING.md": "releasing.md",
    "SECURITY.md": "security.md",
}
_GENERATED = re.compile(r"^<!-- generated: (?P<name>\w+) -->$", re.MULTILINE)
_LINK = re.compile(r"\[(?P<text>[^][]*)\]\((?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from the root of the repository."""
    from mkdocs.structure.files import File

    for name, uri in ROOT_PAGES.items():
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Insert generated parts, and turn links to files of the repository into links to pages, or into plain text."""
    at_home = {uri: name for name, uri in ROOT_PAGES.items() if uri != "index.md"}
    source = at_home.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def relink(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["target"]))
        uri = ROOT_PAGES.get(target, target.removeprefix("docs/") if target.startswith("docs/") else "")
        if not uri:
            return match["text"]
        path = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
        return f"[{match['text']}]({path}{match['anchor'] or ''})"

    linked = _outside_code(markdown, lambda text: _LINK.sub(relink, text))
    return _GENERATED.sub(lambda mark: _made(mark["name"]), linked)


def _made(name: str) -> str:
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from scripts import docs_reference

    made: str = getattr(docs_reference, f"{name}_part")()
    return made


def _outside_code(markdown: str, change: Any) -> str:
    lines, fence = [], ""
    for line in markdown.splitlines(keepends=True):
        mark = re.match(r" *(`{3,})", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
        lines.append(line if fence or mark else change(line))
    return "".join(lines)
