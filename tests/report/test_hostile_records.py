"""Records that came from elsewhere: values of any type and any character are named errors, or text on the page."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine import report, run, validate
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.report.page import render
from arrival_engine.engine.report.records import read_anomalies, read_run
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import verify_seal
from tests.support.product import write_sealed
from tests.support.refusals import CPU, published
from tests.support.worlds import small_world

VALUES = (
    *(None, [], {}, True, -1, 0.5, 1e308, 10**300, 10**4000, 2**64),
    *("", "NaN", "9" * 6000, "\0", "\ud800", "\x1b[31m", "../../x", "\u202ex", [None], {"a": None}),
)
SCENARIO = "baseline_v1"
# A page takes a tenth of a second: the quick tests try one mutant in so many.
STEPS = [67, pytest.param(1, marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    run_root = write_sealed(small_world(), tmp_path_factory.mktemp("hostile") / "world").run_root
    run(run_root, CPU)
    validate(run_root)
    return run_root


@pytest.fixture
def world(validated, tmp_path):
    return shutil.copytree(validated, tmp_path / "world")


def places(value, at=()):
    """The place of every value in a document, and of the document itself; of lists, the first item's."""
    yield at
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(min(len(value), 1)):
            yield from places(value[key], (*at, key))


def with_value(document, at, value):
    if not at:
        return value
    changed = document.copy()
    changed[at[0]] = with_value(document[at[0]], at[1:], value)
    return changed


def mutants(document):
    return [with_value(document, at, value) for at in places(document) for value in VALUES]


def named(act):
    """Do something with a mutant, which may raise an error with a code and a bounded message; 1 if it did, else 0."""
    try:
        act()
    except ArrivalError as error:
        caught = error
    else:
        return 0
    assert caught.code not in (Code.UNEXPECTED_INTERNAL_ERROR, Code.S5_UNEXPECTED_INTERNAL_ERROR), str(caught)
    assert caught.hint
    assert len(caught.message) < 10_000
    return 1


def page_of(run_root):
    """The page without its scenarios, whose arrivals are not what is mutated."""
    return render(read_run(read_receipt(run_root)), [], []).encode()


@pytest.mark.parametrize("step", STEPS)
def test_a_validation_report_with_any_value_anywhere(world, step):
    (path,) = world.glob("data/layer2/5B/validation/*/validation_report_5B.json")
    document = json.loads(path.read_bytes())
    refused = 0
    for mutant in mutants(document)[::step]:
        path.write_text(json.dumps(mutant))
        refused += named(lambda: page_of(world))
    assert refused > 100 / step


@pytest.mark.parametrize("step", STEPS)
def test_a_run_report_with_any_value_anywhere(world, step):
    (path,) = world.glob("reports/**/segment_state_runs.jsonl")
    first, *rest = path.read_text().splitlines()
    for mutant in mutants(json.loads(first))[::step]:
        path.write_text("\n".join([json.dumps(mutant), *rest]) + "\n")
        assert named(lambda: page_of(world)) == 0, "other programs write to this log: what is no record is set aside"


@pytest.mark.parametrize("name", ["run_receipt.json", "data/layer2/5B/s0_gate_receipt/*/s0_gate_receipt_5B.json"])
def test_a_receipt_with_any_value_anywhere(world, name):
    (path,) = world.glob(name)
    document = json.loads(path.read_bytes())
    refused = 0
    for mutant in mutants(document)[::3]:
        path.write_text(json.dumps(mutant))
        refused += named(lambda: verify_seal(read_receipt(world), Reporter()))
    assert refused > 20


@pytest.mark.parametrize(
    ("root", "says"),
    [("a\0b", "null"), ("\ud800", "surrogate"), ("loop/x", "loop"), (7, "type string"), (None, "type string")],
)
def test_external_roots_that_are_no_path_are_refused_by_name(world, root, says):
    (world.parent / "loop").symlink_to("loop")
    root = f"../{root}" if root == "loop/x" else root
    path = world / "run_receipt.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "external_roots": [root]}))
    with pytest.raises(ArrivalError, match="run_receipt") as caught:
        read_receipt(world)
    assert caught.value.code is Code.S0_GATE_MISSING_OR_INVALID
    assert says in caught.value.message


@pytest.mark.parametrize("context", ["[1]", "7", '{"arrivals": null}', '{"arrivals": 1e999}', "[" * 100_000])
def test_anomalies_whose_context_is_anything(world, context):
    receipt = read_receipt(world)
    path = receipt.path("s4_arrival_anomalies_5B", scenario_id=SCENARIO)
    rows = {"anomaly_code": [None, "A"], "severity": ["INFO", "INFO"], "context": [context, context]}
    pq.write_table(pa.table(rows), str(path))
    assert named(lambda: read_anomalies(receipt, SCENARIO)) == 1


TEXTS = ("Mars/\x07x", "\uffff", "\u202egnp", "$\\frac{$<b>&")


@pytest.mark.parametrize("text", ["".join(TEXTS), *(pytest.param(text, marks=pytest.mark.slow) for text in TEXTS)])
def test_texts_in_figures_and_on_the_page_show_their_characters(world, text):
    (part,) = sorted(published(world).iterdir())[:1]
    table = pq.read_table(part, partitioning=None)
    at = table.schema.get_field_index("tzid_primary")
    zones = pa.array([text] * table.num_rows).dictionary_encode()
    pq.write_table(table.set_column(at, table.schema.field(at), zones), part)
    (log,) = world.glob("reports/**/segment_state_runs.jsonl")
    first, *rest = log.read_text().splitlines()
    line = with_value(json.loads(first), ("durations", "phase_seconds"), {text: 1.0})
    log.write_text("\n".join([json.dumps({**line, "backend": text}), *rest]) + "\n")
    page = report(world).page.read_text("utf-8")
    assert not set(page) & {*map(chr, range(9)), "\x1b", "\u202e"}
    assert "<b>&<" not in page
