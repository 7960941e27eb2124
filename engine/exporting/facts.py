"""What makes two exports the same, as flat text properties that every table format can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from arrival_engine.contracts.options import Clustering, ColumnSet, IdType
from arrival_engine.cpu_fallback.digest import Digest

__all__ = ["PREFIX", "Facts"]

PREFIX = "arrivals."
# What may differ between exports of the same arrivals in the same form.
_BESIDES = frozenset({"sealed_inputs_digest", "law_version", "engine_version", "command"})


@dataclass(frozen=True)
class Facts:
    """An export: its arrivals, its form, and how it was made.

    digest: of all arrivals. partitioned: `true` or `false`. sealed_inputs_digest: empty for a world that was never
    sealed. license: empty where none was stated.
    """

    digest: str
    scenario_id: str
    manifest_fingerprint: str
    parameter_hash: str
    seed: str
    columns: ColumnSet
    ids: IdType
    cluster_by: Clustering
    partitioned: str
    license: str
    sealed_inputs_digest: str
    law_version: str
    engine_version: str
    command: str

    def properties(self) -> dict[str, str]:
        """Name and value, the names with the prefix `arrivals.`."""
        return {f"{PREFIX}{name}": value for name, value in asdict(self).items()}

    @classmethod
    def parse(cls, properties: Mapping[str, str]) -> Facts:
        """Read properties back, among which others may be. Raises ValueError if one is missing or not text."""
        found = {field.name: properties.get(f"{PREFIX}{field.name}") for field in fields(cls)}
        missing = [name for name, value in found.items() if not isinstance(value, str)]
        if missing:
            raise ValueError(f"no property {PREFIX}{missing[0]}")
        return cls(**found)  # type: ignore[arg-type]

    @classmethod
    def unknown(cls) -> Facts:
        """Facts of an export whose statements are lost; they differ from all others."""
        return cls(**{field.name: "" for field in fields(cls)})  # type: ignore[arg-type]

    def with_digest(self, digest: Digest | str) -> Facts:
        """The same facts of other arrivals."""
        return replace(self, digest=str(digest))

    def differences(self, other: Facts) -> list[str]:
        """Names of facts in which two exports differ; empty for two exports of the same arrivals in the same form."""
        mine, theirs = asdict(self), asdict(other)
        return [name for name in mine if name not in _BESIDES and mine[name] != theirs[name]]

    @property
    def rows(self) -> int:
        """Number of arrivals, by the digest."""
        return Digest.parse(self.digest).rows
