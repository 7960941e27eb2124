"""The summary that each command ends with."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from arrival_engine.engine.cli.output import emit_json, plain, results_console, show_facts, show_line
from arrival_engine.engine.cli.session import Session
from arrival_engine.engine.process import human

if TYPE_CHECKING:
    from rich.text import Text

    from arrival_engine.engine.cli.demo_steps import DemoResult
    from arrival_engine.engine.importing import ImportResult
    from arrival_engine.engine.importing.example import Example
    from arrival_engine.engine.process.doctor import Diagnosis
    from arrival_engine.engine.run.job import RunResult
    from arrival_engine.engine.run.production import WorkerFacts
    from arrival_engine.engine.run.scenario import ScenarioResult
    from arrival_engine.engine.sealing import SealResult
    from arrival_engine.engine.synth import SynthResult
    from arrival_engine.engine.tz.build import CacheResult

__all__ = [
    "show_demo",
    "show_diagnosis",
    "show_example",
    "show_import",
    "show_run",
    "show_seal",
    "show_synth",
    "show_tz_build",
]

_PUBLISHED = {
    "published": "published",
    "identical": "identical to what was published before, left as it is",
    "replaced": "published in place of a different one",
}


def _document(result: object, status: str = "PASS") -> dict[str, object]:
    document = plain(result)
    return {"status": status, **(document if isinstance(document, dict) else {"result": document})}


def _headline(text: str, style: str = "bold green") -> None:
    show_line((text, style))


def _block(*rows: tuple[str, str]) -> None:
    show_facts(results_console(), ((f"  {name}", value) for name, value in rows))


def _commands(*commands: str) -> None:
    show_line("\nNext:")
    for command in commands:
        show_line("  ", (f"{_program()} {command}", "cyan"))


def _program() -> str:
    """What to type for this program here: `make demo` runs it from an environment that is not on the PATH."""
    if shutil.which("arrivals"):
        return "arrivals"
    typed = Path(sys.argv[0])
    return (
        f"{shlex.quote(sys.executable)} -m arrival_engine" if typed.name == "__main__.py" else shlex.quote(str(typed))
    )


def show_run(result: RunResult, session: Session) -> None:
    """One block per scenario."""
    if session.json:
        emit_json(_document(result))
    elif not session.quiet:
        for scenario in result.scenarios:
            _show_scenario(scenario)


def _show_scenario(scenario: ScenarioResult) -> None:
    _headline(f"{scenario.scenario_id}: {human.count(scenario.arrivals)} arrivals")
    phases = ", ".join(f"{name} {human.duration(spent)}" for name, spent in scenario.phases.items())
    fallbacks = ", ".join(f"{name} {human.count(n)}" for name, n in scenario.fallbacks.items() if n)
    seconds = human.duration(scenario.seconds)
    _block(
        ("routes", f"{human.count(scenario.physical)} physical, {human.count(scenario.virtual)} virtual"),
        ("files", f"{human.count(scenario.parts)}, {human.size(scenario.bytes)}"),
        ("digest", scenario.digest),
        ("speed", human.rate(scenario.arrivals_per_second, "arrivals")),
        ("time", f"{seconds} ({phases})" if phases else seconds),
        *_worker_rows(scenario.workers),
        ("memory", f"{human.size(scenario.peak_rss_bytes)} at most"),
        ("merged", f"{human.count(scenario.merged_rows)} count rows that repeated a key"),
        ("fallbacks", fallbacks or "none"),
        ("output", f"{_PUBLISHED[scenario.published]}: {scenario.path}"),
    )


def _worker_rows(workers: tuple[WorkerFacts, ...]) -> list[tuple[str, str]]:
    slowest_first = sorted(workers, key=lambda worker: worker.arrivals_per_second)
    if not slowest_first:
        return []
    rates = [human.rate(worker.arrivals_per_second, "arrivals") for worker in (slowest_first[0], slowest_first[-1])]
    return [("workers", f"{human.count(len(workers))}, from {rates[0]} to {rates[1]}")]


def show_demo(result: DemoResult, session: Session) -> None:
    """The run's summary, the checks, where things are, and three commands to try."""
    if session.json:
        emit_json(_document(result, "PASS" if result.passed else "FAIL"))
        return
    if session.quiet:
        return
    for scenario, checked in zip(result.scenarios, result.checks, strict=True):
        _show_scenario(scenario)
        show_line("\nChecked by reading the files again:")
        same = checked.digest == scenario.digest
        agreement = ("digest", same, f"{checked.digest} recomputed from the files")
        for name, holds, detail in (*checked.checks, agreement):
            mark: tuple[str, str] = ("  ok   ", "green") if holds else ("  FAIL ", "bold red")
            show_line(mark, f"{name}: {detail}")
    root = shlex.quote(str(result.run_root))
    show_line(f"\nThe world and its arrivals are in {result.run_root} ({human.duration(result.seconds)}).")
    _commands(
        f"validate {root}",
        f"explain {root} --merchant {result.example_merchant} --seq 1",
        f"stream {root} --limit 3",
    )


