"""The derivation stands apart from what it is compared with: it does not repeat a fault of the loaded world."""

from __future__ import annotations

import ast
import dataclasses
from functools import cache
from itertools import islice

import numpy as np
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.cli.explain_tree import show_explanation
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.explaining import Explanation
from arrival_engine.engine.explaining.compare import against_kernel
from arrival_engine.engine.explaining.derive import derive
from arrival_engine.engine.explaining.facts import Comparison
from arrival_engine.engine.explaining.inputs import read_view
from arrival_engine.engine.explaining.view import Chosen
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.rundir.settings import Fallbacks
from arrival_engine.engine.sealing import read_seal, seal
from arrival_engine.engine.world.load import load_world
from tests.support.explained import WORLD, histories, view_of
from tests.support.model import FAIL, Policy, Site
from tests.support.paths import ROOT
from tests.support.worlds import BERLIN, HALF, TWO_ZONES, VIRTUAL, small_world, write_world

FOREIGN = tuple(
    f"arrival_engine.{name}"
    for name in ("cpu_fallback", "gpu_kernels", "engine.world", "engine.expand", "engine.alias_blobs")
)
# The modules that know what the derivation is compared with.
COMPARING = ("__init__.py", "compare.py")
ARRIVALS = 12


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("apart") / "sealed"
    write_world(WORLD, run_root)
    seal(run_root)
    return run_root


@pytest.fixture(scope="module")
def derived(sealed):
    """A function from a merchant to its first arrivals, derived."""
    return cache(lambda merchant: tuple(islice(histories(view_of(sealed, merchant)), ARRIVALS)))


def loaded(run_root, merchant):
    return load_world(run_root, seal=read_seal(read_receipt(run_root)), merchant_ids=[merchant])


def compared(world, found):
    planned, reporter = plan(world), Reporter()
    return [against_kernel(planned, history.row, reporter, stops=False) for history in found]


def with_tables(world, **groups):
    """The world with fields of groups of its tables replaced."""
    tables = world.tables
    for name, fields in groups.items():
        tables = tables._replace(**{name: getattr(tables, name)._replace(**fields)})
    return dataclasses.replace(world, tables=tables)


def swapped_streams(world):
    entities = world.tables.entities
    return with_tables(world, entities={"site_key": entities.edge_key, "site_hi": entities.edge_hi})


def packed_from_the_other_end(world, group):
    packed = getattr(world.tables, group).packed
    return with_tables(world, **{group: {"packed": packed ^ np.uint64(0xFFFFFFFF)}})


def another_settlement(world):
    merchants = world.tables.merchants
    return with_tables(world, merchants={"settlement": (merchants.settlement + 1) % np.int32(len(world.tzids))})


def one_arrival_more(world):
    arrivals = world.rows.arrivals.copy()
    arrivals[0] += 1
    return dataclasses.replace(world, rows=world.rows._replace(arrivals=arrivals))


FAULTS = {
    "thresholds of sites": (TWO_ZONES, lambda w: packed_from_the_other_end(w, "sites"), "site_id"),
    "thresholds of groups": (TWO_ZONES, lambda w: packed_from_the_other_end(w, "groups"), "site_id"),
    "thresholds of edges": (VIRTUAL, lambda w: packed_from_the_other_end(w, "edges"), "edge_id"),
    "ids of edges": (VIRTUAL, lambda w: with_tables(w, edges={"id": w.tables.edges.id[::-1].copy()}), "edge_id"),
    "days of groups": (
        TWO_ZONES,
        lambda w: with_tables(w, groups={"day": w.tables.groups.day - np.int32(1000)}),
        "site_id",
    ),
    "keys of streams": (TWO_ZONES, swapped_streams, "site_id"),
    "modes": (HALF, lambda w: with_tables(w, merchants={"mode": np.zeros(1, np.int8)}), "is_virtual"),
    "the coin": (
        HALF,
        lambda w: dataclasses.replace(w, settings=dataclasses.replace(w.settings, coin=2**64 - 1)),
        "is_virtual",
    ),
    "settlement": (VIRTUAL, another_settlement, "tzid_settlement"),
    "the grid": (TWO_ZONES, lambda w: with_tables(w, grid={"start_us": w.tables.grid.start_us + 1}), "ts_utc"),
    "counts": (TWO_ZONES, one_arrival_more, "ts_utc"),
    "offsets of zones": (
        TWO_ZONES,
        lambda w: with_tables(w, zones={"offset_us": w.tables.zones.offset_us + 3_600_000_000}),
        "ts_local_primary",
    ),
}


