"""The identity of an imported world: hashes of its contents that ignore row order, files and file formats."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from arrival_engine.config.forms import SAME_ARRIVALS, SAME_MEANING
from arrival_engine.contracts import Identity
from arrival_engine.engine.importing.contents import Contents, Ints, Members

# Part of every identity: raise it if the same tables would give another world.
IMPORT_VERSION = "1"


def world_identity(contents: Contents, policies: Mapping[str, bytes], seed: int, scenario_id: str) -> Identity:
    """Fingerprint over contents and policies, parameter hash over the policies.

    docs/reference/layouts.md, "Parameter hash", has the law.

    Raises PARTITION_OR_PK_VIOLATION for a seed outside uint64 or a scenario that is not valid in a path.
    """
    parameters = _parameter_hash(policies)
    fingerprint = _fingerprint(contents, parameters)
    run = hashlib.sha256(f"arrival-engine.import|run_id|{fingerprint}|{seed}|{scenario_id}".encode()).hexdigest()
    identity = Identity(fingerprint, parameters, seed, run[:32])
    identity.tokens(scenario_id=scenario_id)
    return identity


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def _parameter_hash(policies: Mapping[str, bytes]) -> str:
    """SHA-256 over one part per policy, by name: SHA-256 of the length-prefixed name and the hash of the policy.

    That is the SHA-256 of its bytes, or of the file of 0.1.0 that gave the same arrivals.
    """

    def part(name: str, data: bytes) -> bytes:
        own = hashlib.sha256(data).hexdigest()
        now, before = {**SAME_MEANING, **SAME_ARRIVALS}.get(name, ("", ""))
        return hashlib.sha256(_sized(name.encode()) + bytes.fromhex(before if own == now else own)).digest()

    return hashlib.sha256(b"".join(part(*policy) for policy in sorted(policies.items()))).hexdigest()


def _fingerprint(contents: Contents, parameters: str) -> str:
    """SHA-256 over named columns of fixed width in a fixed order; a text column adds its texts, then its codes."""
    digest = hashlib.sha256(f"arrival-engine.import|{IMPORT_VERSION}|{parameters}".encode())

    def numbers(name: str, column: npt.NDArray[Any]) -> None:
        data = np.ascontiguousarray(column, column.dtype.newbyteorder("<"))
        digest.update(f"|{name}|{data.dtype.str}|{len(data)}|".encode())
        digest.update(data.tobytes())

    def texts(name: str, codes: Ints, vocabulary: Sequence[str]) -> None:
        used, own = np.unique(codes, return_inverse=True)
        words = b"".join(_sized(vocabulary[code].encode() if code >= 0 else b"") for code in used.tolist())
        digest.update(f"|{name}|{len(words)}|".encode())
        digest.update(words)
        numbers(name, own.astype(np.int32))

    def members(name: str, table: Members) -> None:
        numbers(f"{name}.merchant", table.merchant)
        texts(f"{name}.tz", table.zone, contents.tzids)
        texts(f"{name}.country", table.country, table.countries)
        numbers(f"{name}.order", table.order)
        numbers(f"{name}.weight", table.weight)

    counts, merchants, groups = contents.counts, contents.merchants, contents.group_weights
    numbers("grid", contents.grid_us)
    numbers("counts.merchant", counts.merchant)
    texts("counts.tz", counts.zone, contents.tzids)
    texts("counts.channel", counts.channel, counts.channels)
    numbers("counts.bucket", counts.bucket)
    numbers("counts.count", counts.arrivals)
    members("sites", contents.sites)
    numbers("merchants.merchant", merchants.merchant)
    numbers("merchants.mode", merchants.mode)
    texts("merchants.settlement", merchants.settlement, contents.tzids)
    members("edges", contents.edges)
    numbers("groups.merchant", groups.merchant)
    texts("groups.tz", groups.zone, contents.tzids)
    numbers("groups.weight", groups.weight)
    if contents.day_rule:
        digest.update(f"|day_rule|{contents.day_rule}".encode())
    if contents.merchant_names is not None:
        numbers("names.merchant", contents.merchant_names.ids)
        words = b"".join(_sized(text.encode()) for text in contents.merchant_names.texts.to_pylist())
        digest.update(f"|names.text|{len(words)}|".encode())
        digest.update(words)
    return digest.hexdigest()
