"""Time zones: TZC1, and the pinned tables against zoneinfo."""

import hashlib
import random
import struct
import zoneinfo
from datetime import datetime, timedelta
from io import BytesIO
from zoneinfo import ZoneInfo
from zoneinfo._zoneinfo import ZoneInfo as PurePythonZoneInfo  # type: ignore[import-not-found]

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.engine.tz import pinned
from arrival_engine.engine.tz.pinned import known_tzids, pinned_zones
from arrival_engine.engine.tz.tzc1 import decode, encode
from arrival_engine.engine.tz.zones import SENTINEL, stack
from tests.support.zone_tables import BERLIN_2026, offset_seconds, package_file, seconds, table

VECTOR = bytes.fromhex(
    "545a4331 0100 02000000 0700 4574632f555443 01000000 0000000000000080 00000000"
    "0d00 4575726f70652f4265726c696e 02000000 0000000000000080 35000000 9079c86900000000 78000000"
)


# --- TZC1


def test_the_78_byte_vector():
    zones = table(Etc__UTC=[(SENTINEL, 0)], Europe__Berlin=[(SENTINEL, 53), (BERLIN_2026, 120)])
    assert encode(zones) == VECTOR
    assert len(VECTOR) == 78
    assert hashlib.sha256(VECTOR).hexdigest().startswith("52a5d10c")
    assert hashlib.sha256(VECTOR).hexdigest().endswith("8d22a9")
    back = decode(VECTOR, "vector")
    assert back.same_as(zones)
    assert back.offset_at("Europe/Berlin", BERLIN_2026 - 1) == 53
    assert back.offset_at("Europe/Berlin", BERLIN_2026) == 120


def test_an_empty_table_round_trips():
    assert decode(encode(stack([], [])), "empty").tzids == ()


names = st.from_regex(r"\A[A-Za-z]{1,6}(/[A-Za-z0-9_+-]{1,8}){0,2}\Z")


@st.composite
def tables(draw):
    tzids = sorted(draw(st.sets(names, max_size=5)))
    zones = []
    for _ in tzids:
        instants = sorted(draw(st.sets(st.integers(-(2**63) + 1, 2**63 - 1), max_size=6)))
        offsets = draw(
            st.lists(st.integers(-900, 900), min_size=len(instants), max_size=len(instants)),
        )
        first = draw(st.integers(-1499, 1559))
        zones.append((np.array([SENTINEL, *instants], np.int64), np.array([first, *offsets], np.int32)))
    return stack(tzids, zones)


@given(tables())
def test_what_is_written_is_read(zones):
    data = encode(zones)
    assert decode(data, "made").same_as(zones)
    assert encode(decode(data, "made")) == data


@given(st.integers(0, len(VECTOR) - 1))
def test_every_early_end_is_an_error(size):
    with pytest.raises(ArrivalError) as caught:
        decode(VECTOR[:size], "cut.bin")
    assert caught.value.code is Code.DST_MAPPING_FAILED
    assert "cut.bin" in caught.value.message


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_by_name(data):
    for candidate in (data, VECTOR[:10] + data, VECTOR[:37] + data):
        if candidate != VECTOR:
            with pytest.raises(ArrivalError) as caught:
                decode(candidate, "noise")
            assert caught.value.code is Code.DST_MAPPING_FAILED


def record(name: bytes, steps: list[tuple[int, int]], count: int | None = None) -> bytes:
    packed = b"".join(struct.pack("<qi", *step) for step in steps)
    return struct.pack("<H", len(name)) + name + struct.pack("<I", len(steps) if count is None else count) + packed


def cache_bytes(*records: bytes, zones: int | None = None, magic: bytes = b"TZC1", version: int = 1) -> bytes:
    return magic + struct.pack("<HI", version, len(records) if zones is None else zones) + b"".join(records)


GOOD = record(b"Etc/UTC", [(SENTINEL, 0)])


LATER = record(b"Europe/Berlin", [(SENTINEL, 53), (BERLIN_2026, 120)])


