"""Result files: one JSON file per measurement, with every repeat and its machine."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.environment import machine_tag


@dataclass(frozen=True)
class Result:
    """One benchmark on one machine on one day; `measured` holds every repeat, not only summaries."""

    name: str
    command: str
    environment: dict[str, Any]
    measured: dict[str, Any]

    @property
    def machine(self) -> str:
        """The machine's name in file names."""
        return machine_tag(self.environment)

    @property
    def file_name(self) -> str:
        """Name, machine and date."""
        return f"{self.name}-{self.machine}-{self.environment['date']}.json"


def save(result: Result, folder: Path) -> Path:
    """Write the result to `folder`, in place of one of the same name, machine and date."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / result.file_name
    path.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    return path


def load(path: Path) -> Result:
    """Read a result file back."""
    return Result(**json.loads(path.read_text(encoding="utf-8")))


def newest(folder: Path) -> list[Result]:
    """The newest result of each benchmark and machine, in order of machine."""
    found = [load(path) for path in sorted(folder.glob("*.json"))]
    latest = {(result.machine, result.name): result for result in sorted(found, key=lambda r: r.environment["date"])}
    return [latest[key] for key in sorted(latest)]
