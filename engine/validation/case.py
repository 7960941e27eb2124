"""The state that the checks of one scenario share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.validation.database import Cursor
from arrival_engine.engine.validation.events import Events
from arrival_engine.engine.validation.findings import Book
from arrival_engine.engine.validation.inputs import Horizon
from arrival_engine.engine.validation.policy import Rules


@dataclass(frozen=True)
class Case:
    """One scenario under validation; `line` is its last PASS line in the run report, if there is one.

    routing: the routing policy in force; spec_version: the seal's.
    """

    receipt: Receipt
    scenario_id: str
    policy: Rules
    routing: Mapping[str, Any]
    horizon: Horizon
    events: Events
    line: Mapping[str, Any] | None
    cursor: Cursor
    book: Book
