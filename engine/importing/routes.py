"""Where the arrivals of an imported world will go, as far as the counts decide it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from arrival_engine.contracts import Notice
from arrival_engine.contracts.options import ZoneSource
from arrival_engine.contracts.zone_names import one_name_each
from arrival_engine.cpu_fallback.law import HYBRID, NON_VIRTUAL, VIRTUAL_ONLY
from arrival_engine.engine.importing.contents import Contents, Ids, Ints, Merchants
from arrival_engine.engine.merchant_names import told


@dataclass(frozen=True)
class PhysicalRoutes:
    """Arrivals of merchants that are not VIRTUAL_ONLY, by what decides their site; each is in one of the first three.

    own_zone: to a site in the zone of their count row. any_site: to any site of their merchant, which has none in that
    zone. drawn_zone: to a site in a zone drawn by group weights. drawn_without_site: expected number of the drawn ones
    whose zone has no site, so that any site is picked; the coin of hybrid merchants included. hybrid: arrivals of
    hybrid merchants among all of these, some of which will be virtual.
    """

    own_zone: int
    any_site: int
    drawn_zone: int
    drawn_without_site: float
    hybrid: int


def mode_of(merchants: Merchants, ids: Ids) -> Ints:
    """Mode of each id; merchants that are not listed are not virtual."""
    at = np.minimum(np.searchsorted(merchants.merchant, ids), len(merchants.merchant) - 1)
    return np.where(merchants.merchant[at] == ids, merchants.mode[at], NON_VIRTUAL)


def virtual_counts(contents: Contents) -> tuple[int, int]:
    """Arrivals of VIRTUAL_ONLY merchants and of HYBRID merchants."""
    mode = mode_of(contents.merchants, contents.counts.merchant)
    arrivals = contents.counts.arrivals
    return int(arrivals[mode == VIRTUAL_ONLY].sum()), int(arrivals[mode == HYBRID].sum())


def physical_routes(contents: Contents, zones: ZoneSource, hybrid_probability: float) -> PhysicalRoutes:
    """The routes by the policies of an import, which fall back where a zone has no site.

    Every virtual merchant of an import has edges, and every merchant with sites has group weights on every day.
    """
    counts = contents.counts
    mode = mode_of(contents.merchants, counts.merchant)
    physical = mode != VIRTUAL_ONLY
    total, hybrid = (int(counts.arrivals[which].sum()) for which in (physical, mode == HYBRID))
    if zones == "weights":
        coin = np.where(mode == HYBRID, 1.0 - hybrid_probability, 1.0)
        lost = counts.arrivals * coin * _homeless_share(contents, counts.merchant)
        return PhysicalRoutes(0, 0, total, float(lost[physical].sum()), hybrid)
    elsewhere = int(counts.arrivals[_homeless_rows(contents)].sum())
    return PhysicalRoutes(total - elsewhere, elsewhere, 0, 0.0, hybrid)


def _has_site(contents: Contents, merchant: Ids, zone: Ints) -> npt.NDArray[np.bool_]:
    """Whether the merchant has a site with a weight above zero in the zone, by any name of it."""
    everyone, sites = contents.merchants.merchant, contents.sites
    one_name = np.array(one_name_each(contents.tzids), np.int64)
    usable = sites.weight > 0
    home = np.searchsorted(everyone, sites.merchant[usable]) * len(one_name) + one_name[sites.zone[usable]]
    owner = np.searchsorted(everyone, merchant)
    found: npt.NDArray[np.bool_] = np.isin(owner * len(one_name) + one_name[zone], home)
    return found


def _homeless_rows(contents: Contents) -> npt.NDArray[np.bool_]:
    """Count rows with possible physical arrivals in a zone where their merchant has no site."""
    counts = contents.counts
    physical: npt.NDArray[np.bool_] = mode_of(contents.merchants, counts.merchant) != VIRTUAL_ONLY
    return physical & ~_has_site(contents, counts.merchant, counts.zone)


def _homeless_share(contents: Contents, merchant: Ids) -> npt.NDArray[np.float64]:
    """Share of each merchant's given group weights in zones where it has no site; 0 without given weights."""
    groups, everyone = contents.group_weights, contents.merchants.merchant
    owner = np.searchsorted(everyone, groups.merchant)
    homeless = ~_has_site(contents, groups.merchant, groups.zone)
    total = np.bincount(owner, groups.weight, len(everyone))
    lost = np.bincount(owner[homeless], groups.weight[homeless], len(everyone))
    share = np.divide(lost, total, out=np.zeros(len(everyone)), where=total > 0)
    return np.asarray(share[np.searchsorted(everyone, merchant)])


def homeless_counts(contents: Contents) -> Notice | None:
    """A notice of count rows whose merchant has no site in their zone."""
    counts, homeless = contents.counts, _homeless_rows(contents)
    if not homeless.any():
        return None
    row, arrivals = int(np.argmax(homeless)), int(counts.arrivals[homeless].sum())
    at_most = "up to " if (mode_of(contents.merchants, counts.merchant)[homeless] == HYBRID).any() else ""
    message = (
        f"{at_most}{arrivals} arrivals are counted in a zone where their merchant has no site, such as merchant "
        f"{told(contents.merchant_names, int(counts.merchant[row]))} in {contents.tzids[counts.zone[row]]}: they go to "
        "any of its sites"
    )
    return Notice("NO_SITE_IN_ZONE", message, {"arrivals": arrivals})


def homeless_groups(contents: Contents) -> Notice | None:
    """A notice of given group weights in zones without a site of their merchant."""
    groups = contents.group_weights
    homeless = (groups.weight > 0) & ~_has_site(contents, groups.merchant, groups.zone)
    if not homeless.any():
        return None
    row = int(np.argmax(homeless))
    message = (
        f"merchant {told(contents.merchant_names, int(groups.merchant[row]))} has a group weight but no site in "
        f"{contents.tzids[groups.zone[row]]}: "
        "arrivals drawn there go to any of its sites"
    )
    return Notice("NO_SITE_IN_ZONE", message, {"group_weights": int(homeless.sum())})
