"""`arrivals stream`: arrivals in time order, to a pipe or a listener."""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from arrival_engine.contracts.options import IdForm, StreamFormat
from arrival_engine.engine.cli.output import present
from arrival_engine.engine.cli.places import INSTANT, LOCAL, MERCHANT
from arrival_engine.engine.cli.session import Session, row_output_options, session_of
from arrival_engine.engine.cli.values import Choice, WholeNumber

if TYPE_CHECKING:
    from arrival_engine.engine.process.progress import Reporter
    from arrival_engine.engine.stream import StreamOptions, StreamResult
    from arrival_engine.engine.stream.sink import Address
    from arrival_engine.engine.world.load import World

# Time between two lines of progress.
_RATE_SECONDS = 5.0


@click.command(
    epilog="Example: arrivals stream runs/small --from 2026-03-29T00:00:00Z --speed 60x | head -n 5",
    short_help="Arrivals in time order, to a pipe or a local listener.",
)
@click.argument("run_root", type=LOCAL)
@click.option("--scenario", "scenario_id", metavar="ID", help="[default: the only one]")
@click.option("--from", "start", type=INSTANT, metavar="TIME", help="Start of the window, as 2026-01-31T09:30:00Z.")
@click.option("--to", "end", type=INSTANT, metavar="TIME", help="End of the window (exclusive).")
@click.option(
    "--merchant",
    "merchants",
    type=MERCHANT,
    multiple=True,
    metavar="MERCHANT",
    help="Only this merchant, by its id or its text; may be repeated.",
)
@click.option("--speed", default="max", show_default=True, metavar="60x|max", help="Seconds of arrivals per second.")
@click.option("--format", "file_format", type=Choice(get_args(StreamFormat)), default="jsonl", show_default=True)
@click.option(
    "--output",
    default="-",
    show_default=True,
    metavar="-|tcp://127.0.0.1:PORT",
    help="Destination; - is standard output.",
)
@click.option("--limit", type=WholeNumber(0), metavar="N", help="Stop after N arrivals.")
@click.option("--columns", default="", metavar="A,B,...", help="Only these columns, in this order.  [default: all 21]")
@click.option(
    "--ids",
    type=Choice(get_args(IdForm)),
    default="number",
    show_default=True,
    help="Form of 64-bit ids in JSON Lines.",
)
@click.option("--accept-tz-cache", is_flag=True, help="Only warn if the tz cache and the pinned tzdata disagree.")
@row_output_options
@click.pass_context
def command(context: click.Context, /, run_root: Path, **given: Any) -> None:
    """Write the arrivals of the sealed world under RUN_ROOT in time order, to standard output or a local listener.

    They are generated on the fly: no run is needed, nothing is stored, and --from starts at once. The order is ts_utc,
    then merchant_id, then arrival_seq. The output waits for its reader; progress goes to standard error.
    """
    session = session_of(context)
    session.on_interrupt = "the stream was cut short"

    from arrival_engine.engine.process.streams import output_failure
    from arrival_engine.engine.stream import StreamOptions
    from arrival_engine.engine.stream.pace import parse_speed
    from arrival_engine.engine.stream.sink import parse_output

    try:
        address = parse_output(given["output"])
        options = StreamOptions(
            start=given["start"],
            end=given["end"],
            merchants=given["merchants"],
            speed=parse_speed(given["speed"]),
            format=given["file_format"],
            columns=tuple(name.strip() for name in given["columns"].split(",")) if given["columns"] else (),
            ids=given["ids"],
            limit=given["limit"],
        )
    except ValueError as problem:
        raise click.UsageError(str(problem), context) from None
    if address is None and sys.__stdout__ is None:
        # Elsewhere a closed standard output is a wish for no summary; here it would take the arrivals.
        raise output_failure(OSError(errno.EBADF, "it is closed"))
    with _reporter(session) as reporter:
        world = _load(run_root, given["scenario_id"], options, given["accept_tz_cache"], reporter)
        result = _send(world, address, options, reporter)
    present(context, result, _show, document=_document)


def _show(result: StreamResult | None) -> None:
    """Nothing more: a stream that ends has said so on standard error."""


def _document(result: StreamResult | None) -> object:
    return {"reader_left": result is None, **({} if result is None else vars(result))}


def _reporter(session: Session) -> Reporter:
    if session.quiet or session.json or (sys.stderr.isatty() and not sys.stdout.isatty()):
        return session.reporter()
    from arrival_engine.engine.process.progress import LineReporter

    # Lines also if arrivals go to the terminal: a live bar would be drawn between them.
    return LineReporter(interval=_RATE_SECONDS)


def _load(
    run_root: Path, scenario_id: str | None, options: StreamOptions, accept_tz_cache: bool, reporter: Reporter
) -> World:
    from arrival_engine.engine.rundir.receipt import read_receipt
    from arrival_engine.engine.sealing import verify_seal
    from arrival_engine.engine.world.load import load_world

    seal = verify_seal(read_receipt(run_root), reporter)
    with reporter.phase("read"):
        world = load_world(
            run_root,
            scenario_id,
            seal=seal,
            accept_tz_cache=accept_tz_cache,
            merchant_ids=options.merchants or None,
        )
    for notice in world.notices:
        reporter.notice(notice)
    return world


def _send(world: World, address: Address | None, options: StreamOptions, reporter: Reporter) -> StreamResult | None:
    """The result; None if the reader of standard output left."""
    from arrival_engine.engine.stream import stream_to
    from arrival_engine.engine.stream.sink import DescriptorSink, connect

    if address is None:
        # A reader such as `head` stops early, which is a regular end of a stream.
        with suppress(BrokenPipeError):
            return stream_to(world, DescriptorSink(sys.stdout.fileno()), options, reporter)
        return None
    sink = connect(address)
    with sink.connection:
        return stream_to(world, sink, options, reporter)