@pytest.mark.parametrize("merchant", [TWO_ZONES, HALF, VIRTUAL])
def test_a_sound_world_agrees(merchant, sealed, derived):
    found = compared(loaded(sealed, merchant), derived(merchant))
    assert [comparison.outcome for comparison in found] == ["agrees"] * ARRIVALS


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_loaded_tables_shows(name, sealed, derived):
    merchant, change, column = FAULTS[name]
    found = compared(change(loaded(sealed, merchant)), derived(merchant))
    named = {difference.column for comparison in found for difference in comparison.differences}
    assert "differs" in {comparison.outcome for comparison in found}
    assert column in named


def test_an_arrival_that_a_run_would_not_make_is_missing(sealed, derived, capsys):
    world = loaded(sealed, TWO_ZONES)
    none = np.zeros_like(world.rows.arrivals)
    none[0] = 3
    lost = dataclasses.replace(world, rows=world.rows._replace(arrivals=none))
    found = derived(TWO_ZONES)
    by_kernel = against_kernel(plan(lost), found[-1].row, Reporter(), stops=False)
    assert (by_kernel.outcome, by_kernel.ok) == ("missing", False)
    explanation = Explanation(found[-1], by_kernel, Comparison("stored row", "absent", "nowhere"), ())
    assert not explanation.agrees
    show_explanation(explanation)
    assert "CPU kernel: MISSING, a run makes no such arrival" in capsys.readouterr().out


FORBIDDEN = Policy(no_site_in_zone=FAIL, missing_group_table=FAIL)


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A run whose policy forbids two fallbacks: TWO_ZONES needs none of them, HALF one on some days."""
    run_root = tmp_path_factory.mktemp("strict") / "run"
    counts = tuple(row for row in WORLD.counts if row.merchant_id in (TWO_ZONES, HALF))
    write_world(small_world(policy=FORBIDDEN, counts=counts), run_root)
    seal(run_root)
    return run_root


def test_a_kernel_that_stops_where_the_policy_forbids_nothing_differs(strict):
    view = view_of(strict, TWO_ZONES)
    history = next(histories(view))
    assert not any(view.stops(segment) for segment in range(view.segments))
    world = loaded(strict, TWO_ZONES)
    homeless = with_tables(world, groups={"site_table": np.full_like(world.tables.groups.site_table, -1)})
    assert against_kernel(plan(world), history.row, Reporter(), stops=False).outcome == "agrees"
    found = against_kernel(plan(homeless), history.row, Reporter(), stops=False)
    assert (found.outcome, found.ok) == ("differs", False)
    (difference,) = found.differences
    assert difference.derived == "none that the policy forbids"
    assert "no site" in str(difference.found)


def test_a_kernel_that_goes_on_where_the_policy_forbids_it_differs(strict):
    view = view_of(strict, HALF)
    stopped = [segment for segment in range(view.segments) if view.stops(segment)]
    assert 0 < len(stopped) < view.segments
    for segment in stopped:
        place, draw = next(iter(enumerate(view.draws(segment), 1)))
        row = derive(view, Chosen(segment, place, draw)).row
        world = loaded(strict, HALF)
        assert against_kernel(plan(world), row, Reporter(), stops=True).outcome == "refused"
        lenient = dataclasses.replace(
            world, settings=dataclasses.replace(world.settings, fallbacks=Fallbacks(False, False, False))
        )
        found = against_kernel(plan(lenient), row, Reporter(), stops=True)
        assert (found.outcome, found.ok) == ("differs", False)


@pytest.mark.parametrize("merchant", [TWO_ZONES, HALF])
def test_a_run_stops_in_the_segments_with_a_forbidden_fallback(merchant, strict):
    """What compiled code says of a segment, its arrivals say one by one."""
    view = view_of(strict, merchant)
    for segment in range(view.segments):
        forbidden = any(
            fallback.forbidden
            for place, draw in list(enumerate(view.draws(segment), 1))[:200]
            for fallback in derive(view, Chosen(segment, place, draw)).fallbacks
        )
        assert view.stops(segment) == forbidden


def test_inputs_of_which_the_law_makes_nothing_are_refused(tmp_path):
    """By the derivation itself, with the code that a run stops with."""
    merchant = TWO_ZONES
    counts = tuple(row for row in WORLD.counts if row.merchant_id == merchant)
    world = small_world(counts=counts, sites=(Site(merchant, "DE", 1, BERLIN, 0.0),))
    write_world(world, tmp_path)
    seal(tmp_path)
    for reader in (
        lambda: loaded(tmp_path, merchant),
        lambda: read_view(read_receipt(tmp_path), world.scenario_id, merchant, None, "1.0.0"),
    ):
        with pytest.raises(ArrivalError, match="no site with a") as caught:
            reader()
        assert caught.value.code is Code.SITE_RESOLUTION_FAILED
        assert caught.value.context["merchant_id"] == merchant
        assert caught.value.hint


def test_no_module_of_the_derivation_names_what_it_is_compared_with():
    for path in sorted((ROOT / "engine/explaining").glob("*.py")):
        if path.name in COMPARING:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.startswith(FOREIGN)], path.name
