"""Binary artefacts and the documents that vouch for them: alias blobs, universe hash, time zone cache."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
import tzdata

from arrival_engine import run
from arrival_engine.engine.sealing import seal
from tests.support import damage, refusals
from tests.support.blobs import tzc1
from tests.support.damage import (
    EDGE_BLOB,
    EDGE_INDEX,
    EDGES_INDEX,
    ENTRY,
    HEADER,
    ROUTING_3B,
    SETTLEMENT,
    SITE_BLOB,
    SITE_INDEX,
    TZ_BIN,
    TZ_MANIFEST,
    UNIVERSE,
    words,
)
from tests.support.model import BEFORE_ALL
from tests.support.refusals import (
    CLOCK_BAD,
    CPU,
    EDGE_BAD,
    MARS,
    ROUTING_BAD,
    SITE_BAD,
    UNIVERSE_BAD,
    Case,
    check,
    harm,
    put,
    refused,
    report_lines,
    seal_damaged,
)
from tests.support.worlds import BERLIN, SYDNEY, TWO_ZONES, VIRTUAL, small_world

pristine, run_root = refusals.pristine, refusals.run_root

# Alias blobs.

# Merchant 1 with one site at byte 0, merchant 101 with six from byte 24; merchant 303 with five edges at byte 0.
SECOND_SITE_SLICE = HEADER + ENTRY
SITE_BLOB_CASES = {
    "longer than stated": Case(
        harm(damage.edit_bytes, SITE_BLOB, lambda data: data + bytes(8)), SITE_BAD, ("alias.bin", "bytes")
    ),
    "shorter than stated": Case(
        harm(damage.edit_bytes, SITE_BLOB, lambda data: data[:-8]), SITE_BAD, ("alias.bin", "bytes")
    ),
    "empty": Case(harm(damage.edit_bytes, SITE_BLOB, lambda _: b""), SITE_BAD, ("alias.bin", "0 bytes")),
    "a byte changed": Case(harm(damage.edit_bytes, SITE_BLOB, words((16, 1))), SITE_BAD, ("alias.bin", "SHA-256")),
    "slice checksum": Case(
        harm(damage.edit_site_index, checksum="0" * 64), SITE_BAD, ("alias.bin", "merchant 1,", "SHA-256")
    ),
    "slice length": Case(harm(damage.edit_site_index, length=32), SITE_BAD, ("merchant 1,", "length 32")),
    "slice offset": Case(harm(damage.edit_site_index, offset=8), SITE_BAD, ("merchant 1,", "begin at 0")),
    "slice beyond the blob": Case(
        harm(damage.edit_site_index, length=16 + 8 * 10**6, sites=10**6), SITE_BAD, ("merchant 1,", "ends after")
    ),
    "merchants out of order": Case(harm(damage.edit_site_index, merchant_id=2**64 - 1), SITE_BAD, ("ascending",)),
    "mass grid of one row": Case(
        harm(damage.edit_site_index, quantised_bits=20), SITE_BAD, ("merchant 1", "quantised_bits 20")
    ),
    "merchants miscounted": Case(
        harm(damage.edit_document, SITE_INDEX, merchants_count=99), SITE_BAD, ("counts 99 merchants",)
    ),
    "entries in the header": Case(
        harm(damage.edit_site_blob, words((SECOND_SITE_SLICE, 7))),
        SITE_BAD,
        (f"merchant {TWO_ZONES}", "byte 24", "counts 7 entries"),
    ),
    "alias beyond the slice": Case(
        harm(damage.edit_site_blob, words((SECOND_SITE_SLICE + HEADER + 4, 6))),
        SITE_BAD,
        (f"merchant {TWO_ZONES}", "byte 44", "alias 6", "6 entries"),
    ),
    "qbits zero": Case(harm(damage.edit_site_blob, words((4, 0))), SITE_BAD, ("merchant 1,", "byte 4", "prob_qbits 0")),
    "qbits 33": Case(harm(damage.edit_site_blob, words((4, 33))), SITE_BAD, ("merchant 1,", "byte 4", "prob_qbits 33")),
    "probability above 2^qbits": Case(
        harm(damage.edit_site_blob, words((4, 8))), SITE_BAD, ("merchant 1,", "byte 16", "2^prob_qbits = 256")
    ),
    "reserved words": Case(harm(damage.edit_site_blob, words((12, 1))), SITE_BAD, ("merchant 1,", "reserved")),
    "index without checksums": Case(
        harm(damage.edit_document, SITE_INDEX, blob_sha256=None), SITE_BAD, ("index", "blob_sha256")
    ),
    "index no JSON": Case(
        harm(damage.edit_bytes, SITE_INDEX, lambda data: data[:-20]), SITE_BAD, ("index.json", "JSON")
    ),
    "index of a key twice": Case(
        harm(damage.edit_bytes, SITE_INDEX, lambda data: data.replace(b"{", b'{"policy_id": "x", ', 1)),
        SITE_BAD,
        ("index.json", "policy_id", "twice"),
    ),
}
EDGE_BLOB_CASES = {
    "longer than stated": Case(
        harm(damage.edit_bytes, EDGE_BLOB, lambda data: data + bytes(8)), EDGE_BAD, ("edge_alias_blob_3B.bin", "bytes")
    ),
    "shorter than stated": Case(
        harm(damage.edit_bytes, EDGE_BLOB, lambda data: data[:-8]), EDGE_BAD, ("edge_alias_blob_3B.bin", "bytes")
    ),
    "empty": Case(harm(damage.edit_bytes, EDGE_BLOB, lambda _: b""), EDGE_BAD, ("edge_alias_blob_3B.bin", "0 bytes")),
    "a byte changed": Case(
        harm(damage.edit_bytes, EDGE_BLOB, words((16, 1))), EDGE_BAD, ("edge_alias_blob_3B.bin", "SHA-256")
    ),
    "slice checksum": Case(
        harm(damage.edit_edge_index, "MERCHANT", merchant_alias_checksum="0" * 64),
        EDGE_BAD,
        (f"merchant {VIRTUAL}", "SHA-256"),
    ),
    "slice length": Case(
        harm(damage.edit_edge_index, "MERCHANT", blob_length_bytes=64), EDGE_BAD, (f"merchant {VIRTUAL}", "length 64")
    ),
    "slice offset": Case(
        harm(damage.edit_edge_index, "MERCHANT", blob_offset_bytes=8), EDGE_BAD, (f"merchant {VIRTUAL}", "begin at 0")
    ),
    "slice without an offset": Case(
        harm(damage.edit_edge_index, "MERCHANT", blob_offset_bytes=None),
        EDGE_BAD,
        (f"merchant {VIRTUAL}", "blob_offset_bytes", "null"),
    ),
    "table length": Case(
        harm(damage.edit_edge_index, "MERCHANT", alias_table_length=6),
        EDGE_BAD,
        (f"merchant {VIRTUAL}", "alias_table_length 6"),
    ),
    "another layout": Case(
        harm(damage.edit_edge_index, "MERCHANT", alias_layout_version="2B.alias.blob.v9"),
        EDGE_BAD,
        (f"merchant {VIRTUAL}", "2B.alias.blob.v9"),
    ),
    "edges miscounted": Case(
        harm(damage.edit_edge_index, "GLOBAL", edge_count_total=10), EDGE_BAD, ("counts 10 edges",)
    ),
    "no global row": Case(harm(damage.edit_edge_index, "GLOBAL", scope="MERCHANT"), EDGE_BAD, ("0 GLOBAL rows",)),
    "entries in the header": Case(
        harm(damage.edit_edge_blob, words((0, 4))), EDGE_BAD, (f"merchant {VIRTUAL}", "byte 0", "counts 4 entries")
    ),
    "alias beyond the slice": Case(
        harm(damage.edit_edge_blob, words((HEADER + 4, 5))), EDGE_BAD, (f"merchant {VIRTUAL}", "byte 20", "alias 5")
    ),
    "qbits zero": Case(
        harm(damage.edit_edge_blob, words((4, 0))), EDGE_BAD, (f"merchant {VIRTUAL}", "byte 4", "prob_qbits 0")
    ),
    "qbits 33": Case(
        harm(damage.edit_edge_blob, words((4, 33))), EDGE_BAD, (f"merchant {VIRTUAL}", "byte 4", "prob_qbits 33")
    ),
    "probability above 2^qbits": Case(
        harm(damage.edit_edge_blob, words((4, 8))), EDGE_BAD, (f"merchant {VIRTUAL}", "byte 16", "2^prob_qbits = 256")
    ),
    "reserved words": Case(harm(damage.edit_edge_blob, words((8, 1))), EDGE_BAD, (f"merchant {VIRTUAL}", "reserved")),
}

UNIVERSE_CASES = {
    **{
        f"component {component}": Case(
            harm(damage.edit_document, UNIVERSE, **{component: "0" * 64}), UNIVERSE_BAD, (UNIVERSE, *named)
        )
        for component, named in {
            "cdn_weights_digest": ("components",),
            "virtual_rules_digest": ("components",),
            "edge_alias_index_digest": ("edge_alias_index_digest", EDGE_INDEX),
            "edge_catalogue_index_digest": ("edge_catalogue_index_digest", EDGES_INDEX),
        }.items()
    },
    "the hash itself": Case(
        harm(damage.edit_document, UNIVERSE, universe_hash="0" * 64), UNIVERSE_BAD, (UNIVERSE, "states " + "0" * 64)
    ),
    "an index written anew": Case(put(EDGE_INDEX, "notes", "touched"), UNIVERSE_BAD, ("edge_alias_index_digest",)),
    "a component gone": Case(
        harm(damage.edit_document, UNIVERSE, cdn_weights_digest=None), UNIVERSE_BAD, ("cdn_weights_digest",)
    ),
    "no digest": Case(
        harm(damage.edit_document, UNIVERSE, cdn_weights_digest="0" * 63), UNIVERSE_BAD, ("cdn_weights_digest",)
    ),
    "routing policy of another universe": Case(
        harm(damage.edit_document, ROUTING_3B, edge_universe_hash="0" * 64), UNIVERSE_BAD, (ROUTING_3B, "0" * 64)
    ),
    "routing policy with overrides": Case(
        harm(damage.edit_document, ROUTING_3B, overrides=[{"merchant_id": 1, "mode": "virtual"}]),
        ROUTING_BAD,
        (ROUTING_3B, "overrides"),
    ),
    "routing policy for another layout": Case(
        harm(damage.edit_document, ROUTING_3B, alias_layout_version="2B.alias.blob.v9"),
        ROUTING_BAD,
        (ROUTING_3B, "2B.alias.blob.v9"),
    ),
}


# Civil time.


def late(zones):
    """The reference's fault: every change comes 27 seconds late."""
    return {
        name: [(at if at == BEFORE_ALL else at + 27, minutes) for at, minutes in steps] for name, steps in zones.items()
    }


