"""Comments that cite the reference cite a heading that exists."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.paths import ROOT

FOLDERS = ("contracts", "config", "cpu_fallback", "gpu_kernels", "engine", "src", "tests", "bench", "scripts")
THIS = Path(__file__).resolve()
SOURCES = sorted({path.resolve() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")} - {THIS})
CITED = re.compile(r'docs/reference/(\w+)\.md, ((?:"[^"]+"(?:, | and |,)?)+)')
LAW = re.compile(r"\bLAW (?:sections? )?(\d+(?:\.\d+)?(?:(?:, | and | to )\d+(?:\.\d+)?)*)")
STALE = re.compile(r"contract(?:'s)? sections? \d")


def text_of(path):
    """A source as one line: comments and docstrings wrap where they cite."""
    return re.sub(r"\s+(?:# )?", " ", path.read_text(encoding="utf-8"))


def headings(page):
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text(encoding="utf-8")
    return set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))


def law_sections():
    """Numbers of the law's sections, and of the numbered rules of section 4 as 4.1, 4.2, ..."""
    text = (ROOT / "docs" / "reference" / "law.md").read_text(encoding="utf-8")
    bodies = dict(re.findall(r"^## (\d+)\. [^\n]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    rules = re.findall(r"^(\d+)\. \*\*", bodies["4"], re.MULTILINE)
    return {*bodies, *(f"4.{rule}" for rule in rules)}


def wrong_citations(text):
    known = law_sections()
    for page, names in CITED.findall(text):
        yield from (f"{page}: {name}" for name in re.findall(r'"([^"]+)"', names) if name not in headings(page))
    for numbers in LAW.findall(text):
        yield from (f"LAW {number}" for number in re.findall(r"[\d.]+", numbers) if number not in known)
    yield from STALE.findall(text)


def test_citations_lead_somewhere():
    found = {path.relative_to(ROOT).as_posix(): list(wrong_citations(text_of(path))) for path in SOURCES}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_wrong_citations_are_found():
    cited = 'docs/reference/layouts.md, "Run report" and "Nowhere"'
    text = f"{cited}. LAW sections 2 to 4, LAW section 4.6, LAW 4.5, contract section 2"
    assert list(wrong_citations(text)) == ["layouts: Nowhere", "LAW 4.6", "contract section 2"]


def test_the_citations_are_seen():
    texts = [text_of(path) for path in SOURCES]
    assert sum(len(CITED.findall(text)) for text in texts) >= 10
    assert sum(len(LAW.findall(text)) for text in texts) >= 40
