"""Write one batch to one part file, Parquet or Arrow IPC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.options import FileFormat
from arrival_engine.contracts.oserrors import writing
from arrival_engine.contracts.part_names import part_name
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.arrivals.part_file import DIGEST_KEY
from arrival_engine.engine.rundir.arrow_files import new_file
from arrival_engine.engine.rundir.settings import OutputOptions

# Ascending or slowly changing integers shrink best as deltas; the other columns repeat values and use dictionaries.
_DELTA_COLUMNS = frozenset({"arrival_seq", "ts_utc", "ts_local_primary", "ts_local_settlement", "ts_local_operational"})
# Long runs of one value: plain pages take half the time of a dictionary, and any codec removes the runs.
_RUN_COLUMNS = frozenset({"seed", "merchant_id", "bucket_index"})
# Statistics cost time per value; readers prune by merchant, time and sequence.
_STATISTICS = ("merchant_id", "arrival_seq", "ts_utc", "bucket_index")
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class PartReceipt:
    """What one part file holds; `name` is that of the staged file, `sha256` is empty until the file is on disk."""

    name: str
    rows: int
    bytes: int
    digest: Digest
    sha256: str = ""


@dataclass(frozen=True)
class PartWriter:
    """Writes part files of one run; `metadata` goes into every file besides the part's own digest."""

    directory: InsidePath
    schema: pa.Schema
    options: OutputOptions
    file_format: FileFormat
    metadata: Mapping[str, str]

    def __post_init__(self) -> None:
        if (self.file_format, self.options.compression) == ("arrow", "snappy"):
            raise ArrivalError(
                Code.ROUTING_POLICY_INVALID,
                "arrival_output_policy_5B asks for snappy, which Arrow files do not have",
                hint="set its compression to lz4, zstd or none, or write --format parquet",
            )

    def write(self, index: int, batches: Iterator[pa.RecordBatch], digest: Digest) -> PartReceipt:
        """Write record batches, each a row group, as part `index`; not yet synced to disk. Raises IO_WRITE_FAILED."""
        path = self.directory / part_name(index, self.file_format)
        schema = self.schema.with_metadata({**self.metadata, DIGEST_KEY: str(digest)})
        # A Python file would take the interpreter's lock for every page, about a hundred per row group.
        with writing("arrivals", path):
            with new_file(path) as name, pa.BufferedOutputStream(pa.OSFile(name, "wb"), _BUFFER_BYTES) as sink:
                if self.file_format == "parquet":
                    self._write_parquet(sink, schema, batches)
                else:
                    self._write_arrow(sink, schema, batches)
            size = path.stat().st_size
        return PartReceipt(path.name, digest.rows, size, digest)

    def _write_parquet(self, sink: object, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        texts = {field.name for field in schema if _is_text(field.type)}
        deltas = _DELTA_COLUMNS - texts
        plain = texts if self.options.compression == "none" else texts | _RUN_COLUMNS
        with pq.ParquetWriter(
            sink,
            schema,
            version="2.6",
            compression=self.options.compression.upper(),
            use_dictionary=[name for name in schema.names if name not in deltas | plain],
            column_encoding=dict.fromkeys(sorted(deltas), "DELTA_BINARY_PACKED"),
            write_statistics=[name for name in _STATISTICS if name not in texts],
            # The default of 1,024 spends a tenth of the encoding time between small batches.
            write_batch_size=65_536,
        ) as writer:
            for batch in batches:
                writer.write_table(pa.Table.from_batches([batch]), row_group_size=self.options.row_group_rows)

    def _write_arrow(self, sink: object, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        codec = None if self.options.compression == "none" else self.options.compression
        options = pa.ipc.IpcWriteOptions(compression=codec)
        with pa.ipc.new_file(sink, schema, options=options) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(schema))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind))