def show_diagnosis(diagnosis: Diagnosis, session: Session) -> None:
    """One line per fact; what needs attention carries a mark and an advice."""
    from rich.text import Text

    if session.json:
        emit_json({"status": "PASS" if diagnosis.healthy else "FAIL", "facts": plain(diagnosis.facts)})
        return
    styles = {"ok": "", "note": "yellow", "problem": "bold red"}
    rows: list[tuple[str, str | Text]] = []
    for fact in diagnosis.facts:
        advice = f"  -> {fact.advice}" if fact.advice else ""
        rows.append((fact.name, Text.assemble((fact.value, styles[fact.state]), (advice, "dim"))))
    show_facts(results_console(), rows)


def show_synth(result: SynthResult, session: Session) -> None:
    """What the world holds, or that it was there already."""
    if session.json:
        emit_json(_document(result))
    if session.json or session.quiet:
        return
    verb = "was there already, the same to the byte" if result.reused else "written"
    _headline(f"world {verb}: {human.count(result.arrivals)} arrivals")
    sites, tzids = human.count(result.sites), human.count(result.tzids)
    _block(
        ("merchants", f"{human.count(result.merchants)}, {sites} sites in {tzids} time zones"),
        ("count rows", f"{human.count(result.count_rows)}, {100 * result.zero_share:.1f} % of them zero"),
        ("entities", human.count(result.entities)),
        ("virtual", f"{100 * result.virtual_share:.1f} % of the arrivals, expected"),
        ("files", human.size(result.bytes)),
        ("time", human.duration(result.seconds)),
        ("run", str(result.run_root)),
    )
    _commands(f"seal {shlex.quote(str(result.run_root))}")


_ZONES = {
    "counts": "each to a site in its count row's zone",
    "weights": "each to a site in a zone drawn by group weights",
}


def show_import(result: ImportResult, session: Session) -> None:
    """What the world holds, or that it was there already, and what to do next."""
    if session.json:
        emit_json(_document(result))
    if session.json or session.quiet:
        return
    from arrival_engine.engine.importing.grid import length

    verb = "was there already, the same to the byte" if result.reused else "written"
    _headline(f"world {verb}: {human.count(result.arrivals)} arrivals to expect")
    modes = f"{human.count(result.hybrid_merchants)} hybrid, {human.count(result.virtual_merchants)} virtual only"
    lengths = f" of {length(result.bucket_seconds * 1_000_000)}" if result.bucket_seconds else ""
    left_out = f", {human.count(result.zero_rows)} of them zero" if result.zero_rows else ""
    added_up = f", {human.count(result.merged_rows)} added to others" if result.merged_rows else ""
    places = f"{human.count(result.sites)} sites and {human.count(result.edges)} edges"
    _block(
        ("merchants", f"{human.count(result.merchants)} with arrivals, {modes}"),
        ("places", f"{places} in {human.count(result.tzids)} time zones"),
        ("buckets", f"{human.count(result.buckets)}{lengths}, {result.start_utc} to {result.end_utc}"),
        ("count rows", f"{human.count(result.input_rows)}{left_out}{added_up}"),
        ("physical", _ZONES[result.zones]),
        ("virtual", f"{100 * result.virtual_share:.1f} % of the arrivals, expected"),
        ("fingerprint", result.identity.manifest_fingerprint),
        ("files", human.size(result.bytes)),
        ("time", human.duration(result.seconds)),
        ("run", str(result.run_root)),
    )
    root = shlex.quote(str(result.run_root))
    _commands(f"seal {root}", f"run {root}", f"validate {root}")


def show_example(example: Example, session: Session) -> None:
    """Where the tables are, and how to import them."""
    if session.json:
        emit_json(_document(example))
    if session.json or session.quiet:
        return
    _headline(f"example tables are in {example.directory}")
    _block(*((path.name, what) for path, what in example.files.items()))
    options = " ".join(f"{option} {shlex.quote(str(path))}" for option, path in example.options.items())
    _commands(f"import world {options}")


def show_seal(result: SealResult, run_root: str, session: Session) -> None:
    """What was sealed, or that it was so before."""
    if session.json:
        emit_json(_document(result))
    if session.json or session.quiet:
        return
    verb = "sealed" if result.changed else "was sealed already, and nothing has changed since"
    _headline(f"{run_root} {verb}")
    passed = sum(status == "PASS" for status in result.upstream.values())
    _block(
        ("inputs", f"{human.count(result.row_count)}, digest {result.digest}"),
        ("scenarios", ", ".join(result.scenario_set)),
        ("upstream", f"{passed} of {len(result.upstream)} segments passed"),
        ("sealed at", result.created_utc),
        ("inventory", str(result.inventory_path)),
        ("receipt", str(result.gate_path)),
    )
    _commands(f"run {shlex.quote(run_root)}")


def show_tz_build(result: CacheResult, session: Session) -> None:
    """Where the cache is, and what it was made from."""
    if session.json:
        emit_json(_document(result))
    if session.json or session.quiet:
        return
    verb = "written" if result.changed else "was there already, the same to the byte"
    _headline(f"tz cache {verb}")
    _block(
        ("folder", str(result.folder)),
        ("zones", f"{human.count(result.zones)}, tzdata {result.release}"),
        ("sha256", result.sha256),
    )
