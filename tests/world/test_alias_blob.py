"""Alias blobs: round trips, the contract's tolerance, hand-made slices, and every kind of corruption."""

import hashlib
import json
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.contracts import ArrivalError, Code, arrow_schema
from arrival_engine.engine.alias_blobs import decode
from arrival_engine.engine.alias_blobs.decode import decode_3b
from arrival_engine.engine.alias_blobs.encode import encode_2b, encode_3b
from arrival_engine.engine.alias_blobs.index import site_index, site_index_json
from arrival_engine.engine.alias_blobs.layout import LAYOUT, AliasLayout

DIGEST = "0" * 64
STAMP = "2026-01-01T00:00:00.000000Z"
WEIGHTS = st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1e9, allow_nan=False)), min_size=1, max_size=40).filter(
    lambda w: sum(w) > 0
)
MERCHANTS = st.lists(
    st.tuples(st.integers(1, 2**64 - 1), WEIGHTS), min_size=1, max_size=6, unique_by=lambda item: item[0]
)


def arrays(tables):
    tables = sorted(tables)
    start = np.zeros(len(tables) + 1, np.int64)
    np.cumsum([len(weights) for _, weights in tables], out=start[1:])
    return (
        np.array([merchant for merchant, _ in tables], np.uint64),
        start,
        np.array([w for _, weights in tables for w in weights], np.float64),
    )


def make_2b(tables, **options):
    blob, index = encode_2b(*arrays(tables), policy_digest=DIGEST, created_utc=STAMP, **options)
    return blob, json.loads(b"".join(site_index_json(index)))


def decode_2b(blob, document, where):
    return decode.decode_2b(blob, site_index(document, f"index of {where}"), where)


def make_3b(tables):
    return encode_3b(*arrays(tables), seed=7, manifest_fingerprint="a" * 64)


def probabilities(slices, m):
    """Exact pick probabilities of merchant m's table, from the decoding law alone."""
    first, end = int(slices.start[m]), int(slices.start[m + 1])
    n = end - first
    out = [Fraction(0)] * n
    for i in range(n):
        keep = Fraction(int(slices.prob_q[first + i]), 2 ** int(slices.qbits[m]))
        out[i] += keep / n
        out[int(slices.alias[first + i])] += (1 - keep) / n
    return out


@settings(max_examples=60, deadline=None)
@given(MERCHANTS)
def test_round_trip_keeps_every_probability_within_the_contract_tolerance(tables):
    blob, document = make_2b(tables)
    slices = decode_2b(blob, document, "alias.bin")
    edge_blob, index = make_3b(tables)
    assert edge_blob == blob
    edges = decode_3b(memoryview(edge_blob), index, "edge blob")
    for name in ("merchant", "start", "prob_q", "alias", "qbits"):
        assert np.array_equal(getattr(slices, name), getattr(edges, name))
    merchant, start, weight = arrays(tables)
    assert np.array_equal(slices.merchant, merchant)
    assert np.array_equal(slices.start, start)
    for m in range(len(merchant)):
        mine = weight[start[m] : start[m + 1]]
        total = sum(Fraction(w) for w in mine.tolist())
        found = probabilities(slices, m)
        assert sum(found) == 1
        for p, w in zip(found, mine.tolist(), strict=True):
            assert abs(p - Fraction(w) / total) <= Fraction(12, 10**8)


def test_a_slice_is_the_bytes_that_the_layout_describes():
    # Masses 3/4 and 1/4 of 2^24: entry 1 keeps half of its column and aliases to entry 0, which keeps all.
    blob, document = make_2b([(5, [0.75, 0.25])])
    assert blob == struct.pack("<8I", 2, 32, 0, 0, 2**32 - 1, 0, 2**31, 0)
    assert document["merchants"] == [
        {
            "merchant_id": 5,
            "offset": 0,
            "length": 32,
            "sites": 2,
            "quantised_bits": 24,
            "checksum": hashlib.sha256(blob).hexdigest(),
        }
    ]
    assert document["blob_sha256"] == hashlib.sha256(blob).hexdigest()


def test_pairing_takes_the_lowest_index_of_each_heap():
    # scaled = (2, 1/2, 1/2, 1): 1 and 2 lean on 0, which then is exactly certain, as 3 is from the start.
    blob, _ = make_2b([(1, [4, 1, 1, 2])])
    pairs = np.frombuffer(blob, "<u4")[4:].reshape(-1, 2).tolist()
    certain = 2**32 - 1
    assert pairs == [[certain, 0], [2**31, 0], [2**31, 0], [certain, 3]]


