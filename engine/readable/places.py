"""The country of each place that arrivals name, found for whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.identifiers import edge_id, site_id
from arrival_engine.engine.rundir.inputs import read_table
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.world.codes import encoded
from arrival_engine.engine.world.sites import SITE_KEY

__all__ = ["Members", "PlaceList", "Places", "places_of_members", "places_of_run"]

_UNKNOWN, _BY_MERCHANT = -1, -2


class Members(Protocol):
    """Sites or edges by merchant, country and number: arrays of one length; `country` codes into `countries`."""

    @property
    def merchant(self) -> NDArray[np.uint64]:
        """The merchants' ids."""

    @property
    def country(self) -> NDArray[np.int64]:
        """Codes of countries."""

    @property
    def countries(self) -> Sequence[str]:
        """The countries."""

    @property
    def order(self) -> NDArray[np.int64]:
        """Numbers from 1: of a site within merchant and country, of an edge within its merchant."""


class PlaceList(NamedTuple):
    """Sites or edges, K of them in any order: merchant, id uint64[K]; country int64[K] codes into `countries`."""

    merchant: NDArray[np.uint64]
    id: NDArray[np.uint64]
    country: NDArray[np.int64]
    countries: Sequence[str]


class Places:
    """Countries of sites and of edges; an id of places with several countries is told apart by its merchant."""

    def __init__(self, sites: PlaceList, edges: PlaceList) -> None:
        self._countries = sorted({*sites.countries, *edges.countries})
        self._sites = _Lookup(sites, self._countries, Code.SITE_RESOLUTION_FAILED, "site")
        self._edges = _Lookup(edges, self._countries, Code.EDGE_RESOLUTION_FAILED, "edge")
        self._texts = pa.array(self._countries, pa.string())

    def countries(self, merchant: pa.Array, place: pa.Array, virtual: NDArray[np.bool_]) -> pa.DictionaryArray:
        """The country of each place, N of them; merchant, place: uint64[N]; virtual: bool[N], whether it is an edge.

        Raises SITE_RESOLUTION_FAILED, EDGE_RESOLUTION_FAILED for a place that is not among those of the world.
        """
        coded_place = place.dictionary_encode()
        distinct, at = coded_place.dictionary.to_numpy(), coded_place.indices.to_numpy()
        codes = np.where(virtual, self._edges.codes(distinct)[at], self._sites.codes(distinct)[at])
        if codes.size and codes.min() < 0:
            self._tell_apart(codes, merchant.to_numpy(), place.to_numpy(), virtual)
        return pa.DictionaryArray.from_arrays(pa.array(codes), self._texts, safe=False)

    def _tell_apart(
        self,
        codes: NDArray[np.int32],
        merchant: NDArray[np.uint64],
        place: NDArray[np.uint64],
        virtual: NDArray[np.bool_],
    ) -> None:
        for lookup, kind in ((self._edges, virtual), (self._sites, ~virtual)):
            rows = np.flatnonzero(kind & (codes < 0))
            if rows.size:
                codes[rows] = lookup.codes_by_merchant(merchant[rows], place[rows])


class _Lookup:
    """Countries by id, and by merchant and id where the id alone does not decide."""

    def __init__(self, places: PlaceList, countries: Sequence[str], code: Code, kind: str) -> None:
        number = {country: at for at, country in enumerate(countries)}
        recoded = np.array([number[country] for country in places.countries], np.int32)
        country = recoded[places.country] if recoded.size else np.empty(0, np.int32)
        order = np.lexsort((country, places.id))
        ids, country, merchant = places.id[order], country[order], places.merchant[order]
        first = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])[: ids.size])
        self._ids, self._codes = ids[first], country[first].copy()
        # Countries ascend within an id, so that the first and the last differ if any do.
        self._codes[country[np.append(first, ids.size)[1:] - 1] != self._codes] = _BY_MERCHANT
        shared = np.isin(ids, self._ids[self._codes == _BY_MERCHANT])
        keys = zip(merchant[shared].tolist(), ids[shared].tolist(), strict=True)
        self._of_pair = dict(zip(keys, country[shared].tolist(), strict=True))
        self._error, self._kind = code, kind

    def codes(self, ids: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Codes of countries, int32[N]; negative where an id is unknown or does not decide."""
        if self._ids.size == 0:
            return np.full(ids.size, _UNKNOWN, np.int32)
        at = np.minimum(np.searchsorted(self._ids, ids), self._ids.size - 1)
        return np.where(self._ids[at] == ids, self._codes[at], np.int32(_UNKNOWN))

    def codes_by_merchant(self, merchant: NDArray[np.uint64], ids: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Codes of countries, int32[N]; raises the error of an unknown place."""
        pairs, inverse = np.unique(np.stack([merchant, ids], axis=1), axis=0, return_inverse=True)
        found = np.array([self._of_pair.get((m, p), _UNKNOWN) for m, p in pairs.tolist()], np.int32)
        if (found < 0).any():
            owner, place = pairs[int(np.argmax(found < 0))].tolist()
            raise ArrivalError(
                self._error,
                f"an arrival of merchant {owner} names {self._kind} {place}, which the world does not have",
                hint="the arrivals were made from other inputs; make them again with `arrivals run RUN_ROOT --replace`",
                merchant_id=owner,
                place_id=place,
            )
        return found[inverse.reshape(-1)]


def places_of_members(sites: Members, edges: Members) -> Places:
    """The places of tables in memory, whose ids are made as `arrivals import` makes them."""
    names = [sites.countries[code] for code in sites.country.tolist()]
    keys = zip(sites.merchant.tolist(), names, sites.order.tolist(), strict=True)
    site_ids = np.array([site_id(*key) for key in keys], np.uint64)
    numbers = zip(edges.merchant.tolist(), (edges.order - 1).tolist(), strict=True)
    edge_ids = np.array([edge_id(*key) for key in numbers], np.uint64)
    return Places(
        PlaceList(sites.merchant, site_ids, sites.country, sites.countries),
        PlaceList(edges.merchant, edge_ids, edges.country, edges.countries),
    )


def places_of_run(receipt: Receipt) -> Places:
    """The places of a run's inputs; errors as of `read_table`."""
    sites = read_table(receipt, "s1_site_weights", SITE_KEY)
    keys = zip(*(sites[name].to_pylist() for name in SITE_KEY), strict=True)
    site_ids = np.array([site_id(*key) for key in keys], np.uint64)
    edges = read_table(receipt, "edge_catalogue_3B", ("merchant_id", "edge_id", "country_iso"))
    edge_ids = np.array([int(text, 16) for text in edges["edge_id"].to_pylist()], np.uint64)
    return Places(
        _listed(sites, site_ids, "legal_country_iso"),
        _listed(edges, edge_ids, "country_iso"),
    )


def _listed(table: pa.Table, ids: NDArray[np.uint64], country: str) -> PlaceList:
    codes, texts = encoded(table[country])
    # The last text stands for null, which the contract does not allow here.
    return PlaceList(table["merchant_id"].to_numpy(), ids, codes, texts[:-1])
