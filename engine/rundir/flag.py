"""The flag of the validation bundle, which vouches for what was published: it goes before any of that changes."""

from __future__ import annotations

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.engine.rundir.receipt import Receipt


def flag_of(receipt: Receipt) -> InsidePath:
    """The place of the flag."""
    return receipt.path("validation_passed_flag_5B")


def remove_flag(receipt: Receipt) -> bool:
    """Remove the flag, and flush its directory to the disk; whether there was one. Raises IO_WRITE_FAILED."""
    path = flag_of(receipt)
    with writing("passed flag", path, hint=f"remove {path} by hand: nothing may rely on it"):
        if path.kind() is None:
            return False
        path.remove()
        path.parent.sync()
    return True
