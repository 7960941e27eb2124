"""Files that change between the seal check and their use: the bytes that were checked are used, or none are."""

from __future__ import annotations

import io
import os
import pickle
from contextlib import contextmanager

import pyarrow.parquet as pq
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.dictionary import dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.hashing import content_hash
from arrival_engine.engine.rundir.inputs import read_table
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.rundir.sealed_files import BLOCK_BYTES, InputFile
from arrival_engine.engine.sealing import read_seal, seal, verify_seal
from arrival_engine.engine.validation.job import validate
from arrival_engine.engine.world.load import load_world
from tests.support import damage
from tests.support.damage import COUNTS
from tests.support.product import copy_without_outputs
from tests.support.world_files import write_world
from tests.support.worlds import small_world

CHANGED = Code.S0_GATE_MISSING_OR_INVALID
OPTIONS = RunOptions(backend="cpu", threads=1)
# What a run reads of the inputs, besides counts.
READ = (
    "s1_time_grid_5B",
    "s1_site_weights",
    "site_timezones",
    "s4_group_weights",
    "s2_alias_index",
    "s2_alias_blob",
    "virtual_classification_3B",
    "virtual_settlement_3B",
    "edge_catalogue_3B",
    "edge_alias_index_3B",
    "edge_alias_blob_3B",
    "edge_universe_hash_3B",
    "virtual_routing_policy_3B",
    "tz_timetable_cache_manifest",
    "tz_timetable_cache_bin",
)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("swapped") / "sealed"
    write_world(small_world(), run_root)
    seal(run_root)
    return run_root


@pytest.fixture
def run_root(sealed, tmp_path):
    return copy_without_outputs(sealed, tmp_path / "run")


class AtPhase(Reporter):
    """Does something once a phase has ended."""

    def __init__(self, **actions):
        super().__init__()
        self.actions = {name.replace("_", " "): action for name, action in actions.items()}

    @contextmanager
    def phase(self, name):
        with super().phase(name):
            yield
        if action := self.actions.pop(name, None):
            action()


def doubled_counts(run_root):
    """Other valid counts in a file beside the sealed one."""
    path = damage.file_of(run_root, COUNTS)
    table = pq.read_table(path, partitioning=None)
    at = table.schema.get_field_index("count_N")
    counts = [2 * count for count in table["count_N"].to_pylist()]
    other = path.with_suffix(".other")
    pq.write_table(table.set_column(at, table.schema.field(at), [counts]), other)
    return path, other


def replaced(run_root):
    path, other = doubled_counts(run_root)
    return lambda: other.replace(path)


