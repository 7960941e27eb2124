"""Types of arguments and options: run directories as paths or URLs, instants, numbers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.contracts import ArrivalError
from arrival_engine.contracts.moments import microseconds
from arrival_engine.engine.cli.session import session_of
from arrival_engine.engine.cli.values import FolderPath, PathType, WholeNumber, is_utf8
from arrival_engine.engine.storage.url import Place, parse_place

if TYPE_CHECKING:
    from arrival_engine.engine.process.progress import Reporter
    from arrival_engine.engine.storage import RunDirectory

__all__ = [
    "BATCH_ARRIVALS",
    "INSTANT",
    "LOCAL",
    "MERCHANT",
    "PLACE",
    "TABLE",
    "TARGET",
    "U64",
    "open_place",
    "scratch_option",
]


class _PlaceType(PathType["Place"]):
    name = "directory"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """The path, or the place that a URL names; a usage error for a URL that is not valid."""
        if not isinstance(value, str):
            return value  # type: ignore[return-value] # click converts its own defaults again
        if ctx is not None and param is not None and param.name == "run_root":
            session_of(ctx).run_root = value
        if not value:
            # An unset variable; as a path it would be the current directory.
            self.fail("the path is empty", param, ctx)
        if not is_utf8(value):
            # Arrow takes no other paths.
            self.fail(f"the path {value!r} is not UTF-8: rename the directory", param, ctx)
        try:
            return parse_place(value)
        except ArrivalError as error:
            self.fail(f"{error.message} ({error.hint})", param, ctx)


class _LocalType(PathType[Path]):
    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; a usage error for a URL, which this command cannot work on."""
        place = PLACE.convert(value, param, ctx)
        if not isinstance(place, Path):
            self.fail(
                f"{place} is in an object store, and this command needs a local directory: "
                "download it first (`arrivals seal`, `run`, `plan` and `validate` take URLs)",
                param,
                ctx,
            )
        return place


class _TargetType(_PlaceType):
    """A place that a command writes, which may be one file."""

    name = "target"
    kind = "file"


class _InstantType(click.ParamType[str]):
    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as given; a usage error unless it is an RFC 3339 time with an offset."""
        try:
            microseconds(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)
        return str(value)


class _MerchantType(click.ParamType[str]):
    name = "merchant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as given, which only the world can tell from a number; a usage error for one that is empty."""
        if not value:
            self.fail("the merchant is empty: give its id, or its text in a world whose ids are texts", param, ctx)
        if not is_utf8(str(value)):
            self.fail(f"{value!r} is not UTF-8: give the merchant's text as it was imported", param, ctx)
        return str(value)


# More than any world has; without a limit, a number too long for the machine would look like a defect.
BATCH_ARRIVALS = WholeNumber(1, 10**12)

U64 = WholeNumber(0, 2**64 - 1)
MERCHANT = _MerchantType()

INSTANT = _InstantType()
PLACE = _PlaceType()
LOCAL = _LocalType("directory", "dir")
TABLE = _LocalType("table", "file")
TARGET = _TargetType()

scratch_option = click.option(
    "--scratch",
    type=FolderPath(),
    help="Directory for the working copy of a URL.  [default: the directory for temporary files]",
)


def open_place(
    place: Place, reporter: Reporter, scratch: Path | None, *, writes: bool = True
) -> AbstractContextManager[RunDirectory]:
    """The run directory of one command; `writes` is False for a command that only reads."""
    from arrival_engine.engine.storage import run_directory

    if scratch is not None and isinstance(place, Path):
        raise click.UsageError("--scratch is for a run directory in an object store; a local one is used in place")
    return run_directory(place, reporter, scratch=scratch, writes=writes)
