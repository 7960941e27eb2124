"""Damages to files, to what the run says of itself, and to its inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.contracts.dictionary import dataset
from tests.support import damage
from tests.support.mutations import mutation
from tests.support.validating import (
    EVENTS,
    Arrivals,
    Row,
    edit_lines,
    edit_parts,
    edit_run_line,
    log_path,
    report_path,
)
from tests.support.worlds import (
    NEW_YORK,
    ONE_SLOT,
    TWO_ZONES,
)

# --- Files -------------------------------------------------------------------------------------------


def retyped(table: pa.Table, column: str, kind: pa.DataType) -> pa.Table:
    at = table.column_names.index(column)
    return table.set_column(at, pa.field(column, kind), table[column].cast(kind))


@mutation("schema")
def a_column_has_another_type(run_root: Path) -> None:
    edit_parts(run_root, lambda table: retyped(table, "arrival_seq", pa.int32()))


@mutation("schema")
def a_column_is_missing(run_root: Path) -> None:
    edit_parts(run_root, lambda table: table.drop_columns(["edge_id"]))


@mutation("schema")
def a_column_is_too_many(run_root: Path) -> None:
    edit_parts(run_root, lambda table: table.append_column("note", pa.nulls(table.num_rows, pa.string())))


@mutation("schema")
def a_column_has_another_name(run_root: Path) -> None:
    edit_parts(
        run_root,
        lambda table: table.rename_columns({"site_id": "shop_id"}).replace_schema_metadata(table.schema.metadata),
    )


@mutation("files")
def a_stranger_stands_among_the_parts(run_root: Path) -> None:
    (Arrivals(run_root).paths[0].parent / "notes.txt").write_text("by hand", "ascii")


@mutation("files")
def a_part_has_another_number(run_root: Path) -> None:
    last = Arrivals(run_root).paths[-1]
    last.rename(last.with_name(last.name.replace(last.name[:11], "part-000099")))


@mutation("files")
def a_part_is_of_another_publication(run_root: Path) -> None:
    last = Arrivals(run_root).paths[-1]
    last.rename(last.with_name(f"{last.name[:11]}-0123456789ab.parquet"))


@mutation("files")
def a_part_says_it_is_of_another_seed(run_root: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        return table.replace_schema_metadata({**(table.schema.metadata or {}), b"arrivals.seed": b"43"})

    edit_parts(run_root, change)


# --- What the run says of itself ----------------------------------------------------------------------


@mutation("arrival_digest")
def the_reported_digest_is_forged(run_root: Path) -> None:
    edit_run_line(run_root, arrival_digest=f"12879-{'0' * 32}")


@mutation("run_report")
def a_reported_total_is_edited(run_root: Path) -> None:
    edit_run_line(run_root, n_arrivals_virtual=4140)


@mutation("run_report")
def the_reported_merged_rows_are_edited(run_root: Path) -> None:
    edit_run_line(run_root, count_rows_merged=0)


@mutation("rng_draws")
def reported_words_are_edited(run_root: Path) -> None:
    edit_run_line(run_root, rng_draws_edge=1)


@mutation("sealed_inputs")
def the_run_used_another_seal(run_root: Path) -> None:
    edit_run_line(run_root, sealed_inputs_digest="f" * 64)


@mutation("domain", "arrival_digest", "run_report")
def the_run_report_is_gone(run_root: Path) -> None:
    report_path(run_root).unlink()


@mutation("summary")
def the_summary_says_something_else(run_root: Path) -> None:
    damage.put(run_root, "s4_arrival_summary_5B", "count_virtual", 1)


@mutation("site_table")
def the_table_of_sites_gives_one_another_zone(run_root: Path) -> None:
    damage.put(run_root, "arrival_sites_5B", "tzid", "Asia/Tokyo")


@mutation("site_table")
def the_table_of_sites_lacks_one(run_root: Path) -> None:
    damage.edit_rows(run_root, "arrival_sites_5B", lambda rows: rows[1:])


@mutation("edge_table")
def the_table_of_edges_lists_one_twice(run_root: Path) -> None:
    damage.edit_rows(run_root, "arrival_edges_5B", lambda rows: [*rows, rows[0]])


@mutation("edge_table")
def the_table_of_edges_has_another_id_as_text(run_root: Path) -> None:
    damage.put(run_root, "arrival_edges_5B", "edge_hex", "00000000000000ff")


@mutation("rng_draws", "rng_events")
def traced_draws_are_edited(run_root: Path) -> None:
    def change(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        records[0]["draws_total"] += 1
        return records

    edit_lines(log_path(run_root, "rng_trace_log"), change)


@mutation("rng_draws")
def a_traced_counter_is_edited(run_root: Path) -> None:
    def change(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        records[-1]["rng_counter_after_hi"] ^= 1
        return records

    edit_lines(log_path(run_root, "rng_trace_log"), change)


@mutation("rng_logs", "rng_events")
def a_trace_record_is_gone(run_root: Path) -> None:
    edit_lines(log_path(run_root, "rng_trace_log"), lambda records: records[1:])


@mutation("rng_logs", "rng_events")
def the_trace_is_no_json(run_root: Path) -> None:
    path = log_path(run_root, "rng_trace_log")
    path.write_bytes(path.read_bytes()[:-20])


@mutation("rng_logs")
def the_audit_is_of_another_run(run_root: Path) -> None:
    edit_lines(log_path(run_root, "rng_audit_log"), lambda records: [{**records[0], "run_id": "e" * 32}])


def edit_events(run_root: Path, change: Callable[[list[Row]], list[Row]]) -> None:
    (path,) = log_path(run_root, "rng_event_arrival_site_pick").glob("*.parquet")
    table = pq.read_table(path, partitioning=None)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), table.schema), path)


@mutation("rng_events")
def an_event_record_is_gone(run_root: Path) -> None:
    edit_events(run_root, lambda records: records[1:])


@mutation("rng_events")
def an_event_record_has_other_counters(run_root: Path) -> None:
    edit_events(run_root, lambda records: [{**records[0], "rng_counter_before_lo": 1}, *records[1:]])


# --- Inputs ------------------------------------------------------------------------------------------


@mutation("sealed_inputs")
def one_sealed_byte_is_edited(run_root: Path) -> None:
    path = dataset("virtual_routing_policy_3B").locate(run_root, damage.tokens_of(run_root))
    path.write_bytes(path.read_bytes() + b" ")


@mutation("sealed_inputs")
def a_policy_is_edited(run_root: Path) -> None:
    damage.edit_policy(run_root, "arrival_time_placement_policy_5B", max_arrivals_per_bucket="49999")


@mutation("sealed_inputs", "upstream")
def an_upstream_bundle_is_edited(run_root: Path) -> None:
    folder = dataset("validation_bundle_2B").folder(run_root, damage.tokens_of(run_root))
    (folder / "a.json").write_bytes(b"{}")


@mutation("domain")
def a_scenario_was_published_without_counts(run_root: Path) -> None:
    dataset(EVENTS).locate(run_root, damage.tokens_of(run_root, "stress_v1")).mkdir(parents=True)


@mutation("sealed_inputs", "time_grid")
def a_bucket_is_longer_than_it_says(run_root: Path) -> None:
    damage.put(run_root, "s1_time_grid_5B", "bucket_duration_seconds", 7, {"bucket_index": 0})


@mutation("sealed_inputs", "bucket_counts")
def a_count_lies_off_the_grid(run_root: Path) -> None:
    damage.put(run_root, "s3_bucket_counts_5B", "bucket_index", 10**6, {"count_N": 0, "merchant_id": TWO_ZONES})


@mutation("law", "sealed_inputs", "counts", "summary", "rng_draws", "rng_events", also={"coverage"})
def a_count_is_one_more(run_root: Path) -> None:
    damage.put(run_root, "s3_bucket_counts_5B", "count_N", 10, {"count_N": 9, "merchant_id": TWO_ZONES})


@mutation("sealed_inputs", "grouping")
def an_entity_is_not_grouped(run_root: Path) -> None:
    damage.drop(run_root, "s1_grouping_5B", {"merchant_id": ONE_SLOT})


@mutation("sealed_inputs", "intensity")
def an_intensity_is_infinite(run_root: Path) -> None:
    damage.put(run_root, "s2_realised_intensity_5B", "lambda_realised", float("inf"), {"merchant_id": ONE_SLOT})


@mutation("sealed_inputs", "intensity")
def a_count_has_no_intensity(run_root: Path) -> None:
    damage.put(run_root, "s2_realised_intensity_5B", "lambda_realised", 0.0, {"merchant_id": ONE_SLOT})


@mutation("sealed_inputs", "zone_alloc")
def a_zone_is_allotted_no_site(run_root: Path) -> None:
    damage.put(run_root, "zone_alloc", "zone_site_count", 0, {"tzid": NEW_YORK})


@mutation("sealed_inputs", "alias_rows")
def a_merchant_has_no_alias_row(run_root: Path) -> None:
    index = json.loads(damage.file_of(run_root, "s2_alias_index").read_bytes())["merchants"]
    damage.edit_document(run_root, "s2_alias_index", merchants=index[1:])


@mutation("law", "sealed_inputs", "site_of_merchant", "site_table", also={"site_weights"})
def a_site_loses_its_weight(run_root: Path) -> None:
    where = {"merchant_id": TWO_ZONES, "legal_country_iso": "DE", "site_order": 3}
    damage.put(run_root, "s1_site_weights", "p_weight", 0.0, where)
