"""Writes a world of `tests.support.model` to disk in the contract's layout, by means of its own.

Only the paths come from the dataset dictionary; columns, binary files, digests and bundles are written from
the contract, so that a reader and a writer of the product cannot share a misunderstanding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.support.blobs import alias_blob, slots, tzc1
from tests.support.law import MICROS
from tests.support.model import World
from tests.support.world_bundles import write_bundles
from tests.support.world_disk import (
    CREATED,
    LAYOUT_VERSION,
    Disk,
    FileForm,
    columns,
    indented,
    rfc3339,
    sha256,
    spaced,
)
from tests.support.world_policies import policy_digest, write_policies
from tests.support.world_virtual import write_virtual

TIME_GRID = columns(
    "text manifest_fingerprint parameter_hash scenario_id",
    "i64 bucket_index",
    "text bucket_start_utc bucket_end_utc",
    "i64 bucket_duration_seconds",
    "bool scenario_is_baseline scenario_is_stress",
    "text s1_spec_version",
)
COUNTS = columns(
    "text manifest_fingerprint parameter_hash",
    "u64 seed",
    "text scenario_id",
    "u64 merchant_id",
    "text zone_representation channel_group",
    "i64 bucket_index",
    "f64 lambda_realised mu",
    "i64 count_N",
    "bool count_capped",
    "i64 bucket_duration_seconds",
    "text count_law_id s3_spec_version",
)
SITE_LOCATIONS = columns("u64 merchant_id", "text legal_country_iso", "i32 site_order", "f64 lon_deg lat_deg")
SITE_TIMEZONES = columns(
    "u64 seed",
    "text manifest_fingerprint",
    "u64 merchant_id",
    "text legal_country_iso",
    "i32 site_order",
    "text tzid tzid_source override_scope",
    "f64 nudge_lat_deg nudge_lon_deg",
    "text created_utc",
)
SITE_WEIGHTS = columns(
    "u64 merchant_id",
    "text legal_country_iso",
    "i64 site_order",
    "f64 p_weight",
    "text weight_source",
    "i64 quantised_bits",
    "bool floor_applied",
    "text created_utc",
)
GROUP_WEIGHTS = columns(
    "u64 merchant_id",
    "text utc_day tz_group_id",
    "f64 p_group base_share gamma",
    "text created_utc",
    "f64 mass_raw denom_raw",
)


@dataclass(frozen=True)
class WrittenWorld:
    """Where a world lies and the one output value that only its files decide."""

    run_root: Path
    routing_universe_hash: str


def write_world(
    world: World,
    run_root: Path,
    *,
    shuffle_seed: int | None = None,
    split_files: int = 1,
    dictionary_strings: bool = False,
    further_scenarios: Sequence[World] = (),
    output_policy: Mapping[str, str] | None = None,
    bundles: bool = True,
) -> WrittenWorld:
    """Write everything that `arrivals seal` and `arrivals run` read; returns the root and the universe hash.

    `further_scenarios` are worlds of the same run of which the grid and the counts are added. `output_policy`
    replaces values of the packaged output policy. Shuffling and splitting spare the time grid and the two 3B
    indexes; the second and later parts of a single-file dataset lie beside it.
    """
    disk = Disk(world, run_root, FileForm(shuffle_seed, split_files, dictionary_strings))
    run_root.mkdir(parents=True, exist_ok=True)
    _receipt(disk)
    for scenario in (world, *further_scenarios):
        _time_grid(disk, scenario)
        _counts(disk, scenario)
    _sites(disk)
    _site_aliases(disk)
    _group_weights(disk)
    _tz_cache(disk)
    universe = write_virtual(disk)
    write_policies(world.policy, run_root, output_policy or {})
    if bundles:
        write_bundles(run_root, world.manifest_fingerprint)
    return WrittenWorld(run_root, universe)


def _receipt(disk: Disk) -> None:
    document = {
        **disk.hashes,
        "run_id": disk.world.run_id,
        "seed": disk.world.seed,
        "contracts_layout": "model_spec",
        "contracts_root": "contracts",
        "runs_root": str(disk.run_root.parent),
        "external_roots": [],
        "created_utc": CREATED,
    }
    disk.write("run_receipt", spaced(document))


def _time_grid(disk: Disk, world: World) -> None:
    rows = [
        {
            **disk.hashes,
            "scenario_id": world.scenario_id,
            "bucket_index": bucket,
            "bucket_start_utc": rfc3339(start),
            "bucket_end_utc": rfc3339(end),
            "bucket_duration_seconds": (end - start) // MICROS,
            "scenario_is_baseline": True,
            "scenario_is_stress": False,
            "s1_spec_version": "1.0.0",
        }
        for bucket, (start, end) in enumerate(world.grid)
    ]
    disk.table_in_order("s1_time_grid_5B", TIME_GRID, rows, world.scenario_id)


def _counts(disk: Disk, world: World) -> None:
    durations = {bucket: (end - start) // MICROS for bucket, (start, end) in enumerate(world.grid)}
    rows = [
        {
            **disk.hashes,
            "seed": world.seed,
            "scenario_id": world.scenario_id,
            "merchant_id": row.merchant_id,
            "zone_representation": row.zone,
            "channel_group": row.channel,
            "bucket_index": row.bucket,
            "lambda_realised": float(abs(row.n)),
            "mu": float(abs(row.n)),
            "count_N": row.n,
            "count_capped": False,
            "bucket_duration_seconds": durations.get(row.bucket, 1),
            "count_law_id": "nb2",
            "s3_spec_version": "1.0.0",
        }
        for row in world.counts
    ]
    disk.table("s3_bucket_counts_5B", COUNTS, rows, world.scenario_id)


def _sites(disk: Disk) -> None:
    locations, zones, weights = [], [], []
    for site in sorted(disk.world.sites, key=lambda s: (s.merchant_id, s.country, s.site_order)):
        key = {
            "merchant_id": site.merchant_id,
            "legal_country_iso": site.country,
            "site_order": site.site_order,
        }
        locations.append({**key, "lon_deg": 13.4, "lat_deg": 52.5})
        zones.append({**disk.identity, **key, "tzid": site.tzid, "tzid_source": "polygon", "created_utc": CREATED})
        weights.append(
            {
                **key,
                "p_weight": site.weight,
                "weight_source": "profile_mixture_v2",
                "quantised_bits": 24,
                "floor_applied": False,
                "created_utc": CREATED,
            }
        )
    disk.table("site_locations", SITE_LOCATIONS, locations)
    disk.table("site_timezones", SITE_TIMEZONES, zones)
    disk.table("s1_site_weights", SITE_WEIGHTS, weights)


def _site_aliases(disk: Disk) -> None:
    weights: dict[int, list[float]] = {}
    for site in sorted(disk.world.sites, key=lambda s: (s.merchant_id, s.country, s.site_order)):
        weights.setdefault(site.merchant_id, []).append(site.weight)
    blob, slices = alias_blob({merchant: (32, slots(own)) for merchant, own in weights.items()})
    index = {
        "layout_version": LAYOUT_VERSION,
        "endianness": "little",
        "alignment_bytes": 8,
        "quantised_bits": 24,
        "created_utc": CREATED,
        "policy_id": "alias_layout_policy_v1",
        "policy_digest": policy_digest("alias_layout_policy_v1"),
        "blob_sha256": sha256(blob),
        "blob_size_bytes": len(blob),
        "merchants_count": len(slices),
        "merchants": [
            {
                "merchant_id": piece.merchant_id,
                "offset": piece.offset,
                "length": piece.length,
                "sites": piece.entries,
                "quantised_bits": 24,
                "checksum": piece.checksum,
            }
            for piece in slices
        ],
    }
    disk.write("s2_alias_blob", blob)
    disk.write("s2_alias_index", indented(index))


def _group_weights(disk: Disk) -> None:
    rows = [
        {
            "merchant_id": group.merchant_id,
            "utc_day": group.utc_day,
            "tz_group_id": group.tzid,
            "p_group": group.weight,
            "base_share": 0.5,
            "gamma": 1.0,
            "created_utc": CREATED,
        }
        for group in sorted(disk.world.group_weights, key=lambda g: (g.merchant_id, g.utc_day, g.tzid))
    ]
    disk.table("s4_group_weights", GROUP_WEIGHTS, rows)


def _tz_cache(disk: Disk) -> None:
    cache = tzc1(disk.world.zones)
    document = {
        "manifest_fingerprint": disk.world.manifest_fingerprint,
        "tzdb_release_tag": version("tzdata"),
        "tzdb_archive_sha256": sha256(b"archive"),
        "tz_index_digest": sha256(cache),
        "rle_cache_bytes": len(cache),
        "created_utc": CREATED,
    }
    folder = disk.path("tz_timetable_cache")
    (folder / "tz_cache_v1.bin").write_bytes(cache)
    (folder / "tz_timetable_cache.json").write_bytes(spaced(document))
