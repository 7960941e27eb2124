"""Files among the run's outputs that are none of them: a reader of a whole dataset would take them for some."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from arrival_engine.contracts import dataset
from arrival_engine.contracts.inside import Entry, InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.recomputing.streams import FAMILIES
from arrival_engine.engine.rundir.json_lines import raw_lines
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.strict_json import parse_json
from arrival_engine.engine.validation.findings import Book, Example

_BY_SCENARIO = ("s4_arrival_summary_5B", "s4_arrival_anomalies_5B")
_OF_THE_RUN = ("arrival_sites_5B", "arrival_edges_5B")
_ZONE = "zone_representation"


def judge_strangers(receipt: Receipt, scenarios: Sequence[str], book: Book) -> None:
    """Enter strangers: from each dataset's root down, there are only files of the sealed `scenarios`.

    Files in the partition of a scenario's arrivals are judged with that scenario.
    """
    faults: list[Example] = []
    partitions = {receipt.path("arrival_events_5B", scenario_id=scenario).parts for scenario in scenarios}
    own = {receipt.path(table, scenario_id=scenario) for table in _BY_SCENARIO for scenario in scenarios}
    own |= {receipt.path(table) for table in _OF_THE_RUN}
    for table in ("arrival_events_5B", *_BY_SCENARIO, *_OF_THE_RUN):
        others = (path for path, _ in _below(receipt, table) if path not in own and not _within(path, partitions))
        faults += [_fault(receipt, path, "is not a file of this run") for path in others]
    for label in FAMILIES:
        parts = {receipt.part(f"rng_event_{label}", index) for index in range(len(scenarios))}
        parts |= {part.with_suffix(".parquet") for part in parts}
        for path, kind in _below(receipt, f"rng_event_{label}"):
            if path in parts:
                continue
            if path.suffix != ".jsonl" or kind != "file":
                faults.append(_fault(receipt, path, "is not a file of this run"))
            elif names_a_zone(path):
                faults.append(_fault(receipt, path, "has event records of this engine and is not a file of this run"))
    # Scenarios, not files: the division into files is not a property of the run.
    message = "move these files out of the datasets' directories" if faults else ""
    book.judge("strangers", len(scenarios), len(faults), examples=faults, message=message)


def _below(receipt: Receipt, dataset_id: str) -> Iterator[Entry]:
    """Every file and link below a dataset's root, the directory above its first partition."""
    root = receipt.run_root / dataset(dataset_id).path.partition("{")[0].rpartition("/")[0]
    with reading(dataset_id, root):
        if root.is_dir():
            yield from root.walk()


def _within(path: InsidePath, folders: Collection[tuple[str, ...]]) -> bool:
    return any(path.parts[: len(folder)] == folder for folder in folders)


def _fault(receipt: Receipt, path: InsidePath, fault: str) -> Example:
    return {"file": path.relative_to(receipt.run_root).as_posix(), "fault": fault}


def names_a_zone(path: InsidePath) -> bool:
    """Whether a line may be an event record of this engine: those of other engines do not state a zone."""
    return any(_ZONE.encode() in line or (b"\\" in line and _states_zone(line)) for _, line in raw_lines(path))


def _states_zone(line: bytes) -> bool:
    try:
        record = parse_json(line)
    except ValueError:
        return True
    return isinstance(record, dict) and _ZONE in record
