"""Exports to Delta and Iceberg tables: rows, types, versions, what is left behind, refusals."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import closing
from dataclasses import replace as replaced

import pyarrow as pa
import pytest

from arrival_engine.contracts import ArrivalError, Code
from tests.support.hidden import without
from tests.support.lakes import (
    FORMATS,
    expected,
    iceberg_table,
    leftovers,
    newest,
    other_root,  # noqa: F401 - a fixture
    published,
    put,
    run_root,  # noqa: F401 - a fixture
    versions,
)
from tests.support.paths import ROOT
from tests.support.processes import At
from tests.support.worlds import small_world

FORMS = [
    {},
    {"ids": "decimal"},
    {"cluster_by": "day", "partitioned": True},
    pytest.param({"columns": "contract"}, marks=pytest.mark.slow),
    pytest.param({"ids": "text"}, marks=pytest.mark.slow),
    pytest.param({"cluster_by": "day"}, marks=pytest.mark.slow),
]


@pytest.fixture(params=FORMATS)
def to(request):
    return request.param


@pytest.fixture
def target(tmp_path):
    """A place in a folder that holds nothing else."""
    return tmp_path / "place" / "table"


def files(folder):
    """Every file below a folder, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())) or "default")
def test_rows_and_types_are_those_of_the_parquet_export(run_root, tmp_path, target, to, form):  # noqa: F811
    done = put(run_root, target, to, **form)
    wanted = expected(run_root, tmp_path / "rows", **form)
    (found,) = versions(target, to)
    rows = found.rows
    if form.get("partitioned") and to == "delta":
        assert rows["day"].equals(rows["ts_utc"].cast(pa.timestamp("us")).cast(pa.date32(), safe=False))
        rows = rows.drop_columns(["day"])
    assert rows.equals(wanted)
    assert done.arrivals == rows.num_rows
    assert found.facts["arrivals.digest"] == done.digest
    assert not leftovers(target)


def test_columns_and_table_are_described(run_root, target, to):  # noqa: F811
    put(run_root, target, to)
    if to == "delta":
        from deltalake import DeltaTable

        table = DeltaTable(str(target))
        words = {field.name: field.metadata["comment"] for field in table.schema().fields}
        told = table.metadata().description
    else:
        table = iceberg_table(target)
        with closing(table.catalog):
            words = {field.name: field.doc for field in table.schema().fields}
            told = table.properties["comment"]
            assert {field.name for field in table.schema().fields if field.required} >= {"merchant_id", "arrival_seq"}
            assert [table.schema().find_column_name(number) for number in table.schema().identifier_field_ids] == [
                "merchant_id",
                "arrival_seq",
            ]
    assert all(words.values())
    assert "add 2^64 to a negative" in words["merchant_id"]
    assert told.startswith("Synthetic arrivals of scenario baseline_v1")


def test_second_export_of_the_same_arrivals_changes_no_file(run_root, target, to):  # noqa: F811
    first = put(run_root, target, to)
    before = files(target.parent)
    second = put(run_root, target, to)
    again = put(run_root, target, to, replace=True)
    assert (first.outcome, second.outcome, again.outcome) == ("written", "identical", "identical")
    assert files(target.parent) == before
    assert len(versions(target, to)) == 1


def test_other_arrivals_need_replace_and_leave_the_older_version_readable(run_root, other_root, target, to):  # noqa: F811
    first = put(run_root, target, to)
    before = versions(target, to)
    with pytest.raises(ArrivalError, match="holds another export") as caught:
        put(other_root, target, to)
    assert caught.value.code is Code.IO_WRITE_CONFLICT
    assert "--replace" in caught.value.hint
    assert versions(target, to) == before
    second = put(other_root, target, to, replace=True)
    assert second.outcome == "replaced"
    assert second.digest != first.digest
    found = versions(target, to)
    assert found[:1] == before
    assert [version.facts["arrivals.digest"] for version in found] == [first.digest, second.digest]
    put(run_root, target, to, replace=True)
    assert versions(target, to)[2].rows.equals(before[0].rows)
    assert not leftovers(target)


def test_replacement_in_other_columns_keeps_the_older_version(run_root, tmp_path, target, to):  # noqa: F811
    put(run_root, target, to)
    put(run_root, target, to, ids="text", replace=True)
    put(run_root, target, to, columns="contract", replace=True)
    forms = ({}, {"ids": "text"}, {"columns": "contract"})
    wanted = [expected(run_root, tmp_path / str(at), **form) for at, form in enumerate(forms)]
    assert [version.rows.equals(rows) for version, rows in zip(versions(target, to), wanted, strict=True)] == [True] * 3


