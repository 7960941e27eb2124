"""Expected arrivals per entity and bucket: weekly shape in local time, latent field by group, volume."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from arrival_engine.contracts import Identity
from arrival_engine.cpu_fallback.law import NON_VIRTUAL
from arrival_engine.cpu_fallback.streams import StreamFamily, entity_stream
from arrival_engine.engine.synth import kernels
from arrival_engine.engine.synth.draws import Draws
from arrival_engine.engine.synth.geography import Geography
from arrival_engine.engine.synth.kernels import Curves, Entities
from arrival_engine.engine.synth.placement import Placement
from arrival_engine.engine.synth.policies import Policies, bucket_count
from arrival_engine.engine.synth.population import Population
from arrival_engine.engine.synth.presets import HORIZON_START, SCENARIO_BAND, SCENARIO_ID, WorldSpec
from arrival_engine.engine.synth.shapes import CLASSES, weekly_shapes
from arrival_engine.engine.tz.zones import ZoneTable

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LATENT_FAMILY = "S2.latent_vector.v2"
COUNT_FAMILY = "S3.bucket_count.v2"
# The Unix epoch was a Thursday: 72 hours after Monday 00:00.
_EPOCH_HOUR_OF_WEEK = 72


class Group(NamedTuple):
    """A latent-field group (5B.S1); its members share one factor per bucket."""

    demand: int
    channel: str
    band: str
    zone_group: str
    bucket: int

    @property
    def group_id(self) -> str:
        """The contract's text form."""
        name = CLASSES[self.demand].name
        return f"g|{SCENARIO_BAND}|{name}|{self.channel}|{self.band}|{self.zone_group}|b{self.bucket:02d}"


@dataclass(frozen=True, eq=False)
class Intensity:
    """Inputs of the count kernel, and each entity's item of `groups` for the grouping table.

    Entities without volume have no stream and no row in the latent field.
    """

    entities: Entities
    curves: Curves
    limits: Floats
    groups: tuple[Group, ...]
    entity_group: Ints


class Scene(NamedTuple):
    """The parts of a world that determine intensities."""

    spec: WorldSpec
    identity: Identity
    geography: Geography
    population: Population
    placement: Placement
    policies: Policies


def intensity(scene: Scene, zones: ZoneTable, draws: Draws) -> Intensity:
    """Intensities whose expected total, given the latent field, equals the spec's number of arrivals."""
    groups, entity_group = _groups(scene)
    volume = _relative_volume(scene, draws)
    active = volume > 0.0
    used, field_row = np.unique(entity_group[active], return_inverse=True)
    group_row = np.zeros(len(volume), np.int64)
    group_row[active] = field_row
    key, high = _count_streams(scene, active)
    demand = scene.population.demand[scene.placement.entity_merchant]
    entities = Entities(
        volume=volume,
        kappa=_kappa(scene.policies)[demand],
        curve=demand,
        group=group_row,
        zone=scene.placement.entity_zone,
        key=key,
        high=high,
    )
    curves = Curves(weekly_shapes(), local_hours(scene, zones), _field(scene, [groups[g] for g in used.tolist()]))
    sums = kernels.profile_sums(entities, curves)
    volume *= scene.spec.arrivals / kernels.ordered_sum(volume * sums)
    law = scene.policies.document("arrival_count_config_5B")
    clipping = scene.policies.document("arrival_lgcp_config_5B")["clipping"]
    limits = np.array(
        [float(clipping["lambda_max"]), float(law["lambda_zero_eps"]), float(law["max_count_per_bucket"])]
    )
    return Intensity(entities, curves, limits, groups, entity_group)


