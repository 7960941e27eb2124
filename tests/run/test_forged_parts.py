"""Staging directories that came from elsewhere: what their parts and ledgers state is never published unseen."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
from typing import get_args

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from arrival_engine import run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.options import FileFormat
from arrival_engine.engine.arrivals.part_file import PartFile
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.run.options import RunOptions
from arrival_engine.engine.run.production import Workshop, produce_parts
from tests.support.product import planned, write_sealed
from tests.support.refusals import published
from tests.support.worlds import small_world

BATCH = 100
CPU = choose_backend("cpu")
RESUMED = RunOptions(backend="cpu", threads=2, batch_arrivals=BATCH, resume=True)
FORMATS = get_args(FileFormat)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """By format, a run directory whose run was killed after its last part, before it published."""
    found, folder = {}, tmp_path_factory.mktemp("forged")
    sealed = write_sealed(small_world(), folder / "sealed").run_root
    for form in FORMATS:
        run_root = shutil.copytree(sealed, folder / form)
        staged = run_root / "tmp" / "arrivals-baseline_v1-abcdefgh"
        staged.mkdir(parents=True)
        produce_parts(Workshop(CPU, 1, form, Reporter()), planned(run_root, BATCH), InsidePath(staged))
        found[form] = run_root
    return found


@pytest.fixture
def copied(killed, tmp_path):
    """A copy of one of them, in this format."""
    return lambda form="parquet": shutil.copytree(killed[form], tmp_path / "world")


@pytest.fixture(scope="module")
def honest(killed, tmp_path_factory):
    run_root = shutil.copytree(killed["parquet"], tmp_path_factory.mktemp("forged") / "honest")
    (result,) = run(run_root, RunOptions(backend="cpu", batch_arrivals=BATCH)).scenarios
    return result


def ledger_of(run_root):
    (found,) = run_root.glob("tmp/arrivals-*/ledger/ledger.jsonl")
    return found


def with_first_line(run_root, change):
    """Change the entry of the first part."""
    ledger = ledger_of(run_root)
    terms, line, *rest = ledger.read_bytes().split(b"\n")
    changed = change(json.loads(line))
    ledger.write_bytes(b"\n".join([terms, json.dumps(changed).encode(), *rest]))


def first_part(run_root):
    return min(ledger_of(run_root).parent.parent.glob("events/part-*"))


def groups_of(path):
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            return [file.read_row_group(group) for group in range(file.num_row_groups)]
    with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
        return [pa.Table.from_batches([reader.get_batch(index)]) for index in range(reader.num_record_batches)]


def write_groups(path, schema, groups):
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, schema) as writer:
            for group in groups:
                writer.write_table(group)
        return
    # A file in Arrow's format has one dictionary per column.
    whole = pa.concat_tables(groups).unify_dictionaries().combine_chunks().replace_schema_metadata(schema.metadata)
    with pa.ipc.new_file(str(path), schema) as writer:
        for batch in whole.to_batches():
            at = 0
            for group in groups:
                writer.write_batch(batch.slice(at, group.num_rows))
                at += group.num_rows


def forge(run_root, forgery, **stated):
    """Give the first part other rows under the honest digest, in a ledger that agrees with them."""
    path = first_part(run_root)
    file = PartFile.at(path)
    schema, digest, (first, *rest) = file.schema(), file.digest(), groups_of(path)
    write_groups(path, schema, [forgery(first), *rest])
    assert PartFile.at(path).digest() == digest
    data = path.read_bytes()
    facts = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), **stated}
    with_first_line(run_root, lambda entry: {**entry, **facts})
    return path


def altered(column, change):
    """Change one value of the first arrival."""

    def alter(table):
        at = table.schema.get_field_index(column)
        kind = table.schema.field(at).type
        first, *others = table[column].to_pylist()
        values = pa.array([change(first), *others], kind.value_type if pa.types.is_dictionary(kind) else kind)
        if pa.types.is_dictionary(kind):
            values = values.dictionary_encode()
        return table.set_column(at, table.schema.field(at), values)

    return alter


FORGERIES = {
    "another time": altered("ts_utc", lambda time: time + dt.timedelta(microseconds=1)),
    "another place": altered("arrival_seq", lambda seq: seq + 1),
    "another merchant": altered("merchant_id", lambda merchant: merchant + 1),
    "another zone": altered("tzid_primary", lambda _zone: "Asia/Tokyo"),
    "a clock that the digest does not cover": altered("tzid_operational", lambda _zone: "Asia/Tokyo"),
    "a seed that the digest does not cover": altered("seed", lambda seed: seed + 1),
    "another kind": altered("is_virtual", lambda virtual: not virtual),
    "another order": lambda table: pa.concat_tables([table.slice(1), table.slice(0, 1)]),
    "a row too few": lambda table: table.slice(1),
    "a row too many": lambda table: pa.concat_tables([table, table.slice(0, 1)]),
}


def refusal(run_root, **changes):
    with pytest.raises(ArrivalError) as caught:
        run(run_root, RunOptions(**{**vars(RESUMED), **changes}))
    assert not published(run_root).exists()
    assert "without --resume" in caught.value.hint
    return caught.value


def test_a_rewritten_arrow_part_with_the_honest_rows_is_taken_over(copied, honest):
    """What is compared are the rows: so every forgery below is refused for its rows, not for how it is written."""
    run_root = copied("arrow")
    path = forge(run_root, lambda table: table)
    kept = path.stat().st_ino
    (result,) = run(run_root, RunOptions(**{**vars(RESUMED), "format": "arrow"})).scenarios
    assert result.digest == honest.digest
    assert kept in {part.stat().st_ino for part in result.path.iterdir()}


def test_a_rewritten_parquet_part_with_the_honest_rows_is_refused(copied):
    """Its statistics and its page index would be another writer's."""
    run_root = copied()
    path = forge(run_root, lambda table: table)
    assert "is not the file that this run makes" in refusal(run_root).message
    assert path.is_file()