def test_rounding_residue_goes_to_the_largest_errors_by_index():
    # A third of 2^24 is 5592405.33: one unit is missing and entry 0, first of three equal errors, gets it.
    blob, document = make_2b([(1, [1.0, 1.0, 1.0])])
    p = probabilities(decode_2b(blob, document, "x"), 0)
    assert p[0] > p[1]
    assert abs(p[0] - Fraction(5592406, 2**24)) <= Fraction(1, 2**31)


def test_a_certain_entry_takes_all_mass_and_a_single_entry_is_itself():
    blob, document = make_2b([(1, [1e-14, 1.0]), (2, [3.0])])
    slices = decode_2b(blob, document, "x")
    assert slices.prob_q.tolist() == [1, 2**32 - 1, 2**32 - 1]
    assert slices.alias.tolist() == [1, 1, 0]


@pytest.mark.parametrize("alignment", [1, 8, 64])
@pytest.mark.parametrize("endianness", ["little", "big"])
def test_other_alignments_and_byte_orders_round_trip(alignment, endianness):
    layout = AliasLayout(endianness=endianness, alignment_bytes=alignment)
    tables = [(1, [0.5, 0.2, 0.3]), (2, [1.0]), (2**64 - 1, [0.1] * 10)]
    blob, document = make_2b(tables, layout=layout)
    plain_blob, plain_document = make_2b(tables)
    slices, plain = decode_2b(blob, document, "x"), decode_2b(plain_blob, plain_document, "x")
    assert np.array_equal(slices.prob_q, plain.prob_q)
    assert np.array_equal(slices.alias, plain.alias)
    assert [row["offset"] % alignment for row in document["merchants"]] == [0, 0, 0]


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ([(1, [0.5, -0.1])], "weight"),
        ([(1, [0.5, float("nan")])], "weight"),
        ([(1, [float("inf")])], "weight"),
        ([(1, [0.0, 0.0])], "sum to 0"),
        ([(1, [])], "no entries"),
        ([(3, [1.0]), (3, [1.0])], "ascending"),
    ],
)
def test_bad_weights_are_refused_with_the_merchant_named(tables, says):
    for make, code in ((make_2b, Code.SITE_RESOLUTION_FAILED), (make_3b, Code.EDGE_RESOLUTION_FAILED)):
        with pytest.raises(ArrivalError, match=says) as caught:
            make(tables)
        assert caught.value.code == code
        assert caught.value.context["merchant_id"] == tables[0][0]


def test_no_merchants_make_an_empty_blob():
    blob, document = make_2b([])
    assert blob == b""
    assert len(decode_2b(blob, document, "x").merchant) == 0
    blob, index = make_3b([])
    assert len(decode_3b(blob, index, "x").prob_q) == 0


# ------------------------------------------------------------------ corruption

ROW = {"merchant_id": 1, "offset": 0, "length": 24, "sites": 1, "quantised_bits": 24, "checksum": "f" * 64}

TABLES = [(10, [0.6, 0.3, 0.1]), (2**63 + 5, [0.25, 0.75])]
# Slices: merchant 10 at bytes 0 to 40, merchant 2^63 + 5 at bytes 40 to 72.


def reseal(blob, document):
    """Make blob digests and checksums right again, so that only the planted fault is left to find."""
    document = json.loads(json.dumps(document))
    document["blob_sha256"] = hashlib.sha256(blob).hexdigest()
    document["blob_size_bytes"] = len(blob)
    for row in document["merchants"]:
        piece = blob[row["offset"] : row["offset"] + row["length"]]
        row["checksum"] = hashlib.sha256(piece).hexdigest()
    return document


def word(at, value):
    def change(blob, document):
        blob[at : at + 4] = struct.pack("<I", value)
        return bytes(blob), reseal(bytes(blob), document)

    return change


def row(index, sealed=True, **values):
    def change(blob, document):
        document["merchants"][index].update(values)
        return bytes(blob), reseal(bytes(blob), document) if sealed else document

    return change


def top(**values):
    def change(blob, document):
        document.update(values)
        return bytes(blob), document

    return change


