"""What the judges of one scenario share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.rundir.receipt import Receipt
from engine.validation.database import Cursor
from engine.validation.events import Events
from engine.validation.findings import Book
from engine.validation.inputs import Horizon
from engine.validation.policy import Rules


@dataclass(frozen=True)
class Case:
    """One scenario under judgement; `line` is the run report's last PASS line of it, if there is one.

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
