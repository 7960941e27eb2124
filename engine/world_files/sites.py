"""Site tables of 2A and 2B, and the time zone cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from arrival_engine.contracts import receipt_json
from arrival_engine.contracts.arrow_columns import coded, constant
from arrival_engine.engine.alias_blobs.encode import encode_2b
from arrival_engine.engine.alias_blobs.index import site_index_json
from arrival_engine.engine.tz.pinned import archive_sha256, release
from arrival_engine.engine.tz.tzc1 import encode
from arrival_engine.engine.tz.zones import ZoneTable
from arrival_engine.engine.world_files.shelf import CREATED_UTC, Shelf, absent

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SiteColumns:
    """Sites by (merchant, legal country, site order).

    merchant: uint64[S]; country, zone: int64[S] codes into `countries` and `tzids`; order: int64[S], from 1.
    """

    merchant: npt.NDArray[np.uint64]
    country: Ints
    countries: Sequence[str]
    order: Ints
    zone: Ints
    tzids: Sequence[str]

    def keys(self) -> dict[str, pa.Array]:
        """The three key columns of every site table, in their order."""
        return {
            "merchant_id": pa.array(self.merchant),
            "legal_country_iso": coded(self.country, self.countries),
            "site_order": pa.array(self.order),
        }


def write_site_timezones(sites: SiteColumns, shelf: Shelf, source: Literal["polygon", "override"]) -> None:
    """Write `site_timezones` (2A); an override is one of the site itself."""
    rows = len(sites.merchant)
    shelf.table(
        "site_timezones",
        {
            **shelf.common(rows, "seed", "manifest_fingerprint"),
            **sites.keys(),
            "site_order": pa.array(sites.order.astype(np.int32)),
            "tzid": coded(sites.zone, sites.tzids),
            "tzid_source": constant(source, rows),
            "override_scope": constant("site", rows) if source == "override" else absent(rows),
            "nudge_lat_deg": absent(rows, pa.float64()),
            "nudge_lon_deg": absent(rows, pa.float64()),
            **shelf.common(rows, "created_utc"),
        },
    )


@dataclass(frozen=True)
class WeightLabels:
    """Provenance in `s1_site_weights`: the source of weights, and the alias layout policy's facts."""

    source: str
    quantised_bits: int
    policy_sha256: str


def write_site_weights(sites: SiteColumns, weight: npt.NDArray[np.float64], shelf: Shelf, labels: WeightLabels) -> None:
    """Write `s1_site_weights`, the alias blob and its index (2B); `weight` float64[S] sums to 1 per merchant.

    Raises SITE_RESOLUTION_FAILED for weights that `encode_2b` refuses.
    """
    rows = len(weight)
    shelf.table(
        "s1_site_weights",
        {
            **sites.keys(),
            "p_weight": pa.array(weight),
            "weight_source": constant(labels.source, rows),
            "quantised_bits": pa.array(np.full(rows, labels.quantised_bits, np.int64)),
            "floor_applied": pa.array(np.zeros(rows, np.bool_)),
            **shelf.common(rows, "created_utc"),
        },
    )
    merchant, first = np.unique(sites.merchant, return_index=True)
    blob, index = encode_2b(
        merchant,
        np.append(first, rows).astype(np.int64),
        weight,
        policy_digest=labels.policy_sha256,
        created_utc=CREATED_UTC,
    )
    shelf.binary("s2_alias_blob", blob)
    shelf.pieces("s2_alias_index", site_index_json(index))


def write_zone_cache(zones: ZoneTable, shelf: Shelf) -> None:
    """Write `tz_cache_v1.bin` and its manifest (2A)."""
    data = encode(zones)
    document = {
        "manifest_fingerprint": shelf.identity.manifest_fingerprint,
        "tzdb_release_tag": release(),
        "tzdb_archive_sha256": archive_sha256(),
        "tz_index_digest": hashlib.sha256(data).hexdigest(),
        "rle_cache_bytes": len(data),
        "created_utc": CREATED_UTC,
    }
    shelf.binary("tz_timetable_cache_bin", data)
    shelf.document("tz_timetable_cache_manifest", document, receipt_json(document))
