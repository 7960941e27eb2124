"""Run-report lines and random-number logs of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arrival_engine.contracts import Code, check_document, dataset
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.strict_json import read_json_lines

Record = dict[str, Any]


def read_records(path: Path, dataset_id: str) -> list[Record]:
    """The records of a JSON Lines file, schema-checked; none if there is no file.

    Raises S5.RNG_ACCOUNTING_INCOMPLETE for a log and S5.IO_READ_FAILED for a run report that cannot be parsed.
    """
    if not path.is_file():
        return []
    is_log = dataset_id.startswith("rng_")
    code = Code.S5_RNG_ACCOUNTING_INCOMPLETE if is_log else Code.S5_IO_READ_FAILED
    hint = "restore the file, or run again"
    records = read_json_lines(path, what="log", where=path.name, code=code, hint=hint)
    schema = dataset(dataset_id).schema
    if is_log:
        check_document(schema, records, code=code, where=path.name)
    else:
        for number, record in enumerate(records, 1):
            check_document(schema, record, code=code, where=f"{path.name}, line {number}")
    return records


def log_records(receipt: Receipt, dataset_id: str) -> list[Record]:
    """A random-number log of the run."""
    return read_records(receipt.path(dataset_id), dataset_id)


def report_lines(receipt: Receipt) -> dict[str, Record]:
    """The last successful run-report line of each scenario of this run, over all days."""
    entry = dataset("segment_state_runs")
    found: dict[str, Record] = {}
    for day in receipt.partitions(entry.id, "utc_day").values():
        for line in read_records(day / Path(entry.path).name, entry.id):
            if _is_success(line, receipt):
                found[line["scenario_id"]] = line
    return found


def _is_success(line: Mapping[str, Any], receipt: Receipt) -> bool:
    ours = {"state": "S4", "status": "PASS", **receipt.identity.document()}
    return "scenario_id" in line and all(line.get(name) == value for name, value in ours.items())