def cut_off(zones):
    """The reference's other fault: no change after the first of March."""
    march = 1_772_323_200
    return {name: [(at, minutes) for at, minutes in steps if at < march] for name, steps in zones.items()}


ZONES = small_world().zones
CACHE = tzc1(ZONES)
WRONG_CACHES = {
    "27 s late": (late(ZONES), "Europe/Berlin from 2026-03-29T01:00:00Z"),
    "cut off": (cut_off(ZONES), "Europe/Berlin from 2026-03-29T01:00:00Z"),
    "an hour off": ({**ZONES, SYDNEY: [(BEFORE_ALL, 600)]}, "Australia/Sydney from 2026-02-14T00:00:00Z"),
}
BROKEN_CACHES = {
    "truncated": (CACHE[:-5], "short of"),
    "with more behind": (CACHE + b"\0", "follow the last"),
    "another magic": (b"TZC2" + CACHE[4:], "TZC2"),
    "another version": (CACHE[:4] + struct.pack("<H", 2) + CACHE[6:], "version 2"),
    "empty": (b"", "header"),
    "steps backwards": (tzc1({**ZONES, BERLIN: [(BEFORE_ALL, 60), (2, 120), (1, 60)]}), "does not follow"),
    "without its sentinel": (tzc1({**ZONES, BERLIN: [(0, 60)]}), "sentinel"),
    "offset of 20 hours": (tzc1({**ZONES, BERLIN: [(BEFORE_ALL, 60), (0, 1200)]}), "offset 1200"),
}
CLOCK_CASES = {
    **{
        name: Case(harm(damage.write_tz_cache, data), CLOCK_BAD, ("tz_cache_v1.bin", text))
        for name, (data, text) in BROKEN_CACHES.items()
    },
    **{
        name: Case(harm(damage.write_tz_cache, tzc1(zones)), CLOCK_BAD, (text, "min"))
        for name, (zones, text) in WRONG_CACHES.items()
    },
    "zone gone": Case(
        harm(damage.write_tz_cache, tzc1({name: steps for name, steps in ZONES.items() if name != BERLIN})),
        CLOCK_BAD,
        (BERLIN,),
    ),
    "manifest of another cache": Case(
        harm(damage.edit_bytes, TZ_BIN, lambda data: data[:-1] + b"\1"), CLOCK_BAD, ("tz_cache_v1.bin", "SHA-256")
    ),
    "manifest of another size": Case(
        harm(damage.edit_document, TZ_MANIFEST, rle_cache_bytes=1), CLOCK_BAD, ("tz_cache_v1.bin", "1")
    ),
    "manifest without digest": Case(
        harm(damage.edit_document, TZ_MANIFEST, tz_index_digest=None),
        CLOCK_BAD,
        ("tz_timetable_cache.json", "tz_index_digest"),
    ),
}


