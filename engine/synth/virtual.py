"""3B of a synthetic world: virtual merchants, their settlement places and their edges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from arrival_engine.cpu_fallback.law import NON_VIRTUAL
from arrival_engine.engine.synth.draws import Draws
from arrival_engine.engine.synth.intensity import Scene
from arrival_engine.engine.synth.kernels import ordered_sum
from arrival_engine.engine.synth.presets import GENERATOR_VERSION
from arrival_engine.engine.synth.sites import scattered
from arrival_engine.engine.world_files.shelf import Shelf
from arrival_engine.engine.world_files.virtual import (
    Edge,
    Labels,
    MerchantEdges,
    Places,
    write_classification,
    write_edges,
    write_settlement,
)

Ints = npt.NDArray[np.int64]

_LABELS = Labels(
    generator=GENERATOR_VERSION,
    rule_id="online_business",
    rules=("virtual_rules", "1.0.0"),
    coordinates=("pelias", "1.0.0"),
    edge_weights=("cdn_country_weights", "1.0.0"),
)


def write_virtual(scene: Scene, shelf: Shelf, draws: Draws) -> int:
    """Write every 3B dataset; return the number of edges."""
    population = scene.population
    write_classification(population.merchant, population.mode, shelf, _LABELS)
    _write_settlement(scene, shelf)
    owners = _edges(scene, draws)
    write_edges(owners, shelf, _LABELS)
    return sum(len(owner.edges) for owner in owners)


def _write_settlement(scene: Scene, shelf: Shelf) -> None:
    """The settlement zone of each virtual merchant: the zone of its first site."""
    population, geography, placement = scene.population, scene.geography, scene.placement
    virtual = np.flatnonzero(population.mode != NON_VIRTUAL)
    zone = placement.site_zone[np.searchsorted(placement.site_merchant, virtual)]
    places = Places(geography.tzids, geography.lat, geography.lon)
    write_settlement(population.merchant[virtual], zone, places, shelf, _LABELS)


def _edges(scene: Scene, draws: Draws) -> list[MerchantEdges]:
    """Edges by merchant, with countries and zones drawn by weight and edge weights that fall with rank."""
    geography = scene.geography
    owners = np.flatnonzero(scene.population.edges)
    start = np.zeros(len(owners) + 1, np.int64)
    np.cumsum(scene.population.edges[owners], out=start[1:])
    total = int(start[-1])
    country_edges = np.cumsum(geography.weight)
    country = np.searchsorted(
        country_edges, draws.below("edge country", np.full(total, country_edges[-1])), side="right"
    )
    zone_edges = np.concatenate([[0], np.cumsum(geography.zone_weight)])
    low = zone_edges[geography.start[country]]
    span = zone_edges[geography.start[country + 1]] - low
    row = np.searchsorted(zone_edges, low + draws.below("edge zone", span), side="right") - 1
    zone = geography.zone[row]
    lat = scattered(draws, "edge latitude", geography.lat[zone], 90).tolist()
    lon = scattered(draws, "edge longitude", geography.lon[zone], 180).tolist()
    tilt = 0.5 + draws.uniforms("edge weight", total)
    merchants: list[MerchantEdges] = []
    for m, merchant_id in enumerate(scene.population.merchant[owners].tolist()):
        mine = range(int(start[m]), int(start[m + 1]))
        raw = tilt[mine.start : mine.stop] / (10.0 + np.arange(len(mine)))
        weight = (raw / ordered_sum(raw)).tolist()
        edges = [
            Edge(seq, geography.countries[country[i]], geography.tzids[zone[i]], lat[i], lon[i], weight[seq])
            for seq, i in enumerate(mine)
        ]
        merchants.append(MerchantEdges(merchant_id, edges))
    return merchants
