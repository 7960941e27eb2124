"""Run directories on a real server of the S3 protocol: the whole way, publication by manifest, and every repetition."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine import run
from arrival_engine.config import packaged_bytes, resolve_policy
from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.contracts.identity import Identity
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.storage import open_store, published_parts, run_directory
from arrival_engine.engine.storage.manifest import MANIFEST, partition
from arrival_engine.engine.storage.publish import MARKER
from arrival_engine.engine.validation.job import validate
from tests.support.processes import heavy_counts
from tests.support.refusals import CPU
from tests.support.s3_server import cli, files_of, put_tree, server
from tests.support.world_files import write_world
from tests.support.worlds import small_world

__all__ = ["server"]

WORLD = small_world()
STRESS = small_world(scenario_id="stress_v1", counts=WORLD.counts[:5])
IDENTITY = Identity(WORLD.manifest_fingerprint, WORLD.parameter_hash, WORLD.seed, WORLD.run_id)
HERE = partition(IDENTITY, WORLD.scenario_id)
SMALL_PARTS = replace(CPU, batch_arrivals=500)
WITH_EVENTS = replace(SMALL_PARTS, rng_events="parquet")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """Two scenarios, sealed, on this machine."""
    run_root = tmp_path_factory.mktemp("storage") / "sealed"
    write_world(WORLD, run_root, further_scenarios=[STRESS])
    seal(run_root)
    return run_root


@pytest.fixture(scope="module")
def local(sealed, tmp_path_factory):
    """The same world, run on this machine with small parts and random-number events."""
    run_root = shutil.copytree(sealed, tmp_path_factory.mktemp("storage") / "local")
    run(run_root, WITH_EVENTS)
    return run_root


@pytest.fixture
def url(server, sealed, request):
    """A sealed world in the store, at a place of its own."""
    found = server.url(request.node.name)
    put_tree(sealed, open_store(found))
    return found


@pytest.fixture(scope="module")
def published(server, sealed):
    """A world that is published in the store, for tests that do not change what is."""
    found = server.url("published")
    put_tree(sealed, open_store(found))
    run_in_store(found, WITH_EVENTS)
    return found


def run_in_store(url, options=SMALL_PARTS, reporter=None, scratch=None):
    reporter = reporter or Reporter()
    with run_directory(url, reporter, scratch=scratch) as directory:
        return run(directory.root, options, reporter, shipping=directory.shipping)


def made_by_runs(files):
    """What a run publishes besides logs and reports, which tell the time."""
    return {path: data for path, data in files.items() if path.startswith("data/layer2/5B/arrival_")}


class TestARun:
    def test_gives_the_bytes_of_a_local_run_and_leaves_nothing_else(self, url, local, tmp_path):
        result = run_in_store(url, WITH_EVENTS, scratch=tmp_path)
        store = open_store(url)
        found = files_of(store)
        expected = {path.relative_to(local).as_posix(): path for path in local.rglob("*") if path.is_file()}
        manifests = {path for path in found if path.endswith(MANIFEST)}
        assert found.keys() - manifests == {path for path in expected if not path.startswith("tmp/")}
        for path, data in found.items():
            if path in expected and not path.startswith(
                ("logs/layer2/5B/rng/audit", "logs/layer2/5B/rng/trace", "rep")
            ):
                assert data == expected[path].read_bytes(), path
        assert len(manifests) == 2
        assert list(tmp_path.iterdir()) == []
        scenario = result.scenarios[0]
        assert (scenario.path, scenario.published) == (store.url(HERE), "published")
        assert scenario.parts == sum(path.startswith(f"{HERE}/part-") for path in found)

    def test_has_the_policies_of_both_places(self, url):
        policy_id, store = "arrival_output_policy_5B", open_store(url)
        text = packaged_bytes(policy_id).decode().replace("compression: lz4", "compression: zstd")
        path = dataset(policy_id).path
        store.write_bytes(path, packaged_bytes(policy_id))
        store.write_bytes(f"reference/{path}", text.encode())
        with run_directory(url, Reporter(), writes=False) as directory:
            policy = resolve_policy(policy_id, run_root=directory.root)
            assert policy.document["compression"] == "zstd"
            assert policy.passed_over == (str(directory.root / path),)

    def test_is_found_by_readers_through_the_manifest(self, published, local):
        store = open_store(published)
        # Beside the manifest anything may lie; it is not what was published.
        store.write_bytes(f"{HERE}/part-999999.parquet", b"no part of it")
        document = json.loads(store.read_bytes(f"{HERE}/{MANIFEST}", 1 << 20))
        names = published_parts(published, WORLD.scenario_id)
        assert names == [store.url(f"{HERE}/{part['name']}") for part in document["parts"]]
        keys = [store.key(name.removeprefix(f"{store}/")) for name in names]
        table = pa.concat_tables(pq.read_table(key, filesystem=store.filesystem, partitioning=None) for key in keys)
        ours = [pq.read_table(path, partitioning=None) for path in published_parts(local, WORLD.scenario_id)]
        assert table.equals(pa.concat_tables(ours))
        assert document["arrivals"] == table.num_rows == sum(part["rows"] for part in document["parts"])

    def test_repeated_touches_nothing_that_is_published(self, published, server):
        before = made_by_runs(files_of(open_store(published)))
        asked = len(server.requests())
        result = run(published, CPU)
        assert [scenario.published for scenario in result.scenarios] == ["identical", "identical"]
        writes = [line for line in server.requests()[asked:] if line.startswith(("PUT", "POST", "DELETE"))]
        assert writes
        assert not [line for line in writes if "/data/" in line]
        assert made_by_runs(files_of(open_store(published))) == before

    def test_keeps_no_part_here_that_it_has_uploaded(self, url, tmp_path):
        kept = []

        class Watching(Reporter):
            def _on_phase_start(self, name):
                if name == "put in place":
                    kept.append([path.name for path in tmp_path.rglob("part-??????.*")])

        results = run_in_store(url, replace(CPU, batch_arrivals=50), Watching(), tmp_path).scenarios
        assert kept == [[], []]
        assert results[0].parts > 3
        assert results[0].bytes == sum(
            item.bytes for item in open_store(url).list(HERE) if item.path.startswith(f"{HERE}/part-")
        )

    def test_of_one_scenario_leaves_the_other_to_a_later_one(self, url):
        run_in_store(url, replace(SMALL_PARTS, scenarios=("stress_v1",)))
        with pytest.raises(ArrivalError, match="no arrivals of scenario baseline_v1") as caught:
            published_parts(url, WORLD.scenario_id)
        assert caught.value.code is Code.IO_READ_FAILED
        result = run_in_store(url)
        assert [scenario.published for scenario in result.scenarios] == ["published", "identical"]

    def test_that_differs_is_refused_before_any_work(self, published):
        before = files_of(open_store(published))
        reporter = Reporter()
        with pytest.raises(ArrivalError, match="as arrow") as caught:
            run_in_store(published, replace(SMALL_PARTS, format="arrow"), reporter)
        assert caught.value.code is Code.IO_WRITE_CONFLICT
        assert "--replace" in caught.value.hint
        assert "expand and write" not in reporter.phases
        after = files_of(open_store(published))
        (report,) = [path for path in after if path.endswith("segment_state_runs.jsonl")]
        assert json.loads(after.pop(report).splitlines()[-1])["error_code"] == str(Code.IO_WRITE_CONFLICT)
        assert after == {path: data for path, data in before.items() if path != report}

    def test_with_replace_takes_the_place_of_what_was_there(self, url):
        first = replace(SMALL_PARTS, rng_events="jsonl", scenarios=(WORLD.scenario_id,))
        run_in_store(url, first)
        result = run_in_store(url, replace(first, format="arrow", rng_events="parquet", replace=True))
        assert [scenario.published for scenario in result.scenarios] == ["replaced"]
        found = files_of(open_store(url))
        names = [path.removeprefix(f"{HERE}/") for path in found if path.startswith(HERE)]
        assert [re.sub("-[0-9a-f]{12}", "", name) for name in sorted(names)] == [
            MANIFEST,
            *(f"part-{index:06d}.arrow" for index in range(3)),
        ]
        assert not [path for path in found if "rng/events" in path and path.endswith(".jsonl")]


class TestLargeParts:
    def test_an_upload_in_pieces_arrives_whole(self, server, tmp_path):
        source = tmp_path / "source"
        source.write_bytes(bytes(range(256)) * (25 << 12))
        store = open_store(server.url("pieces"))
        sent = store.upload(source, "large")
        assert store.sha256("large") == sent
        # A manifest is one request, which happens or does not.
        store.write_bytes("small", b"x" * (1 << 20))
        asked = [line.split("&")[0] for line in server.requests() if line.startswith("PUT") and "/pieces/" in line]
        numbered = [f"PUT /worlds/pieces/large?partNumber={number}" for number in (1, 2, 3)]
        assert sorted(asked) == [*numbered, "PUT /worlds/pieces/small"]

    def test_a_part_larger_than_a_piece_is_published(self, server, tmp_path):
        write_world(small_world(counts=heavy_counts(22_000, 10)), tmp_path, output_policy={"compression": "none"})
        seal(tmp_path)
        url = server.url("large")
        put_tree(tmp_path, open_store(url))
        (scenario,) = run_in_store(url, replace(CPU, batch_arrivals=1 << 21)).scenarios
        assert (scenario.parts, scenario.arrivals) == (1, 1_320_000)
        staged = [line for line in server.requests() if "/large/tmp/arrivals-baseline_v1-" in line]
        assert [line for line in staged if line.startswith("PUT") and "partNumber=2" in line]
        store = open_store(url)
        (part,) = (item for item in store.list(HERE) if item.path.endswith(".parquet"))
        assert part.bytes == scenario.bytes > 10 << 20
        table = pq.read_table(store.key(part.path), filesystem=store.filesystem, partitioning=None)
        assert table.num_rows == scenario.arrivals


def test_the_commands_seal_run_and_validate_in_a_store(server, tmp_path, capsys):
    write_world(WORLD, tmp_path / "world")
    url, store, scratch = server.url("by-command"), server.store("by-command"), tmp_path / "scratch"
    put_tree(tmp_path / "world", store)
    assert main(("seal", url, "--json", "--scratch", str(scratch))) == 0
    assert json.loads(capsys.readouterr().out)["gate_path"].startswith("s3://worlds/by-command/data/layer2/5B/")
    # In a process of its own, for how it ends.
    with cli("run", url, "--json", "--backend", "cpu", "--scratch", str(scratch)) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert json.loads(out)["scenarios"][0]["path"] == store.url(HERE)
    assert main(("validate", url, "--json", "--scratch", str(scratch))) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["bundle"]["folder"].startswith("s3://worlds/by-command/data/layer2/5B/validation/")
    found = files_of(store)
    assert dataset("s0_gate_receipt_5B").relative(IDENTITY.tokens()) in found
    assert dataset("validation_passed_flag_5B").relative(IDENTITY.tokens()) in found
    assert not [path for path in found if path.startswith("tmp/") or path.endswith(MARKER)]
    assert list(scratch.iterdir()) == []


def test_validation_in_a_store_gives_the_bundle_of_a_local_one(published, local):
    here = validate(local)
    with run_directory(published, Reporter()) as directory:
        directory.fetch_arrivals()
        there = validate(directory.root)
    assert there.passed
    assert there.bundle.digest == here.bundle.digest
    verdicts = [{finding.check: finding.verdict for finding in result.findings} for result in (here, there)]
    assert verdicts[0] == verdicts[1]


def test_a_command_that_only_reads_leaves_the_store_as_it_is(published):
    before = files_of(open_store(published))
    with run_directory(published, Reporter(), writes=False) as directory:
        assert (directory.root / "run_receipt.json").is_file()
        (directory.root / "new.yaml").write_text("a: 1")
    assert files_of(open_store(published)) == before


def test_the_endpoint_may_come_from_the_environment(published, server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    store = open_store("s3://worlds/published?region=us-east-1")
    assert store.list() == open_store(published).list() != []


def test_a_run_directory_named_by_its_run_id_is_held_to_it(server, sealed):
    other = "d" * 32
    url = server.url(other)
    put_tree(sealed, open_store(url))
    with pytest.raises(ArrivalError, match=other) as caught, run_directory(url, Reporter()):
        pass
    assert caught.value.code is Code.PARTITION_OR_PK_VIOLATION
    assert str(open_store(url)) in caught.value.message
