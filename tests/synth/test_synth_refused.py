"""Where a synthetic world may go, and requests that are refused."""

import shutil
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc
import pytest
import tzdata

from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.synth.policies import load_policies
from arrival_engine.engine.synth.presets import WorldSpec, world_spec
from tests.support.paths import ROOT
from tests.support.synthesised import Made


def refused(code, says, root, **arguments):
    with pytest.raises(ArrivalError, match=says) as caught:
        synthesise(root, **dict[str, Any]({"preset": "demo", "seed": 5, "scale": 0.05}) | arguments)
    assert caught.value.code == code
    assert caught.value.hint
    return caught.value


def test_the_same_world_is_left_alone_and_anything_else_refused(tmp_path):
    root = tmp_path / "world"
    made = synthesise(root, preset="demo", seed=5, scale=0.05)
    (root / "logs").mkdir()
    (root / "logs" / "later.txt").write_text("from a later stage")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "synth.lock"}
    again = synthesise(root, preset="demo", seed=5, scale=0.05)
    assert again.reused
    assert not made.reused
    assert (again.arrivals, again.identity, again.bytes) == (made.arrivals, made.identity, made.bytes)
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "synth.lock"}

    conflict = Code.IO_WRITE_CONFLICT
    refused(conflict, "holds another run", root, seed=6)
    refused(conflict, "holds another run", root, scale=0.06666)
    (counts,) = root.rglob("s3_bucket_counts_5B.parquet")
    data = counts.read_bytes()
    counts.write_bytes(data[:-1] + b"X")
    assert "s3_bucket_counts_5B.parquet" in str(refused(conflict, "differs", root))
    counts.unlink()
    refused(conflict, "is gone", root)
    counts.write_bytes(data)
    assert synthesise(root, preset="demo", seed=5, scale=0.05).reused
    policy = root / dataset("arrival_routing_policy_5B").path
    policy.write_bytes(policy.read_bytes() + b"\n")
    refused(conflict, "arrival_routing_policy_5B.yaml differs", root)
    (root / "reports" / "synth_report.json").unlink()
    refused(conflict, "no readable", root)


def test_foreign_files_are_never_written_beside(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    refused(Code.IO_WRITE_CONFLICT, "notes.txt", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    refused(Code.IO_WRITE_CONFLICT, "is a file", tmp_path / "notes.txt")


def test_what_a_killed_attempt_left_behind_goes(tmp_path):
    left = tmp_path / "tmp" / "synth-killed" / "data"
    left.mkdir(parents=True)
    (left / "half.parquet").write_bytes(b"PAR1")
    synthesise(tmp_path, preset="demo", seed=5, scale=0.05)
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["synth.lock"]
    assert not list(tmp_path.rglob("half.parquet"))


def test_a_full_disk_is_a_named_error_and_leaves_no_world(tmp_path):
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from arrival_engine.contracts import ArrivalError\n"
        "import arrival_engine.engine.synth.world\n"
        "from arrival_engine.engine.synth import synthesise\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))\n"
        "try:\n"
        "    synthesise(Path(sys.argv[1]), preset='demo', seed=5, scale=0.5)\n"
        "except ArrivalError as error:\n"
        "    print(error.code)\n"
    )
    root = tmp_path / "world"
    done = subprocess.run(
        [sys.executable, "-c", script, str(root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == Code.IO_WRITE_FAILED
    assert [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()] == ["tmp/synth.lock"]
    assert not synthesise(root, preset="demo", seed=5, scale=0.05).reused
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"preset": "huge"}, "no preset 'huge'"),
        ({"scale": 0.01}, "has 1 of the 3 merchants"),
        ({"scale": 0.0}, "scale 0.0"),
        ({"scale": -1.0}, "scale -1.0"),
        ({"scale": float("nan")}, "scale nan"),
        ({"scale": 1e6}, "scale 1000000.0"),
        ({"preset": "reference", "scale": 0.001}, "has 1 of the 3 merchants"),
    ],
)
def test_impossible_worlds_are_refused_before_anything_is_written(tmp_path, arguments, says):
    refused(Code.OPTION_INVALID, says, tmp_path / "world", **arguments)
    assert not (tmp_path / "world").exists()


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_outside_uint64_is_refused(tmp_path, seed):
    refused(Code.PARTITION_OR_PK_VIOLATION, "seed", tmp_path / "world", seed=seed)
    assert not (tmp_path / "world").exists()


def test_the_largest_seed_works(tmp_path):
    result = synthesise(tmp_path, preset="demo", seed=2**64 - 1, scale=0.05)
    world = Made(tmp_path, result)
    assert pc.unique(world.table("s3_bucket_counts_5B").column("seed")).to_pylist() == [2**64 - 1]


class LongSpec(WorldSpec):
    """A horizon one day longer than the day effects."""

    def days(self):
        return [*super().days(), datetime(2026, 4, 1, tzinfo=UTC)]


def test_day_effects_must_reach_over_the_horizon():
    load_policies(world_spec("demo", 1, 1.0))
    with pytest.raises(ArrivalError, match="2026-03-31, the horizon is 2026-01-01 to 2026-04-01") as caught:
        load_policies(LongSpec(**vars(world_spec("demo", 1, 1.0))))
    assert caught.value.code == Code.ROUTING_POLICY_INVALID


def test_no_world_is_made_with_another_tzdata_release(tmp_path, monkeypatch):
    monkeypatch.setattr(tzdata, "IANA_VERSION", "2027a")
    error = refused(Code.DST_MAPPING_FAILED, "tzdata 2027a is installed", tmp_path / "world")
    assert "pip install tzdata==2026.6" in error.hint
    assert not (tmp_path / "world").exists()