@pytest.mark.slow
def test_partitions_of_an_iceberg_table_can_be_replaced(run_root, tmp_path, target):  # noqa: F811
    put(run_root, target, "iceberg")
    put(run_root, target, "iceberg", cluster_by="day", partitioned=True, replace=True)
    put(run_root, target, "iceberg", cluster_by="day", replace=True)
    wanted = expected(run_root, tmp_path / "rows")
    assert all(version.rows.equals(wanted) for version in versions(target, "iceberg"))


def test_partitions_of_a_delta_table_cannot_be_replaced(run_root, target):  # noqa: F811
    put(run_root, target, "delta")
    with pytest.raises(ArrivalError, match="partitioned by nothing, which no version of it can change"):
        put(run_root, target, "delta", cluster_by="day", partitioned=True, replace=True)
    assert len(versions(target, "delta")) == 1
    assert not leftovers(target)


def _nothing(target):
    target.mkdir(parents=True)
    (target / "notes.txt").write_text("mine")


def _file(target):
    target.parent.mkdir(parents=True)
    target.write_text("mine")


def _delta_of_others(target):
    from deltalake import write_deltalake

    target.mkdir(parents=True)
    write_deltalake(str(target), pa.table({"a": [1]}))


def _iceberg_of_others(target):
    from arrival_engine.engine.exporting.iceberg_catalog import open_catalog
    from arrival_engine.engine.exporting.trees import tree_of

    target.mkdir(parents=True)
    with closing(open_catalog(None, tree_of(target))) as catalog:
        catalog.create_namespace("arrivals")
        catalog.create_table("arrivals.events", pa.schema([("a", pa.int64())]), str(target))


@pytest.mark.parametrize(
    ("made", "format_", "says"),
    [
        (_nothing, "delta", "holds files, but is not a Delta table"),
        (_nothing, "iceberg", "holds other files, such as notes.txt"),
        (_file, "delta", "is a file, not a directory"),
        (_file, "iceberg", "is a file, not a directory"),
        (_delta_of_others, "delta", "is a Delta table that no export made"),
        (_delta_of_others, "iceberg", "holds other files, such as _delta_log"),
        (_iceberg_of_others, "iceberg", "is an Iceberg table that no export made"),
        (_iceberg_of_others, "delta", "holds files, but is not a Delta table"),
    ],
)
def test_what_others_made_is_left_alone(run_root, target, made, format_, says):  # noqa: F811
    made(target)
    before = files(target.parent)
    for replace in (False, True):
        with pytest.raises(ArrivalError, match=says) as caught:
            put(run_root, target, format_, replace=replace)
        assert caught.value.code is Code.IO_WRITE_CONFLICT
    assert files(target.parent) == before


def test_empty_directory_is_taken(run_root, target, to):  # noqa: F811
    target.mkdir(parents=True)
    assert put(run_root, target, to).outcome == "written"


def test_damaged_table_is_refused_and_replaced(run_root, target, to):  # noqa: F811
    put(run_root, target, to)
    (data,) = target.rglob("*.parquet")
    good = versions(target, to)[0].rows
    content = data.read_bytes()
    for harm, says in ((content[:-1], "has another size"), (None, "is missing")):
        data.unlink()
        if harm is not None:
            data.write_bytes(harm)
        with pytest.raises(ArrivalError, match=f"damaged: .*{says}") as caught:
            put(run_root, target, to)
        assert caught.value.code is Code.IO_WRITE_CONFLICT
    # A flipped bit is found by --replace, which reads every byte.
    data.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    assert put(run_root, target, to).outcome == "identical"
    assert put(run_root, target, to, replace=True).outcome == "replaced"
    assert newest(target, to)[1].rows.equals(good)


def test_changes_of_others_are_seen(run_root, target, to):  # noqa: F811
    put(run_root, target, to)
    if to == "delta":
        from deltalake import DeltaTable

        DeltaTable(str(target)).optimize.compact()
        DeltaTable(str(target)).vacuum(dry_run=False)
        assert put(run_root, target, to).outcome == "identical"
        DeltaTable(str(target)).delete("arrival_seq = 1")
    else:
        table = iceberg_table(target)
        with closing(table.catalog):
            table.delete("arrival_seq = 1")
    with pytest.raises(ArrivalError, match="another program changed the table"):
        put(run_root, target, to)
    rows = versions(target, to)[0].rows
    assert put(run_root, target, to, replace=True).outcome == "replaced"
    assert newest(target, to)[1].rows.equals(rows)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("a#b", "what?", "quote'\"", "day=1", "[b]", "a+b&c")]


@pytest.mark.parametrize("name", ["Zürich, 100 % #1?", *SLOW])
def test_any_name_of_a_folder(run_root, tmp_path, to, name):  # noqa: F811
    target = tmp_path / name / name
    put(run_root, target, to)
    assert put(run_root, target, to).outcome == "identical"
    assert len(versions(target, to)) == 1
    assert not leftovers(target)


