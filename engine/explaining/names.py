"""Names of sites and edges for people: country and number, beside the 64-bit ids."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from arrival_engine.engine.explaining.rows import merchant_rows
from arrival_engine.engine.recomputing.identifiers import site_id
from arrival_engine.engine.rundir.receipt import Receipt


class Names:
    """Names of one merchant's sites and edges, read when first asked for."""

    def __init__(self, receipt: Receipt, merchant_id: int) -> None:
        self._receipt, self._merchant_id = receipt, merchant_id

    def site(self, identifier: int) -> str:
        """`DE:2 (site 17703884111212252855)`: legal country and site order."""
        return f"{self._sites[identifier]} (site {identifier})"

    def edge(self, identifier: int) -> str:
        """`JP #7 (edge 3039714863727559346)`: country and sequence number in the edge catalogue."""
        return f"{self._edges[identifier]} (edge {identifier})"

    @cached_property
    def _sites(self) -> dict[int, str]:
        rows = self._rows("s1_site_weights", "legal_country_iso", "site_order")
        return {site_id(self._merchant_id, country, order): f"{country}:{order}" for country, order in rows}

    @cached_property
    def _edges(self) -> dict[int, str]:
        rows = self._rows("edge_catalogue_3B", "edge_id", "country_iso", "edge_seq_index")
        return {int(identifier, 16): f"{country} #{number}" for identifier, country, number in rows}

    def _rows(self, dataset_id: str, *columns: str) -> list[tuple[Any, ...]]:
        return merchant_rows(self._receipt, dataset_id, self._merchant_id, columns)
