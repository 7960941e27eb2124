"""One batch to one Parquet part file, written by cuDF on the device that has its columns.

The rows, the digest, the schema and the metadata are those of `engine.pages`; the bytes are cuDF's.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.contracts.part_names import part_name
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.arrivals.metadata import file_metadata
from arrival_engine.engine.arrivals.part_file import DIGEST_KEY, is_time
from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import BatchResult
from arrival_engine.engine.expand.device_layout import device_layout
from arrival_engine.engine.pages.parts import ParquetParts
from arrival_engine.engine.process.work_seconds import Spent, untimed
from arrival_engine.engine.rundir.arrow_files import new_file
from arrival_engine.engine.world.load import World
from arrival_engine.gpu_kernels.columns import Layout

_DISTRIBUTIONS = ("pylibcudf-cu13", "pylibcudf-cu12", "pylibcudf")


def layout_of(world: World) -> Layout:
    """What the contract's columns of a world are made of. Raises ROUTING_POLICY_INVALID for times as texts."""
    return device_layout(world, "run without --device-writer")


class DevicePartWriter:
    """Writes part files of one run into a directory; raises ROUTING_POLICY_INVALID for a policy that it cannot keep.

    Row groups are the assembler's.
    """

    def __init__(self, directory: InsidePath, world: World, assembler: Assembler, spent: Spent = untimed) -> None:
        self._directory, self._world, self._assembler, self._spent = directory, world, assembler, spent
        self._layout = layout_of(world)
        options = world.settings.output
        self._compression = options.compression
        self._plain: frozenset[str] = frozenset()
        if options.encoding == "plain":
            self._plain = frozenset({"arrival_seq", *filter(is_time, self._layout.schema.names)})
        self._metadata = file_metadata(world)

    @property
    def name(self) -> str:
        """What writes, with its version, which decides the bytes."""
        for distribution in _DISTRIBUTIONS:
            try:
                return f"{distribution} {importlib.metadata.version(distribution)}"
            except importlib.metadata.PackageNotFoundError:
                continue
        return "pylibcudf"

    def write(self, result: BatchResult) -> PartReceipt:
        """Write a result that is still on its device; not yet synced to disk.

        Raises IO_WRITE_FAILED, and RESOURCES_INSUFFICIENT where the device has no room.
        """
        from arrival_engine.gpu_kernels.cudf_parquet import DevicePart, write_part
        from arrival_engine.gpu_kernels.lane import out_of_memory

        if result.on_device is None:
            raise ValueError(f"batch {result.batch.index} is not on a device")
        kept, stream, label, _ = result.on_device
        path = self._directory / part_name(result.batch.index, "parquet")
        metadata = {**self._metadata, DIGEST_KEY: str(result.digest)}
        row_groups = tuple(self._assembler.row_groups(result))
        try:
            with self._spent("encode and write"), writing("arrivals", path):
                with new_file(path) as name:
                    part = DevicePart(Path(name), metadata, self._compression, row_groups, self._plain)
                    try:
                        write_part(self._layout, kept, stream, part)
                    except MemoryError as failure:
                        message = f"{label} has no memory to write {result.batch.arrivals} arrivals"
                        raise out_of_memory(message) from failure
                size = path.stat().st_size
        except RuntimeError as failure:
            # libcudf's errors, a disk without room among them.
            raise ArrivalError(
                Code.IO_WRITE_FAILED,
                f"cuDF cannot write {path}: {failure}",
                hint="check the disk, or run without --device-writer; nothing was published",
                path=str(path),
            ) from failure
        return PartReceipt(path.name, result.batch.arrivals, size, result.digest)

    def write_empty(self, digest: Digest) -> PartReceipt:
        """Write the only part of a scenario without arrivals, without the device; as `write`."""
        return ParquetParts(self._directory, self._world, self._assembler, self._spent).write_empty(digest)
