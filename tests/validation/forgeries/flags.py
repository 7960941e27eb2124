"""Flags that seem to hold over arrivals that no validation has passed, kind 10."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq

from arrival_engine.engine.validation.job import validate
from tests.support.forging import Base, parts_of, publish
from tests.support.validated import FAILED, PASSED, place
from tests.validation.forgeries.lines import one_row_is_a_microsecond_late
from tests.validation.forgeries.registry import pretence


def _forge(run_root: Path, base: Base) -> None:
    publish(run_root, one_row_is_a_microsecond_late(base))


def _cut(run_root: Path) -> None:
    path = parts_of(run_root)[0]
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.slice(0, len(table) // 2), path)


@pretence("revoked it")
def arrivals_are_cut_after_a_pass(run_root: Path, base: Base) -> None:  # noqa: ARG001
    assert validate(run_root).passed
    _cut(run_root)
    assert not validate(run_root).passed


@pretence("part")
def arrivals_are_cut_and_not_validated(run_root: Path, base: Base) -> None:  # noqa: ARG001
    assert validate(run_root).passed
    _cut(run_root)


@pretence("part")
def a_part_is_gone(run_root: Path, base: Base) -> None:  # noqa: ARG001
    assert validate(run_root).passed
    parts_of(run_root)[-1].unlink()


@pretence("it is about")
def arrivals_are_exchanged_after_a_pass(run_root: Path, base: Base) -> None:
    assert validate(run_root).passed
    _forge(run_root, base)


@pretence("does not have the hash that the bundle lists", hashed=True)
def one_byte_of_a_part_is_changed(run_root: Path, base: Base) -> None:  # noqa: ARG001
    assert validate(run_root).passed
    path = parts_of(run_root)[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pretence("is about")
def an_honest_bundle_is_copied_into_a_forged_run(run_root: Path, base: Base) -> None:
    assert validate(run_root).passed
    kept = run_root.with_name("bundle")
    place(run_root, PASSED).rename(kept)
    _forge(run_root, base)
    validate(run_root)
    shutil.rmtree(place(run_root, PASSED), ignore_errors=True)
    kept.rename(place(run_root, PASSED))


@pretence("the index says PASS, the report FAIL")
def a_failed_bundle_says_that_it_passed(run_root: Path, base: Base) -> None:
    _forge(run_root, base)
    assert not validate(run_root).passed
    failed, passed = place(run_root, FAILED), place(run_root, PASSED)
    index = json.loads((failed / "index.json").read_bytes())
    shutil.copytree(failed, passed)
    (passed / "index.json").write_text(json.dumps({**index, "status": "PASS"}), "ascii")
    whole = hashlib.sha256(b"".join((passed / entry["path"]).read_bytes() for entry in index["entries"])).hexdigest()
    flag = {"manifest_fingerprint": index["manifest_fingerprint"], "bundle_digest_sha256": whole}
    (passed / "_passed.flag").write_text(json.dumps(flag), "ascii")
