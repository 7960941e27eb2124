"""Records that do not say what the arrivals say, kind 8: single files of an honest run, changed."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.contracts.dictionary import dataset
from tests.support.damage import tokens_of
from tests.support.forging import file_at, parts_of, rename_parts, write_part
from tests.support.validating import edit_lines, edit_run_line, report_path
from tests.validation.forgeries.registry import tampering

ANOMALIES, SUMMARY = "s4_arrival_anomalies_5B", "s4_arrival_summary_5B"
EVENTS = ("rng_event_arrival_time_jitter", "rng_event_arrival_site_pick", "rng_event_arrival_edge_pick")
FALLING = ("falling back", "drawn")


def _table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path, partitioning=None)), path, compression="zstd", write_statistics=False)


def _column(table: pa.Table, name: str, change: Callable[[list[Any]], list[Any]]) -> pa.Table:
    at = table.column_names.index(name)
    field = table.schema.field(at)
    return table.set_column(at, field, pa.array(change(table[name].to_pylist())).cast(field.type))


def _events(run_root: Path) -> list[Path]:
    return [file_at(run_root, name) for name in EVENTS]


# --- Anomalies and summary ------------------------------------------------------------------------------


@tampering("anomalies", worlds=FALLING)
def anomalies_are_emptied(run_root: Path) -> None:
    _table(file_at(run_root, ANOMALIES), lambda table: table.slice(0, 0))


@tampering("anomalies")
def anomalies_are_deleted(run_root: Path) -> None:
    file_at(run_root, ANOMALIES).unlink()


@tampering("anomalies")
def anomalies_are_not_parquet(run_root: Path) -> None:
    file_at(run_root, ANOMALIES).write_bytes(b"nothing to report\n")


@tampering("anomalies", worlds=FALLING)
def an_anomaly_counts_one_arrival_less(run_root: Path) -> None:
    def less(contexts: list[Any]) -> list[Any]:
        return [{**contexts[0], "arrivals": contexts[0]["arrivals"] - 1}, *contexts[1:]]

    path = file_at(run_root, ANOMALIES)
    kind = pq.read_schema(path).field("context").type
    table = pq.read_table(path, partitioning=None)
    at = table.column_names.index("context")
    column = pa.array(less(table["context"].to_pylist()), kind)
    pq.write_table(table.set_column(at, table.schema.field(at), column), path, write_statistics=False)


@tampering("summary")
def the_summary_is_deleted(run_root: Path) -> None:
    file_at(run_root, SUMMARY).unlink()


@tampering("summary")
def a_virtual_arrival_moves_to_another_row_of_the_summary(run_root: Path) -> None:
    def moved(table: pa.Table) -> pa.Table:
        virtual, physical = (table[f"count_{kind}"].to_numpy().copy() for kind in ("virtual", "physical"))
        one, other = int(np.argmax(virtual > 0)), int(np.argmax(physical > 0))
        virtual[[one, other]] += [-1, 1]
        physical[[one, other]] += [1, -1]
        table = _column(table, "count_virtual", lambda _: virtual.tolist())
        return _column(table, "count_physical", lambda _: physical.tolist())

    _table(file_at(run_root, SUMMARY), moved)


# --- Event records ----------------------------------------------------------------------------------------


@tampering("rng_events")
def events_are_deleted(run_root: Path) -> None:
    for path in _events(run_root):
        path.unlink()


@tampering("rng_events")
def the_events_of_one_family_are_deleted(run_root: Path) -> None:
    _events(run_root)[0].unlink()


@tampering("rng_events")
def events_are_permuted(run_root: Path) -> None:
    order = np.random.default_rng(14)
    for path in _events(run_root):
        _table(path, lambda table: table.take(order.permutation(len(table))))


@tampering("rng_events")
def events_are_of_another_run(run_root: Path) -> None:
    for path in _events(run_root):
        _table(path, lambda table: _column(table, "run_id", lambda ids: ["f" * 32] * len(ids)))


@tampering("rng_events")
def events_are_of_another_seed(run_root: Path) -> None:
    for path in _events(run_root):
        _table(path, lambda table: _column(table, "seed", lambda seeds: [seed + 1 for seed in seeds]))


@tampering("rng_events")
def draws_move_from_one_event_to_another(run_root: Path) -> None:
    def moved(draws: list[str]) -> list[str]:
        numbers = [int(text) for text in draws]
        most, least = int(np.argmax(numbers)), int(np.argmin(numbers))
        numbers[most], numbers[least] = numbers[most] - 2, numbers[least] + 2
        return [str(number) for number in numbers]

    _table(file_at(run_root, EVENTS[1]), lambda table: _column(table, "draws", moved))


# --- Run report -------------------------------------------------------------------------------------------


@tampering("run_report", worlds=FALLING)
def fallbacks_are_zeroed(run_root: Path) -> None:
    names = ("missing_group_table", "no_site_in_zone", "missing_edge_table")
    edit_run_line(run_root, fallbacks=dict.fromkeys(names, 0))


@tampering("run_report")
def the_schema_is_said_not_to_be_ok(run_root: Path) -> None:
    edit_run_line(run_root, schema_ok=False)


@tampering("run_report")
def the_counts_are_said_not_to_match(run_root: Path) -> None:
    edit_run_line(run_root, counts_match_s3=False)


@tampering("run_report", "sealed_inputs")
def the_digest_of_a_policy_is_missing(run_root: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for line in lines:
            del line["policy_digests"]["arrival_routing_policy_5B"]
        return lines

    edit_lines(report_path(run_root), change)


@tampering("run_report", "domain")
def a_later_line_says_that_the_run_failed(run_root: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = ["layer", "segment", "state", "state_id", "manifest_fingerprint", "parameter_hash", "seed", "run_id"]
        kept += ["scenario_id", "started_at_utc", "finished_at_utc", "engine_version", "law_version"]
        failure = {"status": "FAIL", "error_code": "5B.S4.IO_WRITE_FAILED", "error_message": "no space left"}
        return [*lines, {**{name: lines[-1][name] for name in kept}, **failure, "error_context": {}}]

    edit_lines(report_path(run_root), change)


# --- Part files -------------------------------------------------------------------------------------------


def _rewritten(run_root: Path, change: Callable[[dict[bytes, bytes]], None], **options: Any) -> None:
    paths = parts_of(run_root)
    for path in paths:
        file = pq.ParquetFile(path)
        groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
        metadata = dict(file.schema_arrow.metadata)
        change(metadata)
        schema = pq.read_schema(path).with_metadata(metadata)
        file.close()
        write_part(path, iter(groups), schema, **options)
    rename_parts(paths)


@tampering("files")
def footers_lose_their_metadata(run_root: Path) -> None:
    _rewritten(run_root, lambda metadata: metadata.clear())


@tampering("files")
def footers_name_another_law(run_root: Path) -> None:
    _rewritten(run_root, lambda metadata: metadata.update({b"arrivals.law_version": b"1"}))


@tampering("arrival_digest")
def footers_state_another_digest(run_root: Path) -> None:
    _rewritten(run_root, lambda metadata: metadata.update({b"arrivals.digest": b"1-" + b"0" * 32}))


@tampering("files")
def footers_state_times_that_no_row_has(run_root: Path) -> None:
    """Bounds far in the past: a reader that prunes by time finds no row."""
    paths = parts_of(run_root)
    for path in paths:
        file = pq.ParquetFile(path)
        bounds = set()
        for group in range(file.num_row_groups):
            times = file.read_row_group(group, columns=["ts_utc"])["ts_utc"].cast(pa.int64()).to_numpy()
            bounds |= {int(times.min()), int(times.max())}
        file.close()
        data = path.read_bytes()
        length = struct.unpack("<I", data[-8:-4])[0]
        footer = data[-8 - length : -8]
        for bound in bounds:
            present, lie = struct.pack("<q", bound), struct.pack("<q", bound % 1_000_000)
            assert present in footer
            footer = footer.replace(present, lie)
        path.write_bytes(data[: -8 - length] + footer + data[-8:])
    rename_parts(paths)


def _events_folder(run_root: Path) -> Path:
    return dataset("arrival_events_5B").locate(run_root, tokens_of(run_root))


@tampering("strangers")
def parts_are_copied_one_level_up(run_root: Path) -> None:
    for path in parts_of(run_root):
        shutil.copy(path, _events_folder(run_root).parent / path.name)


@tampering("strangers")
def parts_are_copied_to_another_scenario(run_root: Path) -> None:
    folder = _events_folder(run_root).with_name("scenario_id=stress_v1")
    folder.mkdir()
    for path in parts_of(run_root):
        shutil.copy(path, folder / path.name)


@tampering("strangers")
def parts_are_copied_to_another_seed(run_root: Path) -> None:
    folder = _events_folder(run_root)
    names = [f"seed={int(name[5:]) + 1}" if name.startswith("seed=") else name for name in folder.parts]
    Path(*names).parent.mkdir(parents=True)
    shutil.copytree(folder, Path(*names))


# --- Rows that the digest does not tell apart -------------------------------------------------------------


def _recolumned(run_root: Path, name: str, change: Callable[[list[Any]], list[Any]]) -> None:
    paths = parts_of(run_root)
    for path in paths:
        file = pq.ParquetFile(path)
        groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
        file.close()
        changed = [_column(group, name, change).cast(group.schema) for group in groups]
        write_part(path, iter(changed), pq.read_schema(path))
    rename_parts(paths)


@tampering("law", "values", worlds=("mixed", "falling back"))
def null_channels_become_empty_texts(run_root: Path) -> None:
    _recolumned(run_root, "channel_group", lambda texts: [text or "" for text in texts])


@tampering("clock_zones")
def an_operational_zone_goes_by_another_name(run_root: Path) -> None:
    def renamed(zones: list[Any]) -> list[Any]:
        return ["US/Eastern" if zone == "America/New_York" else zone for zone in zones]

    _recolumned(run_root, "tzid_operational", renamed)