def resized(change_bytes):
    def change(blob, document):
        blob = change_bytes(bytes(blob))
        return blob, reseal(blob, document)

    return change


CORRUPTIONS: dict[str, Any] = {
    "truncated blob": (lambda b, d: (bytes(b[:-1]), d), "71 bytes", 71),
    "longer blob": (lambda b, d: (bytes(b) + b"\0", d), "73 bytes", 72),
    "flipped bit": (lambda b, d: (bytes(b[:20]) + bytes([b[20] ^ 1]) + bytes(b[21:]), d), "SHA-256", 0),
    "cut and resealed": (resized(lambda b: b[:64]), "after the blob", 40),
    "padding too long": (resized(lambda b: b + b"\0" * 8), "8 bytes follow", 72),
    "empty blob": (resized(lambda _: b""), "after the blob", 0),
    "wrong slice checksum": (row(1, sealed=False, checksum="f" * 64), "SHA-256", 40),
    "header count": (word(40, 3), "header counts 3", 40),
    "header count zero": (word(0, 0), "header counts 0", 0),
    "prob_qbits zero": (word(44, 0), "prob_qbits 0", 44),
    "prob_qbits 33": (word(4, 33), "prob_qbits 33", 4),
    "first reserved word": (word(8, 1), "reserved", 8),
    "second reserved word": (word(52, 9), "reserved", 48),
    "alias out of range": (word(60, 2), "alias 2", 60),
    "alias far out of range": (word(20, 2**32 - 1), "alias 4294967295", 20),
    "probability above its bits": (word(44, 8), "not below 2\\^prob_qbits = 256", 56),
    "offset moved": (row(1, offset=48), "should begin at 40", 48),
    "offset huge": (row(1, offset=2**63 - 1), "should begin at 40", 2**63 - 1),
    "overlap": (row(1, offset=32), "should begin at 40", 32),
    "length off": (row(1, length=40), "length 40", 40),
    "sites off": (row(0, sites=2), "length 40", 0),
    "sites huge": (row(1, sites=2**59, length=16 + 8 * 2**59), "after the blob", 40),
    "merchants swapped": (row(0, merchant_id=2**63 + 6), "ascending", 40),
    "merchant repeated": (row(1, merchant_id=10), "ascending", 40),
    "merchant bits": (row(1, quantised_bits=23), "quantised_bits 23", 40),
    "merchant count": (top(merchants_count=3), "counts 3 merchants", 0),
    "blob size": (top(blob_size_bytes=71), "its index says 71", 71),
    "blob digest": (top(blob_sha256="e" * 64), "SHA-256", 0),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_of_a_2b_pair_is_caught_with_its_byte(name):
    change, says, byte = CORRUPTIONS[name]
    blob, document = make_2b(TABLES)
    broken, index = change(bytearray(blob), document)
    with pytest.raises(ArrivalError, match=says) as caught:
        decode_2b(broken, index, "alias.bin")
    assert caught.value.code == Code.SITE_RESOLUTION_FAILED
    assert caught.value.context["byte"] == byte
    assert "alias.bin" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"merchants_count": "2"},
        {"endianness": "middle"},
        {"alignment_bytes": 0},
        {"blob_sha256": "xyz"},
        {"unknown": 1},
        {"policy_id": "other"},
        {"merchants": {}},
        {"merchants": [1]},
        {"merchants": [{}]},
        {"merchants": [{**ROW, "offset": 2**63}]},
        {"merchants": [{**ROW, "sites": 1.5}]},
        {"merchants": [{**ROW, "merchant_id": 0}]},
        {"merchants": [{**ROW, "checksum": "F" * 64}]},
        {"merchants": [{**ROW, "unknown": 1}]},
    ],
)
def test_an_index_document_that_breaks_its_schema_is_refused(values):
    blob, document = make_2b(TABLES)
    with pytest.raises(ArrivalError) as caught:
        decode_2b(blob, document | values, "alias.bin")
    assert caught.value.code == Code.SITE_RESOLUTION_FAILED


def test_fewer_probability_bits_are_decoded_as_written():
    blob = struct.pack("<8I", 2, 8, 0, 0, 255, 0, 128, 0)
    _, document = make_2b([(9, [0.75, 0.25])])
    slices = decode_2b(blob, reseal(blob, document), "x")
    assert slices.qbits.tolist() == [8]
    assert probabilities(slices, 0) == [Fraction(3, 4), Fraction(1, 4)]


