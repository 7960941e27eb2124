"""`arrivals explain`: one arrival, derived from its inputs."""

from __future__ import annotations

from pathlib import Path

import click

from arrival_engine.contracts.moments import microseconds
from arrival_engine.engine.cli.output import present
from arrival_engine.engine.cli.places import INSTANT, LOCAL, MERCHANT
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.cli.values import WholeNumber


@click.command(
    epilog="Example: arrivals explain runs/small --merchant 123456789 --seq 1",
    short_help="Derive one arrival from its inputs, step by step.",
)
@click.argument("run_root", type=LOCAL)
@click.option(
    "--merchant", type=MERCHANT, metavar="MERCHANT", required=True, help="The merchant, by its id or its text."
)
@click.option("--seq", type=WholeNumber(1), help="The arrival with this arrival_seq.")
@click.option(
    "--ts", type=INSTANT, metavar="TIME", help="The first arrival at or after TIME, such as 2026-03-29T01:00:00Z."
)
@click.option(
    "--site",
    metavar="SITE",
    help="The first arrival at this site (with --ts, from TIME on): a site id, or COUNTRY:ORDER such as DE:2.",
)
@click.option("--scenario", metavar="ID", help="[default: the only one]")
@output_options
@click.pass_context
def command(
    context: click.Context,
    /,
    run_root: Path,
    merchant: str,
    seq: int | None,
    ts: str | None,
    site: str | None,
    scenario: str | None,
) -> None:
    """Derive one arrival of the world under RUN_ROOT from its inputs and print every step.

    Says whether the CPU kernel agrees, and if arrivals are published, the stored row; the exit code is 1 if one of them
    does not. Only the arrival's own segment is expanded (with --site, the segments up to it).
    """
    session = session_of(context)
    session.on_interrupt = "nothing was explained"
    if (seq is None) == (ts is None and site is None):
        raise click.UsageError("give --seq, or --ts, --site or both", context)

    from arrival_engine.engine.cli.explain_tree import show_explanation
    from arrival_engine.engine.explaining import Question, explain
    from arrival_engine.engine.explaining.facts import document

    at_us = None if ts is None else microseconds(ts)
    question = Question(merchant, seq, at_us, None if site is None else _site(site), scenario)
    with session.reporter() as reporter:
        explanation = explain(run_root, question, reporter)
    present(context, explanation, show_explanation, passed=explanation.agrees, document=document)


def _site(text: str) -> int | str:
    """A site's 64-bit id, or its legal country and site order as given."""
    if text.isdecimal():
        return int(text)

    from arrival_engine.engine.explaining.search import SITE_NAME

    if SITE_NAME.fullmatch(text) is None:
        raise click.BadParameter(f"{text!r} is neither a site id nor COUNTRY:ORDER", param_hint="--site")
    return text
