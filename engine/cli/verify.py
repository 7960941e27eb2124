"""`arrivals verify`: does the passed flag hold?"""

from __future__ import annotations

from pathlib import Path

import click

from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.session import output_options, session_of


@click.command(
    epilog="Example: arrivals verify runs/small",
    short_help="Hash the validation bundle again and say whether its flag holds.",
)
@click.argument("run_root", type=LOCAL)
@output_options
@click.pass_context
def command(context: click.Context, run_root: Path) -> None:
    """Hash every member of the validation bundle under RUN_ROOT again and hold index and flag against them.

    The exit code is 1 where one of them does not hold, or where no bundle has passed.
    """
    session = session_of(context)

    from arrival_engine.engine.cli.output import emit_json, plain, results_console, show_facts, show_line
    from arrival_engine.engine.validation.verify import verify

    with session.reporter() as reporter, reporter.phase("verify bundle"):
        bundle = verify(run_root)
    if session.json:
        document = plain(bundle)
        emit_json({**(document if isinstance(document, dict) else {}), "status": "PASS"})
    elif not session.quiet:
        show_line(("the flag holds", "bold green"))
        rows = [("digest", bundle.digest), ("members", str(len(bundle.members))), ("bundle", str(bundle.folder))]
        show_facts(results_console(), ((f"  {name}", value) for name, value in rows))