def index_rows(index):
    return index.to_pylist()


def changed(index, at, **values):
    rows = index_rows(index)
    rows[at].update(values)
    return type(index).from_pylist(rows, schema=arrow_schema("edge_alias_index_3B"))


INDEX_FAULTS = {
    "no GLOBAL row": (lambda i: i.slice(0, 2), "0 GLOBAL rows"),
    "two GLOBAL rows": (lambda i: changed(i, 0, scope="GLOBAL"), "2 GLOBAL rows"),
    "blob digest": (lambda i: changed(i, 2, blob_sha256_hex="e" * 64), "SHA-256"),
    "blob digest null": (lambda i: changed(i, 2, blob_sha256_hex=None), "blob_sha256_hex"),
    "blob length": (lambda i: changed(i, 2, blob_length_bytes=80), "its index says 80"),
    "edge total": (lambda i: changed(i, 2, edge_count_total=6), "counts 6 edges"),
    "offset null": (lambda i: changed(i, 1, blob_offset_bytes=None), "blob_offset_bytes"),
    "merchant null": (lambda i: changed(i, 1, merchant_id=None), "merchant_id"),
    "table length": (lambda i: changed(i, 1, alias_table_length=3), "alias_table_length 3"),
    "edges": (lambda i: changed(i, 1, edge_count_total=3, alias_table_length=3), "GLOBAL row counts 5"),
    "layout": (lambda i: changed(i, 0, alias_layout_version="other.v9"), "layout 'other.v9'"),
    "checksum": (lambda i: changed(i, 1, merchant_alias_checksum="f" * 64), "SHA-256"),
    "offset": (lambda i: changed(i, 1, blob_offset_bytes=48), "should begin at 40"),
    "negative offset": (lambda i: changed(i, 1, blob_offset_bytes=-8), "blob_offset_bytes"),
    "scope": (lambda i: changed(i, 1, scope="ALL"), "scope"),
    "missing column": (lambda i: i.drop_columns(["notes"]), "notes"),
}


@pytest.mark.parametrize("name", INDEX_FAULTS)
def test_every_fault_of_a_3b_index_is_caught(name):
    change, says = INDEX_FAULTS[name]
    blob, index = make_3b(TABLES)
    with pytest.raises(ArrivalError, match=says) as caught:
        decode_3b(blob, change(index), "edge blob")
    assert caught.value.code == Code.EDGE_RESOLUTION_FAILED


def test_the_global_row_may_stand_first():
    blob, index = make_3b(TABLES)
    rows = index_rows(index)
    turned = type(index).from_pylist([rows[-1], *rows[:-1]], schema=arrow_schema("edge_alias_index_3B"))
    assert np.array_equal(decode_3b(blob, turned, "x").alias, decode_3b(blob, index, "x").alias)


def attempt(blob, document):
    try:
        return decode_2b(blob, document, "x")
    except ArrivalError as error:
        return error


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=120), st.integers(1, 2**40), st.integers(1, 16))
def test_hostile_bytes_never_decode_to_indices_outside_their_slice(data, sites, alignment):
    _, document = make_2b([(1, [1.0]), (2, [1.0])])
    document["alignment_bytes"] = alignment
    first = min(sites, max((len(data) - 16) // 8, 1))
    second = -(16 + 8 * first) % alignment + 16 + 8 * first
    document["merchants"][0].update(sites=first, length=16 + 8 * first)
    document["merchants"][1].update(offset=second, sites=sites, length=16 + 8 * sites)
    result = attempt(data, reseal(data, document))
    if isinstance(result, ArrivalError):
        assert result.code == Code.SITE_RESOLUTION_FAILED
    else:
        sizes = np.diff(result.start)
        assert (result.alias < np.repeat(sizes, sizes)).all()


def test_the_layout_constants_are_those_of_the_packaged_policy():
    from arrival_engine.config import resolve_policy

    policy = resolve_policy("alias_layout_policy_v1").document
    assert LAYOUT.layout_version == policy["layout_version"]
    assert LAYOUT.endianness == policy["endianness"]
    assert LAYOUT.alignment_bytes == policy["alignment_bytes"]
    assert LAYOUT.quantised_bits == policy["quantised_bits"]
    assert LAYOUT.prob_qbits == policy["record_layout"]["prob_qbits"]
