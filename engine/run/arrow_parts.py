"""Arrow IPC part files of one run, by Arrow's own writer."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.contracts.part_names import part_name
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.arrivals.metadata import file_metadata
from arrival_engine.engine.arrivals.part_file import DIGEST_KEY
from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import BatchResult
from arrival_engine.engine.process.work_seconds import Spent, untimed
from arrival_engine.engine.rundir.arrow_files import new_file
from arrival_engine.engine.world.load import World

_BUFFER_BYTES = 1 << 20


class ArrowParts:
    """Writes batches to part files in `directory`, each row group a record batch.

    Raises ROUTING_POLICY_INVALID for an output policy that Arrow files cannot keep.
    """

    def __init__(self, directory: InsidePath, world: World, assembler: Assembler, spent: Spent = untimed) -> None:
        compression = world.settings.output.compression
        if compression == "snappy":
            raise ArrivalError(
                Code.ROUTING_POLICY_INVALID,
                "arrival_output_policy_5B asks for snappy, which Arrow files do not have",
                hint="set its compression to lz4, zstd or none, or write --format parquet",
            )
        self._directory, self._assembler, self._spent = directory, assembler, spent
        self._codec = None if compression == "none" else compression
        self._metadata = file_metadata(world)

    def write(self, result: BatchResult) -> PartReceipt:
        """Write a batch; not yet synced to disk. Raises IO_WRITE_FAILED."""
        return self._put(result.batch.index, self._assembler.batches(result), result.digest)

    def write_empty(self, digest: Digest) -> PartReceipt:
        """Write the only part of a scenario without arrivals; as `write`."""
        return self._put(0, iter(()), digest)

    def _put(self, index: int, batches: Iterator[pa.RecordBatch], digest: Digest) -> PartReceipt:
        path = self._directory / part_name(index, "arrow")
        schema = self._assembler.schema.with_metadata({**self._metadata, DIGEST_KEY: str(digest)})
        options = pa.ipc.IpcWriteOptions(compression=self._codec)
        # A Python file would take the interpreter's lock for every buffer.
        with self._spent("encode and write"), writing("arrivals", path):
            with (
                new_file(path) as name,
                pa.BufferedOutputStream(pa.OSFile(name, "wb"), _BUFFER_BYTES) as sink,
                pa.ipc.new_file(sink, schema, options=options) as writer,
            ):
                for batch in batches:
                    writer.write_batch(batch.cast(schema))
            size = path.stat().st_size
        return PartReceipt(path.name, digest.rows, size, digest)
