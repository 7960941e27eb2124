"""Tables that break their schema, whose bytes are damaged, or that belong to another run."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine import run
from arrival_engine.contracts import dataset
from arrival_engine.engine.sealing import seal
from tests.support import damage, refusals
from tests.support.damage import (
    COUNTS,
    EDGE_INDEX,
    EDGES,
    GRID,
    GROUPS,
    MODES,
    ROUTING_3B,
    SETTLEMENT,
    SITE_WEIGHTS,
    SITE_ZONES,
    TZ_MANIFEST,
    UNIVERSE,
)
from tests.support.refusals import (
    COUNTS_BAD,
    CPU,
    EDGE_BAD,
    IDENTITY_BAD,
    OTHER_64,
    OTHER_SEED,
    ROUTING_BAD,
    SITE_BAD,
    UNREADABLE,
    Case,
    check,
    harm,
    put,
    refused,
    seal_damaged,
)

pristine, run_root = refusals.pristine, refusals.run_root

# Tables that break their schema.

TABLE_CODES = {
    GRID: COUNTS_BAD,
    COUNTS: COUNTS_BAD,
    SITE_WEIGHTS: SITE_BAD,
    SITE_ZONES: SITE_BAD,
    GROUPS: SITE_BAD,
    MODES: ROUTING_BAD,
    SETTLEMENT: EDGE_BAD,
    EDGES: EDGE_BAD,
    EDGE_INDEX: EDGE_BAD,
}
# A key, a value that the job reads, and one that it merely carries.
LOOKED_AT = {
    GRID: ("bucket_index", "bucket_end_utc", "parameter_hash"),
    COUNTS: ("merchant_id", "count_N", "zone_representation"),
    SITE_WEIGHTS: ("merchant_id", "p_weight", "weight_source"),
    SITE_ZONES: ("legal_country_iso", "tzid", "tzid_source"),
    GROUPS: ("utc_day", "p_group", "gamma"),
    MODES: ("merchant_id", "virtual_mode", "decision_reason"),
    SETTLEMENT: ("merchant_id", "tzid_settlement", "coord_source_id"),
    EDGES: ("edge_id", "tzid_operational", "edge_weight"),
    EDGE_INDEX: ("scope", "seed", "manifest_fingerprint"),
}
STRICT_TABLES = [name for name in TABLE_CODES if name not in (GRID, COUNTS)]


def restated(dataset_id, change):
    """`change`, then the universe hash that follows from it, so that the damage itself is met first."""

    def apply(run_root):
        change(run_root)
        if dataset_id == EDGE_INDEX:
            damage.restate_universe(run_root)

    return apply


def schema_cases():
    for name, columns in LOOKED_AT.items():
        code, folder = TABLE_CODES[name], dataset(name).path.split("/")[3]
        for column in columns:
            says = (folder, column)
            yield f"{name} lacks {column}", Case(harm(damage.without_column, name, column), code, (*says, "is missing"))
            yield f"{name}.{column} retyped", Case(harm(damage.retyped, name, column), code, (*says, "has type"))
        for column in columns[:2]:
            nulled = put(name, column, None)
            yield f"{name}.{column} null", Case(nulled, code, (folder, column, "row 0", "is null"))
    for name in STRICT_TABLES:
        extra = harm(damage.with_column, name, "surprise")
        yield f"{name} with more", Case(extra, TABLE_CODES[name], ("surprise", "not part of the contract"))


SCHEMA_CASES = {
    name: case._replace(harm=restated(name.split(" ")[0].split(".")[0], case.harm)) for name, case in schema_cases()
}


# Identity.

IDENTITY_COLUMNS = [
    *(
        (name, column)
        for name in (GRID, COUNTS)
        for column in ("manifest_fingerprint", "parameter_hash", "scenario_id")
    ),
    (COUNTS, "seed"),
    *(
        (name, column)
        for name in (SITE_ZONES, MODES, SETTLEMENT, EDGES, EDGE_INDEX)
        for column in ("manifest_fingerprint", "seed")
    ),
]
OTHERS = {"manifest_fingerprint": OTHER_64, "parameter_hash": OTHER_64, "scenario_id": "stress_v1", "seed": OTHER_SEED}
IDENTITY_CASES = {
    **{
        f"{name}.{column}": Case(
            restated(name, put(name, column, OTHERS[column])), IDENTITY_BAD, (".parquet", column, repr(OTHERS[column]))
        )
        for name, column in IDENTITY_COLUMNS
    },
    **{
        f"{name}.{key}": Case(
            harm(damage.edit_document, name, **{key: OTHER_64}), IDENTITY_BAD, (".json", key, OTHER_64)
        )
        for name, key in (
            (UNIVERSE, "manifest_fingerprint"),
            (UNIVERSE, "parameter_hash"),
            (ROUTING_3B, "manifest_fingerprint"),
            (ROUTING_3B, "parameter_hash"),
            (TZ_MANIFEST, "manifest_fingerprint"),
        )
    },
}

# Bytes.

TABLE_BYTES = {
    "cut off": lambda data: data[: len(data) // 2],
    "without its footer": lambda data: data[:-8],
    "empty": lambda _: b"",
    "no Parquet": lambda _: b"merchant_id,count_N\n1,2\n",
    "a page overwritten": lambda data: data[:8] + b"\xff" * 60 + data[68:],
}
BYTE_CASES = {
    f"{name} {what}": Case(
        restated(name, harm(damage.edit_bytes, name, change)), UNREADABLE, ("cannot read", ".parquet")
    )
    for name in TABLE_CODES
    for what, change in TABLE_BYTES.items()
}


class TestTables:
    @pytest.mark.parametrize("name", SCHEMA_CASES)
    def test_a_table_that_breaks_its_schema(self, run_root, name):
        case = SCHEMA_CASES[name]
        case.harm(run_root)
        seal_damaged(run_root, case)
        check(refused(run_root), case)

    @pytest.mark.parametrize("name", BYTE_CASES)
    def test_a_table_whose_bytes_are_damaged(self, run_root, name):
        case = BYTE_CASES[name]
        case.harm(run_root)
        seal_damaged(run_root, case)
        check(refused(run_root), case)

    @pytest.mark.parametrize("name", IDENTITY_CASES)
    def test_a_file_of_another_run(self, run_root, name):
        case = IDENTITY_CASES[name]
        case.harm(run_root)
        seal_damaged(run_root, case)
        check(refused(run_root), case)

    @pytest.mark.parametrize("dataset_id", [GRID, COUNTS])
    def test_further_columns_are_legal_in_5b_tables(self, run_root, dataset_id):
        damage.with_column(run_root, dataset_id, "surprise")
        seal(run_root)
        assert run(run_root, CPU).scenarios[0].arrivals == 3279

    def test_counts_may_leave_the_channel_out(self, run_root):
        damage.without_column(run_root, COUNTS, "channel_group")
        seal(run_root)
        assert run(run_root, CPU).scenarios[0].arrivals == 3279

    def test_a_row_is_found_again_in_a_file_of_several_row_groups(self, run_root):
        table = pq.read_table(damage.file_of(run_root, COUNTS), partitioning=None)
        wrong = pa.Table.from_pylist([{**table.slice(0, 1).to_pylist()[0], "count_N": -7}], table.schema)
        whole = pa.concat_tables([table, wrong])
        pq.write_table(whole, damage.file_of(run_root, COUNTS), row_group_size=10)
        seal(run_root)
        assert f"column count_N in row {table.num_rows} holds -7" in refused(run_root).message