VALUE_CASES = {
    f"{kind}: {name}": case
    for kind, cases in {
        "2B blob": SITE_BLOB_CASES,
        "3B blob": EDGE_BLOB_CASES,
        "universe": UNIVERSE_CASES,
        "clock": CLOCK_CASES,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", VALUE_CASES)
def test_values_that_cannot_be_used(run_root, name):
    case = VALUE_CASES[name]
    case.harm(run_root)
    seal_damaged(run_root, case)
    check(refused(run_root, case.options), case)


class TestClock:
    @pytest.mark.parametrize("name", WRONG_CACHES)
    def test_a_wrong_cache_is_used_when_accepted_and_the_warning_says_what_is_wrong(self, run_root, name):
        zones, text = WRONG_CACHES[name]
        damage.write_tz_cache(run_root, tzc1(zones))
        seal(run_root)
        (scenario,) = run(run_root, replace(CPU, accept_tz_cache=True)).scenarios
        (notice,) = scenario.notices
        assert notice.code == "TZ_CACHE_DISAGREES"
        assert text in notice.message
        assert report_lines(run_root)[-1]["notices"] == ["TZ_CACHE_DISAGREES"]

    def test_an_older_tzdata_confirms_no_cache_and_a_newer_one_is_compared(self, run_root, monkeypatch):
        seal(run_root)
        monkeypatch.setattr(tzdata, "IANA_VERSION", "2026e")
        error = refused(run_root)
        assert error.code is CLOCK_BAD
        assert "tzdata 2026e is installed" in error.message
        assert "pip install tzdata==2026.6" in error.hint
        (accepted,) = run(run_root, replace(CPU, accept_tz_cache=True)).scenarios
        assert [notice.code for notice in accepted.notices] == ["TZDATA_TOO_OLD"]
        monkeypatch.setattr(tzdata, "IANA_VERSION", "2027a")
        (compared,) = run(run_root, CPU).scenarios
        assert (compared.notices, compared.digest) == ((), accepted.digest)

    @pytest.mark.parametrize("name", ["truncated", "zone gone"])
    def test_a_cache_that_cannot_be_read_is_never_accepted(self, run_root, name):
        case = CLOCK_CASES[name]
        case.harm(run_root)
        seal(run_root)
        check(refused(run_root, replace(CPU, accept_tz_cache=True)), case)

    def test_a_zone_that_only_the_cache_knows_is_taken_from_it_when_accepted(self, run_root):
        damage.write_tz_cache(run_root, tzc1({**ZONES, MARS: [(BEFORE_ALL, 77)]}))
        damage.put(run_root, SETTLEMENT, "tzid_settlement", MARS, {"merchant_id": VIRTUAL})
        seal(run_root)
        error = refused(run_root)
        assert (error.code, MARS in error.message) == (CLOCK_BAD, True)
        (scenario,) = run(run_root, replace(CPU, accept_tz_cache=True)).scenarios
        assert MARS in scenario.notices[0].message
