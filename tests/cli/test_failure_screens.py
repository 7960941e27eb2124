"""The screen of every failure that the command line can show, met for real and compared word for word."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import Code
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.cluster import client as cluster_client
from arrival_engine.engine.run.job import run
from arrival_engine.engine.run.options import RunOptions
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation.job import validate
from tests.cli.test_snapshots import SNAPSHOTS, compare, file_of
from tests.support import damage
from tests.support.hidden import without
from tests.support.validated import PASSED, place
from tests.support.world_files import write_world
from tests.support.worlds import small_world


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("screens") / "written"
    write_world(small_world(), root)
    return root


@pytest.fixture(scope="module")
def finished(written, tmp_path_factory):
    """The same world sealed, run and validated."""
    root = tmp_path_factory.mktemp("screens") / "finished"
    shutil.copytree(written, root)
    seal(root)
    run(root, RunOptions(backend="cpu"))
    validate(root)
    return root


def bundle(change):
    return lambda root: change(place(root, PASSED))


def append(path):
    path.write_bytes(path.read_bytes() + b" ")


def first_member(folder):
    index = json.loads((folder / "index.json").read_bytes())
    return folder / index["entries"][0]["path"], index


def member_and_index(folder):
    import hashlib

    member, index = first_member(folder)
    append(member)
    index["entries"][0]["sha256_hex"] = hashlib.sha256(member.read_bytes()).hexdigest()
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def without_times(root):
    part = next(root.rglob("part-000000-*.parquet"))
    pq.write_table(pq.read_table(part).drop_columns(["ts_utc"]), part)


def damaged_part(root):
    next(root.rglob("part-000000-*.parquet")).write_bytes(b"PAR1")


def shortened(dataset_id):
    return lambda root: damage.edit_bytes(root, dataset_id, lambda data: data[:-1])


def held(root):
    """Hold the run directory until the end, as a process would that has not yet written who it is."""
    fcntl.flock(os.open(root / "tmp/arrivals.lock", os.O_RDWR | os.O_TRUNC), fcntl.LOCK_EX)


def nothing(_root):
    """A world as it is."""


# Code: what is done to the written or the finished world, and the command that then fails; {root} is the
# world, and of `seal+run` the first that fails is shown.
WRITTEN = {
    Code.S0_GATE_MISSING_OR_INVALID: (nothing, "run {root}"),
    Code.UPSTREAM_HASHGATE_NOT_PASSED: (lambda root: min(root.rglob("_passed.flag*")).unlink(), "seal+run {root}"),
    Code.S1_OR_S3_OUTPUT_MISSING: (lambda root: damage.put(root, damage.COUNTS, "count_N", -1), "seal+run {root}"),
    Code.LIMIT_EXCEEDED: (lambda root: damage.put(root, damage.COUNTS, "count_N", 50_001), "seal+run {root}"),
    Code.TIME_GRID_MISMATCH: (
        lambda root: damage.put(root, damage.GRID, "bucket_duration_seconds", 7, {"bucket_index": 0}),
        "seal+run {root}",
    ),
    Code.DST_MAPPING_FAILED: (lambda root: damage.write_tz_cache(root, b"TZC1"), "seal+run {root}"),
    Code.ROUTING_POLICY_INVALID: (
        lambda root: damage.write_policy(root, damage.ROUTING, "version: v1.0.0\nmood: sunny\n"),
        "seal {root}",
    ),
    Code.RNG_STREAM_CONFIG_INVALID: (
        lambda root: damage.write_policy(root, damage.RNG, "version: v1.1.0\nmood: sunny\n"),
        "seal {root}",
    ),
    Code.SITE_RESOLUTION_FAILED: (shortened(damage.SITE_BLOB), "seal+run {root}"),
    Code.EDGE_RESOLUTION_FAILED: (
        shortened(damage.EDGE_BLOB),
        "seal+run {root}",
    ),
    Code.ROUTING_UNIVERSE_HASH_MISMATCH: (
        lambda root: damage.edit_document(root, damage.UNIVERSE, universe_hash="0" * 64),
        "seal+run {root}",
    ),
    Code.PARTITION_OR_PK_VIOLATION: (
        lambda root: damage.put(root, damage.COUNTS, "seed", 43),
        "seal+run {root}",
    ),
    Code.S5_S0_GATE_MISSING_OR_INVALID: (nothing, "validate {root}"),
    Code.IO_WRITE_CONFLICT: (nothing, "synth {root}"),
    Code.IO_READ_FAILED: (shutil.rmtree, "run {root}"),
    Code.OPTION_INVALID: (nothing, "synth {root}/new --scale 0.01"),
}
FINISHED = {
    Code.SCHEMA_VIOLATION: (without_times, "diff {root} {root}"),
    Code.IO_WRITE_FAILED: (nothing, "report {root} --out {root}/run_receipt.json/page.html"),
    Code.S5_BUNDLE_INDEX_INVALID: (bundle(shutil.rmtree), "verify {root}"),
    Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH: (
        bundle(lambda folder: append(first_member(folder)[0])),
        "verify {root}",
    ),
    Code.S5_BUNDLE_DIGEST_MISMATCH: (bundle(member_and_index), "verify {root}"),
    Code.S5_FLAG_SCHEMA_VIOLATION: (bundle(lambda folder: (folder / "_passed.flag").unlink()), "verify {root}"),
    Code.S5_IO_WRITE_CONFLICT: (held, "validate {root}"),
    Code.S5_IO_READ_FAILED: (
        damaged_part,
        "validate {root}",
    ),
}
# Met elsewhere, by what each of them needs; see docs/reference/errors.yaml.
DEFECTS = {
    Code.TS_OUTSIDE_BUCKET_WINDOW,
    Code.BUCKET_COUNT_MISMATCH,
    Code.RERUN_NONDETERMINISTIC,
    Code.RNG_ACCOUNTING_MISMATCH,
    Code.S5_UNEXPECTED_INTERNAL_ERROR,
}


def screen(text, **places):
    """The screen with what differs from machine to machine replaced by names."""
    for name, place_ in places.items():
        text = text.replace(str(place_), name.upper())
    text = re.sub(r"\b[0-9a-f]{64}\b", "HASH", text)
    text = re.sub(r"\b(part-\d{6})-[0-9a-f]{12}\b", r"\1-TOKEN", text)
    # What to do may name a path again.
    paths = re.findall(r"(?:WORLD|FOLDER)/[\w./=-]+", text.partition("\n  do ")[0])
    assert "None" not in text
    assert "null" not in text
    assert len(paths) == len(set(paths)), "a path is shown twice"
    return text


@pytest.mark.parametrize("code", [*WRITTEN, *FINISHED], ids=str)
def test_a_screen(code, request, tmp_path, capsys):
    made, cases = ("written", WRITTEN) if code in WRITTEN else ("finished", FINISHED)
    root = Path(shutil.copytree(request.getfixturevalue(made), tmp_path / "world"))
    change, line = cases[code]
    change(root)
    capsys.readouterr()
    words = line.format(root=root).split()
    ends, text = [], ""
    for command in words.pop(0).split("+"):
        if 1 not in ends:
            ends.append(main([command, *words, "--quiet"]))
            text = capsys.readouterr().err
    assert ends[-1] == 1
    assert text.startswith(f"error {code}\n"), text
    compare(file_of("failures", code.name, "txt"), screen(text, world=root))


def process(words, environment=None, limit=None):
    def bound():
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    command = [sys.executable, "-m", "arrival_engine", *map(str, words), "--quiet"]
    done = subprocess.run(command, env=environment, preexec_fn=bound, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_a_screen_of_a_defect(tmp_path):
    (tmp_path / "yaml.py").write_text("raise RuntimeError('no parser today')", encoding="utf-8")
    text = process(["synth", tmp_path / "world"], without(tmp_path))
    compare(file_of("failures", "UNEXPECTED_INTERNAL_ERROR", "txt"), screen(text, folder=tmp_path))


def test_a_screen_of_want_of_memory(tmp_path):
    text = process(["run", tmp_path], limit=100 << 20)
    compare(file_of("failures", "RESOURCES_INSUFFICIENT", "txt"), screen(text, folder=tmp_path))


def test_a_screen_without_the_simulator(finished, tmp_path):
    text = process(["parity", finished, "--right", "cudasim"], without(tmp_path, "numba_cuda"))
    compare(file_of("failures", "BACKEND_UNAVAILABLE", "txt"), screen(text, world=finished))


def test_a_screen_without_an_extra(finished, tmp_path):
    text = process(["report", finished], without(tmp_path, "matplotlib", "jinja2"))
    compare(file_of("failures", "DEPENDENCY_MISSING", "txt"), screen(text, world=finished))


def test_a_screen_without_a_cluster(finished, capsys, monkeypatch):
    monkeypatch.setattr(cluster_client, "CONNECT_S", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert main(["run", str(finished), "--scheduler", address, "--quiet"]) == 1
    text = capsys.readouterr().err
    compare(file_of("failures", "CLUSTER_UNAVAILABLE", "txt"), screen(text, world=finished, address=address))


def test_every_code_has_a_screen_or_a_reason_to_have_none():
    shown = {path.stem for path in (SNAPSHOTS / "failures").iterdir()}
    findings = {code for code in Code if code.name.startswith("S5_")} - {*WRITTEN, *FINISHED}
    assert shown == {code.name for code in set(Code) - findings - DEFECTS}