def local_hours(scene: Scene, zones: ZoneTable) -> Ints:
    """int64[Z, H]: local hour of week (Monday 00:00 is 0) in which each bucket begins."""
    seconds = scene.policies.bucket_seconds
    starts = int(HORIZON_START.timestamp()) + np.arange(bucket_count(scene.policies)) * seconds
    hours = np.empty((len(scene.geography.tzids), len(starts)), np.int64)
    for z, tzid in enumerate(scene.geography.tzids):
        instants, minutes = zones.steps(tzid)
        offset = minutes[np.searchsorted(instants, starts, side="right") - 1].astype(np.int64) * 60
        hours[z] = ((starts + offset) // 3600 + _EPOCH_HOUR_OF_WEEK) % 168
    return hours


def _groups(scene: Scene) -> tuple[tuple[Group, ...], Ints]:
    rule = scene.policies.document("grouping_policy_5B")
    population, placement = scene.population, scene.placement
    zone_groups = [
        f"zg{hashlib.sha256(f'5B.zone_group|{tzid}'.encode()).digest()[0] % rule['zone_group_buckets']:02d}"
        for tzid in scene.geography.tzids
    ]
    known: dict[tuple[int, str], Group] = {}
    members: list[Group] = []
    for m, z in zip(placement.entity_merchant.tolist(), placement.entity_zone.tolist(), strict=True):
        group = known.get((m, zone_groups[z]))
        if group is None:
            group = _group(population, m, zone_groups[z], rule["in_stratum_buckets"])
            known[m, zone_groups[z]] = group
        members.append(group)
    groups = sorted(set(members))
    number = {group: g for g, group in enumerate(groups)}
    return tuple(groups), np.array([number[group] for group in members], np.int64)


def _group(population: Population, m: int, zone_group: str, buckets: int) -> Group:
    demand, channel = int(population.demand[m]), population.channel(m)
    band = "physical" if population.mode[m] == NON_VIRTUAL else "virtual"
    parts = ("5B.group", SCENARIO_ID, CLASSES[demand].name, channel, band, zone_group)
    text = "|".join((*parts, str(int(population.merchant[m]))))
    digest = hashlib.sha256(text.encode()).digest()
    return Group(demand, channel, band, zone_group, int.from_bytes(digest[:8], "big") % buckets)


def _relative_volume(scene: Scene, draws: Draws) -> Floats:
    """float64[E]: a merchant's turnover, shared by the sites that 3A allots to each entity, with jitter."""
    placement = scene.placement
    tilt = 0.4 + 1.2 * draws.uniforms("entity tilt", len(placement.entity_sites))
    part = placement.entity_sites * tilt
    merchant = placement.entity_merchant
    # bincount adds in row order.
    whole = np.bincount(merchant, weights=part, minlength=len(scene.population.merchant))
    return scene.population.volume[merchant] * part / whole[merchant]


def _streams(scene: Scene, family: str, domains: list[str]) -> npt.NDArray[np.uint64]:
    """uint64[n, 2]: key and high counter word of each domain."""
    identity = scene.identity
    prefix = StreamFamily(
        family, identity.manifest_fingerprint, identity.parameter_hash, identity.seed, SCENARIO_ID
    ).prefix()
    return np.array([entity_stream(prefix, domain) for domain in domains], np.uint64).reshape(-1, 2)


def _count_streams(
    scene: Scene, active: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Keys and high words; the country is part of the domain, so repeated keys have separate streams."""
    merchant = scene.population.merchant[scene.placement.entity_merchant].tolist()
    country = scene.placement.pair_country[scene.placement.entity_pair].tolist()
    zone = scene.placement.entity_zone.tolist()
    countries, tzids = scene.geography.countries, scene.geography.tzids
    domains = [
        f"merchant_id={merchant[e]}|legal_country_iso={countries[country[e]]}|zone={tzids[zone[e]]}"
        for e in np.flatnonzero(active).tolist()
    ]
    streams = np.zeros((len(merchant), 2), np.uint64)
    streams[active] = _streams(scene, COUNT_FAMILY, domains)
    return np.ascontiguousarray(streams[:, 0]), np.ascontiguousarray(streams[:, 1])


def _by_class(base: Any, multipliers: Mapping[str, Any], bounds: tuple[Any, Any]) -> Floats:
    """float64[K]: base times each class's multiplier, within bounds."""
    values = [float(base) * float(multipliers[demand.name]) for demand in CLASSES]
    clipped: Floats = np.clip(np.array(values), float(bounds[0]), float(bounds[1]))
    return clipped


def _kappa(policies: Policies) -> Floats:
    law = policies.document("arrival_count_config_5B")["nb2"]["kappa_law"]
    return _by_class(law["base_by_scenario_band"][SCENARIO_BAND], law["class_multipliers"], law["kappa_bounds"])


def _field(scene: Scene, groups: list[Group]) -> Floats:
    """float64[G, H]: latent factors of the groups."""
    config = scene.policies.document("arrival_lgcp_config_5B")
    law, length = config["hyperparam_law"]["sigma"], config["hyperparam_law"]["length_scale_buckets"]
    lengths = _by_class(
        length["base_by_scenario_band"][SCENARIO_BAND],
        length["class_multipliers"],
        length["length_scale_bounds"],
    )
    base = float(law["base_by_scenario_band"][SCENARIO_BAND])
    sigma = np.array(
        [
            base
            * float(law["class_multipliers"][CLASSES[group.demand].name])
            * float(law["channel_multipliers"][group.channel])
            * float(law["virtual_multipliers"][group.band])
            for group in groups
        ]
    )
    low, high = (float(bound) for bound in law["sigma_bounds"])
    phi = np.array([kernels.exp_portable(-1.0 / lengths[group.demand]) for group in groups])
    streams = _streams(scene, LATENT_FAMILY, [f"group_id={group.group_id}" for group in groups])
    clip = np.array([float(config["clipping"][name]) for name in ("min_factor", "max_factor")])
    field = np.empty((len(groups), bucket_count(scene.policies)))
    kernels.latent_field(
        np.ascontiguousarray(streams[:, 0]),
        np.ascontiguousarray(streams[:, 1]),
        np.clip(sigma, low, high),
        phi,
        clip,
        field,
    )
    return field
