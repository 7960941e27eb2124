"""`arrivals adopt`: a run of the reference pipeline, made ready for this engine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.contracts.safe_text import shell_word
from arrival_engine.engine.cli.output import headline, present, show_block, show_line, show_next
from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.process import human

if TYPE_CHECKING:
    from arrival_engine.engine.adopting import AdoptedPolicy, AdoptResult, Difference

_SEALS = {
    "sealed": "sealed now",
    "unchanged": "was sealed already, and nothing has changed since",
    "reference": "sealed by the pipeline; that seal stays",
    "none": "not sealed",
}


@click.command(
    epilog="Example: arrivals adopt runs/0f3c...",
    short_help="Translate the reference pipeline's policies, then seal.",
)
@click.argument("run_root", type=LOCAL)
@click.option(
    "--no-seal", is_flag=True, help="Write the policies only, so that you can edit them before `arrivals seal`."
)
@click.option("--replace", is_flag=True, help="Overwrite policies of RUN_ROOT that differ from what is adopted.")
@output_options
@click.pass_context
def command(context: click.Context, run_root: Path, no_seal: bool, replace: bool) -> None:
    """Make a run of the reference pipeline ready: translate its policies of version 1, then seal RUN_ROOT.

    Version 2 of them goes to RUN_ROOT/config, with every value that has a counterpart, and every difference is
    reported. A value without a counterpart is an error. Adopting again changes nothing.
    """
    session = session_of(context)
    session.on_interrupt = "policies that were written are complete; adopt again"

    from arrival_engine.engine.adopting import AdoptOptions, adopt

    with session.reporter() as reporter:
        result = adopt(run_root, AdoptOptions(replace=replace, seal=not no_seal), reporter)
    present(context, result, partial(_show, str(run_root)))


def _show(run_root: str, result: AdoptResult) -> None:
    translated = [policy for policy in result.policies if policy.source is not None]
    headline(
        f"{run_root} adopted" if result.changed else f"{run_root} was adopted already, and nothing has changed since"
    )
    show_block(
        ("translated", ", ".join(policy.policy for policy in translated) or "nothing"),
        *(
            (status, ", ".join(names))
            for status, names in (
                ("as they are", [policy.policy for policy in result.policies if policy.status == "accepted"]),
                ("packaged", [policy.policy for policy in result.policies if policy.status == "packaged"]),
            )
            if names
        ),
        ("seal", _seal_of(result)),
    )
    for policy in translated:
        _show_policy(policy)
    show_next(f"{'seal' if result.seal == 'none' else 'run'} {shell_word(run_root)}")


def _seal_of(result: AdoptResult) -> str:
    if result.seal == "none":
        return _SEALS["none"]
    return (
        f"{_SEALS[result.seal]}: {human.amount(result.sealed_inputs, 'inputs')}, digest {result.sealed_inputs_digest}"
    )


def _show_policy(policy: AdoptedPolicy) -> None:
    show_line("")
    show_line(f"{policy.policy} {policy.source_version} to {policy.version}")
    show_block(
        ("from", str(policy.source)),
        ("to", f"{policy.path} ({policy.status})"),
        ("carried", ", ".join(f"{value.v2_key} {value.value}" for value in policy.carried) or "nothing"),
    )
    for difference in policy.differences:
        show_line(f"    {_told(difference)}")


def _told(difference: Difference) -> str:
    if difference.v1 is None:
        return f"{difference.v2_key}: {difference.v2} ({difference.why})"
    if difference.v2_key is None:
        return f"{difference.key}: {difference.v1} -> no key ({difference.why})"
    renamed = "" if difference.v2_key == difference.key else f"{difference.v2_key} "
    why = f" ({difference.why})" if difference.why else ""
    return f"{difference.key}: {difference.v1} -> {renamed}{difference.v2}{why}"
