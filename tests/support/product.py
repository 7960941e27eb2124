"""The product's whole way from a world of `tests.support.model` to arrivals, for comparison with the reference."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from arrival_engine.contracts import Code, arrow_schema, check_document, dataset
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.expand.expansion import expand
from arrival_engine.engine.expand.ledger import Ledger
from arrival_engine.engine.expand.planning import DEFAULT_BATCH_ARRIVALS, Plan, plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.world import load
from tests.support import reference
from tests.support.compare import assert_same_rows
from tests.support.model import EDGE_FAMILY, SITE_FAMILY, TIME_FAMILY, Expansion, World
from tests.support.world_files import WrittenWorld, write_world

LABELS = {
    TIME_FAMILY: "arrival_time_jitter",
    SITE_FAMILY: "arrival_site_pick",
    EDGE_FAMILY: "arrival_edge_pick",
}


class CountRowKey(NamedTuple):
    merchant_id: int
    bucket: int
    zone: bytes
    channel: bytes


class Arrivals(NamedTuple):
    """What the product makes of a world: the rows, the sums per count row, and the world as it was read."""

    table: pa.Table
    ledger: Ledger
    loaded: load.World


def write_sealed(world: World, run_root: Path, **form: Any) -> WrittenWorld:
    """Write the world in this file form and seal it."""
    written = write_world(world, run_root, **form)
    seal(run_root)
    return written


@contextmanager
def on_disk(world: World, **form: Any) -> Iterator[WrittenWorld]:
    """The world written and sealed in a directory of its own, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="arrivals-test-") as folder:
        yield write_sealed(world, Path(folder) / "run", **form)


def planned(run_root: Path, batch_arrivals: int = DEFAULT_BATCH_ARRIVALS, **options: Any) -> Plan:
    return plan(load.load_world(run_root, **options), batch_arrivals)


def table_of(batches: Plan, threads: int | None = None) -> pa.Table:
    """Every arrival of a plan, through the public `expand`; each batch must have the contract's schema."""
    encoding = batches.world.settings.output.timestamp_encoding
    schema = arrow_schema("arrival_events_5B", timestamp_encoding=encoding)
    return pa.Table.from_batches(expand(batches, threads=threads), schema)


def ledger_of(batches: Plan) -> Ledger:
    ledger = Ledger(batches.world)
    with choose_backend("cpu").open(batches, Reporter()) as expand_batch:
        for batch in batches.batches:
            ledger.add(expand_batch(batch))
    return ledger


def arrivals_of(batches: Plan, threads: int | None = None) -> Arrivals:
    return Arrivals(table_of(batches, threads), ledger_of(batches), batches.world)


def published_parts(run_root: Path, world: World) -> list[Path]:
    """The scenario's published part files in name order."""
    folder = located("arrival_events_5B", run_root, world)
    return sorted(path for path in folder.iterdir() if path.name.startswith("part-"))


def located(dataset_id: str, run_root: Path, world: World) -> Path:
    tokens = {
        "manifest_fingerprint": world.manifest_fingerprint,
        "parameter_hash": world.parameter_hash,
        "seed": str(world.seed),
        "run_id": world.run_id,
        "scenario_id": world.scenario_id,
    }
    return dataset(dataset_id).locate(run_root, tokens)


def read_part(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path, partitioning=None)
    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def published_table(run_root: Path, world: World) -> pa.Table:
    return pa.concat_tables(read_part(path) for path in published_parts(run_root, world))


