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
from arrival_engine.engine.validation.records import History, Record


@dataclass(frozen=True)
class Case:
    """One scenario under validation; `told` is what the run report says of it.

    routing: the routing policy in force; spec_version: the seal's.
    """

    receipt: Receipt
    scenario_id: str
    policy: Rules
    routing: Mapping[str, Any]
    horizon: Horizon
    events: Events
    told: History
    cursor: Cursor
    book: Book

    @property
    def line(self) -> Record | None:
        """The last line of a successful run, if there is one."""
        return self.told.line
