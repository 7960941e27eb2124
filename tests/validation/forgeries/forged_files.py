"""All forged records, policies and flags, and what the validation says of one."""

from __future__ import annotations

from pathlib import Path

from arrival_engine import ArrivalError
from arrival_engine.engine.validation.job import validate
from tests.validation.forgeries import flags, page_index, policies, records
from tests.validation.forgeries.registry import PRETENCES, TAMPERINGS, Pretence, Tampering

_MODULES = {module.__name__ for module in (records, page_index, policies, flags)}


def tamperings() -> list[Tampering]:
    """The forgeries of kinds 8 and 9."""
    return sorted((entry for entry in TAMPERINGS if entry.change.__module__ in _MODULES), key=lambda entry: entry.kind)


def pretences() -> list[Pretence]:
    """The forgeries of kind 10."""
    return [entry for entry in PRETENCES if entry.act.__module__ in _MODULES]


def failed_checks(run_root: Path) -> set[str]:
    """The checks that fail."""
    return {finding.check for finding in validate(run_root).findings if finding.verdict == "FAIL"}


def caught_by(entry: Tampering, run_root: Path) -> set[str]:
    """Which of the expected checks fail, or which of the expected words refuse the forgery."""
    try:
        entry.change(run_root)
        return failed_checks(run_root) & entry.checks
    except ArrivalError as error:
        return {words for words in entry.checks if words in error.message}
