"""Inputs of which the law makes no arrivals are refused, with the code that a run stops with."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from arrival_engine.contracts import Code
from arrival_engine.engine.recomputing.tables import LawlessError, build
from tests.support.model import HYBRID, NON_VIRTUAL, VIRTUAL_ONLY, CountRow, GroupWeight, Site
from tests.support.recomputed import inputs_of
from tests.support.worlds import BERLIN, PARIS, edge_table, small_world

MERCHANT, OTHER = 2**63 + 9, 11


def inputs(mode=HYBRID, **overrides):
    """One merchant of each kind of table, and one of sites alone."""
    world = small_world(
        counts=tuple(CountRow(merchant, BERLIN, None, 0, 5) for merchant in (MERCHANT, OTHER)),
        sites=tuple(Site(m, "DE", n, zone, 0.5) for m in (MERCHANT, OTHER) for n, zone in ((1, BERLIN), (2, PARIS))),
        group_weights=(GroupWeight(MERCHANT, "2026-02-14", BERLIN, 1.0),),
        modes={MERCHANT: mode, OTHER: NON_VIRTUAL},
        settlement={},
        edges={MERCHANT: edge_table(MERCHANT, [0.5, 0.2, 0.3], [BERLIN, PARIS])},
        **overrides,
    )
    return inputs_of(world)


def with_weight(rows, weight, place=0):
    weights = rows.weight.copy()
    weights[place] = weight
    return dataclasses.replace(rows, weight=weights)


def with_words(given, **words):
    """The inputs with words of the blob replaced; the only slice begins at word 0."""
    blob = np.frombuffer(given.edges.blob, "<u4").copy()
    for place, word in words.items():
        blob[int(place.removeprefix("at"))] = word
    return dataclasses.replace(given, edges=dataclasses.replace(given.edges, blob=blob.tobytes()))


def with_slice(given, *span):
    return dataclasses.replace(given, edges=dataclasses.replace(given.edges, slices={MERCHANT: span}))


def with_modes(given, **modes):
    return dataclasses.replace(given, modes={**given.modes, MERCHANT: modes["mode"]} if modes else {})


def with_sites(given, **fields):
    return dataclasses.replace(given, sites=dataclasses.replace(given.sites, **fields))


def without_edges(given, *, slices):
    edges = dataclasses.replace(given.edges, merchant_id=np.empty(0, np.uint64), edge_id=np.empty(0, np.uint64))
    return dataclasses.replace(given, edges=dataclasses.replace(edges, tzid=[], slices=slices))


SITE, EDGE, MODE = Code.SITE_RESOLUTION_FAILED, Code.EDGE_RESOLUTION_FAILED, Code.ROUTING_POLICY_INVALID
LENGTH = 4 * (4 + 2 * 3)
FAULTS: dict[str, tuple[Any, Code, str]] = {
    "no mode": (with_modes, MODE, "has the mode None"),
    "unknown mode": (lambda g: with_modes(g, mode="virtual"), MODE, f"merchant {MERCHANT} has the mode virtual"),
    "no site": (
        lambda g: with_sites(
            g,
            merchant_id=g.sites.merchant_id[:2],
            site_id=g.sites.site_id[:2],
            weight=g.sites.weight[:2],
            tzid=g.sites.tzid[:2],
        ),
        SITE,
        f"merchant {MERCHANT} has no site with a weight",
    ),
    "no weight": (lambda g: with_sites(g, weight=np.zeros(4)), SITE, f"merchant {OTHER} has no site with a weight"),
    "site without a zone": (
        lambda g: with_sites(g, tzid=[None, *g.sites.tzid[1:]]),
        SITE,
        f"of merchant {OTHER} has no zone",
    ),
    "negative weight": (
        lambda g: dataclasses.replace(g, sites=with_weight(g.sites, -1e-300, 3)),
        SITE,
        f"the sites of merchant {MERCHANT} have the weight -1e-300",
    ),
    "NaN": (lambda g: dataclasses.replace(g, sites=with_weight(g.sites, np.nan)), SITE, "have the weight nan"),
    "infinite weight": (lambda g: dataclasses.replace(g, sites=with_weight(g.sites, np.inf)), SITE, "the weight inf"),
    "infinite sum": (
        lambda g: with_sites(g, weight=np.array([1.0, 1.0, 1.5e308, 1.5e308])),
        SITE,
        f"the sites of merchant {MERCHANT} have weights that add up to infinity",
    ),
    "negative group weight": (
        lambda g: dataclasses.replace(g, groups=with_weight(g.groups, -0.5)),
        SITE,
        "a day's tz groups have the weight -0.5",
    ),
    "NaN of a group": (lambda g: dataclasses.replace(g, groups=with_weight(g.groups, np.nan)), SITE, "weight nan"),
    "slots of other number": (lambda g: with_words(g, at0=2), EDGE, f"merchant {MERCHANT} is not of its 3 edges"),
    "no bits": (lambda g: with_words(g, at1=0), EDGE, "is not of its 3 edges"),
    "too many bits": (lambda g: with_words(g, at1=33), EDGE, "is not of its 3 edges"),
    "alias beyond": (lambda g: with_words(g, at9=3), EDGE, "has an alias beyond its 3 edges"),
    "slice too short": (lambda g: with_slice(g, 0, LENGTH - 8), EDGE, "is not of its 3 edges"),
    "slice too long": (lambda g: with_slice(g, 0, LENGTH + 8), EDGE, "is not of its 3 edges"),
    "slice of no header": (lambda g: with_slice(g, 0, 4), EDGE, "is not of its 3 edges"),
    "slice beyond the blob": (lambda g: with_slice(g, LENGTH, LENGTH), EDGE, "is not of its 3 edges"),
    "slice elsewhere": (lambda g: with_slice(g, 4, LENGTH), EDGE, "is not of its 3 edges"),
    "slice off the word": (lambda g: with_slice(g, 1, LENGTH), EDGE, "is not of its 3 edges"),
    "slice of half words": (lambda g: with_slice(g, 0, LENGTH + 1), EDGE, "is not of its 3 edges"),
    "probability of too many bits": (lambda g: with_words(g, at1=8), EDGE, "a probability of more than 8 bits"),
    "edges without a slice": (
        lambda g: dataclasses.replace(g, edges=dataclasses.replace(g.edges, slices={})),
        EDGE,
        "is not of its 3 edges",
    ),
    "slice without edges": (
        lambda g: without_edges(g, slices={MERCHANT: (0, LENGTH)}),
        EDGE,
        "is not of its 0 edges",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_and_named(fault):
    change, code, message = FAULTS[fault]
    with pytest.raises(LawlessError) as caught:
        build(change(inputs()))
    assert message in str(caught.value)
    assert caught.value.code is code


def test_without_a_fault_there_are_arrivals():
    assert build(inputs()).arrivals == 10


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if "slice" in fault or "bits" in fault or "alias" in fault]
)
def test_edges_that_no_arrival_uses_are_not_looked_at(fault):
    """A run does not look at the edges of a merchant of sites alone."""
    change, _, _ = FAULTS[fault]
    tables = build(change(inputs(mode=NON_VIRTUAL)))
    assert tables.law.merchants.edges.tolist() == [-1, -1]


def test_a_virtual_merchant_needs_no_site():
    given = inputs(mode=VIRTUAL_ONLY)
    kept = given.sites.merchant_id == OTHER
    sites = dataclasses.replace(
        given.sites,
        merchant_id=given.sites.merchant_id[kept],
        site_id=given.sites.site_id[kept],
        weight=given.sites.weight[kept],
        tzid=given.sites.tzid[:2],
    )
    assert build(dataclasses.replace(given, sites=sites)).arrivals == 10


def test_without_its_edges_it_does():
    given = without_edges(inputs(mode=VIRTUAL_ONLY), slices={})
    assert build(given).arrivals == 10
    with pytest.raises(LawlessError, match=f"merchant {MERCHANT} has no site with a weight"):
        build(with_sites(given, weight=np.array([0.5, 0.5, 0.0, 0.0])))
