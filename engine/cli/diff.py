"""`arrivals diff`: two sets of published arrivals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.contracts.plainness import short
from arrival_engine.engine.cli.output import headline, present, show_block, show_line
from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.cli.values import WholeNumber
from arrival_engine.engine.process import human

if TYPE_CHECKING:
    from arrival_engine.engine.comparing import DiffResult, RowDifference, ScenarioDiff, Side


@click.command(
    epilog="Example: arrivals diff runs/small runs/small-again",
    short_help="Compare the arrivals of two runs row by row.",
)
@click.argument("a", type=LOCAL)
@click.argument("b", type=LOCAL)
@click.option("--scenario", metavar="ID", help="Compare only this scenario.")
@click.option("--limit", type=WholeNumber(0), default=10, show_default=True, help="Most differing rows to show.")
@output_options
@click.pass_context
def command(context: click.Context, /, a: Path, b: Path, scenario: str | None, limit: int) -> None:
    """Compare the arrivals published under A and B: run directories, or directories of part files.

    Part sizes, file formats, timestamp encodings and the encoding of further clocks in physical rows make no
    difference. Digests are computed again from the rows. The exit code is 1 if anything differs.
    """
    session = session_of(context)
    session.on_interrupt = "the comparison is not complete"

    from arrival_engine.engine.comparing import DiffOptions, diff

    with session.reporter() as reporter:
        result = diff(a, b, DiffOptions(scenario, limit), reporter)
    present(context, result, _show, passed=result.identical, identical=result.identical)


def _show(result: DiffResult) -> None:
    for scenario in result.scenarios:
        _show_scenario(scenario)
    for side, names in (("A", result.only_a), ("B", result.only_b)):
        for name in names:
            headline(f"scenario {name}: only in {side}", "bold red")


def _show_scenario(scenario: ScenarioDiff) -> None:
    verdict = "the same arrivals" if scenario.identical else "different arrivals"
    if scenario.same_digest and not scenario.identical:
        verdict = "the same digest, but columns that it does not cover differ"
    name = f"{scenario.scenario_id}: " if scenario.scenario_id else ""
    headline(f"{name}{verdict}", "bold green" if scenario.identical else "bold red")
    show_block(("A", _side(scenario.a)), ("B", _side(scenario.b)))
    if scenario.identical:
        return
    rows = [
        ("rows in both", human.count(scenario.rows_in_both)),
        ("different", human.count(scenario.different_rows)),
        ("only in A", human.count(scenario.only_a)),
        ("only in B", human.count(scenario.only_b)),
    ]
    rows += [(f"values of {name}", f"{human.count(count)} differ") for name, count in scenario.columns.items()]
    show_block(*rows)
    for row in scenario.first:
        show_line(_row(row))


def _side(side: Side) -> str:
    parts = f"{human.count(side.parts)} {side.format} part{'s' if side.parts > 1 else ''}"
    return f"{side.digest}  ({parts}, {side.timestamps} times, physical clocks {side.physical_clocks})  {side.path}"


def _row(row: RowDifference) -> str:
    merchant = row.merchant_id if row.merchant is None else f"{short(row.merchant)} ({row.merchant_id})"
    key = f"  merchant {merchant}, arrival {row.arrival_seq}: "
    if row.kind != "differs":
        side, index = ("A", 0) if row.kind == "only_a" else ("B", 1)
        shown = ("ts_utc", "zone_representation", "site_id", "edge_id")
        facts = ", ".join(f"{name} {row.values[name][index]}" for name in shown if row.values[name][index] is not None)
        return f"{key}only in {side} ({facts})"
    return key + "; ".join(f"{name} {_text(a)} / {_text(b)}" for name, (a, b) in row.values.items())


def _text(value: object) -> str:
    return "null" if value is None else str(value)
