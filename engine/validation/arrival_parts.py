"""The list of all part files of the arrivals in a bundle: it binds the bundle, and so its flag, to these files.

A validation reads each part several times, by its name. What it lists must be what it has judged. So the facts of each
file are taken before any is read, and must be the same when the file is hashed, which comes last.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.contracts.part_names import parse_part_name, publication_token
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.rundir.arrow_files import open_arrow, parquet_metadata
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.sealed_files import filled

MEMBER = "receipts/arrival_parts.json"
ROLE = "arrival_parts"
SCHEMA = "validation_arrival_parts_5B"
_EVENTS = "arrival_events_5B"
_BLOCK_BYTES = 1 << 20
_NAMED = 5
# A copy of a store has the manifest of the arrivals beside them.
_BESIDE = frozenset({dataset("arrival_manifest_5B").path.rpartition("/")[2]})


class Facts(NamedTuple):
    """What the system says of a file: a change of its bytes, or of the file that has the name, changes one of them."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Facts:
        """From the result of a `stat`."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


Standing = Mapping[str, Mapping[InsidePath, Facts]]


def standing_parts(receipt: Receipt) -> Standing:
    """The published part files of each scenario, in order, with their facts. Raises IO_READ_FAILED."""
    found: dict[str, dict[InsidePath, Facts]] = {}
    for scenario_id, folder in receipt.partitions(_EVENTS).items():
        with reading("arrivals", folder):
            # Anything else of such a name is not a part, and is judged as a stranger.
            paths = [path for path, kind in folder.entries() if kind == "file" and parse_part_name(path.name)]
            found[scenario_id] = {path: Facts.of(path.stat()) for path in paths}
    return found


def list_parts(
    receipt: Receipt, before: Standing, digests: Mapping[str, str], threads: int, reporter: Reporter
) -> dict[str, Any]:
    """The listing of the scenarios in `digests`, each part hashed. Raises S5.IO_READ_FAILED if a file has changed."""
    now = standing_parts(receipt)
    if now != before:
        raise _changed(receipt, before, now)
    parts = [(path, facts) for scenario_id in digests for path, facts in before[scenario_id].items()]
    reporter.expect("bytes", sum(facts.size for _, facts in parts))
    hashes = dict(zip((path for path, _ in parts), _hashed(parts, threads, reporter), strict=True))
    scenarios = [
        {
            "scenario_id": scenario_id,
            "arrival_digest": digest,
            "parts": [
                {
                    "path": path.relative_to(receipt.run_root).as_posix(),
                    "rows": _rows(path),
                    "bytes": facts.size,
                    "sha256_hex": hashes[path],
                }
                for path, facts in before[scenario_id].items()
            ],
        }
        for scenario_id, digest in digests.items()
    ]
    now = standing_parts(receipt)
    if now != before:
        raise _changed(receipt, before, now)
    return {**receipt.identity.document(), "scenarios": scenarios}


def _rows(path: InsidePath) -> int:
    with reading("arrivals", path):
        if path.suffix == ".parquet":
            return int(parquet_metadata(path).num_rows)
        with open_arrow(path) as reader:
            return sum(reader.get_batch(index).num_rows for index in range(reader.num_record_batches))


def _changed(receipt: Receipt, before: Standing, now: Standing) -> ArrivalError:
    was, found = ({path: facts for parts in each.values() for path, facts in parts.items()} for each in (before, now))
    names = sorted(
        path.relative_to(receipt.run_root).as_posix()
        for path in was.keys() | found.keys()
        if was.get(path) != found.get(path)
    )
    return ArrivalError(
        Code.S5_IO_READ_FAILED,
        f"{_named(names)} changed while the arrivals were being validated",
        hint="let nothing write below the run directory, then run `arrivals validate RUN_ROOT` again",
        changed=names[:_NAMED],
    )


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _hashed(parts: Iterable[tuple[InsidePath, Facts | None]], threads: int, reporter: Reporter) -> list[str]:
    """The SHA-256 of each part, several at once; a file whose facts are others than those given is IO_READ_FAILED."""
    cancellation = Cancellation()

    def hashed(part: tuple[InsidePath, Facts | None]) -> str:
        path, facts = part
        digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK_BYTES))
        with reading("arrivals", path), path.open("rb", 0) as file:
            _hold(path, file, facts)
            while size := filled(file, block):
                cancellation.check()
                digest.update(block[:size])
                reporter.advance(size)
            _hold(path, file, facts)
        return digest.hexdigest()

    with closing(ordered(hashed, parts, threads, cancellation)) as results:
        return list(results)


def _hold(path: InsidePath, file: io.FileIO, facts: Facts | None) -> None:
    if facts is not None and Facts.of(os.fstat(file.fileno())) != facts:
        raise ArrivalError(
            Code.S5_IO_READ_FAILED,
            f"{path} changed while the arrivals were being validated",
            hint="let nothing write below the run directory, then run `arrivals validate RUN_ROOT` again",
            path=path,
        )


def compare_parts(
    receipt: Receipt, listing: Mapping[str, Any], *, hashed: bool, threads: int, reporter: Reporter
) -> None:
    """Compare the run directory's part files with a listing: names and sizes, with `hashed` also every byte.

    Raises S5.BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH.
    """
    listed = {scenario["scenario_id"]: _listed(receipt, scenario) for scenario in listing["scenarios"]}
    faults = [
        f"scenario {scenario_id} is {'not published' if scenario_id in listed else 'not listed'}"
        for scenario_id in sorted(listed.keys() ^ receipt.partitions(_EVENTS).keys())
    ]
    for scenario_id, parts in listed.items():
        faults += _differences(receipt.path(_EVENTS, scenario_id=scenario_id), parts)
    if not faults and hashed:
        every = [(path, part) for parts in listed.values() for path, part in parts.items()]
        reporter.expect("bytes", sum(part["bytes"] for _, part in every))
        found = _hashed([(path, None) for path, _ in every], threads, reporter)
        faults = [
            f"{path} does not have the hash that the bundle lists"
            for (path, part), digest in zip(every, found, strict=True)
            if digest != part["sha256_hex"]
        ]
    if faults:
        raise ArrivalError(
            Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH,
            f"the arrivals are not those that the bundle is about: {_named(faults)}",
            hint="restore the arrivals that were validated, or run `arrivals validate RUN_ROOT` on these",
            differences=faults[:_NAMED],
        )


def _listed(receipt: Receipt, scenario: Mapping[str, Any]) -> dict[InsidePath, Mapping[str, Any]]:
    """The listed parts by path. Raises S5.BUNDLE_INDEX_INVALID for one that is not a part of the scenario."""
    folder = receipt.path(_EVENTS, scenario_id=scenario["scenario_id"])
    parts = {}
    for part in scenario["parts"]:
        name = part["path"].rpartition("/")[2]
        path = folder / name
        parsed = parse_part_name(name)
        tokens = ("", publication_token(each["sha256_hex"] for each in scenario["parts"]))
        if not parsed or path.relative_to(receipt.run_root).as_posix() != part["path"] or parsed.token not in tokens:
            raise ArrivalError(
                Code.S5_BUNDLE_INDEX_INVALID,
                f"{MEMBER} of the bundle lists {part['path']!r}, which is not the name of that part",
                hint="run `arrivals validate RUN_ROOT` again",
            )
        parts[path] = part
    return parts


def _differences(folder: InsidePath, parts: Mapping[InsidePath, Mapping[str, Any]]) -> list[str]:
    with reading("arrivals", folder):
        found = set(folder.iterdir()) if folder.is_dir() else set()
        faults = [f"{path} is not listed" for path in sorted(found - parts.keys()) if path.name not in _BESIDE]
        for path, part in parts.items():
            if path not in found or path.kind() != "file":
                faults.append(f"{path} is missing")
            elif (size := path.stat().st_size) != part["bytes"]:
                faults.append(f"{path} has {size} bytes instead of {part['bytes']}")
    return faults
