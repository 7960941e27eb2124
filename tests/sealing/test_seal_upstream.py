"""Sealing: how the validation bundles of the segments upstream are judged."""

import json
import shutil

import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.sealing import seal
from tests.support.seal_world import (
    GATE,
    INVENTORY,
    SEGMENTS,
    bundle_of,
    gate_of,
    put,
    put_bundle,
    refusal,
    sha,
    verify,
)

# --- upstream bundles


def test_upstream_bundles_are_verified_each_by_its_law(run_root):
    digests = {segment: put_bundle(run_root, segment) for segment in SEGMENTS}
    seal(run_root)
    for segment, entry in gate_of(run_root)["upstream_segments"].items():
        assert entry == {
            "status": "PASS",
            "bundle_path": f"{bundle_of(segment)}/" + ("index.json" if segment == "2B" else ""),
            "flag_path": f"{bundle_of(segment)}/_passed.flag",
            "bundle_digest": digests[segment],
        }


def status_after(run_root, segment, reporter=None):
    result = seal(run_root, reporter)
    entry = gate_of(run_root)["upstream_segments"][segment]
    assert result.upstream[segment] == entry["status"]
    assert all(status == "PASS" for name, status in result.upstream.items() if name != segment)
    if entry["status"] != "PASS":
        (notice,) = result.notices
        assert notice.code == "UPSTREAM_NOT_PASSED"
        assert notice.context["segment"] == segment
        error = refusal(verify, run_root)
        assert error.code is Code.UPSTREAM_HASHGATE_NOT_PASSED
        assert f"{segment} is {entry['status']}" in error.message
        return entry["status"], notice.context["reason"]
    return entry["status"], ""


@pytest.mark.parametrize("segment", SEGMENTS)
def test_an_absent_bundle_is_missing(run_root, segment):
    shutil.rmtree(run_root / bundle_of(segment))
    status, reason = status_after(run_root, segment)
    assert status == "MISSING"
    assert "_passed.flag" in reason


@pytest.mark.parametrize("segment", SEGMENTS)
def test_a_changed_member_fails(run_root, segment):
    put(run_root, f"{bundle_of(segment)}/report.json", b"tampered")
    assert status_after(run_root, segment)[0] == "FAIL"


@pytest.mark.parametrize("segment", SEGMENTS)
def test_a_bundle_without_its_flag_fails(run_root, segment):
    (run_root / bundle_of(segment) / "_passed.flag").unlink()
    status, reason = status_after(run_root, segment)
    assert (status, "_passed.flag" in reason) == ("FAIL", True)


@pytest.mark.parametrize("segment", SEGMENTS)
def test_a_flag_without_an_index_fails(run_root, segment):
    for path in (run_root / bundle_of(segment)).glob("*index*.json"):
        path.unlink()
    status, reason = status_after(run_root, segment)
    assert status == "FAIL"
    assert "there is no " in reason


@pytest.mark.parametrize(
    "flag",
    [
        b"sha256_hex = " + b"0" * 64,
        b"sha256_hex=" + b"0" * 64,
        b"sha256_hex = XYZ",
        b"",
        b"\xff" * 5000,
    ],
)
def test_a_wrong_text_flag_fails(run_root, flag):
    put(run_root, f"{bundle_of('2A')}/_passed.flag", flag)
    assert status_after(run_root, "2A")[0] == "FAIL"


def test_a_flag_line_may_lack_its_line_end_and_no_more(run_root):
    path = run_root / bundle_of("2A") / "_passed.flag"
    line = path.read_bytes()
    path.write_bytes(line.rstrip(b"\n"))
    assert status_after(run_root, "2A")[0] == "PASS"
    for name in (GATE, INVENTORY):
        (run_root / name).unlink()
    path.write_bytes(line + b"\n")
    assert status_after(run_root, "2A")[0] == "FAIL"


@pytest.mark.parametrize(
    "change",
    [
        {"bundle_digest_sha256": "0" * 64},
        {"manifest_fingerprint": "d" * 64},
        {"extra": 1},
        {"bundle_digest_sha256": 7},
    ],
)
def test_a_wrong_json_flag_fails(run_root, change):
    path = run_root / bundle_of("5A") / "_passed.flag"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}), encoding="ascii")
    assert status_after(run_root, "5A")[0] == "FAIL"


