"""Where the workers of a run hand in their files; another kind of store would replace this module alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing

EVENTS, LEDGERS, ROWS, CATALOGUE = "events", "ledgers", "rows", "catalogue.npz"
_ATTEMPTS = "attempts"


@dataclass(frozen=True)
class Depot:
    """A folder below the run's staging directory, at the same path for client and workers.

    A worker writes to an attempt's own folder and hands in finished files by rename: a task that runs twice, or dies,
    puts the same bytes in place a second time, or none. The client ends it by renaming the folder, so that an
    abandoned task finds no place to write to.
    """

    folder: InsidePath

    @classmethod
    def open(cls, staged: InsidePath) -> Depot:
        """A new depot. Raises IO_WRITE_FAILED."""
        depot = cls(staged / "depot")
        with writing("arrivals", depot.folder):
            for name in (EVENTS, LEDGERS, ROWS, _ATTEMPTS):
                (depot.folder / name).mkdir(parents=True)
        return depot

    @contextmanager
    def attempt(self) -> Iterator[InsidePath]:
        """A folder for one attempt of one task. Raises IO_WRITE_FAILED."""
        with writing("arrivals", self.folder):
            scratch = (self.folder / _ATTEMPTS).make_temporary("attempt")
        try:
            yield scratch
        finally:
            scratch.discard()

    def hand_in(self, kind: str, files: Sequence[InsidePath]) -> None:
        """Put files that are on the disk in place, under the names that they have. Raises IO_WRITE_FAILED."""
        with writing("arrivals", self.folder / kind):
            for file in files:
                file.rename(self.folder / kind / file.name)
            (self.folder / kind).sync()

    def close(self) -> Depot:
        """The same depot where no task can reach it. Raises IO_WRITE_FAILED."""
        closed = self.folder.with_name("collected")
        with writing("arrivals", closed):
            self.folder.rename(closed)
        return Depot(closed)
