"""Revocation: the flag of an earlier bundle goes when a validation finds that it vouches for nothing any longer.

What the data are found to be revokes it. What the machine did to the validation says nothing about the data, and leaves
it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.openat import UnsafePathError
from arrival_engine.contracts.oserrors import system_number
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.validation.records import Record, read_logs

Withdraw = Callable[[], object]

# Codes of a validation that ends without a verdict because of the machine, its limits, another process or the caller.
# Every other code is a statement about the data, S5.UNEXPECTED_INTERNAL_ERROR too: what the checks did not foresee, an
# earlier validation did not see.
OF_THE_MACHINE = frozenset(
    {
        Code.S5_IO_WRITE_FAILED,
        Code.S5_IO_WRITE_CONFLICT,
        Code.RESOURCES_INSUFFICIENT,
        Code.BACKEND_UNAVAILABLE,
        Code.CLUSTER_UNAVAILABLE,
        Code.DEPENDENCY_MISSING,
        Code.OPTION_INVALID,
    }
)


# The file is missing, or something else is in its place.
_NOT_AS_PUBLISHED = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def is_about_data(error: ArrivalError) -> bool:
    """Whether an error with which a validation ended says that the data are not what an earlier one passed."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    # A link in the run directory, or a store's manifest that is damaged, whatever the code.
    if error.context.get("damaged") is True or any(isinstance(failure, UnsafePathError) for failure in chain):
        return True
    if error.code is Code.S5_IO_READ_FAILED:
        return any(isinstance(failure, _NOT_AS_PUBLISHED) for failure in chain) or not any(map(_is_refusal, chain))
    return error.code not in OF_THE_MACHINE


def _is_refusal(failure: BaseException) -> bool:
    """Whether the system or the store would not hand over a file, which may be as it was."""
    if isinstance(failure, ArrivalError):
        return "url" in failure.context
    return system_number(failure) is not None


@contextmanager
def revoking(withdraw: Withdraw) -> Iterator[None]:
    """Call `withdraw`, which removes the flag, if the block ends with an error, of S5, that is about the data."""
    try:
        yield
    except ArrivalError as error:
        if is_about_data(error):
            withdraw()
        raise


def without_flag(receipt: Receipt, flag: InsidePath) -> ArrivalError:
    """The error for a bundle whose flag is missing: by the run report, what has removed it."""
    lines = [line for day in read_logs(receipt).days for line in day.records if line["state"] in ("S4", "S5")]
    why, hint = _history(receipt, lines)
    return ArrivalError(
        Code.S5_FLAG_SCHEMA_VIOLATION, f"{flag} is missing from a bundle that has passed: {why}", hint=hint, path=flag
    )


def _history(receipt: Receipt, lines: Sequence[Record]) -> tuple[str, str]:
    """What has removed the flag, and what to do."""
    for line in reversed(lines):
        if line["state"] == "S4" and line["status"] == "PASS":
            return f"`arrivals run` ran since, on {_moment(line)}", _VALIDATE
        if line["state"] == "S5" and line.get("flag_revoked") is True:
            found = f"{line.get('error_code')}: {line.get('error_message')}"
            failed = receipt.path("validation_failed_bundle_5B")
            where = f"; {failed} has the findings" if line.get("bundle_path") and failed.is_dir() else ""
            return f"the validation of {_moment(line)} revoked it: {found}{where}", _MEND
        if line["state"] == "S5" and line["status"] == "PASS":
            break
    return "no run and no validation that the run report knows has removed it", _VALIDATE


_VALIDATE = "validate again with `arrivals validate RUN_ROOT`"
_MEND = "mend what it found, then run `arrivals validate RUN_ROOT`"


def _moment(line: Record) -> str:
    return str(line.get("finished_at_utc", "an unknown time"))
