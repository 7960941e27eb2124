"""Site tables of 1B and 2A, and the zone allocation of 3A."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from arrival_engine.contracts import indented_json
from arrival_engine.contracts.arrow_columns import coded, constant
from arrival_engine.engine.synth.draws import Draws
from arrival_engine.engine.synth.intensity import Scene
from arrival_engine.engine.synth.presets import GENERATOR_VERSION
from arrival_engine.engine.world_files.shelf import CREATED_UTC, Shelf, absent
from arrival_engine.engine.world_files.sites import SiteColumns, write_site_timezones

# Places scatter over about 150 km around a zone's principal place.
_SCATTER = 1_500_000
_NOTE = f"synthetic world, generator {GENERATOR_VERSION}"


def scattered(draws: Draws, purpose: str, centre: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.float64]:
    """float64: degrees near each centre (in 1e-6 degrees), kept within +-limit degrees."""
    shift = draws.below(purpose, np.full(len(centre), 2 * _SCATTER + 1, np.int64)) - _SCATTER
    bound = limit * 1_000_000
    degrees: npt.NDArray[np.float64] = np.clip(centre + shift, -bound, bound) / 1e6
    return degrees


def site_columns(scene: Scene) -> SiteColumns:
    """The sites in the order of every site table."""
    placement, geography = scene.placement, scene.geography
    return SiteColumns(
        merchant=scene.population.merchant[placement.site_merchant],
        country=placement.pair_country[placement.site_pair],
        countries=geography.countries,
        order=placement.site_order,
        zone=placement.site_zone,
        tzids=geography.tzids,
    )


def write_sites(scene: Scene, shelf: Shelf, draws: Draws) -> None:
    """`site_locations` (1B) and `site_timezones` (2A)."""
    sites = site_columns(scene)
    shelf.table(
        "site_locations",
        {
            **sites.keys(),
            "site_order": pa.array(sites.order.astype(np.int32)),
            "lon_deg": pa.array(scattered(draws, "site longitude", scene.geography.lon[sites.zone], 180)),
            "lat_deg": pa.array(scattered(draws, "site latitude", scene.geography.lat[sites.zone], 90)),
        },
    )
    write_site_timezones(sites, shelf, "polygon")


def write_zone_allocation(scene: Scene, shelf: Shelf) -> None:
    """`zone_alloc` (3A) and its universe hash over hex digests; the table is hashed with zeros for that hash."""
    digests = {
        "zone_alpha_digest": _stand_in("country_zone_alphas"),
        "theta_digest": _stand_in("zone_mixture_policy"),
        "zone_floor_digest": _stand_in("zone_floor_policy"),
        "day_effect_digest": scene.policies.sha256("day_effect_policy_v1"),
    }
    path = shelf.table("zone_alloc", _allocation(scene, shelf, "0" * 64))
    digests["zone_alloc_parquet_digest"] = hashlib.sha256(path.read_bytes()).hexdigest()
    universe = hashlib.sha256("".join(digests.values()).encode("ascii")).hexdigest()
    shelf.table("zone_alloc", _allocation(scene, shelf, universe))
    document = {
        "manifest_fingerprint": shelf.identity.manifest_fingerprint,
        "parameter_hash": shelf.identity.parameter_hash,
        **digests,
        "routing_universe_hash": universe,
        "version": "1.0.0",
        "created_at_utc": CREATED_UTC,
        "notes": _NOTE,
    }
    shelf.document("zone_alloc_universe_hash", document, indented_json(document))


def _stand_in(name: str) -> str:
    """A stand-in digest for an upstream policy that no reader of this world opens."""
    return hashlib.sha256(f"arrival-engine.synth|{GENERATOR_VERSION}|{name}".encode()).hexdigest()


def _allocation(scene: Scene, shelf: Shelf, universe: str) -> dict[str, pa.Array]:
    placement, geography = scene.placement, scene.geography
    pair = placement.entity_pair
    rows = len(pair)
    country_sites = pa.array(placement.pair_sites[pair])
    policies = {
        "prior_pack": ("country_zone_alphas", "1.0.0"),
        "floor_policy": ("zone_floor_policy", "1.0.0"),
        "mixture_policy": ("zone_mixture_policy", "1.0.0"),
        "day_effect_policy": (
            "day_effect_policy_v1",
            scene.policies.by_id["day_effect_policy_v1"].version,
        ),
    }
    versions = {
        f"{name}_{part}": constant(text, rows)
        for name, texts in policies.items()
        for part, text in zip(("id", "version"), texts, strict=True)
    }
    return {
        **shelf.common(rows, "seed", "manifest_fingerprint"),
        "merchant_id": pa.array(scene.population.merchant[placement.entity_merchant]),
        "legal_country_iso": coded(placement.pair_country[pair], geography.countries),
        "tzid": coded(placement.entity_zone, geography.tzids),
        "zone_site_count": pa.array(placement.entity_sites),
        "zone_site_count_sum": country_sites,
        "site_count": country_sites,
        **versions,
        "routing_universe_hash": constant(universe, rows),
        "alpha_sum_country": absent(rows, pa.float64()),
        "notes": absent(rows),
    }
