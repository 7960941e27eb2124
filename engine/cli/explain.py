"""`arrivals explain`: the history of one arrival."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import click

from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.session import output_options, session_of

_U64 = click.IntRange(0, 2**64 - 1)
_SITE_NAME = re.compile(r"([A-Z]{2}):([1-9][0-9]*)")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class _Instant(click.ParamType[int]):
    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Microseconds since 1970 of an ISO 8601 time that says its offset."""
        if isinstance(value, int):
            return value
        try:
            moment = dt.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-03-29T01:00:00Z", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} does not say its offset; add Z for UTC", param, ctx)
        return (moment - _EPOCH) // dt.timedelta(microseconds=1)


@click.command(
    epilog="Example: arrivals explain runs/small --merchant 123456789 --seq 1",
    short_help="Derive one arrival again and show how it came about.",
)
@click.argument("run_root", type=LOCAL)
@click.option("--merchant", type=_U64, required=True, help="The merchant's id.")
@click.option("--seq", type=click.IntRange(1), help="The arrival of this arrival_seq.")
@click.option("--ts", type=_Instant(), metavar="INSTANT", help="The arrival at or next after 2026-03-29T01:00:00Z.")
@click.option("--site", metavar="SITE", help="The first (with --ts: the next) at a site: its id, or DE:2.")
@click.option("--scenario", metavar="ID", help="[default: the only one]")
@output_options
@click.pass_context
def command(
    context: click.Context,
    /,
    run_root: Path,
    merchant: int,
    seq: int | None,
    ts: int | None,
    site: str | None,
    scenario: str | None,
) -> None:
    """Derive one arrival of the world under RUN_ROOT from its inputs and print its whole history.

    Says whether the CPU kernel and, where arrivals are published, the stored row agree; the exit code is 1 if one of
    them does not. Nothing but the arrival's own segment is expanded (with --site: the segments up to it).
    """
    session = session_of(context)
    session.on_interrupt = "nothing was explained"
    if (seq is None) == (ts is None and site is None):
        raise click.UsageError("give --seq, or --ts, --site or both", context)

    from arrival_engine.engine.cli.explain_tree import show_explanation
    from arrival_engine.engine.explaining import Question, explain

    question = Question(merchant, seq, ts, None if site is None else _site(site, merchant))
    with session.reporter() as reporter:
        explanation = explain(run_root, question, scenario_id=scenario, reporter=reporter)
    show_explanation(explanation, session)
    if not explanation.agrees:
        context.exit(1)


def _site(text: str, merchant: int) -> int:
    """A site's 64-bit id, given as such or by legal country and site order."""
    if text.isdecimal():
        return int(text)
    named = _SITE_NAME.fullmatch(text)
    if named is None:
        raise click.BadParameter(f"{text!r} is neither a site id nor COUNTRY:ORDER", param_hint="--site")

    from arrival_engine.cpu_fallback.identifiers import site_id

    return site_id(merchant, named[1], int(named[2]))
