"""Content hashes of sealed artefacts, and the digest of an inventory's rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from threading import Event
from typing import Any

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.process.progress import Reporter

Row = Mapping[str, Any]

# Larger pieces do not hash faster, and each artefact, however small, needs a zeroed buffer of this size.
_READ_BYTES = 2**20
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


def content_sha256(files: Sequence[InsidePath], reporter: Reporter | None = None, stop: Event | None = None) -> str:
    """SHA-256 over the files' concatenated bytes.

    Reads 1 MiB at a time, advances `reporter` by bytes, stops when `stop` is set. Raises IO_READ_FAILED.
    """
    reporter = reporter if reporter is not None else Reporter()
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_READ_BYTES))
    for path in files:
        with reading("file", path), path.open("rb", 0) as file:
            while size := file.readinto(buffer):
                if stop is not None and stop.is_set():
                    raise CancelledError
                digest.update(buffer[:size])
                reporter.advance(size)
    return digest.hexdigest()


def same_bytes(first: InsidePath, second: InsidePath) -> bool:
    """Whether two files have the same content. Raises OSError."""
    with first.open("rb") as one, second.open("rb") as other:
        if os.fstat(one.fileno()).st_size != os.fstat(other.fileno()).st_size:
            return False
        while piece := one.read(_READ_BYTES):
            if piece != other.read(len(piece)):
                return False
    return True


def content_hashes(artefacts: Mapping[str, Sequence[InsidePath]], reporter: Reporter) -> dict[str, str]:
    """The content hash of each named list of files, several at a time, the largest first.

    The first failure or interruption stops all reading within one piece. Raises IO_READ_FAILED.
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
            futures = {name: pool.submit(content_sha256, artefacts[name], reporter, stop) for name in names}
            for future in as_completed(futures.values()):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: futures[name].result() for name in artefacts}
