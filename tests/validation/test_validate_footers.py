"""What part files say of themselves: metadata and statistics that are missing or false are found by `files`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation.footers import footer_faults
from tests.support.forged_footers import footer_edited, renamed_key, restated, restated_arrow, rewritten, word
from tests.support.relaid import Laid, relaid
from tests.support.validating import Arrivals, broken, copied, edit_parts, validated
from tests.support.worlds import small_world, write_world


def _without(*keys: str) -> Callable[[Path], None]:
    def change(table: pa.Table) -> pa.Table:
        kept = {key: value for key, value in (table.schema.metadata or {}).items() if key.decode() not in keys}
        return table.replace_schema_metadata(kept)

    return lambda root: edit_parts(root, change)


def _with(key: str, value: str) -> Callable[[Path], None]:
    def change(table: pa.Table) -> pa.Table:
        return table.replace_schema_metadata({**(table.schema.metadata or {}), key.encode(): value.encode()})

    return lambda root: edit_parts(root, change)


def _last(change: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda root: change(Arrivals(root).paths[-1])


def _another_version(path: Path) -> None:
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"arrivals.engine_version": b"9.9.9"}), path)


def _a_number_of_the_footer(path: Path) -> None:
    table = pq.read_table(path, columns=["bucket_index"], partitioning=None)
    restated(path, pc.max(table["bucket_index"]).as_py(), 3)


def _a_number_of_the_page_index(path: Path) -> None:
    def lie(laid: Laid) -> None:
        laid.chunk("ts_utc").column_index[2][0] = word(1)

    relaid(path, index=lie)


FORGERIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "metadata removed": (lambda root: edit_parts(root, lambda table: table.replace_schema_metadata({})), "does not"),
    "law version removed": (_without("arrivals.law_version"), "does not state arrivals.law_version"),
    "law version false": (_with("arrivals.law_version", "1"), "states arrivals.law_version '1'"),
    "policies false": (_with("arrivals.policy_digests", "{}"), "states arrivals.policy_digests '{}'"),
    "digest removed": (_without("arrivals.digest"), "does not state arrivals.digest"),
    "digest malformed": (_with("arrivals.digest", "12"), "states arrivals.digest '12'"),
    "unknown key": (_with("arrivals.approved", "yes"), "states the unknown key 'arrivals.approved'"),
    "types for pandas false": (_with("pandas", '{"columns":[]}'), "states pandas"),
    "key renamed": (_last(lambda path: renamed_key(path, "arrivals.seed", "arrivals.sead")), "does not"),
    "one part of another version": (_last(_another_version), "parts state several versions"),
    "a version that never ran": (_with("arrivals.engine_version", "9.9.9"), "states arrivals.engine_version '9.9.9'"),
    "extreme false": (_last(_a_number_of_the_footer), "states the greatest value"),
    "page index false": (_last(_a_number_of_the_page_index), "has a column index that states the least value"),
    "Bloom filter": (
        _last(lambda path: rewritten(path, bloom_filter_options={"merchant_id": True})),
        "has a Bloom filter",
    ),
    "sort order": (
        _last(lambda path: rewritten(path, sorting_columns=[pq.SortingColumn(8, descending=True)])),
        "has a sort order",
    ),
}


# One of each kind; the rest are slow tests.
QUICK = {
    "metadata removed",
    "law version false",
    "unknown key",
    "types for pandas false",
    "key renamed",
    "one part of another version",
    "page index false",
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FORGERIES]
)
def test_a_footer_that_lacks_or_forges_a_statement_is_named(
    name: str, sound: Path, tmp_path: Path, capsys: Any
) -> None:
    root = copied(sound, tmp_path / "run")
    forge, expected = FORGERIES[name]
    forge(root)
    code, _, findings = validated(root, capsys)
    # A digest that is none is not that of the rows either.
    also = {"arrival_digest"} if name == "digest malformed" else set()
    assert (code, broken(findings)) == (1, {"files"} | also)
    assert any(expected in example["fault"] for example in findings["files"]["examples"])


def test_a_key_that_is_there_twice_is_named(sound: Path, tmp_path: Path) -> None:
    path = copied(sound, tmp_path / "run") / Arrivals(sound).paths[0].relative_to(sound)
    footer_edited(path, lambda footer: footer.replace(b"arrivals.scenario_id", b"arrivals.law_version"))
    faults = footer_faults(InsidePath.of_user(path))
    assert "repeats the key 'arrivals.law_version'" in [fault["fault"] for fault in faults]


def test_statistics_that_hide_rows_from_readers_are_named(sound: Path, tmp_path: Path, capsys: Any) -> None:
    """Readers that trust the footer skip rows that are there."""
    root = copied(sound, tmp_path / "run")
    path = Arrivals(root).paths[0]
    merchants = pq.read_table(path, columns=["merchant_id"], partitioning=None)["merchant_id"]
    least, greatest = pc.min(merchants).as_py(), pc.max(merchants).as_py()
    rows = len(merchants.filter(pc.equal(merchants, least)))
    restated(path, least, greatest)
    wanted = pc.field("merchant_id") == pa.scalar(least, pa.uint64())
    assert duckdb.read_parquet(str(path), hive_partitioning=False).filter(f"merchant_id = {least}").fetchall() == []
    assert pyarrow.dataset.dataset(path, format="parquet").count_rows(filter=wanted) == 0
    assert rows > 0
    code, _, findings = validated(root, capsys)
    assert (code, broken(findings)) == (1, {"files"})
    first = findings["files"]["examples"][0]
    assert (first["file"], first["row_group"], first["column"]) == (path.name, 0, "merchant_id")
    assert first["fault"] == f"states the least value 0x{word(greatest).hex()}, it is {least}"


def test_statistics_of_every_type_are_compared(tmp_path: Path) -> None:
    table = pa.table(
        {
            "u64": pa.array([1 << 63, 5, None], pa.uint64()),
            "i32": pa.array([-7, None, 9], pa.int32()),
            "text": pa.array(["b", "ä", None]),
            "coded": pa.array(["x", None, "y"]).dictionary_encode(),
            "flag": pa.array([True, False, None]),
            "real": pa.array([0.0, -2.5, None]),
            "zero": pa.array([0.0, 0.0, None]),
            "time": pa.array([1, -1, None], pa.timestamp("us", tz="UTC")),
            "none": pa.array([None, None, None], pa.int64()),
            "nest": pa.array([{"a": 4}, {"a": None}, None]),
        }
    )
    path = tmp_path / "table.parquet"
    pq.write_table(table, path, row_group_size=2)
    assert footer_faults(InsidePath.of_user(path)) == []
    pq.write_table(pa.table({"real": [1.5, 2.5], "n": [4, 5]}), path)
    footer_edited(path, lambda footer: footer.replace(b"\x00\x00\x00\x00\x00\x00\xf8\x3f", b"\0" * 8))
    assert {fault["column"] for fault in footer_faults(InsidePath.of_user(path))} == {"real"}


def test_bounds_of_texts_that_are_all_null_are_no_fault(tmp_path: Path) -> None:
    # An entity without a channel that shares its world with one that has a channel: Arrow states that channel.
    coded = pa.DictionaryArray.from_arrays(pa.array([None, None], pa.int32()), pa.array(["mixed"]))
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table({"channel_group": coded, "bucket_index": [1, 2]}), path)
    statistics = pq.read_metadata(path).row_group(0).column(0).statistics
    assert (statistics.has_min_max, statistics.min, statistics.null_count) == (True, "mixed", 2)
    assert footer_faults(InsidePath.of_user(path)) == []


def test_an_arrow_file_with_two_schemas_is_named(tmp_path: Path, capsys: Any) -> None:
    root = tmp_path / "run"
    write_world(small_world(), root)
    seal(root)
    run(root, RunOptions(backend="cpu", format="arrow"))
    (path,) = root.rglob("part-000000-*.arrow")
    restated_arrow(path, "arrivals.scenario_id", "baseline_v2")
    code, _, findings = validated(root, capsys)
    assert (code, broken(findings)) == (1, {"files"})
    assert findings["files"]["examples"] == [
        {"file": path.name, "fault": "begins with another schema than its footer gives"}
    ]
