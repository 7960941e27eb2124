"""The generated part of docs/performance.md: the newest results as tables."""

from __future__ import annotations

from pathlib import Path

from arrival_engine.engine.process import human
from bench import catalogue, results, tabular
from bench.environment import ROOT
from bench.process import BenchError
from bench.results import Result

DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN = "<!-- begin: written by `python -m bench table` from bench/results -->"
END = "<!-- end -->"


def render(document: str, found: list[Result]) -> str:
    """The document with what lies between its markers replaced. Raises BenchError if they are missing."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BenchError(f"the document has no lines {BEGIN!r} and {END!r}")
    body = "\n".join(_sections(found)) or "No results are recorded yet.\n"
    return f"{before}{begin}\n\n{body}\n{end}{after}"


def update(folder: Path, path: Path = DOCUMENT) -> bool:
    """Write the results of `folder` into the document, and return whether it changed."""
    before = path.read_text(encoding="utf-8")
    after = render(before, results.newest(folder))
    path.write_text(after, encoding="utf-8")
    return after != before


def _sections(found: list[Result]) -> list[str]:
    sections = []
    for name, entry in catalogue.CATALOGUE.items():
        own = [result for result in found if result.name == name]
        if own:
            sections.append(f"### {entry.title}\n")
        for result in own:
            sections.append(f"{_caption(result)}\n")
            sections += [tabular.markdown(table) for table in catalogue.load(name).tables(result.measured)]
    return sections


def _caption(result: Result) -> str:
    environment = result.environment
    machine = f"{environment['processor']}, {environment['cores']} cores, {human.size(environment['memory_bytes'])}"
    versions = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    parts = [
        f"`{result.command}` on {environment['date']}, commit {environment['commit'] or 'unknown'}.",
        f"{machine}; Python {environment['python']}, {versions}.",
    ]
    if world := result.measured.get("world"):
        arrivals, rows = human.count(world["n_arrivals_total"]), human.count(world["count_rows_read"])
        parts.append(f"World {world['manifest_fingerprint'][:12]}: {rows} count rows, {arrivals} arrivals.")
    return "  \n".join(parts)
