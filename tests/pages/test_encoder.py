"""Parts that the page encoder makes, decoded by Arrow and by their own headers, against the assembler's tables."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.pages.cuts import cut_into_pages
from arrival_engine.engine.pages.encoder import nothing
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.world.load import load_world
from tests.support.encoding import Encoding, assert_same_columns, check_world, results, with_output
from tests.support.model import HYBRID, NON_VIRTUAL, VIRTUAL_ONLY, CountRow
from tests.support.paths import ROOT
from tests.support.product import on_disk
from tests.support.strategies import worlds
from tests.support.worlds import BERLIN, small_world

OUTPUTS = st.fixed_dictionaries(
    {
        "compression": st.sampled_from(("none", "lz4", "zstd", "snappy")),
        "mirror_dual_clock": st.booleans(),
        "timestamp_encoding": st.sampled_from(("timestamp", "rfc3339")),
        "encoding": st.sampled_from(("delta", "plain")),
        "row_group_rows": st.sampled_from((1, 2, 7, 64, 1024)),
    }
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    synthesise(root, preset="demo", seed=7, scale=0.1)
    seal(root)
    return load_world(root)


@pytest.fixture(scope="module")
def small():
    with on_disk(small_world()) as written:
        yield load_world(written.run_root)


@settings(max_examples=40)
@given(world=worlds(), output=OUTPUTS, page_rows=st.sampled_from((1, 3, 8, 50, 8192)), batch=st.integers(1, 200))
def test_any_world_in_any_form_is_the_assemblers_table(world, output, page_rows, batch):
    with on_disk(world) as written:
        loaded = with_output(load_world(written.run_root), **output)
        check_world(loaded, batch, page_rows=page_rows)


@pytest.mark.parametrize(
    "output",
    [
        {},
        {"encoding": "plain"},
        {"mirror_dual_clock": True, "row_group_rows": 1024},
        {"timestamp_encoding": "rfc3339", "mirror_dual_clock": True, "compression": "zstd"},
        {"timestamp_encoding": "rfc3339", "encoding": "plain", "compression": "none"},
    ],
    ids=lambda output: " ".join(map(str, output.values())) or "default",
)
def test_a_synthetic_world(demo, output):
    pages = check_world(with_output(demo, **output), 60_000)
    assert pages > 21


@pytest.mark.slow
@pytest.mark.parametrize(
    "output", [{}, {"mirror_dual_clock": True}, {"timestamp_encoding": "rfc3339"}, {"encoding": "plain"}]
)
def test_a_million_pages(demo, output):
    pages = sum(check_world(with_output(demo, **output), 60_000, page_rows=rows) for rows in (4, 5, 9, 31))
    assert pages > 250_000


@pytest.mark.parametrize("mode", [NON_VIRTUAL, VIRTUAL_ONLY, HYBRID])
def test_worlds_of_one_mode(mode):
    """Columns without a value, with values only, and mixed row by row."""
    base = small_world()
    merchants = base.edges.keys() & {site.merchant_id for site in base.sites if site.weight > 0}
    modes = {merchant: mode if merchant in merchants else found for merchant, found in base.modes.items()}
    counts = tuple(CountRow(merchant, BERLIN, None, 1, 300) for merchant in sorted(merchants))
    assert counts
    with on_disk(replace(base, modes=modes, counts=counts)) as written:
        assert check_world(load_world(written.run_root), 1000, page_rows=50) > 0


def test_a_batch_of_one_arrival(small):
    assert check_world(small, 1) > 0


def test_ids_are_stored_plain_where_dictionary_and_codes_would_be_larger(demo):
    """Of two rows, two ids of 64 bits and two codes take more than two ids."""
    world = with_output(demo, row_group_rows=2)
    encoding, plain = Encoding(world), 0
    result = next(iter(results(plan(world, 500))))
    file = pq.ParquetFile(io.BytesIO(encoding.file(result)))
    sites = encoding.assembler.schema.names.index("site_id")
    for group in range(file.num_row_groups):
        chunk = file.metadata.row_group(group).column(sites)
        values = file.read_row_group(group, columns=["site_id"])["site_id"].drop_null()
        assert chunk.has_dictionary_page == (len(values) == 2 and len(values.unique()) == 1), group
        plain += len(values.unique()) == 2
    assert plain > 0
    assert_same_columns(file.read(), encoding.table(result))


def test_a_workspace_keeps_nothing_of_an_earlier_part(demo):
    """Parts do not depend on what was encoded before them, by the same thread."""
    fresh = [Encoding(demo).file(result) for result in results(plan(demo, 30_000))]
    kept = Encoding(demo)
    again = [kept.file(result) for _ in range(2) for result in results(plan(demo, 30_000))]
    assert again == fresh + fresh
    assert len(fresh) > 1


def test_an_empty_file_has_the_schema_and_no_row_groups(demo):
    encoding = Encoding(demo)
    schema = encoding.assembler.schema.with_metadata(encoding.metadata)
    pieces = encoding.encoder.pieces(nothing(), np.zeros(1, np.int64), encoding.metadata)
    file = pq.ParquetFile(io.BytesIO(b"".join(map(bytes, pieces))))
    assert (file.metadata.num_rows, file.num_row_groups) == (0, 0)
    assert file.metadata.created_by.startswith("arrival-engine version ")
    assert_same_columns(file.read(), schema.empty_table())


LOADING = """
import json, sys
from arrival_engine.cpu_fallback.pages import codes, frame, numbers, texts
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.world.load import load_world
from tests.support.encoding import Encoding, results, with_output

