"""Policies and fallbacks that forbid the run, seals and receipts that are not this run's, names no path can have."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from arrival_engine import run
from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.engine.rundir.settings import POLICY_IDS
from arrival_engine.engine.sealing import seal
from tests.support import damage, refusals
from tests.support.damage import (
    COUNTS,
    EDGE_BLOB,
    EDGES,
    EDGES_INDEX,
    GRID,
    GROUPS,
    MODES,
    OUTPUT,
    PLACEMENT,
    RNG,
    ROUTING,
    SITE_BLOB,
    SITE_INDEX,
    SITE_WEIGHTS,
    TZ_BIN,
    UNIVERSE,
    words,
)
from tests.support.refusals import (
    COUNTS_BAD,
    CPU,
    EDGE_BAD,
    GATE_BAD,
    IDENTITY_BAD,
    OPTION_BAD,
    OTHER_64,
    OTHER_SEED,
    ROUTING_BAD,
    SITE_BAD,
    STRICT,
    UNREADABLE,
    Case,
    check,
    drop,
    harm,
    published,
    put,
    refused,
    report_lines,
)
from tests.support.world_files import write_world
from tests.support.worlds import BIG_ID, HALF_NO_EDGES, SYDNEY, VIRTUAL_NO_EDGES, small_world

pristine, run_root = refusals.pristine, refusals.run_root

# Fallbacks that the policy or --strict forbids.


def only_merchants(*kept):
    return harm(damage.edit_rows, COUNTS, lambda rows: [row for row in rows if row["merchant_id"] in kept])


def all_of(*harms):
    def apply(run_root):
        for one in harms:
            one(run_root)

    return apply


FALLBACK_CASES = {
    "no group table": (
        only_merchants(HALF_NO_EDGES),
        "missing_group_table",
        SITE_BAD,
        ("no tz group weights", "2026-03-08"),
    ),
    "no site in the zone": (only_merchants(BIG_ID), "no_site_in_zone", SITE_BAD, ("no site", f"merchant {BIG_ID}")),
    "no edge table": (
        only_merchants(VIRTUAL_NO_EDGES),
        "missing_edge_table",
        EDGE_BAD,
        ("no edge table", f"merchant {VIRTUAL_NO_EDGES}"),
    ),
}
# What keeps the other fallbacks out of the way of the one under test.
ALONE = {
    "no group table": put(MODES, "virtual_mode", "NON_VIRTUAL", merchant_id=HALF_NO_EDGES),
    "no site in the zone": drop(COUNTS, merchant_id=BIG_ID, zone_representation=SYDNEY),
    "no edge table": lambda _: None,
}


def lone_fallback(name):
    harms = [FALLBACK_CASES[name][0], ALONE[name]]
    if name == "no group table":
        harms.append(put(MODES, "is_virtual", False, merchant_id=HALF_NO_EDGES))
    if name == "no site in the zone":
        # The one day on which this merchant has no group weights.
        harms.append(drop(COUNTS, merchant_id=BIG_ID, count_N=10))
    return all_of(*harms)


# Policies.

POLICY_CASES = {
    "unknown key": (ROUTING, {}, "\nsurprise: 1\n", ROUTING_BAD, "surprise"),
    "duplicate key": (ROUTING, {}, "\nversion: v2.0.0\n", ROUTING_BAD, "version"),
    "p above its bounds": (ROUTING, {"p_virtual_hybrid": "0.81"}, "", ROUTING_BAD, "p_virtual_hybrid"),
    "p below its bounds": (ROUTING, {"p_virtual_hybrid": "0.04"}, "", ROUTING_BAD, "p_virtual_hybrid"),
    "p no number": (ROUTING, {"p_virtual_hybrid": "often"}, "", ROUTING_BAD, "p_virtual_hybrid"),
    "p not a number": (ROUTING, {"p_virtual_hybrid": ".nan"}, "", ROUTING_BAD, "p_virtual_hybrid"),
    "fallback of another name": (ROUTING, {"no_site_in_zone": "anywhere"}, "", ROUTING_BAD, "no_site_in_zone"),
    "wrong constant": (ROUTING, {"coin_source": "arrival_site_pick.first_word"}, "", ROUTING_BAD, "coin_source"),
    "another version": (ROUTING, {"version": "v1.0.0"}, "", ROUTING_BAD, "version"),
    "another generator": (RNG, {"rng_engine": "philox4x32-10"}, "", Code.RNG_STREAM_CONFIG_INVALID, "rng_engine"),
    "unknown key in the streams": (RNG, {}, "\nsurprise: 1\n", Code.RNG_STREAM_CONFIG_INVALID, "surprise"),
    "unknown compression": (OUTPUT, {"compression": "rar"}, "", ROUTING_BAD, "compression"),
    "no rows in a row group": (OUTPUT, {"row_group_rows": "0"}, "", ROUTING_BAD, "row_group_rows"),
    "guardrail of another type": (
        PLACEMENT,
        {"max_arrivals_per_bucket": "many"},
        "",
        ROUTING_BAD,
        "max_arrivals_per_bucket",
    ),
    "half a document": (PLACEMENT, {}, "\n  [", ROUTING_BAD, PLACEMENT),
}


class TestFallbacks:
    @pytest.mark.parametrize("name", FALLBACK_CASES)
    def test_strict_forbids_each(self, run_root, name):
        _, switch, code, says = FALLBACK_CASES[name]
        lone_fallback(name)(run_root)
        seal(run_root)
        error = refused(run_root, STRICT)
        check(error, Case(lambda _: None, code, says))
        assert error.context["scenario_id"] == "baseline_v1"
        assert switch in error.hint
        assert run(run_root, CPU).scenarios[0].fallbacks[switch] > 0

    @pytest.mark.parametrize("name", FALLBACK_CASES)
    def test_each_switch_forbids_its_own(self, run_root, name):
        _, switch, code, says = FALLBACK_CASES[name]
        lone_fallback(name)(run_root)
        damage.edit_policy(run_root, ROUTING, **{switch: "fail"})
        seal(run_root)
        check(refused(run_root), Case(lambda _: None, code, says))

    @pytest.mark.parametrize("name", FALLBACK_CASES)
    def test_a_switch_forbids_nothing_else(self, run_root, name):
        lone_fallback(name)(run_root)
        own = FALLBACK_CASES[name][1]
        others = {case[1]: "fail" for case in FALLBACK_CASES.values() if case[1] != own}
        damage.edit_policy(run_root, ROUTING, **others)
        seal(run_root)
        assert run(run_root, CPU).scenarios[0].fallbacks[own] > 0


class TestPolicies:
    @pytest.mark.parametrize("name", POLICY_CASES)
    def test_a_bad_policy_is_refused_by_seal_and_by_run(self, run_root, name):
        policy_id, scalars, more, code, says = POLICY_CASES[name]
        seal(run_root)
        damage.edit_policy(run_root, policy_id, **scalars)
        path = dataset(policy_id).locate(run_root, {})
        path.write_text(path.read_text("utf-8") + more, "utf-8")
        case = Case(lambda _: None, code, (str(path), says))
        check(refused(run_root), case)
        with pytest.raises(ArrivalError) as caught:
            seal(run_root)
        check(caught.value, case)

    @pytest.mark.parametrize("policy_id", POLICY_IDS)
    def test_a_policy_that_is_no_readable_file(self, run_root, policy_id):
        seal(run_root)
        dataset(policy_id).locate(run_root, {}).mkdir(parents=True)
        error = refused(run_root)
        assert error.code == UNREADABLE
        assert str(dataset(policy_id).locate(run_root, {})) in error.message


class TestSeal:
    """Content is compared before anything is read: whatever was damaged, the artefact is named with both hashes."""

    @pytest.mark.parametrize(
        ("artefact", "spoil"),
        [
            (COUNTS, put(COUNTS, "count_N", -1)),
            (SITE_BLOB, harm(damage.edit_bytes, SITE_BLOB, words((16, 1)))),
            (UNIVERSE, harm(damage.edit_document, UNIVERSE, universe_hash="0" * 64)),
            ("tz_timetable_cache", harm(damage.edit_bytes, TZ_BIN, lambda data: data[:-5])),
        ],
    )
    def test_a_damage_after_sealing_is_met_by_the_seal(self, run_root, artefact, spoil):
        seal(run_root)
        spoil(run_root)
        error = refused(run_root)
        assert error.code == GATE_BAD
        (difference,) = error.context["differences"]
        assert difference["artefact"] == artefact
        assert difference["sealed"] != difference["found"]
        for text in difference.values():
            assert text in error.message

    def test_a_run_without_a_seal(self, run_root):
        error = refused(run_root)
        assert error.code == GATE_BAD
        assert "is not sealed" in error.message
        assert "arrivals seal" in error.hint

    @pytest.mark.parametrize(
        "dataset_id", [GRID, COUNTS, SITE_WEIGHTS, GROUPS, MODES, EDGES, EDGES_INDEX, SITE_INDEX, EDGE_BLOB, UNIVERSE]
    )
    def test_an_input_that_is_gone_after_sealing(self, run_root, dataset_id):
        seal(run_root)
        damage.file_of(run_root, dataset_id).unlink()
        error = refused(run_root)
        assert error.code in (GATE_BAD, COUNTS_BAD)
        assert dataset_id in error.message

    def test_an_upstream_segment_that_did_not_pass(self, run_root):
        flag = dataset("validation_passed_flag_2B").locate(run_root, damage.tokens_of(run_root))
        flag.unlink()
        seal(run_root)
        error = refused(run_root)
        assert error.code == Code.UPSTREAM_HASHGATE_NOT_PASSED
        assert "2B" in error.message


class TestIdentity:
    @pytest.mark.parametrize(
        ("changes", "code", "says"),
        [
            ({"seed": OTHER_SEED}, GATE_BAD, "seed=42"),
            ({"manifest_fingerprint": OTHER_64}, GATE_BAD, f"manifest_fingerprint={'a' * 64}"),
        ],
        ids=["seed", "manifest_fingerprint"],
    )
    def test_a_receipt_whose_data_lie_elsewhere(self, run_root, changes, code, says):
        damage.edit_receipt(run_root, **changes)
        with pytest.raises(ArrivalError) as caught:
            seal(run_root)
        assert caught.value.code == code
        assert says in caught.value.message

    @pytest.mark.parametrize("name", ["seed", "parameter_hash", "run_id"])
    def test_a_receipt_changed_after_sealing(self, run_root, name):
        seal(run_root)
        damage.edit_receipt(run_root, **{name: {"seed": 43, "parameter_hash": OTHER_64, "run_id": "d" * 32}[name]})
        error = refused(run_root)
        assert error.code == GATE_BAD
        assert name in error.message

    def test_a_directory_named_by_another_run(self, run_root):
        seal(run_root)
        moved = run_root.rename(run_root.with_name("d" * 32))
        with pytest.raises(ArrivalError) as caught:
            run(moved, CPU)
        assert caught.value.code == IDENTITY_BAD
        assert "d" * 32 in caught.value.message

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("manifest_fingerprint", "../../../etc"),
            ("manifest_fingerprint", ".."),
            ("manifest_fingerprint", "A" * 64),
            ("parameter_hash", "b/" * 32),
            ("run_id", "..\\..\\windows"),
            ("run_id", "c\0" * 16),
            ("seed", -1),
            ("seed", 2**64),
            ("seed", "42"),
        ],
    )
    def test_tokens_that_cannot_stand_in_a_path(self, run_root, name, value):
        damage.edit_receipt(run_root, **{name: value})
        for step in (lambda: run(run_root, CPU), lambda: seal(run_root)):
            with pytest.raises(ArrivalError) as caught:
                step()
            assert caught.value.code in (GATE_BAD, IDENTITY_BAD)
            assert name in caught.value.message
            assert caught.value.hint

    @pytest.mark.parametrize("scenario", ["..", ".", "", "a/b", "../../../tmp/x", "a\\b", "a\0b", "a\nb", "/etc"])
    def test_scenario_names_that_cannot_stand_in_a_path(self, run_root, scenario):
        seal(run_root)
        error = refused(run_root, replace(CPU, scenarios=(scenario,)))
        assert error.code == IDENTITY_BAD
        assert repr(scenario) in error.message

    def test_one_unknown_scenario_stops_the_run_before_the_known_ones(self, run_root):
        seal(run_root)
        error = refused(run_root, replace(CPU, scenarios=("baseline_v1", "no_such")))
        assert error.code == OPTION_BAD
        assert "no_such" in error.message
        assert "baseline_v1" in error.message

    @pytest.mark.parametrize("folder", ["scenario_id=..", "scenario_id=a\nb"])
    def test_a_directory_on_disk_with_such_a_name(self, run_root, folder):
        for name in (GRID, COUNTS):
            place = damage.file_of(run_root, name).parent
            shutil.copytree(place, place.with_name(folder))
        with pytest.raises(ArrivalError) as caught:
            seal(run_root)
        assert caught.value.code == IDENTITY_BAD


class TestScenarios:
    @pytest.fixture
    def two_scenarios(self, tmp_path):
        run_root = tmp_path / "world"
        write_world(small_world(), run_root, further_scenarios=[small_world(scenario_id="stress_v1")])
        return run_root

    def test_a_bad_scenario_leaves_the_good_one_published(self, two_scenarios):
        place = damage.dataset(COUNTS).locate(two_scenarios, damage.tokens_of(two_scenarios, "stress_v1"))
        table = pq.read_table(place, partitioning=None)
        pq.write_table(
            table.set_column(table.schema.get_field_index("count_N"), "count_N", pc.negate(table["count_N"])), place
        )
        seal(two_scenarios)
        with pytest.raises(ArrivalError) as caught:
            run(two_scenarios, CPU)
        assert caught.value.code == COUNTS_BAD
        assert published(two_scenarios, "baseline_v1").is_dir()
        assert not published(two_scenarios, "stress_v1").exists()
        lines = [(line["scenario_id"], line["status"]) for line in report_lines(two_scenarios)]
        assert lines == [("baseline_v1", "PASS"), ("stress_v1", "FAIL")]

    def test_a_scenario_named_twice_is_run_once(self, two_scenarios):
        seal(two_scenarios)
        result = run(two_scenarios, replace(CPU, scenarios=("stress_v1", "stress_v1")))
        assert [scenario.scenario_id for scenario in result.scenarios] == ["stress_v1"]


class TestReceipt:
    """Without an identity there is no run to report, so these leave no line either."""

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"seed": 1, "seed": 2}', b"[" * 10_000])
    def test_a_receipt_that_is_none(self, run_root, data):
        (run_root / "run_receipt.json").write_bytes(data)
        with pytest.raises(ArrivalError) as caught:
            run(run_root, CPU)
        assert caught.value.code == GATE_BAD
        assert "run_receipt.json" in caught.value.message
        assert not (run_root / "reports").exists()

    def test_a_run_root_that_is_not_there(self, tmp_path):
        with pytest.raises(ArrivalError) as caught:
            run(tmp_path / "nowhere", CPU)
        assert caught.value.code == UNREADABLE
        assert "nowhere" in caught.value.message

    def test_a_directory_of_runs_instead_of_a_run(self, run_root):
        with pytest.raises(ArrivalError) as caught:
            run(run_root.parent, CPU)
        assert caught.value.code == GATE_BAD
        assert str(run_root) in caught.value.hint
