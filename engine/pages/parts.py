"""Parquet part files of one run, written straight from the columns of its batches."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.contracts.part_names import part_name
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.cpu_fallback.tables import I64
from arrival_engine.engine.arrivals.metadata import file_metadata
from arrival_engine.engine.arrivals.part_file import DIGEST_KEY
from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import BatchResult
from arrival_engine.engine.pages.encoder import PageEncoder, Pieces, kernels_are_cached, nothing
from arrival_engine.engine.pages.framing import Buffer
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.work_seconds import Spent, untimed
from arrival_engine.engine.world.load import World


class ParquetParts:
    """Writes batches to part files in `directory`, on any number of threads; row groups are the assembler's."""

    def __init__(self, directory: InsidePath, world: World, assembler: Assembler, spent: Spent = untimed) -> None:
        self._directory, self._assembler, self._spent = directory, assembler, spent
        self._metadata = file_metadata(world)
        self._encoder = PageEncoder(world, assembler.schema)

    def load_kernels(self, reporter: Reporter) -> None:
        """Compile the kernels, or load them from the cache."""
        if not kernels_are_cached():
            reporter.message("compiling the part writer: once after an installation or an update, a few seconds")
        with reporter.phase("load kernels"):
            self._encoder.load_kernels()

    def write(self, result: BatchResult) -> PartReceipt:
        """Write a batch; not yet synced to disk. Raises IO_WRITE_FAILED."""
        return self._put(result.batch.index, self.pieces(result), result.digest)

    def pieces(self, result: BatchResult) -> Pieces:
        """The file that `write` makes, piece by piece; each is valid until the next one is asked for."""
        bounds = [0, *(last for _, last in self._assembler.row_groups(result))]
        return self._pieces(result, np.array(bounds, np.int64), result.digest)

    def write_empty(self, digest: Digest) -> PartReceipt:
        """Write the only part of a scenario without arrivals; as `write`."""
        return self._put(0, self._pieces(nothing(), np.zeros(1, np.int64), digest), digest)

    def _pieces(self, result: BatchResult, groups: I64, digest: Digest) -> Pieces:
        return self._encoder.pieces(result, groups, {**self._metadata, DIGEST_KEY: str(digest)})

    def _put(self, index: int, pieces: Pieces, digest: Digest) -> PartReceipt:
        path, size = self._directory / part_name(index, "parquet"), 0
        with writing("arrivals", path), path.open("wb") as file, closing(pieces):
            while (piece := self._next(pieces)) is not None:
                with self._spent("write"):
                    size += file.write(piece)
        return PartReceipt(path.name, digest.rows, size, digest)

    def _next(self, pieces: Pieces) -> Buffer | None:
        with self._spent("encode"):
            return next(pieces, None)
