"""Damages to what a run writes beside the arrivals, all other statements left as they fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.contracts import Code
from tests.support import damage
from tests.support.mutations import mutation
from tests.support.validating import Arrivals, Row, edit_lines, edit_run_line, log_path, report_path

SUMMARY, ANOMALIES, SITES, EDGES = (
    "s4_arrival_summary_5B",
    "s4_arrival_anomalies_5B",
    "arrival_sites_5B",
    "arrival_edges_5B",
)
FAMILIES = ("arrival_time_jitter", "arrival_site_pick", "arrival_edge_pick")


def edit_run_lines(run_root: Path, further: dict[str, Any]) -> None:
    """Append a copy of the line of the successful run with other fields."""

    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        (line,) = [line for line in lines if line["state"] == "S4"]
        return [*lines, {**line, **further}]

    edit_lines(report_path(run_root), change)


@mutation("strangers")
def a_copy_of_a_part_stands_one_level_up(run_root: Path) -> None:
    part = Arrivals(run_root).paths[0]
    (part.parent.parent / part.name).write_bytes(part.read_bytes())


# --- Run report ---------------------------------------------------------------------------------------


@mutation("run_report")
def a_run_says_that_its_schema_is_wrong(run_root: Path) -> None:
    edit_run_line(run_root, schema_ok=False)


@mutation("run_report", slow=True)
def a_run_does_not_say_that_its_numbers_are_accounted_for(run_root: Path) -> None:
    edit_run_line(run_root, rng_accounting_ok=None)


@mutation("run_report", "files", slow=True)
def the_reported_policies_are_gone(run_root: Path) -> None:
    edit_run_line(run_root, policy_digests={})


@mutation("run_report", slow=True)
def the_reported_universe_is_another(run_root: Path) -> None:
    edit_run_line(run_root, routing_universe_hash="e" * 64)


@mutation("run_report", slow=True)
def a_run_followed_another_law(run_root: Path) -> None:
    edit_run_line(run_root, law_version=1)


@mutation("run_report")
def a_later_run_failed_while_it_wrote(run_root: Path) -> None:
    edit_run_lines(run_root, {"status": "FAIL", "error_code": str(Code.IO_WRITE_FAILED), "error_message": "no room"})


# --- Tables -------------------------------------------------------------------------------------------


@mutation("summary")
def the_summary_is_gone(run_root: Path) -> None:
    damage.file_of(run_root, SUMMARY).unlink()


@mutation("summary")
def the_summary_is_in_another_order(run_root: Path) -> None:
    damage.edit_rows(run_root, SUMMARY, lambda rows: [rows[1], rows[0], *rows[2:]])


@mutation("summary", slow=True)
def the_summary_lists_a_count_row_twice(run_root: Path) -> None:
    damage.edit_rows(run_root, SUMMARY, lambda rows: [rows[0], *rows])


@mutation("summary", slow=True)
def the_summary_names_another_seed(run_root: Path) -> None:
    damage.put(run_root, SUMMARY, "seed", 43)


@mutation("summary", slow=True)
def the_summary_names_another_version_of_the_contract(run_root: Path) -> None:
    damage.put(run_root, SUMMARY, "s4_spec_version", "9.9.9")


@mutation("summary", slow=True)
def the_summary_has_a_column_too_many(run_root: Path) -> None:
    path = damage.file_of(run_root, SUMMARY)
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.append_column("note", pa.nulls(table.num_rows, pa.string())), path)


@mutation("site_table")
def the_table_of_sites_is_gone(run_root: Path) -> None:
    damage.file_of(run_root, SITES).unlink()


@mutation("site_table", slow=True)
def the_table_of_sites_is_in_another_order(run_root: Path) -> None:
    damage.edit_rows(run_root, SITES, lambda rows: rows[::-1])


@mutation("edge_table", slow=True)
def the_table_of_edges_is_gone(run_root: Path) -> None:
    damage.file_of(run_root, EDGES).unlink()


@mutation("edge_table", slow=True)
def the_table_of_edges_names_another_world(run_root: Path) -> None:
    damage.put(run_root, EDGES, "manifest_fingerprint", "e" * 64)


# --- Event records ------------------------------------------------------------------------------------


def edit_events(run_root: Path, family: str, change: Callable[[list[Row]], list[Row]]) -> None:
    (path,) = log_path(run_root, f"rng_event_{family}").glob("*.parquet")
    table = pq.read_table(path, partitioning=None)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), table.schema), path)


@mutation("rng_events")
def the_event_records_of_a_family_are_gone(run_root: Path) -> None:
    shutil.rmtree(log_path(run_root, "rng_event_arrival_edge_pick"))


@mutation("rng_events", slow=True)
def all_event_records_are_gone(run_root: Path) -> None:
    for family in FAMILIES:
        shutil.rmtree(log_path(run_root, f"rng_event_{family}"))


@mutation("rng_events")
def event_records_change_places(run_root: Path) -> None:
    edit_events(run_root, "arrival_time_jitter", lambda records: [records[1], records[0], *records[2:]])


@mutation("rng_events", slow=True)
def an_event_record_is_there_twice(run_root: Path) -> None:
    edit_events(run_root, "arrival_time_jitter", lambda records: [records[0], *records])


@mutation("rng_events")
def words_move_from_one_event_record_to_another(run_root: Path) -> None:
    def change(records: list[Row]) -> list[Row]:
        one, other = (int(record["draws"]) for record in records[:2])
        return [{**records[0], "draws": str(one - 1)}, {**records[1], "draws": str(other + 1)}, *records[2:]]

    edit_events(run_root, "arrival_edge_pick", change)


@mutation("rng_events", slow=True)
def event_records_name_another_run(run_root: Path) -> None:
    edit_events(run_root, "arrival_site_pick", lambda records: [{**record, "run_id": "e" * 32} for record in records])


@mutation("rng_events", slow=True)
def event_records_name_another_seed(run_root: Path) -> None:
    edit_events(run_root, "arrival_site_pick", lambda records: [{**record, "seed": 43} for record in records])


@mutation("rng_events", slow=True)
def an_event_record_names_another_family(run_root: Path) -> None:
    edit_events(
        run_root,
        "arrival_site_pick",
        lambda records: [{**records[0], "substream_label": "arrival_edge_pick"}, *records[1:]],
    )


@mutation("rng_events", slow=True)
def event_records_name_another_moment(run_root: Path) -> None:
    moment = "2020-01-01T00:00:00.000000Z"
    edit_events(run_root, "arrival_site_pick", lambda records: [{**record, "ts_utc": moment} for record in records])


@mutation("rng_events", slow=True)
def the_channels_of_two_event_records_are_exchanged(run_root: Path) -> None:
    def change(records: list[Row]) -> list[Row]:
        at = next(at for at, row in enumerate(records) if row["channel_group"] != records[0]["channel_group"])
        one, other = records[0]["channel_group"], records[at]["channel_group"]
        records[0]["channel_group"], records[at]["channel_group"] = other, one
        return records

    edit_events(run_root, "arrival_time_jitter", change)


@mutation("rng_logs", "rng_draws", "rng_events")
def a_trace_record_is_there_twice(run_root: Path) -> None:
    edit_lines(log_path(run_root, "rng_trace_log"), lambda records: [*records[:-1], *records[-1:] * 2])


@mutation("rng_logs", slow=True)
def the_trace_is_in_another_order(run_root: Path) -> None:
    edit_lines(log_path(run_root, "rng_trace_log"), lambda records: records[::-1])


@mutation("rng_logs", slow=True)
def the_trace_has_a_record_of_no_scenario(run_root: Path) -> None:
    def change(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [*records, {**records[-1], "detail": '{"scenario_id":"stress_v1"}'}]

    edit_lines(log_path(run_root, "rng_trace_log"), change)


# --- Fallbacks ----------------------------------------------------------------------------------------


@mutation("run_report")
def the_reported_fallbacks_are_none(run_root: Path) -> None:
    edit_run_line(
        run_root, fallbacks=dict.fromkeys(("missing_edge_table", "missing_group_table", "no_site_in_zone"), 0)
    )


@mutation("anomalies")
def the_anomalies_are_gone(run_root: Path) -> None:
    damage.file_of(run_root, ANOMALIES).unlink()


@mutation("anomalies", slow=True)
def the_anomalies_are_no_table(run_root: Path) -> None:
    damage.file_of(run_root, ANOMALIES).write_bytes(b"{}")


@mutation("summary", slow=True)
def the_pages_of_the_summary_are_damaged(run_root: Path) -> None:
    path = damage.file_of(run_root, SUMMARY)
    data = bytearray(path.read_bytes())
    data[40:80] = bytes(40)
    path.write_bytes(data)


@mutation("anomalies", "run_report")
def no_anomaly_is_left_and_none_is_reported(run_root: Path) -> None:
    damage.edit_rows(run_root, ANOMALIES, lambda _: [])
    edit_run_line(run_root, anomalies=0)


@mutation("anomalies", slow=True)
def an_anomaly_has_fewer_arrivals(run_root: Path) -> None:
    def change(rows: list[Row]) -> list[Row]:
        rows[0]["context"]["arrivals"] -= 1
        return rows

    damage.edit_rows(run_root, ANOMALIES, change)


@mutation("anomalies", slow=True)
def an_anomaly_says_something_else(run_root: Path) -> None:
    damage.put(run_root, ANOMALIES, "message", "nothing happened")


@mutation("anomalies", slow=True)
def an_anomaly_is_only_for_information(run_root: Path) -> None:
    damage.put(run_root, ANOMALIES, "severity", "INFO")


@mutation("arrival_digest")
def a_part_states_the_digest_of_other_arrivals(run_root: Path) -> None:
    path = Arrivals(run_root).paths[0]
    table = pq.read_table(path, partitioning=None)
    stated = {**table.schema.metadata, b"arrivals.digest": f"{table.num_rows}-{'0' * 32}".encode()}
    pq.write_table(table.replace_schema_metadata(stated), path)