def overwritten(run_root):
    """The same in the file that is there, whose size and times stay as they are."""
    path, _ = doubled_counts(run_root)
    data, stat = bytearray(path.read_bytes()), path.stat()
    data[len(data) // 2] ^= 1

    def change():
        with path.open("r+b") as file:
            file.write(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    return change


def folder_replaced(run_root):
    path, other = doubled_counts(run_root)
    folder = path.parent

    def change():
        beside = folder.with_name("beside")
        folder.rename(beside)
        folder.mkdir()
        (beside / other.name).rename(path)

    return change


SWAPS = {"replaced": replaced, "overwritten": overwritten, "folder replaced": folder_replaced}


class TestRun:
    @pytest.mark.parametrize("swap", SWAPS)
    def test_counts_changed_after_the_check_are_never_used(self, swap, run_root):
        change = SWAPS[swap](run_root)
        with pytest.raises(ArrivalError, match="changed while it was being read") as caught:
            run(run_root, OPTIONS, AtPhase(seal_check=change))
        assert caught.value.code is CHANGED
        assert damage.file_of(run_root, COUNTS).name in caught.value.message
        assert not read_receipt(run_root).partitions("arrival_events_5B")

    @pytest.mark.parametrize("dataset_id", READ)
    def test_nor_is_any_other_input(self, dataset_id, run_root):
        path = damage.file_of(run_root, dataset_id)

        def change():
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

        with pytest.raises(ArrivalError, match=f"{path.name} changed while it was being read") as caught:
            run(run_root, OPTIONS, AtPhase(seal_check=change))
        assert caught.value.code is CHANGED

    def test_a_policy_is_the_one_of_the_check(self, run_root, sealed, tmp_path):
        expected = run(copy_without_outputs(sealed, tmp_path / "other"), OPTIONS).scenarios[0]
        policy = run_root / dataset("arrival_time_placement_policy_5B").path

        def put_another_in_force():
            policy.parent.mkdir(parents=True, exist_ok=True)
            policy.write_bytes(b"no policy")

        found = run(run_root, OPTIONS, AtPhase(seal_check=put_another_in_force))
        assert found.scenarios[0].digest == expected.digest

    def test_files_are_those_of_the_check(self, run_root):
        path, other = doubled_counts(run_root)
        receipt = read_receipt(run_root)
        bound = verify_seal(receipt).bind(receipt)
        other.rename(path.with_name("part-added.parquet"))
        assert [found.outside for found in bound.files(COUNTS, scenario_id="baseline_v1")] == [path]
        assert len(receipt.files(COUNTS, scenario_id="baseline_v1")) == 2
        with pytest.raises(ArrivalError) as caught:
            bound.open(receipt.path(COUNTS, scenario_id="baseline_v1").with_name("part-added.parquet"))
        assert caught.value.code is CHANGED

    def test_a_file_that_is_gone_is_missed(self, run_root):
        with pytest.raises(ArrivalError, match="No such file") as caught:
            run(run_root, OPTIONS, AtPhase(seal_check=damage.file_of(run_root, COUNTS).unlink))
        assert caught.value.code is Code.IO_READ_FAILED


class TestOthers:
    def test_a_stream_reads_what_was_checked(self, run_root):
        checked = verify_seal(read_receipt(run_root))
        replaced(run_root)()
        with pytest.raises(ArrivalError, match="changed while it was being read"):
            load_world(run_root, seal=checked)

    def test_a_seal_that_was_only_read_checks_nothing(self, run_root):
        expected = load_world(run_root).arrivals
        stored = read_seal(read_receipt(run_root))
        replaced(run_root)()
        assert load_world(run_root, seal=stored).arrivals == 2 * expected

    @pytest.mark.parametrize("back", [False, True], ids=["A, B", "A, B, A"])
    @pytest.mark.parametrize("swap", SWAPS)
    def test_validation_does_not_pass_over_other_counts(self, swap, back, run_root):
        original = damage.file_of(run_root, COUNTS).read_bytes()
        run(run_root, OPTIONS)
        change = SWAPS[swap](run_root)
        later = {"read_counts": lambda: damage.file_of(run_root, COUNTS).write_bytes(original)} if back else {}
        with pytest.raises(ArrivalError, match="changed while it was being read") as caught:
            validate(run_root, reporter=AtPhase(seal_check=change, **later))
        assert caught.value.code is Code.S5_S0_GATE_MISSING_OR_INVALID

    def test_validation_reads_checked_copies(self, run_root):
        """Counts that change once they are copied are not read again."""
        run(run_root, OPTIONS)
        assert validate(run_root, reporter=AtPhase(read_counts=replaced(run_root))).passed

    def test_pieces_carry_their_blocks_to_other_processes(self, run_root):
        receipt = read_receipt(run_root)
        bound = pickle.loads(pickle.dumps(verify_seal(receipt).bind(receipt)))  # noqa: S301 - our own
        assert read_table(bound, COUNTS, ("count_N",), scenario_id="baseline_v1").num_rows > 0
        replaced(run_root)()
        with pytest.raises(ArrivalError, match="changed while it was being read"):
            read_table(bound, COUNTS, ("count_N",), scenario_id="baseline_v1")


@pytest.fixture
def checked(tmp_path):
    """A file of two blocks and a bit, as hashed, and its bytes."""
    data = os.urandom(2 * BLOCK_BYTES + 4321)
    path = tmp_path / "file"
    path.write_bytes(data)
    (blocks,) = content_hash([InsidePath(path.parent, (path.name,))]).blocks
    return InputFile(InsidePath(path.parent, (path.name,)), blocks), data


class TestCheckedFile:
    def test_reads_as_a_plain_file_does(self, checked):
        file, data = checked
        plain = io.BytesIO(data)
        places = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES, len(data) - 1, len(data), len(data) + 5]
        with file.open() as found:
            for place in places:
                for length in (0, 1, BLOCK_BYTES, BLOCK_BYTES + 2, len(data), -1):
                    assert found.seek(place) == plain.seek(place)
                    assert found.read(length) == plain.read(length)
                    assert found.tell() == plain.tell()
            assert found.seek(-3, os.SEEK_END) == plain.seek(-3, os.SEEK_END)
            assert found.seek(-3, os.SEEK_CUR) == plain.seek(-3, os.SEEK_CUR)
            with pytest.raises(OSError, match="Invalid argument"):
                found.seek(-1)

    @pytest.mark.parametrize("block", [0, 1, 2])
    def test_only_the_block_that_changed_is_refused(self, block, checked):
        file, data = checked
        changed = bytearray(data)
        changed[block * BLOCK_BYTES + 7] ^= 1
        file.path.write_bytes(changed)
        with file.open() as found:
            for other in {0, 1, 2} - {block}:
                found.seek(other * BLOCK_BYTES)
                assert found.read(9) == data[other * BLOCK_BYTES :][:9]
            found.seek(block * BLOCK_BYTES + 100)
            with pytest.raises(ArrivalError, match="changed while it was being read"):
                found.read(1)

    def test_a_file_that_was_cut_short_is_refused(self, checked):
        file, data = checked
        file.path.write_bytes(data[: 2 * BLOCK_BYTES])
        with file.open() as found:
            found.seek(2 * BLOCK_BYTES)
            with pytest.raises(ArrivalError, match="changed while it was being read"):
                found.read(1)

    def test_what_was_added_is_not_read(self, checked):
        file, data = checked
        file.path.write_bytes(data + b"more")
        with file.open() as found:
            assert found.read() == data
            assert found.seek(0, os.SEEK_END) == len(data)
