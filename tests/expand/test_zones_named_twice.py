"""Inputs that name one zone by several names: the product, its explanation and its validation against the reference."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation.job import validate
from arrival_engine.engine.world import sites
from tests.support import damage, reference
from tests.support.explained import histories, view_of
from tests.support.model import NO_SITE_IN_ZONE
from tests.support.named_twice import (
    AMERICA,
    CALCUTTA,
    CHICAGO,
    COLOMBO,
    CURRENT,
    EASTERN,
    INDIA,
    KOLKATA,
    NEPAL,
    NEW_YORK,
    NORWAY,
    OLDER,
    named_twice,
)
from tests.support.product import arrivals_of, assert_equal, on_disk, planned, write_sealed
from tests.support.validating import write_proof_world


@pytest.mark.parametrize("cached", [(*CURRENT, CALCUTTA), CURRENT, OLDER], ids=["both", "current", "older"])
@pytest.mark.parametrize("weights", [False, True])
def test_the_product_equals_the_reference(weights, cached):
    world = named_twice(weights=weights, cached=cached)
    with on_disk(world) as written:
        assert_equal(world, arrivals_of(planned(written.run_root, 50), threads=2), written)


@pytest.mark.parametrize("weights", [False, True])
def test_texts_stay_as_given_and_sites_of_both_names_are_met(weights):
    world = named_twice(weights=weights)
    rows = reference.expand(world).rows
    met = Counter((row.merchant_id, row.zone_representation, row.tzid_primary) for row in rows if not row.is_virtual)
    india = {(zone, primary) for merchant, zone, primary in met if merchant == INDIA}
    primaries = (CALCUTTA, KOLKATA, COLOMBO) if weights else (CALCUTTA, KOLKATA)
    assert india == {(zone, primary) for zone in (CALCUTTA, KOLKATA) for primary in primaries}
    assert {primary for merchant, _, primary in met if merchant == AMERICA} == {NEW_YORK}
    # Oslo has Berlin's clock, and is not Berlin: its arrivals go to any site.
    assert reference.expand(world).fallbacks[NO_SITE_IN_ZONE] == sum(row.merchant_id == NORWAY for row in rows) == 40
    nepal = {row.tzid_settlement for row in rows if row.merchant_id == NEPAL and row.is_virtual}
    assert nepal == {"Asia/Kathmandu"}


def test_a_cache_without_any_name_of_a_zone_is_refused():
    world = named_twice(weights=False, cached=tuple(tzid for tzid in CURRENT if tzid != KOLKATA))
    with on_disk(world) as written, pytest.raises(ArrivalError, match=r"Asia/(Calcutta|Kolkata)' of merchant 11"):
        planned(written.run_root)


@pytest.mark.parametrize("weights", [False, True])
def test_validation_and_explanations_agree(weights, tmp_path):
    world = named_twice(weights=weights)
    write_sealed(world, tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu"))
    assert validate(tmp_path / "run").passed
    expected = reference.expand(world).rows
    for merchant in (INDIA, NORWAY, AMERICA, NEPAL):
        rows = [row for row in expected if row.merchant_id == merchant]
        found = list(histories(view_of(tmp_path / "run", merchant)))
        assert [(h.row["site_id"], h.row["edge_id"], h.row["tzid_primary"]) for h in found] == [
            (row.site_id, row.edge_id, row.tzid_primary) for row in rows
        ]
        assert [h.row["ts_local_settlement"] is None for h in found] == [
            row.ts_local_settlement is None for row in rows
        ]


def test_an_explanation_names_the_zone_of_its_sites_by_every_name(tmp_path):
    write_sealed(named_twice(weights=False), tmp_path / "run")
    titles = {
        (history.entity.zone_representation, history.picks[-1].table)
        for history in histories(view_of(tmp_path / "run", INDIA))
    }
    assert titles == {
        (CALCUTTA, f"sites in {CALCUTTA}, also named {KOLKATA}"),
        (KOLKATA, f"sites in {KOLKATA}, also named {CALCUTTA}"),
    }


def test_arrivals_matched_by_text_alone_fail_validation(tmp_path, monkeypatch):
    """As an engine would make them that took two names for two zones."""
    write_sealed(named_twice(weights=False), tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(sites, "one_name_each", lambda tzids: list(range(len(tzids))))
        run(tmp_path / "run", RunOptions(backend="cpu"))
    result = validate(tmp_path / "run")
    assert {finding.check for finding in result.findings if finding.verdict == "FAIL"} >= {"zone_choice"}
    (choice,) = [finding for finding in result.findings if finding.check == "zone_choice"]
    # US/Eastern had no site by that name, so that Chicago was drawn; the Indian sites stayed in their zone.
    assert {example["zone_representation"] for example in choice.examples} == {EASTERN}
    assert {example["tzid_primary"] for example in choice.examples} == {CHICAGO}


def test_the_zone_allocation_counts_by_any_name(tmp_path):
    root = tmp_path / "run"
    write_proof_world(root, named_twice(weights=False))

    def of_india(rows):
        places = (("IN", CALCUTTA, 3), ("LK", COLOMBO, 1))
        return [
            {**rows[0], "merchant_id": INDIA, "legal_country_iso": country, "tzid": tzid, "zone_site_count": count}
            for country, tzid, count in places
        ]

    damage.edit_rows(root, "zone_alloc", of_india)
    shutil.rmtree(root / "data/layer2/5B/s0_gate_receipt")
    shutil.rmtree(root / "data/layer2/5B/sealed_inputs")
    seal(root)
    run(root, RunOptions(backend="cpu"))
    (allocation,) = [finding for finding in validate(root).findings if finding.check == "zone_alloc"]
    assert (allocation.verdict, allocation.rows, allocation.violations) == ("PASS", 150, 0)