@pytest.mark.parametrize(
    ("form", "name"),
    [
        pytest.param(form, name, marks=[pytest.mark.slow] if form == "arrow" and name != "another time" else [])
        for form in FORMATS
        for name in FORGERIES
    ],
)
def test_other_rows_under_the_honest_digest_are_refused_by_name(copied, form, name):
    run_root = copied(form)
    path = forge(run_root, FORGERIES[name])
    error = refusal(run_root, format=form)
    assert (error.code, error.context["path"]) == (Code.IO_READ_FAILED, str(path))


def test_a_row_group_too_many_is_refused(copied):
    run_root = copied()
    path = first_part(run_root)
    groups = groups_of(path)
    write_groups(path, PartFile.at(path).schema(), [*groups, groups[-1]])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with_first_line(run_root, lambda entry: {**entry, "sha256": sha256})
    assert str(path) in refusal(run_root).message


def test_a_part_that_states_another_digest_or_run_is_refused(copied):
    run_root = copied()
    path = first_part(run_root)
    schema, groups = PartFile.at(path).schema(), groups_of(path)
    for key in schema.metadata:
        write_groups(path, schema.with_metadata({**schema.metadata, key: b"another"}), groups)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        with_first_line(run_root, lambda entry, sha256=sha256: {**entry, "sha256": sha256})
        assert str(path) in refusal(run_root).message


def test_an_arrow_file_whose_codes_lead_nowhere_is_refused(copied):
    """Arrow does not look at the codes of a dictionary as it reads them."""
    run_root = copied("arrow")
    path = first_part(run_root)
    schema, (first, *rest) = PartFile.at(path).schema(), groups_of(path)
    at = schema.get_field_index("tzid_primary")
    texts = first["tzid_primary"].chunk(0)
    codes = pa.array([1 << 30] * first.num_rows, pa.int32())
    wild = pa.DictionaryArray.from_arrays(codes, texts.dictionary, safe=False)
    with pa.ipc.new_file(str(path), schema) as writer:
        columns = [wild if index == at else column.chunk(0) for index, column in enumerate(first.columns)]
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
        for group in rest:
            writer.write_batch(group.to_batches()[0])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with_first_line(run_root, lambda entry: {**entry, "sha256": sha256})
    assert str(path) in refusal(run_root, format="arrow").message