def report_lines(run_root: Path) -> list[dict[str, Any]]:
    """Every line of the run report, each checked against its schema."""
    files = sorted((run_root / "reports").rglob("segment_state_runs.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text("ascii").splitlines()]
    for line in lines:
        check_document("segment_state_runs", line, code=Code.SCHEMA_VIOLATION, where="report line")
    return lines


def log_records(dataset_id: str, run_root: Path, world: World) -> list[dict[str, Any]]:
    """The records of a random-number log, checked against its schema."""
    lines = located(dataset_id, run_root, world).read_text("ascii").splitlines()
    records = [json.loads(line) for line in lines]
    check_document(dataset_id, records, code=Code.SCHEMA_VIOLATION, where=dataset_id)
    return records


def staged(run_root: Path) -> list[Path]:
    """What runs left in their staging place: nothing, however they ended."""
    return sorted((run_root / "tmp").glob("arrivals-*"))


# The folders below data/layer2/5B that a run writes.
OUTPUT_FOLDERS = ("arrival_events", "arrival_summary", "arrival_anomalies", "arrival_sites", "arrival_edges")


def copy_without_outputs(run_root: Path, target: Path) -> Path:
    """A copy of a sealed run root as it was before its first run."""
    ignored = shutil.ignore_patterns(*OUTPUT_FOLDERS, "logs", "reports", "tmp")
    return Path(shutil.copytree(run_root, target, ignore=ignored))


# --- Equality with the reference ---------------------------------------------------------------------


def assert_equal(world: World, arrivals: Arrivals, written: WrittenWorld, expected: Expansion | None = None) -> None:
    """Rows, digest, accounting, fallbacks and merged rows are the reference's."""
    expected = expected or reference.expand(world)
    assert_same_rows(expected.rows, arrivals.table, routing_universe_hash=written.routing_universe_hash)
    assert str(arrivals.ledger.digest) == expected.digest
    assert_same_accounting(expected, arrivals.ledger)
    assert_same_fallbacks(world, expected, arrivals.ledger)
    assert (arrivals.loaded.input_rows, arrivals.loaded.zero_rows, arrivals.loaded.merged_rows) == (
        len(world.counts),
        sum(row.n == 0 for row in world.counts),
        expected.merged_drawn_rows,
    )


def count_row_keys(ledger: Ledger) -> list[CountRowKey]:
    """Key of each of the product's count rows, in its order."""
    world = ledger.world
    rows, entities, merchants = world.rows, world.tables.entities, world.tables.merchants
    return [
        CountRowKey(
            int(merchants.id[entities.merchant[entity]]),
            bucket,
            world.tzids[entities.zone[entity]].encode(),
            world.channels[entities.channel[entity]].encode(),
        )
        for entity, bucket in zip(rows.entity.tolist(), rows.bucket.tolist(), strict=True)
    ]


def key_of(entity: reference.Entity, bucket: int) -> CountRowKey:
    return CountRowKey(entity.merchant_id, bucket, entity.zone.encode(), entity.channel.encode())


def assert_same_accounting(expected: Expansion, ledger: Ledger) -> None:
    """Law section 6, count row by count row, then the totals and the counters at either end of the scenario."""
    uses = {key_of(use.entity, use.bucket): use for use in expected.count_rows}
    keys = count_row_keys(ledger)
    assert keys == sorted(uses)
    assert ledger.world.rows.arrivals.tolist() == [uses[key].n for key in keys]
    assert ledger.row_totals.virtual.tolist() == [uses[key].virtual for key in keys]
    assert ledger.virtual == sum(use.virtual for use in uses.values())
    accounts = ledger.accounting()
    assert set(accounts) == set(LABELS.values())
    for family, label in LABELS.items():
        account, touching = accounts[label], [uses[key] for key in keys if uses[key].blocks[family]]
        totals = (len(touching), expected.blocks(family), expected.words(family))
        assert (account.events, account.blocks, account.words) == totals, label
        if touching:
            first, last = touching[0], touching[-1]
            assert account.before == (0, first.counter_word1[family]), label
            assert account.after == (last.blocks[family], last.counter_word1[family]), label


def fallbacks_by_count_row(world: World) -> dict[str, Counter[CountRowKey]]:
    """The reference's fallbacks, counted per count row, by name."""
    found: dict[str, Counter[CountRowKey]] = {name: Counter() for name in reference.FALLBACKS}
    for arrival, _ in reference._ordered(reference._Expander(world))[0]:
        for name in arrival.route.fallbacks:
            found[name][key_of(arrival.entity, arrival.bucket)] += 1
    return found


def assert_same_fallbacks(world: World, expected: Expansion, ledger: Ledger) -> None:
    assert ledger.fallbacks() == expected.fallbacks
    wanted = fallbacks_by_count_row(world)
    keys = count_row_keys(ledger)
    taken = ledger.fallback_rows()
    assert list(taken) == [reference.MISSING_GROUP_TABLE, reference.NO_SITE_IN_ZONE, reference.MISSING_EDGE_TABLE]
    for name, counts in taken.items():
        assert counts.tolist() == [wanted[name][key] for key in keys], name