kernels = (codes.lay_codes, codes.lay_runs, numbers.lay_deltas, numbers.lay_words, texts.lay_texts)
kernels += (frame.put_pages, frame.put_footer)
world = load_world(sys.argv[1])
for output in json.loads(sys.argv[2]):
    encoding = Encoding(with_output(world, **output))
    encoding.encoder.load_kernels()
    print([len(kernel.signatures) for kernel in kernels])
    for result in results(plan(encoding.world, 1 << 20)):
        encoding.file(result)
    print([len(kernel.signatures) for kernel in kernels])
"""


def test_kernels_are_compiled_before_the_first_batch_and_for_one_set_of_types():
    """Compiling within a run would be silent, and take as long again."""
    forms = [{}, {"encoding": "plain"}, {"timestamp_encoding": "rfc3339", "mirror_dual_clock": True}]
    with on_disk(small_world()) as written:
        command = [sys.executable, "-c", LOADING, str(written.run_root), json.dumps(forms)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    used = [[1, 1, 1, 0, 0, 1, 1], [1, 1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 1, 1]]
    assert [json.loads(line) for line in done.stdout.splitlines()] == [found for found in used for _ in range(2)]


@given(
    groups=st.lists(st.integers(1, 40_000), max_size=12).map(lambda rows: np.cumsum([0, *rows])),
    most=st.integers(1, 9000),
)
def test_pages_share_the_rows_of_a_row_group_equally(groups, most):
    cut = cut_into_pages(groups, most)
    sizes = np.diff(cut.row)
    assert cut.row[0] == 0
    assert cut.group[0] == 0
    assert cut.row[cut.group].tolist() == groups.tolist()
    assert (sizes > 0).all()
    for first, last in zip(cut.group[:-1], cut.group[1:], strict=True):
        of_group = sizes[first:last]
        assert of_group.max() - of_group.min() <= 1
        assert of_group.max() <= most * 3 // 2 + 1


def test_the_schema_is_the_assemblers_own(small):
    """Arrow wrote the schema and the metadata, so all readers find the same types as before."""
    encoding = Encoding(small)
    (data,) = (encoding.file(result) for result in results(plan(small, 1 << 20)))
    schema = encoding.assembler.schema.with_metadata(encoding.metadata)
    sink = io.BytesIO()
    pq.write_table(schema.empty_table(), sink, version="2.6")
    found, wanted = (pq.ParquetFile(io.BytesIO(written)) for written in (data, sink.getvalue()))
    assert found.schema.equals(wanted.schema)
    assert found.metadata.metadata == wanted.metadata.metadata
    assert pa.types.is_dictionary(found.schema_arrow.field("tzid_primary").type)