@pytest.mark.parametrize("name", ["a%20b", "a\\b", "line\nbreak"])
def test_names_that_delta_readers_take_for_others_are_refused(run_root, tmp_path, name):  # noqa: F811
    with pytest.raises(ArrivalError, match="take for something else") as caught:
        put(run_root, tmp_path / name, "delta")
    assert caught.value.code is Code.OPTION_INVALID
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a%20b", "a\\b"])
def test_such_names_do_for_iceberg(run_root, tmp_path, name):  # noqa: F811
    put(run_root, tmp_path / name, "iceberg")
    assert len(versions(tmp_path / name, "iceberg")) == 1


@pytest.mark.parametrize("phase", [pytest.param("write", marks=pytest.mark.slow), "commit"])
def test_interrupted_export_leaves_nothing(run_root, other_root, target, to, phase):  # noqa: F811
    def stop():
        raise KeyboardInterrupt

    for replace, before in ((False, []), (True, None)):
        with pytest.raises(KeyboardInterrupt):
            put(other_root, target, to, replace=replace, reporter=Beginning(phase, stop))
        assert not leftovers(target) if before is None else not files(target.parent)
        put(run_root, target, to)
    assert [version.rows for version in versions(target, to)] == [newest(target, to)[1].rows]


class Beginning(At):
    """Does something once, when a phase begins."""

    def _on_phase_start(self, name):
        if name == self._phase:
            self._act()


def test_two_at_once_on_a_table_that_stands(run_root, other_root, target, to):  # noqa: F811
    put(run_root, target, to)
    refused = []

    def second():
        with pytest.raises(ArrivalError, match="another export is writing to") as caught:
            put(run_root, target, to, cluster_by="day", replace=True)
        refused.append(caught.value.code)

    put(other_root, target, to, replace=True, reporter=Beginning("commit", second))
    assert refused == [Code.IO_WRITE_CONFLICT]
    assert len(versions(target, to)) == 2
    assert not leftovers(target)


def test_two_at_once_on_a_new_table(run_root, other_root, target, to):  # noqa: F811
    told = []

    def export(root, reporter=None):
        try:
            told.append(put(root, target, to, reporter=reporter))
        except ArrivalError as refusal:
            told.append(refusal)

    export(other_root, Beginning("commit", lambda: export(run_root)))
    (refused,) = [one for one in told if isinstance(one, ArrivalError)]
    (done,) = [one for one in told if not isinstance(one, ArrivalError)]
    assert refused.code is Code.IO_WRITE_CONFLICT
    assert [version.facts["arrivals.digest"] for version in versions(target, to)] == [done.digest]
    assert not leftovers(target)


@pytest.mark.slow
@pytest.mark.parametrize("form", [{}, {"cluster_by": "day", "partitioned": True}], ids=["plain", "partitioned"])
@pytest.mark.parametrize("arrivals", [0, 1])
def test_few_arrivals(tmp_path, target, to, arrivals, form):
    first, *others = (replaced(row, n=0) for row in small_world().counts)
    root = published(tmp_path / "run", counts=(replaced(first, n=arrivals), *others))
    assert put(root, target, to, **form).outcome == "written"
    assert put(root, target, to, **form).outcome == "identical"
    assert newest(target, to)[1].rows.num_rows == arrivals


# A process that may write no file of more than so many bytes.
_LIMITED = """
import resource, signal, sys
from pyiceberg.catalog import sql
from arrival_engine.engine.exporting import ExportOptions, delta, export, iceberg
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
try:
    export(sys.argv[1], sys.argv[2], ExportOptions(to=sys.argv[3]))
except Exception as failure:
    sys.stdout.write(f"{failure.code.name} {failure}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [3_000, 30_000])
def test_full_disk_leaves_nothing(run_root, target, to, limit):  # noqa: F811
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(run_root), str(target), to, str(limit)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.match("IO_(READ|WRITE)_FAILED ", done.stdout)
    assert not files(target.parent)


def test_unsigned_ids_are_refused(run_root, target, to):  # noqa: F811
    with pytest.raises(ValueError, match=f"{to} has no unsigned integers; int64 is the same bits"):
        put(run_root, target, to, ids="uint64")


@pytest.mark.parametrize(
    ("to", "package"), [("delta", "deltalake"), pytest.param("iceberg", "pyiceberg", marks=pytest.mark.slow)]
)
def test_missing_package_names_the_extra(run_root, target, tmp_path, to, package):  # noqa: F811
    done = subprocess.run(
        [sys.executable, "-m", "arrival_engine", "export", str(run_root), str(target), "--to", to],
        env=without(tmp_path, package),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"needs {package}, which this installation lacks" in done.stderr
    assert f"pip install 'arrival-engine[{to}]'" in done.stderr
    assert not target.exists()
