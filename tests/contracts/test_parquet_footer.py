"""Chunks of a Parquet footer: what Arrow says of a sound one, and a named refusal of any other."""

from __future__ import annotations

import io
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts.parquet_footer import row_groups
from tests.fuzz.mutation import mutated_bytes


def written(**options):
    table = pa.table(
        {
            "id": pa.array(np.arange(2**63 - 500, 2**63 + 500, dtype=np.uint64)),
            "number": pa.array(np.arange(-500, 500)),
            "text": ["a"] * 1000,
            "nested": pa.array([{"q": 1, "w": [1, 2]}] * 1000),
            "flag": [True, None] * 500,
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=250, **options)
    return sink


@pytest.mark.parametrize("version", ["1.0", "2.6"])
@pytest.mark.parametrize("statistics", [True, False])
def test_sizes_and_unsigned_extremes_are_those_that_arrow_reads(version, statistics):
    file = written(version=version, write_statistics=statistics, write_page_index=True)
    metadata = pq.read_metadata(file)
    found = row_groups(file)
    assert len(found) == metadata.num_row_groups == 4
    for group, (rows, chunks) in enumerate(found):
        assert rows == metadata.row_group(group).num_rows
        columns = [metadata.row_group(group).column(index) for index in range(metadata.num_columns)]
        assert {column.path_in_schema: column.total_uncompressed_size for column in columns} == {
            path: chunk.uncompressed_bytes for path, chunk in chunks.items()
        }
        known = columns[0].statistics
        wanted = (known.min, known.max) if statistics else (None, None)
        assert (chunks["id"].least, chunks["id"].greatest) == wanted


def test_a_chunk_may_hold_what_its_statistics_allow():
    chunks = row_groups(written())[1].chunks
    assert chunks["id"].may_hold(2**63 - 250)
    assert not chunks["id"].may_hold(2**63 - 251)
    assert not chunks["id"].may_hold(2**63)
    # Extremes of both signs say nothing of unsigned values.
    assert row_groups(written())[2].chunks["number"].may_hold(7)
    assert chunks["text"].may_hold(7)


@pytest.mark.parametrize(
    "data",
    [b"", b"PAR1", b"PAR1" * 4, b"PAR1\xff\xff\xff\xffPAR1", b"PAR1" + bytes(40) + b"PAR2"],
    ids=["empty", "short", "long", "longer", "no end"],
)
def test_a_file_without_a_footer_is_refused(data):
    with pytest.raises(pa.ArrowInvalid, match="footer is damaged"):
        row_groups(io.BytesIO(data))


def test_damaged_footers_are_refused_or_read():
    sound, draw, refused = written().getvalue(), Random(3), 0
    begin = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
    for _ in range(500):
        damaged = mutated_bytes(sound[begin:-8], draw)
        file = io.BytesIO(b"PAR1" + damaged + len(damaged).to_bytes(4, "little") + b"PAR1")
        try:
            row_groups(file)
        except pa.ArrowInvalid:
            refused += 1
    assert 100 < refused < 500


@pytest.mark.parametrize(
    ("head", "step"),
    [(b"\x19", b"\x19"), (b"\x1b", b"\x01\xbb"), (b"\x1c", b"\x1c")],
    ids=["lists", "maps", "structs"],
)
def test_a_footer_of_values_within_values_is_refused(head, step):
    footer = head + step * 100_000
    file = io.BytesIO(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(pa.ArrowInvalid, match="nests its values too deeply"):
        row_groups(file)
