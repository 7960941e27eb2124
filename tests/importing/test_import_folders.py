"""Directories of tables: at any depth, partitioned, with other files beside them, and in the care of other programs."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from arrival_engine.engine.importing import import_world
from arrival_engine.engine.importing.columns import Naming, Reading, layouts
from arrival_engine.engine.importing.numbers import Marks
from arrival_engine.engine.importing.reading import read_table
from tests.support.import_refused import GOOD, OPTION_BAD, SCHEMA_BAD, UNREADABLE, ZONE_BAD, edited, refused, request_of

HEADER = "merchant_id,tz,bucket_start,count\n"
LINE = "1,Europe/Berlin,2026-03-29T00:00:00Z,3\n"
BARE = "merchant_id,bucket_start,count\n1,2026-03-29T00:00:00Z,3\n"
CHANNELS = ["a/b", "50%", "ü b", "x=y", "100%25", "+", "", None]


def put(folder, name, text=HEADER + LINE):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(*paths, ignore=(), rename=()):
    naming = Naming({theirs: (ours,) for theirs, ours in rename}, frozenset(ignore))
    return read_table(layouts(Reading())["counts"], list(paths), naming, Marks())


def rows(*paths, **naming):
    """(count, zone, channel) of each row."""
    table, _ = read(*paths, **naming)
    zones = [table.texts["tz"][code] for code in table["tz"]]
    channels = (
        [table.texts["channel"][code] for code in table["channel"]] if table.has("channel") else [None] * len(zones)
    )
    return sorted(zip(table["count"].tolist(), zones, channels, strict=True), key=repr)


def refused_counts(paths, code, *says, **options):
    request = request_of(Path(os.path.commonpath([path.parent for path in paths])), edited(counts=None), counts=paths)
    return refused(type(request)(**{**vars(request), **options}), code, *says)


def test_files_at_any_depth_are_read(tmp_path):
    plain = import_world(request_of(tmp_path, GOOD))
    (tmp_path / "world").rename(tmp_path / "first")
    header, *lines = GOOD["counts"].splitlines(keepends=True)
    for name, line in zip(("a.csv", "2026/01/b.csv", "2026/02/c.TSV", "2026/d"), lines, strict=True):
        put(tmp_path / "many", name, header + line)
    result = import_world(request_of(tmp_path, edited(counts=None), counts=[tmp_path / "many"]))
    assert (result.identity, result.notices) == (plain.identity, ())


# --- Partition keys ---------------------------------------------------------------------------------


def channel_table():
    return pa.table(
        {
            "merchant_id": [1] * len(CHANNELS),
            "tz": ["Europe/Berlin", "America/Argentina/Buenos_Aires"] * (len(CHANNELS) // 2),
            "bucket_start": ["2026-03-29T00:00:00Z"] * len(CHANNELS),
            "count": list(range(1, len(CHANNELS) + 1)),
            "channel": CHANNELS,
        }
    )


def expected_rows():
    plain = channel_table().to_pylist()
    return sorted(((row["count"], row["tz"], row["channel"] or None) for row in plain), key=repr)


def by_arrow(table, folder):
    keys = pa.schema([("tz", pa.string()), ("channel", pa.string())])
    named = table.filter(pa.compute.not_equal(pa.compute.fill_null(table["channel"], "null"), ""))
    ds.write_dataset(named, folder, format="parquet", partitioning=ds.partitioning(keys, flavor="hive"))


def by_duckdb(table, folder):
    with duckdb.connect() as database:
        database.register("counts", table)
        database.execute(f"COPY counts TO '{folder}' (FORMAT csv, PARTITION_BY (tz, channel))")


@pytest.mark.parametrize("write", [by_arrow, by_duckdb])
def test_partitions_of_other_programs_are_columns(tmp_path, write):
    write(channel_table(), tmp_path / "counts")
    assert any("Europe%2FBerlin" in path.name for path in (tmp_path / "counts").iterdir())
    # Arrow refuses to write an empty key.
    wanted = [row for row in expected_rows() if write is by_duckdb or row[0] != 1 + CHANNELS.index("")]
    assert rows(tmp_path / "counts") == wanted


def test_null_in_a_name_is_an_empty_cell(tmp_path):
    put(tmp_path, "c/channel=__HIVE_DEFAULT_PARTITION__/a.csv")
    assert rows(tmp_path / "c") == [(3, "Europe/Berlin", None)]
    put(tmp_path, "d/tz=__HIVE_DEFAULT_PARTITION__/a.csv", BARE)
    refused_counts([tmp_path / "d"], ZONE_BAD, "the partition key tz=null is empty")


def test_an_unknown_key_is_refused_like_an_unknown_column(tmp_path):
    for day in ("2026-03-28", "2026-03-29"):
        put(tmp_path, f"c/day={day}/a.csv")
    refused_counts([tmp_path / "c"], SCHEMA_BAD, "has a partition key 'day', which counts do not have", "--ignore day")
    assert len(rows(tmp_path / "c", ignore=["day"])) == 2
    refused_counts([tmp_path / "c"], OPTION_BAD, "--ignore month: no file has a column", ignore=["month", "day"])


def test_a_key_may_be_renamed(tmp_path):
    put(tmp_path, "c/zone=Europe%2FLondon/a.csv", BARE)
    refused_counts([tmp_path / "c"], SCHEMA_BAD, "partition key 'zone'", "did you mean tz?", "--rename zone=tz")
    assert rows(tmp_path / "c", rename=[("zone", "tz")]) == [(3, "Europe/London", None)]


def test_a_key_that_is_a_column_too_is_the_same_or_refused(tmp_path):
    put(tmp_path, "c/tz=Europe%2FBerlin/count=3/a.csv", HEADER + LINE * 2)
    assert rows(tmp_path / "c") == [(3, "Europe/Berlin", None)] * 2
    put(tmp_path, "d/tz=Europe%2FBerlin/a.csv", HEADER + LINE + LINE.replace("Berlin", "London"))
    refused_counts(
        [tmp_path / "d"], SCHEMA_BAD, "a.csv, line 3: tz 'Europe/London' is not the tz of the file's directory"
    )
    put(tmp_path, "e/count=4/a.csv")
    refused_counts([tmp_path / "e"], SCHEMA_BAD, "line 2: count '3' is not the count of the file's directory, 4")


def test_a_key_of_some_files_alone_is_refused(tmp_path):
    put(tmp_path, "c/channel=web/a.csv")
    put(tmp_path, "c/b.csv")
    refused_counts([tmp_path / "c"], SCHEMA_BAD, "a.csv has a column channel", "b.csv has none")


def test_keys_in_the_given_path_count_if_they_are_columns(tmp_path):
    """Otherwise two channels would be summed as one; but a directory above may have such a name for any reason."""
    web = put(tmp_path, "run=5/c/channel=web/a.csv")
    card = put(tmp_path, "run=5/c/channel=card/day=1/a.csv")
    both = [(3, "Europe/Berlin", "card"), (3, "Europe/Berlin", "web")]
    assert rows(web, card) == both
    assert rows(web.parent, card) == both
    assert rows(web.parent, card.parent) == both
    assert rows(tmp_path / "run=5" / "c", ignore=["day"]) == both


KEYS = {
    "tz=Berlin": (ZONE_BAD, "the partition key tz='Berlin' is not a time zone", "did you mean Europe/Berlin?"),
    "tz=Europe/Berlin": (ZONE_BAD, "the partition key tz='Europe' is not a time zone"),
    "tz=%FF": (SCHEMA_BAD, "has the partition 'tz=%FF', which is not UTF-8"),
    "tz=UTC/tz=Europe%2FBerlin": (SCHEMA_BAD, "two values of the partition key 'tz': 'UTC' and 'Europe/Berlin'"),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_wrong_key_is_refused_by_name(tmp_path, name):
    put(tmp_path, f"c/{name}/a.csv", BARE)
    refused_counts([tmp_path / "c"], *KEYS[name])


def test_a_table_of_keys_alone_has_its_rows(tmp_path):
    folder = tmp_path / "c" / "merchant_id=1" / "tz=UTC" / "bucket_index=0" / "count=3"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"note": ["a", "b"]}), folder / "a.parquet")
    put(folder, "b.csv", "note\nx\n")
    assert rows(tmp_path / "c", ignore=["note"]) == [(3, "UTC", None)] * 3


# --- Other files ------------------------------------------------------------------------------------


def test_marks_of_other_programs_are_passed_over(tmp_path):
    put(tmp_path, "c/part-0.csv")
    for name in (
        "_SUCCESS",
        "_metadata",
        "_common_metadata",
        "_started_1",
        "_committed_1",
        ".part-0.csv.crc",
        ".hid/a.csv",
    ):
        put(tmp_path, f"c/{name}", "x")
    table, notices = read(tmp_path / "c")
    assert (table.rows, notices) == (1, [])


def test_documents_are_left_out_and_said(tmp_path):
    put(tmp_path, "c/a.csv")
    for name in ("README", "README.txt", "LICENSE", "notes.md", "sub/query.sql", "_old/a.csv", "_a.csv"):
        put(tmp_path, f"c/{name}")
    table, notices = read(tmp_path / "c")
    assert table.rows == 1
    (notice,) = notices
    assert notice.message == (
        f"{tmp_path / 'c'} contains LICENSE, README, README.txt, _a.csv, _old/ and 2 more, not read for the counts"
    )
    assert notice.context["files"] == [
        "LICENSE",
        "README",
        "README.txt",
        "_a.csv",
        "_old/",
        "notes.md",
        "sub/query.sql",
    ]


@pytest.mark.parametrize("name", ["a.csv.bak", "a.csv~", "#a.csv#", "a.xyz", "a.parquet.crdownload"])
def test_a_file_of_no_table_is_refused_by_name(tmp_path, name):
    put(tmp_path, "c/a.csv")
    put(tmp_path, f"c/sub/{name}")
    refused_counts([tmp_path / "c"], SCHEMA_BAD, f"c/sub/{name} is not named like a CSV or Parquet file", "move it")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.parquet", "a", "a.TXT"])
def test_one_table_in_two_formats_is_refused(tmp_path, name):
    """Its rows would count twice. In another directory, the same name is that of another part."""
    put(tmp_path, "c/a.csv")
    put(tmp_path, "c/sub/a.parquet")
    put(tmp_path, "c/a-1.csv")
    assert len(rows(tmp_path / "c")) == 3
    put(tmp_path, f"c/{name}")
    refused_counts([tmp_path / "c"], SCHEMA_BAD, "in another format, and the rows of one table would count twice")


def test_a_file_of_another_format_is_refused_as_such(tmp_path):
    put(tmp_path, "c/a.csv")
    put(tmp_path, "c/b.json", '[{"merchant_id": 1}]')
    refused_counts([tmp_path / "c"], SCHEMA_BAD, "c/b.json is JSON")


def test_a_directory_without_tables_is_refused(tmp_path):
    put(tmp_path, "c/_SUCCESS", "")
    put(tmp_path, "c/sub/README.md", "")
    refused_counts([tmp_path / "c"], UNREADABLE, "c contains no CSV or Parquet file for counts")


# --- Links ------------------------------------------------------------------------------------------


def test_links_lead_to_files_once(tmp_path):
    put(tmp_path, "other/a.csv")
    put(tmp_path, "c/b.csv")
    (tmp_path / "c" / "there").symlink_to(tmp_path / "other")
    assert len(rows(tmp_path / "c")) == 2
    (tmp_path / "c" / "again.csv").symlink_to(tmp_path / "other" / "a.csv")
    refused_counts([tmp_path / "c"], SCHEMA_BAD, "is given twice for the counts")


def test_links_that_lead_nowhere_are_refused(tmp_path):
    put(tmp_path, "c/sub/a.csv")
    loop = tmp_path / "c" / "sub" / "up"
    loop.symlink_to(tmp_path / "c")
    refused_counts([tmp_path / "c"], SCHEMA_BAD, "c/sub/up leads back to a directory that contains it", f"rm {loop}")
    loop.unlink()
    (tmp_path / "c" / "b.csv").symlink_to(tmp_path / "nowhere.csv")
    refused_counts([tmp_path / "c"], UNREADABLE, "cannot read table", "b.csv")
    (tmp_path / "c" / "b.csv").unlink()
    (tmp_path / "c" / "self.csv").symlink_to("self.csv")
    for given in (tmp_path / "c", tmp_path / "c" / "self.csv"):
        refused_counts([given], UNREADABLE, "self.csv", "symbolic links")


# --- Tables of other programs -----------------------------------------------------------------------


MANAGED = {
    "_delta_log/00000000000000000000.json": ("is a Delta table", "deleted or replaced", "delta_scan("),
    ".hoodie/hoodie.properties": ("is a Hudi table", "export its current rows as Parquet, and give"),
    "metadata/v1.metadata.json": ("is an Iceberg table", "iceberg_scan("),
    "_spark_metadata/0": ("is written by a Spark stream", "export its rows with Spark"),
    "_temporary/0/a.csv": ("is the output of a job that did not finish", "run the job again"),
}


@pytest.mark.parametrize("name", MANAGED)
@pytest.mark.parametrize("given", ["c", "c/lake"])
def test_a_table_in_the_care_of_another_program_is_refused(tmp_path, name, given):
    put(tmp_path, "c/lake/a.csv")
    put(tmp_path, f"c/lake/{name}", "{}")
    refused_counts([tmp_path / given], SCHEMA_BAD, f"{tmp_path / 'c' / 'lake'} {MANAGED[name][0]}", *MANAGED[name])


@pytest.mark.parametrize("given", ["c/data", "c/data/tz=UTC", "c/data/tz=UTC/a.csv"])
def test_a_part_of_such_a_table_is_refused_too(tmp_path, given):
    put(tmp_path, "c/data/tz=UTC/a.csv")
    put(tmp_path, "c/metadata/00001-x.metadata.json", "{}")
    refused_counts([tmp_path / given], SCHEMA_BAD, f"{tmp_path / 'c'} is an Iceberg table")


def test_a_directory_called_metadata_is_only_that(tmp_path):
    put(tmp_path, "c/metadata/a.csv")
    assert len(rows(tmp_path / "c")) == 1


def test_a_directory_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    put(tmp_path, "c/sub/a.csv")
    listing = Path.iterdir

    def denied(path):
        if path.name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(Path, "iterdir", denied)
    refused_counts([tmp_path / "c"], UNREADABLE, "cannot read table", "c/sub: Permission denied")
