"""pyarrow's Parquet writer, the reference that the engine's own writer is compared with: same rows, same row groups.

Its settings are the fastest that gave small files: with others it takes longer, or more bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.part_names import part_name
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.arrivals.metadata import file_metadata
from arrival_engine.engine.arrivals.part_file import DIGEST_KEY
from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.rundir.arrow_files import new_file
from arrival_engine.engine.rundir.settings import OutputOptions
from arrival_engine.engine.world.load import World

# Ascending or slowly changing integers shrink best as deltas; the other columns repeat values and use dictionaries.
_DELTA_COLUMNS = frozenset({"arrival_seq", "ts_utc", "ts_local_primary", "ts_local_settlement", "ts_local_operational"})
# Long runs of one value: plain pages take half the time of a dictionary, and any codec removes the runs.
_RUN_COLUMNS = frozenset({"seed", "merchant_id", "bucket_index"})
# Statistics cost time per value; readers prune by merchant, time and sequence.
_STATISTICS = ("merchant_id", "arrival_seq", "ts_utc", "bucket_index")
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class ArrowParquetWriter:
    """Writes part files of one run; `metadata` goes into every file besides the part's own digest."""

    directory: InsidePath
    schema: pa.Schema
    options: OutputOptions
    metadata: Mapping[str, str]

    def write(self, index: int, batches: Iterator[pa.RecordBatch], digest: Digest) -> PartReceipt:
        """Write record batches, each a row group, as part `index`; not yet synced to disk."""
        path = self.directory / part_name(index, "parquet")
        schema = self.schema.with_metadata({**self.metadata, DIGEST_KEY: str(digest)})
        # A Python file would take the interpreter's lock for every page, about a hundred per row group.
        with new_file(path) as name, pa.BufferedOutputStream(pa.OSFile(name, "wb"), _BUFFER_BYTES) as sink:
            self._write(sink, schema, batches)
        return PartReceipt(path.name, digest.rows, path.stat().st_size, digest)

    def _write(self, sink: object, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        texts = {field.name for field in schema if pa.types.is_string(field.type)}
        deltas = _DELTA_COLUMNS - texts
        plain = texts if self.options.compression == "none" else texts | _RUN_COLUMNS
        with pq.ParquetWriter(
            sink,
            schema,
            version="2.6",
            compression=self.options.compression.upper(),
            use_dictionary=[name for name in schema.names if name not in deltas | plain],
            column_encoding={name: "DELTA_BINARY_PACKED" for name in schema.names if name in deltas},
            write_statistics=[name for name in _STATISTICS if name not in texts],
            # The default of 1,024 spends a tenth of the encoding time between small batches.
            write_batch_size=65_536,
        ) as writer:
            for batch in batches:
                writer.write_table(pa.Table.from_batches([batch]), row_group_size=self.options.row_group_rows)


def arrow_writer(world: World, assembler: Assembler, folder: Path) -> ArrowParquetWriter:
    """A writer of the world's arrivals, with the settings of its output policy."""
    return ArrowParquetWriter(InsidePath(folder), assembler.schema, world.settings.output, file_metadata(world))
