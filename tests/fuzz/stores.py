"""Objects of a store, and what names one: manifest, lock object, URLs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.part_names import publication_token
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.storage.lock import LOCK_FOLDER, store_lock
from arrival_engine.engine.storage.manifest import MANIFEST, Manifest, Part, Source, partition, read_manifest
from arrival_engine.engine.storage.store import Store
from arrival_engine.engine.storage.url import StoreUrl, is_url, parse_place
from tests.fuzz.mutation import mutated_bytes, mutated_json, mutated_words, one_of
from tests.fuzz.sample import SCENARIO, sample_run
from tests.fuzz.target import Opened, Target, demand


def _manifest(folder: Path) -> Opened:
    identity = read_receipt(sample_run()).identity
    store = Store(folder)
    file = folder / partition(identity, SCENARIO) / MANIFEST
    file.parent.mkdir(parents=True)
    bare = [Part(f"part-{at:06d}.parquet", 3, 500, str(at) * 64, f"3-{at:032x}") for at in range(2)]
    token = publication_token(part.sha256 for part in bare)
    named = [replace(part, name=f"part-{at:06d}-{token}.parquet") for at, part in enumerate(bare)]
    source = Source(1, "0.1.0", "d" * 64)
    samples = [Manifest(identity, SCENARIO, "parquet", source, tuple(parts)).to_bytes() for parts in (bare, named)]

    def read(data: bytes) -> str:
        file.write_bytes(data)
        manifest = read_manifest(store, identity, SCENARIO)
        assert manifest is not None
        assert manifest.identity == identity
        assert all("/" not in part.name for part in manifest.parts)
        return f"{min(len(manifest.parts), 3)} parts"

    return Opened(samples, mutated_json, read)


def _lock(folder: Path) -> Opened:
    """The lock object of another writer: this one is refused by name, or the object is of a dead process of ours."""
    file = folder / LOCK_FOLDER / "other.json"
    file.parent.mkdir(parents=True)
    store = Store(folder)

    def read(data: bytes) -> str:
        file.write_bytes(data)
        try:
            with store_lock(store):
                return "taken over"
        except ArrivalError as error:
            unread = error.code is Code.IO_READ_FAILED
            demand(unread or (error.code is Code.IO_WRITE_CONFLICT and file.name in error.hint), "no way to clear it")
            raise

    with store_lock(store):
        (ours,) = file.parent.iterdir()
        own = json.loads(ours.read_bytes())
    samples = [own, own | {"pid": 2**22 + 5}, own | {"machine": "another"}]
    return Opened([json.dumps(document).encode() for document in samples], one_of(mutated_json, mutated_bytes), read)


def _url(_folder: Path) -> Opened:
    """URLs of stores: one that is taken says the same place when it is written and read again."""

    def read(data: bytes) -> str:
        text = data.decode("utf-8", "surrogateescape")
        place = parse_place(text)
        if not isinstance(place, StoreUrl):
            assert not is_url(text) or text.lower().startswith("file:")
            assert not is_url(text) or "\0" not in str(place)
            return "a path"
        assert parse_place(place.text) == place
        assert not set("\0\n\r\x1b") & set(str(place)), "a control character in a place"
        return place.scheme

    samples = [
        b"s3://bucket/a/run?region=eu-central-1&endpoint_override=localhost:9000&scheme=http&connect_timeout=1.5",
        b"gs://bucket/run?anonymous=true&retry_time_limit=60",
        b"file:///data/run%20one",
        b"s3://key:secret@bucket/run",
        b"S3://b",
        b"data/run",
    ]
    return Opened(samples, one_of(mutated_words, mutated_words, mutated_bytes), read)


TARGETS = (
    Target("manifest", "manifest of arrivals in a store", _manifest),
    Target("store_lock", "lock object of another writer", _lock),
    Target("url", "URLs of run directories", _url),
)