def test_a_text_flag_where_json_belongs_fails(run_root):
    put(run_root, f"{bundle_of('5A')}/_passed.flag", f"sha256_hex = {'0' * 64}\n".encode())
    assert status_after(run_root, "5A")[0] == "FAIL"


ESCAPES = [
    "../secret",
    "/etc/hostname",
    "evidence/../../secret",
    "./report.json",
    "evidence//rows.bin",
    "..\\secret",
    "a\0b",
    "link/secret",
]


@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize("segment", ["2A", "2B", "3A"])
def test_an_index_that_leads_out_of_its_bundle_fails(run_root, tmp_path, segment, path):
    put(run_root, f"{bundle_of(segment)}/../secret", b"secret")
    outside = put(tmp_path, "outside/secret", b"secret").parent
    (run_root / "link").symlink_to(outside)
    entry = {"path": path, "sha256_hex": sha(b"secret"), "logical_id": "x"}
    key = {"3A": "members", "3B": "members", "5A": "entries"}.get(segment)
    name = "validation_bundle_index_5A.json" if segment == "5A" else "index.json"
    put(run_root, f"{bundle_of(segment)}/{name}", json.dumps({key: [entry]} if key else [entry]).encode())
    status, reason = status_after(run_root, segment)
    assert status == "FAIL"
    assert repr(path) in reason or "link is a symbolic link" in reason or "link/secret, which is not there" in reason


def test_a_link_in_a_bundle_is_refused_by_name(run_root, tmp_path):
    (run_root / bundle_of("2A") / "link").symlink_to(put(tmp_path, "outside/secret", b"secret").parent)
    with pytest.raises(ArrivalError, match="link is a symbolic link") as caught:
        seal(run_root)
    assert caught.value.code is Code.IO_READ_FAILED


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"{",
        b"[]",
        b'{"files": []}',
        b'{"other": []}',
        b"[1]",
        b'[{"path": "report.json"}, {"path": "report.json"}]',
    ],
)
def test_an_index_that_makes_no_sense_fails(run_root, index):
    put(run_root, f"{bundle_of('1A')}/index.json", index)
    assert status_after(run_root, "1A")[0] == "FAIL"


def test_a_listed_file_that_is_not_there_fails(run_root):
    (run_root / bundle_of("1B") / "evidence/rows.bin").unlink()
    status, reason = status_after(run_root, "1B")
    assert (status, "evidence/rows.bin" in reason) == ("FAIL", True)


def test_a_hash_stated_in_an_index_must_hold(run_root):
    path = run_root / bundle_of("3B") / "index.json"
    index = json.loads(path.read_bytes())
    index["members"][0]["sha256_hex"] = "0" * 64
    path.write_text(json.dumps(index), encoding="ascii")
    status, reason = status_after(run_root, "3B")
    assert (status, "report.json" in reason) == ("FAIL", True)


def test_3a_members_may_lie_elsewhere_but_need_a_logical_id(run_root):
    path = run_root / bundle_of("3A") / "index.json"
    members = [{"logical_id": "z", "path": "data/layer1/3A/zone_alloc/absent", "sha256_hex": "1" * 64}]
    path.write_text(json.dumps({"members": members}), encoding="ascii")
    flag = f"sha256_hex = {sha(b'1' * 64)}\n"
    put(run_root, f"{bundle_of('3A')}/_passed.flag", flag.encode())
    assert status_after(run_root, "3A")[0] == "PASS"
    for name in (GATE, INVENTORY):
        (run_root / name).unlink()
    del members[0]["logical_id"]
    path.write_text(json.dumps({"members": members}), encoding="ascii")
    assert status_after(run_root, "3A")[0] == "FAIL"


def test_the_way_out_of_an_unusable_seal_is_in_the_hint(run_root):
    put(run_root, f"{bundle_of('1A')}/report.json", b"tampered")
    seal(run_root)
    put_bundle(run_root, "1A")
    error = refusal(seal, run_root)
    assert error.code is Code.IO_WRITE_CONFLICT
    assert "remove" in error.hint
    for name in (GATE, INVENTORY):
        assert name in error.hint
        (run_root / name).unlink()
    seal(run_root)
    verify(run_root)
