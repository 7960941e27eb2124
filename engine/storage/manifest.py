"""The manifest of a scenario's arrivals in an object store; its presence makes them published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from arrival_engine.contracts import ArrivalError, Code, check_document, compact_json, dataset
from arrival_engine.contracts.identity import Identity
from arrival_engine.contracts.part_names import naming_fault, parse_part_name, publication_token
from arrival_engine.engine.rundir.strict_json import parse_json
from arrival_engine.engine.storage.store import Store

MANIFEST = dataset("arrival_manifest_5B").path.rpartition("/")[2]
# About 250 bytes per part, so a quarter of a million parts. Reading takes a multiple of it as memory.
BYTES_MAX = 64 * 2**20
_SCHEMA = "arrival_manifest_5B"


@dataclass(frozen=True)
class Part:
    """A part file beside the manifest; `arrival_digest` is of its rows alone."""

    name: str
    rows: int
    bytes: int
    sha256: str
    arrival_digest: str


@dataclass(frozen=True)
class Source:
    """The inputs, law and engine of the arrivals."""

    law_version: int
    engine_version: str
    sealed_inputs_digest: str


@dataclass(frozen=True)
class Manifest:
    """The published arrivals of one scenario; equal for any two runs that make the same parts."""

    identity: Identity
    scenario_id: str
    format: str
    source: Source
    parts: tuple[Part, ...]

    @property
    def arrivals(self) -> int:
        """Rows of all parts together."""
        return sum(part.rows for part in self.parts)

    @property
    def digest(self) -> str:
        """The digest of all arrivals; those of disjoint sets add up (LAW section 7)."""
        # cpu_fallback's own type would load the compiler, which readers do not need.
        lanes = [part.arrival_digest.rpartition("-")[2] for part in self.parts]
        first, second = (sum(int(lane[at : at + 16], 16) for lane in lanes) % 2**64 for at in (0, 16))
        return f"{self.arrivals}-{first:016x}{second:016x}"

    def to_bytes(self) -> bytes:
        """The document as stored."""
        return compact_json(
            {
                "manifest_version": 1,
                "dataset": "arrival_events_5B",
                **self.identity.columns(),
                "scenario_id": self.scenario_id,
                "format": self.format,
                "arrivals": self.arrivals,
                "arrival_digest": self.digest,
                **asdict(self.source),
                "parts": [asdict(part) for part in self.parts],
            }
        )


def check_size(manifest: Manifest) -> None:
    """Raise LIMIT_EXCEEDED for a manifest that is larger than readers take."""
    size = len(manifest.to_bytes())
    if size > BYTES_MAX:
        raise ArrivalError(
            Code.LIMIT_EXCEEDED,
            f"the manifest of {len(manifest.parts)} parts would take {size} bytes; it may take {BYTES_MAX}",
            hint="raise --batch-arrivals: a batch is a part file",
            bytes=size,
            limit=BYTES_MAX,
        )


def partition(identity: Identity, scenario_id: str) -> str:
    """The folder of a scenario's arrivals, below the run directory."""
    return dataset("arrival_events_5B").relative(identity.tokens(scenario_id=scenario_id)).rstrip("/")


def read_manifest(store: Store, identity: Identity, scenario_id: str) -> Manifest | None:
    """The manifest of a scenario; None if nothing is published.

    Raises IO_READ_FAILED, and IO_WRITE_CONFLICT for a manifest that is damaged or belongs elsewhere.
    """
    path = f"{partition(identity, scenario_id)}/{MANIFEST}"
    found = store.stat(path)
    if found is None:
        return None
    where = store.url(path)
    if found.bytes > BYTES_MAX:
        raise _damaged(where, f"has {found.bytes} bytes; a manifest has at most {BYTES_MAX}")
    data = store.read_bytes(path, BYTES_MAX)
    try:
        document = parse_json(data)
    except ValueError as failure:
        raise _damaged(where, f"is not valid JSON: {failure}") from failure
    check_document(_SCHEMA, document, code=Code.IO_WRITE_CONFLICT, where=where)
    manifest = _manifest(document, identity)
    # A manifest that changes when it is written again was not written by a run for this place.
    if manifest.to_bytes() != compact_json(document) or manifest.scenario_id != scenario_id:
        raise _damaged(where, "is of another run or scenario, or does not add up")
    _check_names(manifest.parts, manifest.format, where)
    return manifest


def _manifest(document: dict[str, Any], identity: Identity) -> Manifest:
    source = Source(document["law_version"], document["engine_version"], document["sealed_inputs_digest"])
    parts = tuple(Part(**part) for part in document["parts"])
    return Manifest(identity, document["scenario_id"], document["format"], source, parts)


def _check_names(parts: Sequence[Part], file_format: str, where: str) -> None:
    fault = naming_fault([part.name for part in parts])
    if fault or not parts[0].name.endswith(f".{file_format}"):
        raise _damaged(where, f"lists parts whose names do not fit together: {fault or parts[0].name}")
    name = parse_part_name(parts[0].name)
    if name and name.token not in ("", publication_token(part.sha256 for part in parts)):
        raise _damaged(where, f"lists parts whose token is not that of their bytes: {parts[0].name}")


def _damaged(where: str, problem: str) -> ArrivalError:
    return ArrivalError(
        Code.IO_WRITE_CONFLICT,
        f"{where} {problem}",
        hint="restore it, or publish again with `arrivals run URL --replace`",
        damaged=True,
    )
