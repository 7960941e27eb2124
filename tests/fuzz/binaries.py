"""Binary inputs: time zone cache and alias blobs.

Alias blobs are fuzzed with an index that states their true size and hashes, or no mutation would get past the hash.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from arrival_engine.contracts import ArrivalError, arrow_schema
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.alias_blobs.decode import AliasSlices, decode_2b, decode_3b
from arrival_engine.engine.alias_blobs.index import read_site_index, site_index
from arrival_engine.engine.rundir.strict_json import parse_json
from arrival_engine.engine.tz.agreement import disagreements
from arrival_engine.engine.tz.tzc1 import decode, encode
from tests.fuzz.mutation import mutated_bytes, mutated_json
from tests.fuzz.target import Opened, Target
from tests.support.blobs import alias_blob, index_rows, slots, tzc1

MERCHANT = 7


def _tzc1(_folder: Path) -> Opened:
    """A cache that decodes must encode to the same bytes again."""

    def read(data: bytes) -> str:
        table = decode(data, "fuzz")
        assert encode(table) == data, "a cache decoded to something that encodes differently"
        try:
            list(disagreements(table, table.tzids, 0, 4_000_000_000))
        except ArrivalError as error:
            return f"zones, {error.code}"
        return "zones"

    samples = [
        tzc1({"Etc/UTC": [(-(2**63), 0)], "Europe/Berlin": [(-(2**63), 53), (1774746000, 120)]}),
        tzc1({"America/New_York": [(-(2**63), -296), (0, -300), (5_000_000, -240), (2**40, -300)]}),
    ]
    return Opened(samples, mutated_bytes, read)


def _in_bounds(slices: AliasSlices) -> str:
    sizes = np.diff(slices.start)
    assert not (slices.alias >= np.repeat(sizes, sizes)).any(), "an alias index outside its slice came through"
    assert ((slices.qbits >= 1) & (slices.qbits <= 32)).all()
    return f"{min(len(sizes), 3)} slices"


def _facts(data: bytes) -> tuple[str, int, int]:
    return hashlib.sha256(data).hexdigest(), max(len(data), 1), max((len(data) - 16) // 8, 1)


def _index_of(data: bytes) -> dict[str, Any]:
    sha, length, sites = _facts(data)
    row = {
        "merchant_id": MERCHANT,
        "offset": 0,
        "length": length,
        "sites": sites,
        "quantised_bits": 24,
        "checksum": sha,
    }
    return {
        "layout_version": "2B.alias.blob.v1",
        "endianness": "little",
        "alignment_bytes": 8,
        "quantised_bits": 24,
        "created_utc": "2026-01-01T00:00:00.000000Z",
        "policy_id": "alias_layout_policy_v1",
        "policy_digest": "0" * 64,
        "blob_sha256": sha,
        "blob_size_bytes": len(data),
        "merchants_count": 1,
        "merchants": [row],
    }


def _sound_blob(*merchants: int) -> bytes:
    return alias_blob({merchant: (32, slots([0.5, 0.25, 0.25])) for merchant in merchants})[0]


def _alias_2b(_folder: Path) -> Opened:
    def read(data: bytes) -> str:
        return _in_bounds(decode_2b(data, site_index(_index_of(data), "fuzz"), "fuzz"))

    return Opened([_sound_blob(MERCHANT)], mutated_bytes, read)


def _alias_3b(_folder: Path) -> Opened:
    schema = arrow_schema("edge_alias_index_3B")

    def read(data: bytes) -> str:
        sha, length, edges = _facts(data)
        common = {"seed": 1, "manifest_fingerprint": "a" * 64, "alias_layout_version": "2B.alias.blob.v1"}
        merchant = {
            "scope": "MERCHANT",
            "merchant_id": MERCHANT,
            "blob_offset_bytes": 0,
            "blob_length_bytes": length,
            "edge_count_total": edges,
            "alias_table_length": edges,
            "merchant_alias_checksum": sha,
        }
        whole = {"scope": "GLOBAL", "blob_length_bytes": len(data), "edge_count_total": edges, "blob_sha256_hex": sha}
        index = pa.Table.from_pylist([{**common, **merchant}, {**common, **whole}], schema=schema)
        return _in_bounds(decode_3b(data, index, "fuzz"))

    return Opened([_sound_blob(MERCHANT)], mutated_bytes, read)


def _alias_index(folder: Path) -> Opened:
    """2B's index over a sound blob; its two readers, of a stream and of a whole document, agree."""
    blob, pieces = alias_blob({7: (32, slots([0.5, 0.25, 0.25])), 9: (32, slots([1.0]))})
    rows = index_rows(pieces)
    document = {**_index_of(blob), "merchants_count": len(rows), "merchants": rows}
    file = folder / "index.json"

    def read(data: bytes) -> str:
        file.write_bytes(data)
        try:
            streamed = read_site_index(InsidePath(folder, (file.name,)))
        except ArrivalError as error:
            streamed, refusal = None, error
        try:
            whole = site_index(parse_json(data), "fuzz")
        except (ArrivalError, ValueError):
            whole = None
        assert (streamed is None) == (whole is None), "one of two readers accepts the index"
        if streamed is None or whole is None:
            raise refusal
        assert streamed.facts == whole.facts
        assert [*streamed.slices] == [*whole.slices]
        assert streamed.bits.tolist() == whole.bits.tolist()
        return _in_bounds(decode_2b(blob, streamed, "fuzz"))

    return Opened([json.dumps(document).encode()], mutated_json, read)


def _blob_of_two(_folder: Path) -> Opened:
    """A blob of several merchants whose hashes are those of its bytes, wherever the slices lie."""
    sound, pieces = alias_blob(
        {7: (32, slots([0.5, 0.25, 0.25])), 9: (24, slots([0.9, 0.1], 24)), 11: (32, slots([1.0]))}
    )
    rows = [(piece.merchant_id, piece.offset, piece.length, piece.entries) for piece in pieces]

    def read(data: bytes) -> str:
        document = _index_of(data)
        document["merchants"] = [
            {
                "merchant_id": merchant,
                "offset": offset,
                "length": length,
                "sites": entries,
                "quantised_bits": 24,
                "checksum": hashlib.sha256(data[offset : offset + length]).hexdigest(),
            }
            for merchant, offset, length, entries in rows
        ]
        document["merchants_count"] = len(rows)
        return _in_bounds(decode_2b(data, site_index(document, "fuzz"), "fuzz"))

    def mutate(data: bytes, draw: Random) -> bytes:
        """Mostly words of the sound length: other lengths are refused at once."""
        if not draw.randrange(4):
            return mutated_bytes(data, draw)
        out = bytearray(data[: len(sound)].ljust(len(sound), b"\0"))
        at = 4 * draw.randrange(len(out) // 4)
        word = draw.choice((0, 1, 2, 3, 24, 32, 33, 2**24, 2**31, 2**32 - 1, draw.randrange(2**32)))
        out[at : at + 4] = word.to_bytes(4, "little")
        return bytes(out)

    return Opened([sound], mutate, read)


TARGETS = (
    Target("tzc1", "time zone cache", _tzc1),
    Target("alias_2b", "alias blob of 2B, one merchant", _alias_2b),
    Target("alias_3b", "alias blob of 3B, one merchant", _alias_3b),
    Target("alias_slices", "alias blob of several merchants", _blob_of_two),
    Target("alias_index", "index of 2B's alias blob, as a stream and as a whole", _alias_index),
)