FAULTS = {
    "magic": (cache_bytes(GOOD, magic=b"TZif"), 0, "", "begins with"),
    "version": (cache_bytes(GOOD, version=2), 4, "", "version 2"),
    "more zones than fit": (cache_bytes(GOOD, zones=2**32 - 1), 6, "", "cannot fit"),
    "one zone too many": (cache_bytes(GOOD, LATER, zones=3), 78, "Europe/Berlin", "short"),
    "one zone too few": (cache_bytes(GOOD, LATER, zones=1), 35, "Etc/UTC", "bytes follow"),
    "trailing bytes": (cache_bytes(GOOD) + b"\0", 35, "Etc/UTC", "1 bytes follow"),
    "repeated zone": (cache_bytes(GOOD, GOOD), 37, "Etc/UTC", "ascending"),
    "zones out of order": (cache_bytes(LATER, GOOD), 55, "Europe/Berlin", "ascending"),
    "name not ASCII": (cache_bytes(record("Zürich".encode(), [(SENTINEL, 0)])), 12, "", "not ASCII"),
    "name no tzid": (cache_bytes(record(b"../etc passwd", [(SENTINEL, 0)])), 12, "", "not a time zone name"),
    "empty name": (cache_bytes(record(b"", [(SENTINEL, 0)]) + b"\0"), 12, "", "not a time zone name"),
    "name longer than file": (cache_bytes(b"\xff\xff" + GOOD[2:]), 12, "", "zone name"),
    "no steps": (cache_bytes(record(b"Etc/UTC", []), GOOD), 19, "Etc/UTC", "no step"),
    "more steps than there are": (cache_bytes(record(b"A", [(SENTINEL, 0)], 2)), 17, "A", "2 steps"),
    "huge step count": (cache_bytes(record(b"A", [(SENTINEL, 0)], 2**32 - 1)), 17, "A", "steps"),
    "no sentinel": (cache_bytes(record(b"A", [(0, 0)])), 17, "A", "sentinel"),
    "instants equal": (cache_bytes(record(b"A", [(SENTINEL, 0), (5, 60), (5, 0)])), 41, "A", "follow"),
    "instants fall": (cache_bytes(record(b"A", [(SENTINEL, 0), (5, 60), (4, 0)])), 41, "A", "follow"),
    "offset too high": (cache_bytes(record(b"A", [(SENTINEL, 0), (5, 901)])), 29, "A", "901"),
    "offset too low": (cache_bytes(record(b"A", [(SENTINEL, 0), (5, -901)])), 29, "A", "-901"),
    "sentinel beyond a day": (cache_bytes(record(b"A", [(SENTINEL, 1560)])), 17, "A", "1560"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_malformed_caches_are_named_by_byte_and_zone(name):
    data, byte, tzid, words = FAULTS[name]
    with pytest.raises(ArrivalError) as caught:
        decode(data, "/world/tz_cache_v1.bin")
    error = caught.value
    assert error.code is Code.DST_MAPPING_FAILED
    assert (error.context["byte"], error.context["tzid"]) == (byte, tzid)
    assert words in error.message
    assert "/world/tz_cache_v1.bin" in error.message


def test_the_sentinel_may_pass_the_limit_of_other_offsets():
    zones = table(America__Juneau=[(SENTINEL, 902), (-3225223727, -538)])
    assert decode(encode(zones), "made").same_as(zones)


def test_a_table_that_breaks_the_form_is_not_written():
    for broken in (
        table(B=[(SENTINEL, 0)], A=[(SENTINEL, 0)]),
        table(A=[(0, 0)]),
        table(A=[(SENTINEL, 0), (1, 2000)]),
        table(A=[]),
        stack(["A" * 70000], [(np.array([SENTINEL]), np.zeros(1, np.int32))]),
    ):
        with pytest.raises(ArrivalError) as caught:
            encode(broken)
        assert caught.value.code is Code.DST_MAPPING_FAILED


# --- pinned tables


def test_every_zone_of_the_package_is_there_and_encodes(exact):
    assert len(exact.tzids) == len(known_tzids()) >= 590
    assert {"Europe/Berlin", "America/New_York", "Etc/UTC", "Asia/Kathmandu", "US/Eastern"} <= set(exact.tzids)
    assert decode(encode(exact), "all").same_as(exact)


def test_pinned_tables_equal_zoneinfo_everywhere(exact):
    draw = random.Random(5)
    low, high = seconds(1850, 1, 1), seconds(2038, 1, 1) - 1
    for tzid in exact.tzids:
        data = package_file(tzid)
        zone = ZoneInfo.from_file(BytesIO(data))
        instants, offsets = exact.steps(tzid)
        explicit = PurePythonZoneInfo.from_file(BytesIO(data))._trans_utc
        near = [edge + step for edge in {*instants[1:].tolist(), *explicit} for step in (-1, 0, 1)]
        points = np.array([t for t in near if low <= t <= high] + [draw.randint(low, high) for _ in range(200)])
        ours = offsets[np.searchsorted(instants, points, side="right") - 1]
        theirs = np.array([offset_seconds(zone, t) for t in points.tolist()])
        wrong = np.flatnonzero(ours != np.rint(theirs / 60))
        assert wrong.size == 0, f"{tzid} at {points[wrong[0]]}: {ours[wrong[0]]} min, zoneinfo {theirs[wrong[0]]} s"


def test_steps_really_change_the_offset(exact):
    for tzid in exact.tzids:
        assert np.all(np.diff(exact.steps(tzid)[1]) != 0), tzid


def test_known_transitions(exact):
    instants, offsets = exact.steps("Europe/Berlin")
    at = int(np.searchsorted(instants, BERLIN_2026))
    assert (instants[at], offsets[at - 1], offsets[at]) == (BERLIN_2026, 60, 120)
    assert exact.offset_at("Europe/Berlin", 1711846800 - 1) == 60
    assert exact.offset_at("Europe/Berlin", 1711846800) == 120
    assert exact.offset_at("America/Juneau", SENTINEL) == 902
    assert exact.offset_at("Asia/Kathmandu", seconds(2026, 1, 1)) == 345
    assert exact.offset_at("Australia/Lord_Howe", seconds(2026, 7, 1)) == 630
    assert exact.offset_at("Australia/Lord_Howe", seconds(2026, 1, 1)) == 660
    # The last rule-made change that the default horizon holds.
    assert instants[-1] == seconds(2037, 10, 25, 1)


def test_offsets_round_to_the_nearest_minute_ties_to_even(exact):
    # Local mean times of the database: Berlin +0:53:28, Monrovia -0:43:08 then -0:44:30 until 1972.
    assert exact.offset_at("Europe/Berlin", SENTINEL) == 53
    assert exact.offset_at("Africa/Monrovia", SENTINEL) == -43
    assert exact.offset_at("Africa/Monrovia", seconds(1950, 1, 1)) == -44


def test_the_horizon_is_what_was_asked_for():
    short = pinned_zones(["Europe/Berlin"], until_year=2026)
    assert short.instant[-1] == seconds(2026, 10, 25, 1)
    far = pinned_zones(["Europe/Berlin"], until_year=2040)
    assert far.instant[-1] == seconds(2040, 10, 28, 1)
    with pytest.raises(ArrivalError):
        pinned_zones(["Europe/Berlin"], until_year=9999)


def test_names_are_sorted_and_single():
    assert pinned_zones(["Etc/UTC", "Asia/Tokyo", "Etc/UTC"]).tzids == ("Asia/Tokyo", "Etc/UTC")


def test_all_unknown_names_are_reported_together():
    with pytest.raises(ArrivalError) as caught:
        pinned_zones(["Europe/Berlin", "Mars/Olympus", "../../etc/passwd"])
    assert caught.value.code is Code.DST_MAPPING_FAILED
    assert caught.value.context["tzids"] == ["../../etc/passwd", "Mars/Olympus"]


def test_the_hosts_zone_files_are_never_read(tmp_path):
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").write_bytes(package_file("Asia/Tokyo"))
    try:
        zoneinfo.reset_tzpath(to=[str(tmp_path)])
        ZoneInfo.clear_cache()
        assert datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")).utcoffset() == timedelta(hours=9)
        pinned._zone.cache_clear()
        assert pinned_zones(["Europe/Berlin"]).offset_at("Europe/Berlin", seconds(2026, 1, 1)) == 60
    finally:
        zoneinfo.reset_tzpath()
        ZoneInfo.clear_cache()


def test_broken_package_files_are_named():
    data = package_file("Europe/Berlin")
    for cut in (0, 3, 30, 60, 200, 400):
        with pytest.raises(ArrivalError) as caught:
            pinned._explicit("Europe/Berlin", data[:cut])
        assert caught.value.context["tzid"] == "Europe/Berlin"
    with pytest.raises(ArrivalError):
        pinned._explicit("Europe/Berlin", b"TZif\0" + data[5:])


def test_the_archive_digest_covers_every_zone_file():
    digest = hashlib.sha256()
    for tzid in sorted(known_tzids()):
        digest.update(package_file(tzid))
    assert pinned.archive_sha256() == digest.hexdigest()
    assert pinned.release().startswith("20")
