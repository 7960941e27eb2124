"""The ledger of a running job: which parts are finished, so that a killed run can be resumed.

staging/ledger/ledger.jsonl      the run's terms, then one line per part, appended once the part is on disk

A staging directory may come from elsewhere with its run directory. So nothing that a ledger states of a part is
believed: `engine.run.finished_parts` compares the part with its arrivals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as distribution_version
from typing import Any

from arrival_engine.contracts import ArrivalError, Code, compact_json
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.options import FileFormat
from arrival_engine.contracts.oserrors import reading, writing
from arrival_engine.contracts.part_names import parse_part_name, part_name
from arrival_engine.contracts.schemas import shown
from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.expand.planning import Plan
from arrival_engine.engine.process.version import LAW_VERSION, code_digest, version
from arrival_engine.engine.run.finished_parts import START_OVER, damaged_run
from arrival_engine.engine.rundir.json_lines import append_line
from arrival_engine.engine.rundir.lock import STAGING
from arrival_engine.engine.rundir.staging import FOLDER, replace_file, write_file
from arrival_engine.engine.rundir.strict_json import parse_json

FOLDER_NAME = "ledger"
_NAME = "ledger.jsonl"
# Both are more than ten times what is written, and leave room for lines that were cut off.
_TERMS_BYTES_MAX, _LINE_BYTES_MAX = 1 << 18, 1 << 11


@dataclass(frozen=True)
class FinishedPart:
    """A part that a ledger lists: its batch's index, the name of its file, and the SHA-256 of that file."""

    index: int
    name: str
    sha256: str


def run_terms(plan: Plan, file_format: FileFormat, device_writer: str | None = None) -> dict[str, Any]:
    """Everything that decides the bytes of a part; a ledger with other terms belongs to another run."""
    world = plan.world
    return {
        "scenario_id": world.scenario_id,
        "sealed_inputs_digest": world.seal_digest,
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


def abandoned_staging(run_root: InsidePath, scenario_id: str) -> InsidePath | None:
    """The staging directory that a killed run of this scenario left with a ledger in it, the newest if several."""
    found = []
    for folder in (run_root / FOLDER).glob(f"{STAGING}-*"):
        path = folder / FOLDER_NAME / _NAME
        if path.is_file() and (folder / "events").is_dir() and _terms_of(path).get("scenario_id") == scenario_id:
            found.append((path.stat().st_mtime_ns, folder))
    return max(found)[1] if found else None


def _terms_of(path: InsidePath) -> Mapping[str, Any]:
    with reading("run ledger", path), path.open("rb") as file:
        first = file.readline(_TERMS_BYTES_MAX)
    try:
        terms = parse_json(first)
    except ValueError:
        return {}
    return terms if isinstance(terms, dict) else {}


class PartLedger:
    """Records finished parts in a staging directory, and reads what an earlier run recorded there."""

    def __init__(
        self, staged: InsidePath, plan: Plan, file_format: FileFormat, device_writer: str | None = None
    ) -> None:
        """`device_writer` names what writes parts on a device, with its version; None for this process."""
        self._folder = staged / FOLDER_NAME
        self._path = self._folder / _NAME
        self._events = staged / "events"
        self._plan = plan
        self._format = file_format
        self._terms = run_terms(plan, file_format, device_writer)

    def begin(self) -> None:
        """Start an empty ledger. Raises IO_WRITE_FAILED."""
        with writing("run ledger", self._folder):
            self._folder.mkdir()
        write_file(self._path, compact_json(self._terms) + b"\n")

    def record(self, index: int, part: PartReceipt) -> None:
        """Enter the part of batch `index`, which is on disk and hashed. Raises IO_WRITE_FAILED."""
        line = {"part": part.name, "index": index, "rows": part.rows, "sha256": part.sha256}
        append_line("run ledger", self._path, compact_json(line) + b"\n")

    def resume(self, tell: Callable[[str], None]) -> dict[int, FinishedPart]:
        """The parts that the ledger lists, by index, not yet compared; other staged files are removed.

        A line that is not JSON was being written when the machine or the run stopped: `tell` names it, and its part
        counts as unfinished. Raises IO_WRITE_CONFLICT for a ledger of other terms, IO_READ_FAILED for a ledger that
        this plan cannot have.
        """
        first, *lines = self._read().split(b"\n")
        self._compare_terms(first)
        self._take_back_names()
        finished: dict[int, FinishedPart] = {}
        whole = [first]
        for number, line in enumerate(lines, 2):
            if not line:
                continue
            try:
                entry = parse_json(line)
            except ValueError:
                tell(f"{self._path}, line {number} is cut off or damaged: its part is made again")
                continue
            part = self._finished(entry)
            if part is None or part.index in finished:
                raise damaged_run(self._path, f"has a line that was never written: {line[:80]!r}")
            finished[part.index] = part
            whole.append(line)
        kept = {part.name for part in finished.values()}
        with writing("arrivals", self._events):
            for staged in self._events.iterdir():
                if staged.name not in kept:
                    staged.remove()
            for staged in self._events.parent.iterdir():
                if staged not in (self._events, self._folder):
                    staged.remove()
        replace_file("run ledger", self._path, b"".join(line + b"\n" for line in whole))
        return finished

    def _read(self) -> bytes:
        most = _TERMS_BYTES_MAX + _LINE_BYTES_MAX * (len(self._plan.batches) + 1)
        with reading("run ledger", self._path), self._path.open("rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise damaged_run(
                self._path, f"is larger than {most} bytes, which {len(self._plan.batches)} parts never need"
            )
        return data

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
                    f"the run to resume had {name} {shown(found.get(name))}, this one has {ours!r}",
                    hint=f"resume with the same inputs, policies, version and options, or {START_OVER}",
                    path=str(self._folder),
                    term=name,
                )

    def _finished(self, entry: Any) -> FinishedPart | None:
        """What a line says; None for one that no run with this plan writes. Earlier versions stated more."""
        if not isinstance(entry, dict):
            return None
        index, name, sha256 = (entry.get(key) for key in ("index", "part", "sha256"))
        # True is an integer in Python, and -1 would count from the end.
        if type(index) is not int or not 0 <= index < len(self._plan.batches):
            return None
        if name != part_name(index, self._format) or not isinstance(sha256, str):
            return None
        return FinishedPart(index, name, sha256)
