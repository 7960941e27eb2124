"""`arrivals validate`: every check of a published run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.engine.cli.output import headline, plain, present, show_block, show_line
from arrival_engine.engine.cli.places import PLACE, open_place, scratch_option
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.cli.values import WholeNumber
from arrival_engine.engine.process import human
from arrival_engine.engine.storage.url import Place

if TYPE_CHECKING:
    from arrival_engine.engine.validation.findings import Finding
    from arrival_engine.engine.validation.job import ValidateResult

_MARKS = {
    "PASS": ("ok", "green"),
    "FAIL": ("FAIL", "bold red"),
    "WARN": ("warn", "yellow"),
    "NOTE": ("note", "cyan"),
    "NOT_APPLICABLE": ("-", "dim"),
    "NO_DATA": ("-", "dim"),
    "NOT_RUN": ("NOT RUN", "bold red"),
}
_KEPT = {
    "published": "written",
    "identical": "identical to the one that was there",
    "replaced": "written in place of an earlier one",
}
# Statistics beyond these are in the report.
_STATISTICS_SHOWN = 4


@click.command(
    epilog="Example: arrivals validate runs/small",
    short_help="Check every published arrival and write the validation bundle.",
)
@click.argument("run_root", type=PLACE)
@click.option("--threads", type=WholeNumber(1), help="Part files checked at once.  [default: one per core]")
@scratch_option
@output_options
@click.pass_context
def command(context: click.Context, run_root: Place, threads: int | None, scratch: Path | None) -> None:
    """Check every published arrival under RUN_ROOT (a directory or a URL) against the sealed inputs.

    The checks share no code with the expansion. Writes the validation bundle, with its passed flag only if nothing
    failed. The exit code is 1 otherwise: the flag of an earlier bundle is revoked, and the new bundle goes to a
    separate place.
    """
    session = session_of(context)
    session.on_interrupt = "no validation bundle was written"

    from arrival_engine.engine.validation.codes import own_codes
    from arrival_engine.engine.validation.job import ValidateOptions, validate
    from arrival_engine.engine.validation.revocation import revoking

    with session.reporter() as reporter:
        opened = open_place(run_root, reporter, scratch)
        with own_codes(), opened as directory:
            with revoking(directory.withdraw_flag), own_codes():
                directory.fetch_arrivals()
            result = validate(directory.root, ValidateOptions(threads), reporter, withdraw=directory.withdraw_flag)
    result = replace(result, bundle=replace(result.bundle, folder=directory.shown(Path(result.bundle.folder))))
    present(context, result, _show, passed=result.passed, document=_document)


def _document(result: ValidateResult) -> object:
    records = [finding.record() for finding in result.findings]
    return plain({**vars(result), "findings": records})


def _show(result: ValidateResult) -> None:
    from arrival_engine.engine.validation.delivered import differences_text
    from arrival_engine.engine.validation.findings import tally_text

    for scenario in sorted({finding.scenario_id or "" for finding in result.findings}):
        show_line((scenario or "the run", "bold"))
        _show_findings([finding for finding in result.findings if (finding.scenario_id or "") == scenario])
    headline(*(("passed", "bold green") if result.passed else ("did not pass", "bold red")))
    rows = [
        ("arrivals", human.count(result.arrivals)),
        ("checks", tally_text(Counter(str(finding.verdict) for finding in result.findings))),
        ("time", f"{human.duration(result.seconds)}, peak memory {human.size(result.peak_rss_bytes)}"),
        ("digest", result.bundle.digest),
        ("bundle", f"{_KEPT[result.bundle.publication]}: {result.bundle.folder}"),
    ]
    if result.policy_differences:
        rows.insert(2, ("policy", differences_text(result.policy_differences)))
    if result.error_code:
        rows.insert(0, ("why", f"{result.error_code}: {result.error_message}"))
    show_block(*rows)


def _show_findings(findings: Sequence[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        mark, style = _MARKS[str(finding.verdict)]
        show_line((f"  {mark:<7} ", style), f"{finding.check:<{width}}  {_detail(finding)}")
        if str(finding.verdict) in ("FAIL", "WARN"):
            for example in finding.examples:
                show_line((f"  {'':<7} {'':<{width}}    {json.dumps(dict(example), default=str)}", "dim"))


def _detail(finding: Finding) -> str:
    from arrival_engine.engine.validation.findings import statistics_text
    from arrival_engine.engine.validation.rules import Area

    if str(finding.verdict) == "NOT_APPLICABLE":
        return finding.message
    rows = human.amount(finding.rows, "rows")
    realism, broken = finding.rule.area is Area.REALISM, str(finding.verdict) in ("FAIL", "WARN")
    demanded = broken and not (realism and finding.statistics)
    if demanded:
        rows = f"{human.count(finding.violations)} of {rows} break it: {finding.rule.demands}"
    statistics = finding.statistics if realism or broken else {}
    detail = statistics_text(statistics, finding.expected, finding.message, _STATISTICS_SHOWN)
    return f"{rows}{'; ' if demanded else ': '}{detail}" if detail else rows
