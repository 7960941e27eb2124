"""Writing a world's files: each table conforms to its contract, each path comes from the dictionary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from arrival_engine.contracts import Identity, arrow_schema, check_document, conform, dataset
from arrival_engine.contracts.arrow_columns import constant
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.rundir.arrow_files import new_parquet, table_bytes, write_table
from arrival_engine.engine.rundir.hashing import content_sha256
from arrival_engine.engine.rundir.strict_json import check_size

COMPRESSION = "zstd"
SPEC_VERSION = "1.0.0"
# A fixed stamp, so that a world's bytes do not depend on when it was made.
CREATED_UTC = "2026-01-01T00:00:00.000000Z"


def _checked(dataset_id: str, columns: Mapping[str, pa.Array] | pa.Table, name: str) -> pa.Table:
    table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
    return conform(dataset_id, table, where=name)


def absent(rows: int, kind: pa.DataType | None = None) -> pa.Array:
    """Column of nulls, text unless `kind` says otherwise."""
    return pa.nulls(rows, kind or pa.string())


class Shelf:
    """Writes datasets below a staging root under one identity and scenario."""

    def __init__(self, root: InsidePath, identity: Identity, scenario_id: str) -> None:
        self.root = root
        self.identity = identity
        self.tokens = identity.tokens(scenario_id=scenario_id)

    def path(self, dataset_id: str) -> InsidePath:
        """Path of the dataset's file, or first part; makes its directory."""
        path = self._place(dataset_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _place(self, dataset_id: str) -> InsidePath:
        entry = dataset(dataset_id)
        return entry.part(self.root, self.tokens, 0) if entry.part_name else entry.locate(self.root, self.tokens)

    def holds(self, dataset_id: str) -> bool:
        """Whether the dataset's file, or first part, has been written."""
        return self._place(dataset_id).is_file()

    def name(self, dataset_id: str) -> str:
        """The name of the dataset's file, or first part."""
        return self._place(dataset_id).name

    def size(self, dataset_id: str) -> int:
        """Bytes of the dataset's file, which has been written."""
        return self._place(dataset_id).stat().st_size

    def sha256(self, dataset_id: str) -> str:
        """SHA-256 of the dataset's file, which has been written."""
        return content_sha256([self._place(dataset_id)])

    def relative(self, dataset_id: str) -> str:
        """The dataset's path below the run root."""
        return dataset(dataset_id).relative(self.tokens)

    def common(self, rows: int, *names: str) -> dict[str, pa.Array]:
        """Identity columns: any of manifest_fingerprint, parameter_hash, scenario_id, seed, created_utc."""
        texts = {**self.tokens, "created_utc": CREATED_UTC}
        seed = pa.array(np.full(rows, self.identity.seed, np.uint64))
        return {name: seed if name == "seed" else constant(texts[name], rows) for name in names}

    def table(self, dataset_id: str, columns: Mapping[str, pa.Array] | pa.Table) -> InsidePath:
        """Check and write a whole table as one file."""
        path = self.path(dataset_id)
        write_table(path, _checked(dataset_id, columns, path.name), compression=COMPRESSION)
        return path

    def tables(self, dataset_id: str, pieces: Iterable[Mapping[str, pa.Array]]) -> InsidePath:
        """Check and write a table piece by piece, a row group each, as one file; without a piece it has no rows."""
        path = self.path(dataset_id)
        schema = arrow_schema(dataset_id)
        with new_parquet(path, schema, compression=COMPRESSION) as writer:
            for piece in pieces:
                checked = _checked(dataset_id, piece, path.name)
                writer.write_table(checked.cast(schema), row_group_size=max(1, checked.num_rows))
        return path

    def document(self, dataset_id: str, document: object, data: bytes) -> InsidePath:
        """Check a JSON document and write `data`, its serialised form."""
        entry = dataset(dataset_id)
        check_document(entry.schema, document, code=entry.on_invalid, where=dataset_id)
        check_size(data, what=dataset_id)
        return self.binary(dataset_id, data)

    def binary(self, dataset_id: str, data: bytes) -> InsidePath:
        """Write bytes."""
        return self.pieces(dataset_id, [data])

    def pieces(self, dataset_id: str, data: Iterable[bytes]) -> InsidePath:
        """Write bytes, piece by piece."""
        path = self.path(dataset_id)
        with path.open("wb") as file:
            file.writelines(data)
        return path


class MemoryShelf(Shelf):
    """Keeps tables and bytes instead of writing them: every file has the bytes that `Shelf` would write."""

    def __init__(self, identity: Identity, scenario_id: str) -> None:
        # Of a path, only its name is used.
        super().__init__(InsidePath(Path()), identity, scenario_id)
        self.checked: dict[str, pa.Table] = {}
        self.data: dict[str, bytes] = {}

    def table(self, dataset_id: str, columns: Mapping[str, pa.Array] | pa.Table) -> InsidePath:
        """Check and keep a whole table."""
        place = self._place(dataset_id)
        self.checked[dataset_id] = table = _checked(dataset_id, columns, place.name)
        self.data[dataset_id] = table_bytes(table, compression=COMPRESSION)
        return place

    def binary(self, dataset_id: str, data: bytes) -> InsidePath:
        """Keep bytes."""
        self.data[dataset_id] = data
        return self._place(dataset_id)

    def size(self, dataset_id: str) -> int:
        """Bytes of the dataset's file."""
        return len(self.data[dataset_id])

    def sha256(self, dataset_id: str) -> str:
        """SHA-256 of the dataset's file."""
        return hashlib.sha256(self.data[dataset_id]).hexdigest()
