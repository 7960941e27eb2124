"""Logs and ledgers: run report, random-number logs, resume ledger, lock and owner files."""

from __future__ import annotations

import json
from pathlib import Path

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.process.scratch import OWNER, scratch_folder
from arrival_engine.engine.recomputing.streams import FAMILIES
from arrival_engine.engine.records.rng_logs import _increments, _is_ours
from arrival_engine.engine.records.rng_logs import scenario_of as run_scenario_of
from arrival_engine.engine.report.records import read_run
from arrival_engine.engine.run.part_ledger import PartLedger, abandoned_staging
from arrival_engine.engine.rundir.json_lines import Log, raw_lines, read_log
from arrival_engine.engine.rundir.lock import _holder
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.rundir.strict_json import parse_json
from arrival_engine.engine.validation.records import read_logs, successes
from arrival_engine.engine.validation.records import scenario_of as judged_scenario_of
from tests.fuzz.mutation import mutated_bytes, mutated_json, mutated_lines, one_of
from tests.fuzz.sample import SCENARIO, copy_of
from tests.fuzz.target import Opened, Target
from tests.support.product import planned


def _told(log: Log) -> str:
    """The outcome of a log in a few words: what was set aside, without the values."""
    for notice in log.notices():
        json.dumps(notice.to_dict())
    faults = {aside.fault.partition(" (")[0].partition(" value ")[0].partition(" key ")[0][:40] for aside in log.aside}
    return f"{min(len(log.entries), 4)} {sorted(faults)}"


def _shorten(*files: Path) -> None:
    """Leave the first lines of logs that are read with every input."""
    for file in files:
        file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:4]))


def _run_report(folder: Path) -> Opened:
    """The run report, as validation and the page for people read it."""
    root = copy_of(folder, "validation_bundle_5B", trees=["reports"])
    (file,) = root.glob("reports/**/segment_state_runs.jsonl")
    receipt = read_receipt(root)
    report = receipt.path("validation_bundle_5B").outside / "validation_report_5B.json"
    document = json.loads(report.read_bytes())
    report.write_text(json.dumps(document | {"checks": document["checks"][:2]}), "utf-8")
    sound = file.read_bytes()
    failed = json.loads(sound.splitlines()[0]) | {"status": "FAIL", "error_code": "x", "error_message": "y"}

    def read(data: bytes) -> str:
        file.write_bytes(data)
        logs = read_logs(receipt)
        assert successes(logs).keys() == read_run(receipt).lines.keys()
        return _told(logs.days[0])

    return Opened([sound, sound + json.dumps(failed).encode() + b"\n"], mutated_lines, read)


def _rng_log(kind: str) -> Target:
    def opened(folder: Path) -> Opened:
        root = copy_of(folder, trees=["logs"])
        receipt = read_receipt(root)
        file = receipt.path(f"rng_{kind}_log").outside
        _shorten(*(receipt.path(f"rng_{other}_log").outside for other in ("audit", "trace")))

        def read(data: bytes) -> str:
            file.write_bytes(data)
            judged = read_logs(receipt)
            if kind == "audit":
                return _told(judged.audit)
            ours = read_log(
                receipt.path("rng_trace_log"),
                receipt.run_root,
                "rng_trace_log",
                lambda record: _is_ours(receipt.identity, FAMILIES, record),
            )
            assert ours.entries == judged.trace.entries, "run and validation read different records"
            _increments(ours)
            return _told(ours)

        return Opened([file.read_bytes()], mutated_lines, read)

    return Target(f"rng_{kind}_log", f"random-number {kind} log, as run and validation read it", opened)


def _scenario(_folder: Path) -> Opened:
    """The `detail` of a trace record: run and validation must find the same scenario in it."""

    def read(data: bytes) -> str:
        detail = data.decode("utf-8", "replace")
        for record in ({"detail": detail}, {"detail": None}, {}):
            ours, judged = run_scenario_of(record), judged_scenario_of(record)
            assert (ours or "") == judged, (ours, judged)
        return "a scenario" if run_scenario_of({"detail": detail}) else "none"

    return Opened([b'{"scenario_id":"baseline_v1"}', b'{"a":1,"scenario_id":"x","b":[]}'], mutated_json, read)


def _log_lines(folder: Path) -> Opened:
    """Any log, line by line: each line is a record that the whole-document reader accepts too, or set aside."""
    file = folder / "log.jsonl"

    def read(data: bytes) -> str:
        file.write_bytes(data)
        lines = list(raw_lines(InsidePath(folder, (file.name,))))
        assert [line for _, line in lines] == [line for line in data.split(b"\n") if line.strip()]
        good = 0
        for _, line in lines:
            try:
                good += isinstance(parse_json(line), dict)
            except ValueError:
                continue
        return f"{good} of {len(lines)}"

    return Opened([b'{"a":1}\n{"b":[1,2]}\n\n{"c":"\\u00e9"}\n'], mutated_lines, read)


def _ledger(folder: Path) -> Opened:
    """The ledger of a killed run of several parts, none of which is left: only what it lists is read."""
    root = copy_of(folder, trees=["data"])
    plan = planned(root, batch_arrivals=500)
    staged = InsidePath(root) / "tmp" / "arrivals-fuzz"
    (staged / "events").mkdir(parents=True)
    ledger = PartLedger(staged, plan, "parquet")
    ledger.begin()
    names = [f"part-{index:06d}.parquet" for index in range(len(plan.batches))]
    for index, name in enumerate(names[:4]):
        ledger.record(index, PartReceipt(name, 500, 900, Digest(), str(index) * 64))
    file = (staged / "ledger" / "ledger.jsonl").outside

    def read(data: bytes) -> str:
        file.write_bytes(data)
        found = abandoned_staging(InsidePath(root), SCENARIO)
        if found is None:
            return "no ledger of this scenario"
        assert found == staged
        told: list[str] = []
        finished = ledger.resume(told.append)
        assert all(part.index == index for index, part in finished.items())
        assert {part.name for part in finished.values()} <= set(names)
        again = ledger.resume(told.append)
        assert again == finished, "the ledger does not say the same again"
        return f"{len(finished)} {len(told)}"

    return Opened([file.read_bytes()], mutated_lines, read)


def _lock(folder: Path) -> Opened:
    """The file that names the holder of a run directory, and the one that names the owner of a scratch folder."""
    left = folder / "arrivals-left"

    def read(data: bytes) -> str:
        holder = _holder(data.decode("utf-8", "replace"))
        left.mkdir(exist_ok=True)
        (left / OWNER).write_bytes(data)
        with scratch_folder(InsidePath(folder)):
            pass
        return f"{holder.partition(' ')[0]} {left.exists()}"

    sound = {"pid": 1, "host": "a", "since": "2026-01-01", "machine": "somewhere else"}
    return Opened([json.dumps(sound).encode()], one_of(mutated_json, mutated_bytes), read)


TARGETS = (
    Target("run_report", "run report, as validation and the page read it", _run_report),
    _rng_log("audit"),
    _rng_log("trace"),
    Target("trace_detail", "the scenario in a trace record, as run and validation read it", _scenario),
    Target("log_lines", "any log, line by line", _log_lines),
    Target("resume_ledger", "ledger of a killed run", _ledger),
    Target("lock_file", "files that name the holder of a run directory and the owner of a scratch folder", _lock),
)
