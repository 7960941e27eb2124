"""Assemble a synthetic world.

The same (preset, seed, scale) and generator version give the same bytes on any machine, with any number of threads.
Values come from integer arithmetic or the portable functions of `kernels`. Bytes still depend on two releases:
pyarrow's, whose encoders make the Parquet files, which also name it, and the pinned tzdata's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from arrival_engine.contracts import Identity
from arrival_engine.contracts.inside import InsidePath, inside
from arrival_engine.cpu_fallback.law import HYBRID, NON_VIRTUAL, VIRTUAL_ONLY
from arrival_engine.engine.process.kernel_cache import tell_of_refusals
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.synth.counts import CountTotals, write_counts, write_grid, write_grouping, write_local_demand
from arrival_engine.engine.synth.draws import Draws
from arrival_engine.engine.synth.geography import load_geography
from arrival_engine.engine.synth.intensity import Scene, intensity
from arrival_engine.engine.synth.placement import place
from arrival_engine.engine.synth.policies import load_policies, policy_copies
from arrival_engine.engine.synth.population import populate
from arrival_engine.engine.synth.presets import GENERATOR_VERSION, SCENARIO_ID, WorldSpec, world_identity
from arrival_engine.engine.synth.sites import write_sites, write_zone_allocation
from arrival_engine.engine.synth.virtual import write_virtual
from arrival_engine.engine.synth.weights import merchant_groups, write_group_tables, write_weights
from arrival_engine.engine.tz.pinned import check_release, pinned_zones
from arrival_engine.engine.tz.zones import ZoneTable
from arrival_engine.engine.world_files.bundles import write_bundles
from arrival_engine.engine.world_files.publish import Target, WorldReport, place_world, write_report
from arrival_engine.engine.world_files.shelf import Shelf
from arrival_engine.engine.world_files.sites import write_zone_cache


@dataclass(frozen=True)
class SynthResult:
    """A synthetic world in `run_root`; `reused` if the directory already held it.

    `merchants` have counts. `expected_arrivals` is the sum of intensities, `arrivals` the sum of counts.
    `virtual_share` is the expected share of arrivals, coin included. `seconds` is the time of this call.
    """

    run_root: Path
    identity: Identity
    count_rows: int
    entities: int
    merchants: int
    sites: int
    tzids: int
    expected_arrivals: float
    arrivals: int
    zero_share: float
    virtual_share: float
    bytes: int
    seconds: float
    reused: bool


def make_world(run_root: Path, spec: WorldSpec, reporter: Reporter | None) -> SynthResult:
    """See `engine.synth.synthesise`."""
    reporter = reporter or Reporter()
    began = reporter.elapsed_s
    check_release()
    target = Target(inside(run_root), "synth", "a synthetic world", world_identity(spec), policy_copies())
    report, reused = place_world(target, lambda stage: _write(stage, spec, target, reporter), reporter)
    if reused:
        reporter.message(f"{run_root} holds exactly this world already; nothing was written")
    return SynthResult(
        run_root=target.run_root.outside,
        identity=target.identity,
        bytes=report.bytes,
        seconds=reporter.elapsed_s - began,
        reused=reused,
        **report.statistics,
    )


def _write(stage: InsidePath, spec: WorldSpec, target: Target, reporter: Reporter) -> WorldReport:
    identity = target.identity
    shelf = Shelf(stage, identity, SCENARIO_ID)
    draws = Draws(identity.manifest_fingerprint)
    with reporter.phase("population"):
        policies = load_policies(spec)
        geography = load_geography(spec.preset.zones_per_country)
        population = populate(spec, draws, policies.hybrid_probability)
        placement = place(spec, geography, population, draws)
        scene = Scene(spec, identity, geography, population, placement, policies)
    with reporter.phase("time zones"):
        zones = _zones()
        write_zone_cache(zones, shelf)
    with reporter.phase("sites and routing"):
        write_sites(scene, shelf, draws)
        write_zone_allocation(scene, shelf)
        weight = write_weights(scene, shelf)
        write_group_tables(scene, shelf, merchant_groups(scene, weight), draws)
        edges = write_virtual(scene, shelf, draws)
    with reporter.phase("intensity"):
        model = intensity(scene, zones, draws)
        write_grid(scene, shelf)
        write_grouping(scene, model, shelf)
        write_local_demand(scene, model, shelf)
    with reporter.phase("counts"):
        totals = write_counts(scene, model, shelf, reporter)
    tell_of_refusals(reporter)
    with reporter.phase("bundles and report"):
        write_bundles(shelf)
        for policy_id, data in target.policies.items():
            shelf.binary(policy_id, data)
        made_by = {
            "generator_version": GENERATOR_VERSION,
            "preset": spec.preset.name,
            "seed": spec.seed,
            "scale": spec.scale,
            "complete_edges": spec.complete_edges,
        }
        return write_report(stage, target, made_by, _statistics(scene, totals), _features(scene, totals, edges))


@cache
def _zones() -> ZoneTable:
    return pinned_zones()


def _statistics(scene: Scene, totals: CountTotals) -> dict[str, Any]:
    placement = scene.placement
    return {
        "count_rows": totals.rows,
        "entities": len(placement.entity_pair),
        "merchants": scene.spec.merchants,
        "sites": len(placement.site_pair),
        "tzids": len({*placement.site_zone.tolist(), *placement.entity_zone.tolist()}),
        "expected_arrivals": totals.expected,
        "arrivals": totals.arrivals,
        "zero_share": totals.zero_rows / totals.rows,
        "virtual_share": totals.virtual / totals.arrivals if totals.arrivals else 0.0,
    }


def _features(scene: Scene, totals: CountTotals, edges: int) -> dict[str, Any]:
    population, placement = scene.population, scene.placement
    keys = set(zip(placement.entity_merchant.tolist(), placement.entity_zone.tolist(), strict=True))
    counted = population.counted
    return {
        "merchants_without_counts": int((~counted).sum()),
        "non_virtual_merchants": int((population.mode[counted] == NON_VIRTUAL).sum()),
        "hybrid_merchants": int((population.mode == HYBRID).sum()),
        "virtual_only_merchants": int((population.mode == VIRTUAL_ONLY).sum()),
        "virtual_merchants_without_edges": int(((population.mode != NON_VIRTUAL) & (population.edges == 0)).sum()),
        "edges": edges,
        "merchants_never_with_group_weights": len(placement.never),
        "merchants_sometimes_without_group_weights": len(placement.sometimes),
        "repeated_entities": len(placement.entity_pair) - len(keys),
        "merchant_ids_above_2_63": int((population.merchant >= 2**63).sum()),
        "capped_rows": totals.capped_rows,
    }
