"""Content hashes of sealed artefacts, and the digest of an inventory's rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from io import FileIO
from threading import Event
from typing import Any, NamedTuple

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.sealed_files import BLOCK_BYTES, Blocks, filled

Row = Mapping[str, Any]

# Hashing is bound by memory and disk; more threads would only need more buffers.
_THREADS_MAX = 8
_KEYS = (
    "manifest_fingerprint",
    "parameter_hash",
    "owner_layer",
    "owner_segment",
    "artifact_id",
    "manifest_key",
    "role",
    "schema_ref",
    "path_template",
    "partition_keys",
    "sha256_hex",
    "status",
    "read_scope",
    "notes",
    "owner_team",
    "source_manifest",
)
_STRUCTURE = ("artifact_id", "manifest_key", "partition_keys", "path_template", "schema_ref")


def row_order(row: Row) -> tuple[str, str, str]:
    """Sort key of inventory rows."""
    return row["owner_segment"], row["artifact_id"], row["role"]


def inventory_digest(rows: Iterable[Row]) -> str:
    """SHA-256 over the rows' compact JSON: sixteen keys in fixed order, null if absent, rows in order."""
    digest = hashlib.sha256()
    for row in sorted(rows, key=row_order):
        fixed = {key: row.get(key) for key in _KEYS}
        digest.update(json.dumps(fixed, ensure_ascii=True, separators=(",", ":")).encode("ascii"))
    return digest.hexdigest()


def structural_digest(row: Row) -> str:
    """The hash of the row's description, which the reference implementation seals in place of most contents."""
    described = {key: row[key] for key in _STRUCTURE}
    text = json.dumps(described, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class Hashed(NamedTuple):
    """SHA-256 over the concatenated bytes of some files, and the blocks of each."""

    sha256: str
    blocks: tuple[Blocks, ...]


def content_sha256(files: Sequence[InsidePath]) -> str:
    """SHA-256 over the files' concatenated bytes, read a block at a time. Raises IO_READ_FAILED."""
    digest = hashlib.sha256()
    for path in files:
        with reading("file", path), path.open("rb", 0) as file:
            for block in _blocks(file):
                digest.update(block)
    return digest.hexdigest()


def content_hash(files: Sequence[InsidePath], reporter: Reporter | None = None, stop: Event | None = None) -> Hashed:
    """The same with the files' blocks; advances `reporter` by bytes, stops when `stop` is set."""
    reporter = reporter if reporter is not None else Reporter()
    digest = hashlib.sha256()
    blocks = []
    for path in files:
        size, digests = 0, []
        with reading("file", path), path.open("rb", 0) as file:
            for block in _blocks(file):
                if stop is not None and stop.is_set():
                    raise CancelledError
                digest.update(block)
                digests.append(hashlib.sha256(block).digest())
                size += len(block)
                reporter.advance(len(block))
        blocks.append(Blocks(size, b"".join(digests)))
    return Hashed(digest.hexdigest(), tuple(blocks))


def _blocks(file: FileIO) -> Iterator[memoryview]:
    """The file's blocks, each valid until the next."""
    buffer = memoryview(bytearray(BLOCK_BYTES))
    while size := filled(file, buffer):
        yield buffer[:size]


def same_bytes(first: InsidePath, second: InsidePath) -> bool:
    """Whether two files have the same content. Raises OSError."""
    with first.open("rb") as one, second.open("rb") as other:
        if os.fstat(one.fileno()).st_size != os.fstat(other.fileno()).st_size:
            return False
        while piece := one.read(BLOCK_BYTES):
            if piece != other.read(len(piece)):
                return False
    return True


def content_hashes(artefacts: Mapping[str, Sequence[InsidePath]], reporter: Reporter) -> dict[str, Hashed]:
    """The content hash of each named list of files, several at a time, the largest first.

    The first failure or interruption stops all reading within one block. Raises IO_READ_FAILED.
    """
    sizes: dict[str, int] = {}
    for name, files in artefacts.items():
        sizes[name] = 0
        for path in files:
            with reading("file", path):
                sizes[name] += path.stat().st_size
    reporter.expect("bytes", sum(sizes.values()))
    names = sorted(artefacts, key=lambda name: -sizes[name])
    stop = Event()
    with ThreadPoolExecutor(min(_THREADS_MAX, os.cpu_count() or 1), "seal") as pool:
        try:
            futures = {name: pool.submit(content_hash, artefacts[name], reporter, stop) for name in names}
            for future in as_completed(futures.values()):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: futures[name].result() for name in artefacts}
