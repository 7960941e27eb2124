"""Publish a staged scenario by rename, whole or not at all."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.options import FileFormat
from arrival_engine.contracts.oserrors import READ_HINT, reading, reason, refusal, system_number, writing
from arrival_engine.contracts.part_names import naming_fault, published_name
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.arrivals.part_file import PartFile
from arrival_engine.engine.rundir.exchange import exchange
from arrival_engine.engine.rundir.staging import make_folder, sync

Outcome = Literal["published", "identical", "replaced"]
Comparison = Literal["statements", "manifest", "bytes"]


@dataclass(frozen=True)
class Published:
    """What is published, as the part files state it."""

    format: FileFormat
    digest: Digest


def read_published(directory: Path) -> Published | None:
    """What a partition directory holds; None where there is none or it is empty.

    Raises IO_WRITE_CONFLICT when its parts cannot be read as ours.
    """
    parts = sorted(path for path in directory.glob("part-*") if path.is_file()) if directory.is_dir() else []
    if not parts:
        return None
    if naming_fault([path.name for path in parts]):
        raise _conflict(directory, "its part files are not numbered 0, 1, 2, ... in one format and publication")
    file_format = PartFile.at(parts[0]).format
    digest = Digest()
    for path in parts:
        try:
            digest += PartFile.at(path).digest()
        except (OSError, ValueError, pa.ArrowException) as failure:
            if system_number(failure) is not None:
                message = f"cannot read the published part {path}: {reason(failure)}"
                raise refusal(Code.IO_READ_FAILED, message, failure, READ_HINT, path=path) from failure
            raise _conflict(directory, f"{path.name} states no arrival digest") from failure
    return Published(file_format, digest)


def refuse_certain_conflict(final: Path, file_format: FileFormat, arrivals: int) -> None:
    """Raise IO_WRITE_CONFLICT before any work if the published arrivals differ in format or number."""
    if not _is_occupied(final):
        return
    standing = read_published(final)
    if standing is None or (standing.format, standing.digest.rows) != (file_format, arrivals):
        raise _conflict(final, f"it holds {_described(standing)}; this run makes {arrivals} arrivals as {file_format}")


class Publication:
    """Puts staged datasets in place, one rename each; what they replace moves to the staging directory."""

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo

    def events(self, staged: Path, final: Path, expected: Published, token: str, *, replace: bool) -> Outcome:
        """Put a directory of staged arrivals in place, its parts under names with the token of all parts.

        An existing partition of the same digest and format stays as it is; a different one is IO_WRITE_CONFLICT
        unless `replace`, as is a file in its place in any case.
        """
        occupied = _is_occupied(final)
        stands = occupied and _stands(final, expected, replace=replace)
        if stands and not replace:
            return "identical"
        with writing("arrivals", staged):
            _name_parts(staged, token)
            if stands and not _differ(staged, final):
                return "identical"
            sync(staged)
        self._put(staged, final)
        return "replaced" if occupied else "published"

    def file(self, staged: Path, final: Path) -> None:
        """Put a staged file in place, unless the same bytes are there already."""
        with writing("file", final):
            same = final.is_file() and filecmp.cmp(staged, final, shallow=False)
        if not same:
            with writing("file", staged):
                sync(staged)
            self._put(staged, final)

    def withdraw(self, final: Path, aside: Path) -> None:
        """Take a published file, if there is one, out of its place."""
        with writing("published dataset", final):
            if os.path.lexists(final):
                final.rename(aside)
                self._undo.callback(_take_back, lambda: aside.rename(final))
                sync(final.parent)

    def _put(self, staged: Path, final: Path) -> None:
        with writing("published dataset", final):
            make_folder(final.parent)
            if os.path.lexists(final):
                exchange(staged, final)
                self._undo.callback(_take_back, lambda: exchange(staged, final))
            else:
                staged.rename(final)
                self._undo.callback(_take_back, lambda: final.rename(staged))
            sync(final.parent)


@contextmanager
def publication() -> Iterator[Publication]:
    """A Publication that is rolled back, last step first, unless the block completes."""
    with ExitStack() as undo:
        yield Publication(undo)
        undo.pop_all()


def _is_occupied(final: Path) -> bool:
    with reading("directory", final):
        if final.is_dir():
            return any(final.iterdir())
    if os.path.lexists(final):
        raise ArrivalError(
            Code.IO_WRITE_CONFLICT,
            f"{final} is in the way: arrivals are published as a directory of that name",
            hint="move it away; --replace replaces arrivals, nothing else",
            path=str(final),
        )
    return False


def _stands(final: Path, expected: Published, *, replace: bool) -> bool:
    """Whether a partition holds what is expected; IO_WRITE_CONFLICT where it does not and may not be replaced."""
    try:
        standing = read_published(final)
    except ArrivalError:
        if not replace:
            raise
        standing = None
    if standing != expected and not replace:
        raise _conflict(final, f"it holds {_described(standing)}; this run made {_described(expected)}")
    return standing == expected


def _name_parts(staged: Path, token: str) -> None:
    for path in sorted(staged.iterdir()):
        path.rename(path.with_name(published_name(path.name, token)))


def _differ(staged: Path, final: Path) -> bool:
    """Whether any byte differs: the statements of part files do not show later damage."""
    names = sorted(path.name for path in staged.iterdir())
    with reading("arrivals", final):
        if names != sorted(path.name for path in final.iterdir()):
            return True
        return bool(filecmp.cmpfiles(staged, final, names, shallow=False)[0] != names)


def _described(published: Published | None) -> str:
    return f"{published.format} arrivals with digest {published.digest}" if published else "other files"


def _take_back(rename: Callable[[], object]) -> None:
    # The failure that made this necessary is the one to report.
    with suppress(OSError):
        rename()


def _conflict(directory: Path, problem: str) -> ArrivalError:
    return ArrivalError(
        Code.IO_WRITE_CONFLICT,
        f"{directory} already exists: {problem}",
        hint="pass --replace to put the new arrivals in its place, or move it away",
        path=str(directory),
    )
