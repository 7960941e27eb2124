"""The published arrivals of a scenario as a source."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code, Identity
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.part_names import naming_fault
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.arrivals.metadata import SEAL_KEY
from arrival_engine.engine.arrivals.part_file import PartFile
from arrival_engine.engine.arrivals.reading import part_files, reading_arrivals
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.readable.facts import Facts, RunFacts
from arrival_engine.engine.rundir.receipt import Receipt

__all__ = ["PublishedSource", "published_source"]

_REPLACE = "publish the arrivals again with `arrivals run RUN_ROOT --replace`"


class _Piece(NamedTuple):
    """Neighbouring row groups or record batches of a part that states this digest."""

    path: InsidePath
    groups: range
    digest: Digest


class PublishedSource:
    """Part files, as they were listed when the source was made, read on `threads` threads.

    A pass over arrivals that another run has replaced meanwhile raises IO_READ_FAILED.
    """

    def __init__(self, receipt: Receipt, scenario_id: str, parts: tuple[InsidePath, ...], threads: int = 1) -> None:
        self._receipt, self._parts, self._threads = receipt, parts, threads
        self.scenario_id = scenario_id
        self.facts: Facts = RunFacts(receipt)
        self._digests = tuple(_stated(path) for path in parts)
        self._whole = sum(self._digests, Digest())

    @property
    def rows(self) -> int:
        """Exact number of arrivals."""
        return self._whole.rows

    @property
    def identity(self) -> Identity:
        """Identity of the run."""
        return self._receipt.identity

    @cached_property
    def seal_digest(self) -> str | None:
        """The digest of the sealed inputs that the arrivals were made from, as the parts state it."""
        with reading_arrivals(self._parts[0]):
            return PartFile.at(self._parts[0]).statements().get(SEAL_KEY)

    def digest(self) -> str:
        """The digest of all arrivals, as the parts state it."""
        return str(self._whole)

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        """All arrivals in part order. Raises IO_READ_FAILED."""
        with closing(ordered(_read, self._pieces(), self._threads, Cancellation())) as tables:
            for table in tables:
                yield from table.to_batches()

    def _pieces(self) -> Generator[_Piece, None, None]:
        for path, digest in zip(self._parts, self._digests, strict=True):
            with reading_arrivals(path):
                spans = PartFile.at(path).spans()
            yield from (_Piece(path, groups, digest) for groups in spans)


def _read(piece: _Piece) -> pa.Table:
    # Parts of version 0.1.0 have the same names in every publication.
    if _stated(piece.path) != piece.digest:
        raise _replaced(piece.path)
    with reading_arrivals(piece.path, UnicodeDecodeError):
        return PartFile.at(piece.path).span(piece.groups)


def published_source(receipt: Receipt, scenario_id: str | None = None, threads: int = 1) -> PublishedSource:
    """The published arrivals of a scenario, which may be omitted if one is published.

    Raises IO_READ_FAILED if nothing is published or a part cannot be read, OPTION_INVALID for another scenario.
    """
    folders = receipt.partitions("arrival_events_5B")
    known = {name: parts for name, folder in folders.items() if (parts := part_files(folder))}
    chosen = _chosen(receipt, list(known), scenario_id)
    parts = known[chosen]
    if fault := naming_fault([path.name for path in parts]):
        raise ArrivalError(
            Code.IO_READ_FAILED,
            f"{parts[0].parent} does not hold the parts of one publication: {fault}",
            hint=_REPLACE,
            path=str(parts[0].parent),
        )
    return PublishedSource(receipt, chosen, tuple(parts), threads)


def _chosen(receipt: Receipt, known: list[str], wanted: str | None) -> str:
    if not known:
        raise ArrivalError(
            Code.IO_READ_FAILED,
            f"{receipt.run_root} has no published arrivals",
            hint="publish them first with `arrivals run RUN_ROOT`",
            path=str(receipt.path("arrival_events_5B", scenario_id="any").parent),
        )
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted not in known:
        problem = "the run has arrivals of several scenarios" if wanted is None else f"no arrivals of {wanted!r}"
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"{problem}; published: {', '.join(known)}",
            hint="name one of the published scenarios",
            scenarios=known,
        )
    return wanted


def _stated(path: InsidePath) -> Digest:
    with reading_arrivals(path, ValueError):
        return PartFile.at(path).digest()


def _replaced(path: InsidePath) -> ArrivalError:
    return ArrivalError(
        Code.IO_READ_FAILED,
        f"{path} has other arrivals than before",
        hint="another run has replaced these arrivals; read them again",
        path=str(path),
    )