def test_sums_that_a_ledger_states_are_not_believed(copied, honest):
    """Earlier versions entered digest, rows and boundary arrivals, and resumed with them."""
    run_root = copied()
    stated = {"rows": 7, "bytes": 1, "digest": f"7-{0:032x}", "at_start": 5, "at_end": 5, "totals_sha256": "0" * 64}
    with_first_line(run_root, lambda entry: {**entry, **stated})
    (result,) = run(run_root, RESUMED).scenarios
    assert (result.digest, result.arrivals, result.virtual) == (honest.digest, honest.arrivals, honest.virtual)


VALUES = {
    "null": None,
    "list": [],
    "dict": {},
    "true": True,
    "huge": 10**300,
    "negative": -1,
    "fraction": 0.5,
    "text": "NaN",
    "nul": "\u0000",
    "escape": "\u001b[31m",
    "climbing": "../../../victim",
    "absolute": "/etc/hostname",
    "another part": "part-000001.parquet",
    "another format": "part-000000.arrow",
    "published": "part-000000-0123456789ab.parquet",
}


def crossed(*keys):
    """Every key with every value; the quick tests take each value once, and the keys by turns."""
    return pytest.mark.parametrize(
        ("key", "value"),
        [
            pytest.param(key, value, id=f"{key}-{name}", marks=[] if row % len(keys) == column else [pytest.mark.slow])
            for row, (name, value) in enumerate(VALUES.items())
            for column, key in enumerate(keys)
        ],
    )


@crossed("part", "index", "sha256")
def test_entries_that_no_run_writes_are_refused(copied, key, value):
    run_root = copied()
    with_first_line(run_root, lambda entry: {**entry, key: value})
    error = refusal(run_root)
    assert error.code is Code.IO_READ_FAILED


# A term that is itself a mapping, one that is a number, and one that is a text.
@crossed("policy_digests", "arrivals", "code_digest")
def test_terms_of_any_type_are_refused_by_name(copied, key, value):
    run_root = copied()
    ledger = ledger_of(run_root)
    first, _, rest = ledger.read_bytes().partition(b"\n")
    ledger.write_bytes(json.dumps({**json.loads(first), key: value}).encode() + b"\n" + rest)
    error = refusal(run_root)
    assert (error.code, error.context["term"]) == (Code.IO_WRITE_CONFLICT, key)


def test_a_long_term_is_not_repeated_in_full(copied):
    run_root = copied()
    ledger = ledger_of(run_root)
    first, _, rest = ledger.read_bytes().partition(b"\n")
    ledger.write_bytes(json.dumps({**json.loads(first), "format": "x" * 30_000}).encode() + b"\n" + rest)
    assert len(refusal(run_root).message) < 500


def test_the_same_part_twice_is_refused(copied):
    run_root = copied()
    ledger = ledger_of(run_root)
    terms, line, *rest = ledger.read_bytes().split(b"\n")
    ledger.write_bytes(b"\n".join([terms, line, line, *rest]))
    assert "never written" in refusal(run_root).message


def test_a_ledger_larger_than_any_of_its_plan_is_refused(copied):
    run_root = copied()
    with ledger_of(run_root).open("ab") as ledger:
        ledger.truncate(1 << 30)
    assert "is larger than" in refusal(run_root).message


def test_a_folder_among_the_parts_is_removed(copied, honest):
    run_root = copied()
    (first_part(run_root).parent / "folder" / "in it").mkdir(parents=True)
    (result,) = run(run_root, RESUMED).scenarios
    assert result.digest == honest.digest
