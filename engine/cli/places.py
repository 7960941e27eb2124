"""Run directories on the command line: paths, and for the commands that take them, URLs of object stores."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.contracts import ArrivalError
from arrival_engine.engine.storage.url import Place, parse_place

if TYPE_CHECKING:
    from arrival_engine.engine.process.progress import Reporter
    from arrival_engine.engine.storage import RunDirectory

__all__ = ["BATCH_ARRIVALS", "LOCAL", "PLACE", "open_place", "scratch_option"]


class _PlaceType(click.ParamType["Place"]):
    name = "directory"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """The path, or the place a URL names; a usage error for a URL that makes no sense."""
        if not isinstance(value, str):
            return value  # type: ignore[return-value] # click converts its own defaults again
        if not value:
            # A variable that is not set; as a path it would be the current directory.
            self.fail("the path is empty", param, ctx)
        try:
            return parse_place(value)
        except ArrivalError as error:
            self.fail(f"{error.message} ({error.hint})", param, ctx)


class _LocalType(click.ParamType[Path]):
    name = "directory"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; a usage error for a URL, which this command cannot work on."""
        place = PLACE.convert(value, param, ctx)
        if not isinstance(place, Path):
            self.fail(
                f"{place} is in an object store, and this command needs a directory of this machine: "
                "download it first (`arrivals seal`, `run`, `plan` and `validate` take URLs)",
                param,
                ctx,
            )
        return place


# More than any world has; without an end, a number too long for the machine would look like a defect.
BATCH_ARRIVALS = click.IntRange(1, 10**12)

PLACE = _PlaceType()
LOCAL = _LocalType()

scratch_option = click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the working copy of a URL lies meanwhile.  [default: the directory for temporary files]",
)


def open_place(
    place: Place, reporter: Reporter, scratch: Path | None, *, writes: bool = True
) -> AbstractContextManager[RunDirectory]:
    """The run directory that was named on the command line, for one command; `writes` False for one that only reads."""
    from arrival_engine.engine.storage import run_directory

    if scratch is not None and isinstance(place, Path):
        raise click.UsageError("--scratch is for a run directory in an object store: one of this machine is used as is")
    return run_directory(place, reporter, scratch=scratch, writes=writes)
