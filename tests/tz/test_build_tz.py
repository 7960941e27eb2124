"""`build_tz`: the time zone cache of a run."""

import hashlib
import json

import pytest
import tzdata

from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.tz import pinned
from arrival_engine.engine.tz.agreement import disagreements
from arrival_engine.engine.tz.build import build_tz
from arrival_engine.engine.tz.pinned import known_tzids
from arrival_engine.engine.tz.tzc1 import decode
from tests.support.zone_tables import seconds


@pytest.fixture
def run_root(tmp_path):
    receipt = {
        "run_id": "c" * 32,
        "seed": 42,
        "parameter_hash": "b" * 64,
        "manifest_fingerprint": "a" * 64,
        "created_utc": "2026-01-02T03:04:05+01:00",
    }
    (tmp_path / "run_receipt.json").write_text(json.dumps(receipt), encoding="ascii")
    return tmp_path


def cache_folder(run_root):
    return run_root / "data/layer1/2A/tz_timetable_cache" / f"manifest_fingerprint={'a' * 64}"


@pytest.mark.parametrize("release", ["2026e", "2027a"])
def test_no_cache_is_built_from_another_release(run_root, monkeypatch, release):
    monkeypatch.setattr(tzdata, "IANA_VERSION", release)
    with pytest.raises(ArrivalError) as caught:
        build_tz(run_root)
    assert caught.value.code is Code.DST_MAPPING_FAILED
    assert f"tzdata {release} is installed" in caught.value.message
    assert "pip install tzdata==2026.6" in caught.value.hint
    assert not cache_folder(run_root).exists()


def test_a_built_cache_is_exact_and_described(run_root):
    result = build_tz(run_root)
    folder = cache_folder(run_root)
    assert (result.changed, result.folder, result.zones) == (True, folder, len(known_tzids()))
    assert sorted(path.name for path in folder.iterdir()) == ["tz_cache_v1.bin", "tz_timetable_cache.json"]
    data = (folder / "tz_cache_v1.bin").read_bytes()
    assert disagreements(decode(data, "built"), known_tzids(), seconds(1900, 1, 1), seconds(2037, 12, 31)) == []
    text = (folder / "tz_timetable_cache.json").read_text(encoding="ascii")
    assert json.loads(text) == {
        "manifest_fingerprint": "a" * 64,
        "tzdb_release_tag": pinned.release(),
        "tzdb_archive_sha256": pinned.archive_sha256(),
        "tz_index_digest": hashlib.sha256(data).hexdigest(),
        "rle_cache_bytes": len(data),
        "created_utc": "2026-01-02T02:04:05.000000Z",
    }
    assert text == json.dumps(json.loads(text), sort_keys=True)
    assert result.sha256 == hashlib.sha256(data).hexdigest()
    assert sorted(path.name for path in (run_root / "tmp").iterdir()) == ["tz.lock"]


def test_building_again_changes_nothing(run_root):
    build_tz(run_root, tzids=["Etc/UTC"])
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in cache_folder(run_root).iterdir()}
    assert build_tz(run_root, tzids=["Etc/UTC"]).changed is False
    assert before == {path: (path.stat().st_ino, path.read_bytes()) for path in cache_folder(run_root).iterdir()}


def test_another_cache_is_replaced_only_on_demand(run_root):
    build_tz(run_root, tzids=["Etc/UTC"])
    with pytest.raises(ArrivalError) as caught:
        build_tz(run_root, tzids=["Asia/Tokyo"])
    assert caught.value.code is Code.IO_WRITE_CONFLICT
    stray = cache_folder(run_root) / "stray.txt"
    stray.write_text("x", encoding="ascii")
    assert build_tz(run_root, tzids=["Asia/Tokyo"], replace=True).changed is True
    assert decode((cache_folder(run_root) / "tz_cache_v1.bin").read_bytes(), "new").tzids == ("Asia/Tokyo",)
    assert not stray.exists()
    assert sorted(path.name for path in (run_root / "tmp").iterdir()) == ["tz.lock"]


def test_a_cache_that_cannot_be_written_leaves_nothing_behind(run_root):
    (run_root / "data").write_text("in the way", encoding="ascii")
    with pytest.raises(ArrivalError) as caught:
        build_tz(run_root, tzids=["Etc/UTC"])
    assert caught.value.code is Code.IO_WRITE_FAILED
    assert sorted(path.name for path in (run_root / "tmp").iterdir()) == ["tz.lock"]


def test_a_failed_replacement_leaves_the_old_cache(run_root, monkeypatch):
    build_tz(run_root, tzids=["Etc/UTC"])
    before = (cache_folder(run_root) / "tz_cache_v1.bin").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(InsidePath, "exchange", full)
    with pytest.raises(ArrivalError) as caught:
        build_tz(run_root, tzids=["Asia/Tokyo"], replace=True)
    assert caught.value.code is Code.IO_WRITE_FAILED
    assert (cache_folder(run_root) / "tz_cache_v1.bin").read_bytes() == before


def test_unknown_zones_are_not_built(run_root):
    with pytest.raises(ArrivalError, match="Mars/Olympus"):
        build_tz(run_root, tzids=["Mars/Olympus"])
    assert not cache_folder(run_root).exists()
