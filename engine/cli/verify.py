"""`arrivals verify`: check that the passed flag holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.engine.cli.output import headline, present, show_block
from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.session import output_options, session_of

if TYPE_CHECKING:
    from arrival_engine.engine.validation.verify import Bundle


@click.command(
    epilog="Example: arrivals verify runs/small",
    short_help="Check the validation bundle against its hashes and its flag.",
)
@click.argument("run_root", type=LOCAL)
@output_options
@click.pass_context
def command(context: click.Context, run_root: Path) -> None:
    """Hash every member of the validation bundle under RUN_ROOT again and check its index and flag against the hashes.

    The exit code is 1 if one of them does not hold, or if no bundle has passed.
    """
    from arrival_engine.engine.validation.verify import verify

    with session_of(context).reporter() as reporter, reporter.phase("verify bundle"):
        bundle = verify(run_root)
    present(context, bundle, _show)


def _show(bundle: Bundle) -> None:
    from arrival_engine.engine.validation.delivered import differences_text

    headline("the flag holds")
    rows = [("digest", bundle.digest), ("members", str(len(bundle.members))), ("bundle", str(bundle.folder))]
    if bundle.policy_differences:
        rows.insert(0, ("policy", differences_text(bundle.policy_differences)))
    show_block(*rows)
