"""Inputs made to take long, at one, two and four times a size: a reader that compares all with all takes 16 times."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.config.strict import parse_json as parse_policy_json
from arrival_engine.config.strict import parse_yaml
from arrival_engine.contracts import ArrivalError, Code, check_document
from arrival_engine.engine.importing import ImportRequest, import_world
from arrival_engine.engine.process import human
from arrival_engine.engine.rundir.inputs import read_table
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.rundir.strict_json import parse_json
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.synth.presets import SCENARIO_ID
from bench.process import BenchError
from bench.tabular import Table
from bench.timing import median, repeated
from bench.workplace import Workplace

TIMES = (1, 2, 4)
_HEADER, _CELLS = "merchant_id,tz,bucket_start,count", "1,Europe/Berlin,2026-01-01T03:00:00Z,5"


class Attack(NamedTuple):
    """An input by its number of items, written below a folder, and the smallest number; the function reads it.

    sound: the input is odd, but not wrong, and must be taken.
    """

    title: str
    items: int
    prepared: Callable[[Path, int], Callable[[], object]]
    sound: bool = False


def _repeated_keys(_folder: Path, items: int) -> Callable[[], object]:
    data = ("{" + ",".join(f'"k{number // 2}":1' for number in range(items)) + "}").encode()
    return lambda: parse_json(data)


def _nested(_folder: Path, items: int) -> Callable[[], object]:
    data = b"[" * items + b"]" * items
    return lambda: parse_policy_json(data)


def _unknown_keys(_folder: Path, items: int) -> Callable[[], object]:
    document = {f"bundle_digest_sha{number}": 1 for number in range(items)}
    return lambda: check_document("passed_flag", document, code=Code.SCHEMA_VIOLATION, where="flag")


def _faults(_folder: Path, items: int) -> Callable[[], object]:
    rows: list[dict[str, int]] = [{}] * items
    return lambda: check_document("sealed_inputs_5B", rows, code=Code.SCHEMA_VIOLATION, where="inventory")


def _tags(_folder: Path, items: int) -> Callable[[], object]:
    data = "".join(f"%TAG !{number}! x\n" for number in range(items)).encode() + b"--- 1\n"
    return lambda: parse_yaml(data)


def _keys(_folder: Path, items: int) -> Callable[[], object]:
    data = "".join(f"k{number}: 1\n" for number in range(items)).encode() + b"k0: 2\n"
    return lambda: parse_yaml(data)


def _imported(folder: Path, counts: Path) -> Callable[[], object]:
    sites = folder / "sites.csv"
    sites.write_text("merchant_id,tz,country,weight\n1,Europe/Berlin,DE,1\n", encoding="utf-8")
    return lambda: import_world(ImportRequest(folder / "none", [counts], [sites]))


def _csv_columns(folder: Path, items: int) -> Callable[[], object]:
    path = folder / f"columns-{items}.csv"
    names = ",".join(f"c{number}" for number in range(items))
    path.write_text(f"{_HEADER},{names}\n{_CELLS}{',' * items}\n", encoding="utf-8")
    return _imported(folder, path)


def _parquet_columns(folder: Path, items: int) -> Callable[[], object]:
    path = folder / f"columns-{items}.parquet"
    pq.write_table(pa.table({f"c{number}": [1] for number in range(items)}), path)
    return _imported(folder, path)


def _row_groups(folder: Path, items: int) -> Callable[[], object]:
    path = folder / f"groups-{items}.parquet"
    cells = zip(_HEADER.split(","), (1, "Europe/Berlin", "2026-01-01T03:00:00Z", 0), strict=True)
    pq.write_table(pa.table({name: [cell] * items for name, cell in cells}), path, row_group_size=1)
    return _imported(folder, path)


def _counts(folder: Path, items: int) -> Callable[[], object]:
    root = folder / f"world-{items}"
    synthesise(root, preset="demo", seed=1, scale=0.05)
    receipt = read_receipt(root)
    (path,) = receipt.files("s3_bucket_counts_5B", scenario_id=SCENARIO_ID)
    rows = pq.read_table(path.outside, partitioning=None).slice(0, items)
    if len(rows) < items:
        raise BenchError(f"the world has {len(rows)} count rows, not {items}")
    pq.write_table(rows, path.outside, row_group_size=1)
    columns = ("merchant_id", "bucket_index", "count_N")
    return lambda: read_table(receipt, "s3_bucket_counts_5B", columns, scenario_id=SCENARIO_ID)


ATTACKS = (
    Attack("JSON, repeated keys", 50_000, _repeated_keys),
    Attack("JSON, nested lists", 100_000, _nested),
    Attack("document, unknown keys", 50_000, _unknown_keys),
    Attack("document, rows with faults", 250_000, _faults),
    Attack("YAML, keys", 15_000, _keys),
    Attack("YAML, tag directives", 15_000, _tags),
    Attack("import, columns of CSV", 30_000, _csv_columns),
    Attack("import, columns of Parquet", 10_000, _parquet_columns),
    Attack("import, row groups of Parquet", 1_000, _row_groups),
    Attack("run, row groups of counts", 1_000, _counts, sound=True),
)


def measure(workplace: Workplace) -> dict[str, Any]:
    """Raw seconds of every attack at each size: of the refusal, or of reading an input that is sound."""
    found = []
    for attack in ATTACKS:
        workplace.say(f"hostile: {attack.title}")
        sizes = []
        for times in TIMES:
            items = attack.items * times
            read = attack.prepared(workplace.scratch, items)
            sizes.append({"items": items, **repeated(partial(_read, read, sound=attack.sound), workplace.repeats)})
        found.append({"title": attack.title, "sizes": sizes})
    for path in workplace.scratch.iterdir():
        if path.suffix in (".csv", ".parquet"):
            path.unlink()
        elif path.name.startswith("world-"):
            shutil.rmtree(path)
    return {"attacks": found}


def _read(read: Callable[[], object], *, sound: bool) -> None:
    refused = False
    try:
        read()
    except (ArrivalError, ValueError):
        refused = True
    if refused == sound:
        raise BenchError("a sound input was refused" if sound else "a hostile input was taken")


def tables(measured: dict[str, Any]) -> list[Table]:
    """The processor times at each size, and the time at four times the size as a multiple of the first."""
    rows = []
    for attack in measured["attacks"]:
        seconds = [median(size["cpu_s"]) for size in attack["sizes"]]
        rows.append(
            (
                attack["title"],
                human.count(attack["sizes"][0]["items"]),
                *(f"{1000 * spent:.1f} ms" for spent in seconds),
                f"{seconds[-1] / seconds[0]:.1f}",
            )
        )
    return [Table(("input", "items", "time", "at 2 times", "at 4 times", "growth"), rows)]
