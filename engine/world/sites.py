"""Physical sites: the join of weights and zones, and the alias tables over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.zone_names import one_name_each
from arrival_engine.cpu_fallback.alias import pack
from arrival_engine.cpu_fallback.identifiers import site_id
from arrival_engine.cpu_fallback.tables import NO_TABLE, Sites
from arrival_engine.engine.rundir.inputs import read_table
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.world.codes import alias_tables, codes_in, only_merchants, starts_of, texts_of

SITE_KEY = ("merchant_id", "legal_country_iso", "site_order")


@dataclass(frozen=True)
class SiteList:
    """Sites of the world's merchants, ordered by (merchant, legal_country_iso, site_order); K of them.

    merchant: int64[K] index; tzids: object[K]; ids: uint64[K]; weights: float64[K].
    """

    merchant: NDArray[np.int64]
    tzids: NDArray[np.object_]
    ids: NDArray[np.uint64]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class SiteTables:
    """Alias tables over sites, with the index of each merchant's and each (merchant, zone)'s table."""

    tables: Sites
    of_merchant: NDArray[np.int32]  # [M]
    _pair_keys: NDArray[np.int64]
    _pair_tables: NDArray[np.int32]
    _one_name: NDArray[np.int64]  # [Z] of `one_name_each`

    def of_pair(self, merchant: NDArray[np.int64], zone: NDArray[np.int64]) -> NDArray[np.int32]:
        """Table of the merchant's sites in a zone, by any name of it, NO_TABLE if it has none there with a weight."""
        if self._pair_keys.size == 0:
            return np.full(merchant.size, NO_TABLE, np.int32)
        key = merchant * self._one_name.size + self._one_name[zone]
        at = np.minimum(np.searchsorted(self._pair_keys, key), self._pair_keys.size - 1)
        return np.where(self._pair_keys[at] == key, self._pair_tables[at], np.int32(NO_TABLE)).astype(np.int32)


def read_sites(receipt: Receipt, merchant_ids: NDArray[np.uint64] | None = None) -> pa.Table:
    """SITE_KEY, p_weight and tzid of sites with a weight, by SITE_KEY; tzid is null where site_timezones has no row.

    Of all merchants, or of those given. Raises SITE_RESOLUTION_FAILED for a key that repeats.
    """
    weights, zones = _keyed(receipt, "s1_site_weights", "p_weight"), _keyed(receipt, "site_timezones", "tzid")
    if merchant_ids is not None:
        (weights, _), (zones, _) = only_merchants(weights, merchant_ids), only_merchants(zones, merchant_ids)
    joined = weights.join(zones, keys=list(SITE_KEY), join_type="left outer")
    return joined.sort_by([(name, "ascending") for name in SITE_KEY])


def load_sites(receipt: Receipt, merchant_ids: NDArray[np.uint64]) -> SiteList:
    """Sites with weight and zone of the given merchants. Raises SITE_RESOLUTION_FAILED."""
    joined = read_sites(receipt, merchant_ids)
    missing = pc.is_null(joined["tzid"])
    if pc.any(missing).as_py():
        row = joined.filter(missing).slice(0, 1).to_pylist()[0]
        raise ArrivalError(
            Code.SITE_RESOLUTION_FAILED,
            f"site {row['legal_country_iso']}:{row['site_order']} of merchant {row['merchant_id']} has a weight, but "
            "no row in site_timezones",
            hint="site_timezones must cover every site of s1_site_weights",
            **row,
        )
    keys = zip(*(joined[name].to_pylist() for name in SITE_KEY), strict=True)
    _, merchant = only_merchants(joined, merchant_ids)
    return SiteList(
        merchant=merchant,
        tzids=texts_of(joined["tzid"]),
        ids=np.array([site_id(*key) for key in keys], np.uint64),
        weights=joined["p_weight"].to_numpy(),
    )


def _keyed(receipt: Receipt, dataset_id: str, value: str) -> pa.Table:
    """A site table with plain strings and a unique key."""
    table = read_table(receipt, dataset_id, (*SITE_KEY, value))
    texts = {name: pa.array(texts_of(table[name]), pa.string()) for name in table.column_names if _is_text(table, name)}
    for name, values in texts.items():
        table = table.set_column(table.column_names.index(name), name, values)
    table = table.set_column(2, "site_order", table["site_order"].cast(pa.int64()))
    groups = table.group_by(list(SITE_KEY)).aggregate([([], "count_all")])
    repeated = groups.filter(pc.greater(groups["count_all"], 1))
    if repeated.num_rows:
        row = repeated.slice(0, 1).to_pylist()[0]
        raise ArrivalError(
            Code.SITE_RESOLUTION_FAILED,
            f"{dataset_id} has {row['count_all']} rows for site {row['legal_country_iso']}:{row['site_order']} of "
            f"merchant {row['merchant_id']}",
            hint="the key (merchant_id, legal_country_iso, site_order) must be unique",
            dataset=dataset_id,
        )
    return table


def _is_text(table: pa.Table, name: str) -> bool:
    kind = table.schema.field(name).type
    return bool(pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def build_site_tables(sites: SiteList, tzids: Sequence[str], merchant_ids: NDArray[np.uint64]) -> SiteTables:
    """One alias table per (merchant, zone) and one per merchant, slots by (legal_country_iso, site_order): LAW 3.

    Sites under several names of one zone share a table (LAW 4).
    """
    zone = codes_in(sites.tzids, tzids)
    merchants = merchant_ids.size
    one_name = np.array(one_name_each(tzids), np.int64)
    pair = sites.merchant * len(tzids) + one_name[zone]
    by_pair = np.argsort(pair, kind="stable")
    pair_keys, pair_first = np.unique(pair[by_pair], return_index=True)
    starts = np.concatenate([pair_first, pair.size + starts_of(sites.merchant, merchants)]).astype(np.int64)
    order = np.concatenate([by_pair, np.arange(pair.size)])

    def name(table: int) -> str:
        owner = sites.merchant[order[starts[table]]]
        return f"the sites of merchant {merchant_ids[owner]}"

    built = alias_tables(sites.weights[order], starts, Code.SITE_RESOLUTION_FAILED, name)
    numbers = np.where(built.exists, np.arange(built.exists.size), NO_TABLE).astype(np.int32)
    tables = Sites(starts, pack(built.threshold, built.alias), sites.ids[order], zone[order].astype(np.int32))
    return SiteTables(tables, numbers[pair_keys.size :], pair_keys, numbers[: pair_keys.size], one_name)
