"""How worlds get to disk: paths of the dictionary, Parquet files in several forms, the JSON forms."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.contracts.dictionary import dataset
from tests.support.model import World

CREATED = "2026-01-01T00:00:00.000000Z"
LAYOUT_VERSION = "2B.alias.blob.v1"

Columns = dict[str, pa.DataType]
_TYPES = {
    "text": pa.string(),
    "u64": pa.uint64(),
    "i64": pa.int64(),
    "i32": pa.int32(),
    "f64": pa.float64(),
    "bool": pa.bool_(),
}


def columns(*lines: str) -> Columns:
    """Columns in order from lines such as `u64 seed merchant_id`: a type, then the names that have it."""
    named: Columns = {}
    for line in lines:
        kind, *names = line.split()
        named |= dict.fromkeys(names, _TYPES[kind])
    return named


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def compact(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def spaced(document: object) -> bytes:
    return json.dumps(document, sort_keys=True).encode("ascii")


def indented(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, indent=2).encode("ascii") + b"\n"


def rfc3339(instant_us: int) -> str:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=instant_us)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@dataclass(frozen=True)
class FileForm:
    """How tables lie on disk: rows shuffled or in contract order, in how many files, strings how encoded."""

    shuffle_seed: int | None = None
    split_files: int = 1
    dictionary_strings: bool = False


@dataclass(frozen=True)
class Disk:
    """Puts bytes and tables of one world where the dictionary says."""

    world: World
    run_root: Path
    form: FileForm

    @property
    def identity(self) -> dict[str, object]:
        """The identity columns of layer-1 tables."""
        return {"seed": self.world.seed, "manifest_fingerprint": self.world.manifest_fingerprint}

    @property
    def hashes(self) -> dict[str, object]:
        """The identity fields of documents and 5B tables."""
        return {
            "manifest_fingerprint": self.world.manifest_fingerprint,
            "parameter_hash": self.world.parameter_hash,
        }

    def path(self, dataset_id: str, scenario_id: str = "") -> Path:
        """The dataset's file or directory, its folder made."""
        world = self.world
        tokens = {
            "manifest_fingerprint": world.manifest_fingerprint,
            "parameter_hash": world.parameter_hash,
            "seed": str(world.seed),
            "run_id": world.run_id,
            "scenario_id": scenario_id or world.scenario_id,
        }
        path = dataset(dataset_id).locate(self.run_root, tokens)
        (path if dataset(dataset_id).kind == "directory" else path.parent).mkdir(parents=True, exist_ok=True)
        return path

    def relative(self, dataset_id: str) -> str:
        return self.path(dataset_id).relative_to(self.run_root).as_posix()

    def write(self, dataset_id: str, data: bytes) -> None:
        self.path(dataset_id).write_bytes(data)

    def table(
        self, dataset_id: str, shape: Columns, rows: Sequence[Mapping[str, object]], scenario_id: str = ""
    ) -> None:
        """Write the rows in this world's file form; a column that a row does not name is null there."""
        rows = list(rows)
        if self.form.shuffle_seed is not None:
            random.Random(f"{self.form.shuffle_seed}:{dataset_id}").shuffle(rows)
        paths = self._parts(dataset_id, max(1, self.form.split_files), scenario_id)
        for part, path in enumerate(paths):
            chunk = rows[len(rows) * part // len(paths) : len(rows) * (part + 1) // len(paths)]
            self._parquet(path, shape, chunk)

    def table_in_order(
        self, dataset_id: str, shape: Columns, rows: Sequence[Mapping[str, object]], scenario_id: str = ""
    ) -> bytes:
        """Write the rows as they come, whatever the form, to one file; returns its bytes."""
        path = self.path(dataset_id, scenario_id)
        self._parquet(path, shape, rows)
        return path.read_bytes()

    def _parquet(self, path: Path, shape: Columns, rows: Sequence[Mapping[str, object]]) -> None:
        text = pa.dictionary(pa.int32(), pa.string()) if self.form.dictionary_strings else pa.string()
        schema = pa.schema([(name, text if kind == pa.string() else kind) for name, kind in shape.items()])
        pq.write_table(pa.Table.from_pylist(list(rows), schema), path, compression="zstd")

    def _parts(self, dataset_id: str, parts: int, scenario_id: str) -> list[Path]:
        path = self.path(dataset_id, scenario_id)
        if dataset(dataset_id).kind == "directory":
            return [path / f"part-{part:05d}.parquet" for part in range(parts)]
        return [path, *(path.with_stem(f"{path.stem}-{part:05d}") for part in range(1, parts))]
