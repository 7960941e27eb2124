"""`arrivals verify`: check that the passed flag holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.engine.cli.output import headline, present, show_block
from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.cli.values import WholeNumber
from arrival_engine.engine.process import human

if TYPE_CHECKING:
    from arrival_engine.engine.validation.verify import Bundle


@click.command(
    epilog="Example: arrivals verify runs/small --arrivals",
    short_help="Check that the passed flag holds for the published arrivals.",
)
@click.argument("run_root", type=LOCAL)
@click.option("--arrivals", is_flag=True, help="Hash every part file of the arrivals again.")
@click.option("--threads", type=WholeNumber(1), help="Part files hashed at once.  [default: one per core]")
@output_options
@click.pass_context
def command(context: click.Context, run_root: Path, arrivals: bool, threads: int | None) -> None:
    """Hash every member of the validation bundle under RUN_ROOT again and check index, report and flag against it.

    The bundle must name the identity, the seal, the run report's digests and the part files that are there: the files
    by name and size, with --arrivals also by SHA-256. The exit code is 1 if anything differs, or if no bundle has
    passed.
    """
    if threads is not None and not arrivals:
        raise click.UsageError("--threads needs --arrivals", context)

    from arrival_engine.engine.validation.verify import verify

    with session_of(context).reporter() as reporter, reporter.phase("verify"):
        bundle = verify(run_root, arrivals=arrivals, threads=threads, reporter=reporter)
    present(context, bundle, _show)


def _show(bundle: Bundle) -> None:
    from arrival_engine.engine.validation.delivered import differences_text

    headline("the flag holds")
    compared = "by SHA-256" if bundle.arrivals_hashed else "by name and size; --arrivals hashes them"
    rows = [
        ("digest", bundle.digest),
        ("members", str(len(bundle.members))),
        ("arrivals", f"{human.count(bundle.arrivals)} in {human.amount(bundle.parts, 'parts')}, compared {compared}"),
        ("bundle", str(bundle.folder)),
    ]
    if bundle.policy_differences:
        rows.insert(0, ("policy", differences_text(bundle.policy_differences)))
    if bundle.not_compared:
        rows.insert(-1, ("not compared", f"{', '.join(bundle.not_compared)}: not in this directory"))
    show_block(*rows)
