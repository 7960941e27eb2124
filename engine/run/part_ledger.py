"""The ledger of a running job: which parts are finished, so that a killed run can be resumed.

staging/ledger/ledger.jsonl      the run's terms, then one line per part, appended once the part is on disk
staging/ledger/000000.npy        sums per count row of the part: int32[3, rows] in RowTotals order
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from arrival_engine.contracts import ArrivalError, Code, compact_json
from arrival_engine.contracts.options import FileFormat
from arrival_engine.contracts.oserrors import reading, writing
from arrival_engine.contracts.part_names import parse_part_name
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.cpu_fallback.tables import RowTotals
from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.expand.backend import BatchSums
from arrival_engine.engine.expand.planning import Plan
from arrival_engine.engine.process.version import LAW_VERSION, code_digest, version
from arrival_engine.engine.rundir.hashing import content_sha256
from arrival_engine.engine.rundir.json_lines import append_line
from arrival_engine.engine.rundir.lock import STAGING
from arrival_engine.engine.rundir.staging import FOLDER, replace_file, write_file
from arrival_engine.engine.rundir.strict_json import parse_json

FOLDER_NAME = "ledger"
_NAME = "ledger.jsonl"
_START_OVER = "run again without --resume to start over"


@dataclass(frozen=True)
class FinishedPart:
    """A part that an earlier run finished, verified."""

    receipt: PartReceipt
    sums: BatchSums


def run_terms(plan: Plan, file_format: FileFormat, device_writer: str | None = None) -> dict[str, Any]:
    """Everything that decides the bytes of a part; a ledger with other terms belongs to another run."""
    world = plan.world
    return {
        "scenario_id": world.scenario_id,
        "sealed_inputs_digest": world.seal.digest,
        "policy_digests": dict(world.settings.policy_digests),
        "fallbacks": repr(world.settings.fallbacks),
        "law_version": LAW_VERSION,
        "code_digest": code_digest(),
        "engine_version": version(),
        "pyarrow": distribution_version("pyarrow"),
        "format": file_format,
        "device_writer": device_writer,
        "batch_arrivals": plan.batch_arrivals,
        "arrivals": plan.arrivals,
    }


def abandoned_staging(run_root: Path, scenario_id: str) -> Path | None:
    """The staging directory that a killed run of this scenario left with a ledger in it, the newest if several."""
    found = []
    for folder in (run_root / FOLDER).glob(f"{STAGING}-*"):
        path = folder / FOLDER_NAME / _NAME
        if path.is_file() and (folder / "events").is_dir() and _terms_of(path).get("scenario_id") == scenario_id:
            found.append((path.stat().st_mtime_ns, folder))
    return max(found)[1] if found else None


def _terms_of(path: Path) -> Mapping[str, Any]:
    with reading("run ledger", path), path.open("rb") as file:
        first = file.readline()
    try:
        terms = parse_json(first)
    except ValueError:
        return {}
    return terms if isinstance(terms, dict) else {}


class PartLedger:
    """Records finished parts in a staging directory, and reads what an earlier run recorded there."""

    def __init__(self, staged: Path, plan: Plan, file_format: FileFormat, device_writer: str | None = None) -> None:
        """`device_writer` names what writes parts on a device, with its version; None for Arrow's writer here."""
        self._folder = staged / FOLDER_NAME
        self._events = staged / "events"
        self._plan = plan
        self._terms = run_terms(plan, file_format, device_writer)

    def begin(self) -> None:
        """Start an empty ledger. Raises IO_WRITE_FAILED."""
        with writing("run ledger", self._folder):
            self._folder.mkdir()
        write_file(self._folder / _NAME, compact_json(self._terms) + b"\n")

    def record(self, part: PartReceipt, sums: BatchSums) -> None:
        """Enter a part that is on disk and hashed. Raises IO_WRITE_FAILED."""
        stream = io.BytesIO()
        np.save(stream, np.stack(sums.row_totals))
        totals = stream.getvalue()
        with writing("run ledger", self._folder):
            self._totals_path(sums.batch.index).write_bytes(totals)
            line = {
                "part": part.name,
                "index": sums.batch.index,
                "rows": part.rows,
                "bytes": part.bytes,
                "sha256": part.sha256,
                "digest": str(part.digest),
                "at_start": sums.at_start,
                "at_end": sums.at_end,
                "totals_sha256": hashlib.sha256(totals).hexdigest(),
            }
        append_line("run ledger", self._folder / _NAME, compact_json(line) + b"\n")

    def resume(self, tell: Callable[[str], None]) -> dict[int, FinishedPart]:
        """The finished parts by index, each hashed and compared; other staged files are removed.

        A line that is not JSON was being written when the machine or the run stopped: `tell` names it, and its part
        counts as unfinished. Raises IO_WRITE_CONFLICT for a ledger of other terms, IO_READ_FAILED for a part that is
        not what was entered.
        """
        path = self._folder / _NAME
        with reading("run ledger", path):
            first, *lines = path.read_bytes().split(b"\n")
        self._compare_terms(first)
        self._take_back_names()
        finished, whole = {}, [first]
        for number, line in enumerate(lines, 2):
            if not line:
                continue
            try:
                entry = parse_json(line)
            except ValueError:
                tell(f"{path}, line {number} is cut off or damaged: its part is made again")
                continue
            part = self._finished(entry, line)
            finished[part.sums.batch.index] = part
            whole.append(line)
        kept = {part.receipt.name for part in finished.values()}
        with writing("arrivals", self._events):
            for staged in self._events.iterdir():
                if staged.name not in kept:
                    staged.unlink()
            for staged in self._events.parent.iterdir():
                if staged not in (self._events, self._folder):
                    _remove(staged)
        replace_file("run ledger", path, b"".join(line + b"\n" for line in whole))
        return finished

    def _take_back_names(self) -> None:
        """Give parts that were named for publication, when the run was killed or failed, their staged names again."""
        with writing("arrivals", self._events):
            for path in sorted(self._events.iterdir()):
                name = parse_part_name(path.name)
                if name is not None and name.token:
                    path.rename(path.with_name(str(name._replace(token=""))))

    def _compare_terms(self, line: bytes) -> None:
        found = parse_json(line)
        for name, ours in self._terms.items():
            if found.get(name) != ours:
                raise ArrivalError(
                    Code.IO_WRITE_CONFLICT,
                    f"the run to resume had {name} {found.get(name)!r}, this one has {ours!r}",
                    hint=f"resume with the same inputs, policies, version and options, or {_START_OVER}",
                    path=str(self._folder),
                    term=name,
                )

    def _finished(self, entry: Any, line: bytes) -> FinishedPart:
        try:
            return self._verified(entry)
        except (ValueError, LookupError, TypeError):
            self._refuse(self._folder / _NAME, f"has a line that was never written: {line[:80]!r}")

    def _verified(self, entry: Mapping[str, Any]) -> FinishedPart:
        path, batch = self._events / entry["part"], self._plan.batches[entry["index"]]
        found = content_sha256([path]) if path.is_file() else "no file"
        if found != entry["sha256"]:
            self._refuse(path, f"was finished with SHA-256 {entry['sha256']}, now {found}")
        totals_path = self._totals_path(batch.index)
        with reading("run ledger", totals_path):
            totals = totals_path.read_bytes() if totals_path.is_file() else b""
        if hashlib.sha256(totals).hexdigest() != entry["totals_sha256"]:
            self._refuse(totals_path, "is not what was entered")
        digest = Digest.parse(entry["digest"])
        row_totals = RowTotals(*np.load(io.BytesIO(totals), allow_pickle=False))
        return FinishedPart(
            PartReceipt(entry["part"], entry["rows"], entry["bytes"], digest, entry["sha256"]),
            BatchSums(batch, row_totals, digest, entry["at_start"], entry["at_end"]),
        )

    def _totals_path(self, index: int) -> Path:
        return self._folder / f"{index:06d}.npy"

    def _refuse(self, path: Path, problem: str) -> NoReturn:
        raise ArrivalError(
            Code.IO_READ_FAILED,
            f"the run to resume is damaged: {path} {problem}",
            hint=f"check the disk, then {_START_OVER}",
            path=str(path),
        )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
