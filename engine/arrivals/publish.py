"""Publish a staged scenario by rename, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.options import FileFormat
from arrival_engine.contracts.oserrors import READ_HINT, reading, reason, refusal, system_number, writing
from arrival_engine.contracts.part_names import naming_fault, published_name
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.arrivals.part_file import PartFile
from arrival_engine.engine.rundir.hashing import same_bytes
from arrival_engine.engine.rundir.staging import make_folder

Outcome = Literal["published", "identical", "replaced"]
Comparison = Literal["statements", "manifest", "bytes"]


@dataclass(frozen=True)
class Published:
    """What is published, as the part files state it."""

    format: FileFormat
    digest: Digest


def read_published(directory: InsidePath) -> Published | None:
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


def refuse_certain_conflict(final: InsidePath, file_format: FileFormat, arrivals: int) -> None:
    """Raise IO_WRITE_CONFLICT before any work if the published arrivals differ in format or number."""
    if not _is_occupied(final):
        return
    standing = read_published(final)
    if standing is None or (standing.format, standing.digest.rows) != (file_format, arrivals):
        raise _conflict(final, f"it holds {_described(standing)}; this run makes {arrivals} arrivals as {file_format}")


class Voucher(NamedTuple):
    """A file that vouches for what is published, and where it goes before any of that changes."""

    path: InsidePath
    aside: InsidePath


class Publication:
    """Puts staged datasets in place, one rename each; what they replace moves to the staging directory.

    Before the first change, the voucher is taken away.
    """

    def __init__(self, undo: ExitStack, voucher: Voucher | None = None) -> None:
        self._undo = undo
        self._voucher = voucher

    def events(
        self,
        staged: InsidePath,
        final: InsidePath,
        expected: Published,
        token: str,
        *,
        replace: bool,
        vouched: bool = True,
    ) -> Outcome:
        """Put a directory of staged arrivals in place, its parts under names with the token of all parts.

        An existing partition of the same digest and format stays as it is; a different one is IO_WRITE_CONFLICT
        unless `replace`, as is a file in its place in any case. `vouched` False: nothing vouches for this place, which
        is on the way to a store.
        """
        occupied = _is_occupied(final)
        stands = occupied and _stands(final, expected, replace=replace)
        if stands and not replace:
            return "identical"
        with writing("arrivals", staged):
            _name_parts(staged, token)
            if stands and not _differ(staged, final):
                return "identical"
            staged.sync()
        self._put(staged, final, vouched=vouched)
        return "replaced" if occupied else "published"

    def file(self, staged: InsidePath, final: InsidePath) -> None:
        """Put a staged file in place, unless the same bytes are there already."""
        with writing("file", final):
            same = final.is_file() and same_bytes(staged, final)
        if not same:
            with writing("file", staged):
                staged.sync()
            self._put(staged, final)

    def withdraw(self, final: InsidePath, aside: InsidePath) -> None:
        """Take a published file, if there is one, out of its place."""
        with writing("published dataset", final):
            if final.kind() is not None:
                self._take_voucher()
                final.rename(aside)
                self._undo.callback(_take_back, lambda: aside.rename(final))
                final.parent.sync()

    def _take_voucher(self) -> None:
        voucher, self._voucher = self._voucher, None
        if voucher is not None:
            self.withdraw(voucher.path, voucher.aside)

    def _put(self, staged: InsidePath, final: InsidePath, *, vouched: bool = True) -> None:
        if vouched:
            self._take_voucher()
        with writing("published dataset", final):
            make_folder(final.parent)
            if final.kind() is not None:
                staged.exchange(final)
                self._undo.callback(_take_back, lambda: staged.exchange(final))
            else:
                staged.rename(final)
                self._undo.callback(_take_back, lambda: final.rename(staged))
            final.parent.sync()


@contextmanager
def publication(voucher: Voucher | None = None) -> Iterator[Publication]:
    """A Publication that is rolled back, last step first, unless the block completes."""
    with ExitStack() as undo:
        yield Publication(undo, voucher)
        undo.pop_all()


def _is_occupied(final: InsidePath) -> bool:
    with reading("directory", final):
        if final.is_dir():
            return any(final.iterdir())
    if final.kind() is not None:
        raise ArrivalError(
            Code.IO_WRITE_CONFLICT,
            f"{final} is in the way: arrivals are published as a directory of that name",
            hint="move it away; --replace replaces arrivals, nothing else",
            path=str(final),
        )
    return False


def _stands(final: InsidePath, expected: Published, *, replace: bool) -> bool:
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


def _name_parts(staged: InsidePath, token: str) -> None:
    for path in sorted(staged.iterdir()):
        path.rename(path.with_name(published_name(path.name, token)))


def _differ(staged: InsidePath, final: InsidePath) -> bool:
    """Whether any byte differs: the statements of part files do not show later damage."""
    names = sorted(path.name for path in staged.iterdir())
    with reading("arrivals", final):
        if names != sorted(path.name for path in final.iterdir()):
            return True
        return not all(same_bytes(staged / name, final / name) for name in names)


def _described(published: Published | None) -> str:
    return f"{published.format} arrivals with digest {published.digest}" if published else "other files"


def _take_back(rename: Callable[[], object]) -> None:
    # The failure that made this necessary is the one to report.
    with suppress(OSError):
        rename()


def _conflict(directory: InsidePath, problem: str) -> ArrivalError:
    return ArrivalError(
        Code.IO_WRITE_CONFLICT,
        f"{directory} already exists: {problem}",
        hint="pass --replace to put the new arrivals in its place, or move it away",
        path=str(directory),
    )
