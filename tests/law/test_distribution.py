"""Chi-square tests within single count rows: a constant, reused or shared uniform would show, and is shown to.

Every statistic runs on the product's arrivals and on a NumPy model of the law whose words can be spoilt. Both are
deterministic. The spoilt models prove that the statistics have the power that the product's pass relies on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from tests.support import law
from tests.support.model import HYBRID, NON_VIRTUAL, VIRTUAL_ONLY, CountRow, GroupWeight, Site
from tests.support.product import on_disk, planned, table_of
from tests.support.worlds import (
    BERLIN,
    CASABLANCA,
    KATHMANDU,
    NEW_YORK,
    PARIS,
    SYDNEY,
    edge_table,
    grid_of,
    instant_us,
    small_world,
    utc_days,
    zones_for,
)

N = 40_000
DURATION_US = 3600 * 10**6
P_VIRTUAL = 0.35  # the packaged policy's
PHYSICAL, MIXED, ONLINE = 11, 12, 13
GROUPS = {BERLIN: 0.5, KATHMANDU: 0.2, NEW_YORK: 0.3}
SITES = {BERLIN: (0.25, 0.05, 0.1, 0.1), KATHMANDU: (0.06, 0.04), NEW_YORK: (0.1, 0.2, 0.05, 0.03, 0.02)}
EDGES = (0.2, 0.05, 0.15, 0.1, 0.02, 0.08, 0.1, 0.3)

# A statistic of the sound law has a p-value above this; none of the spoilt ones comes near.
LEAST_P = 1e-4
SPOILT_P = 1e-12


class Sample(NamedTuple):
    """The arrivals of one count row: offset in microseconds, mode, and zone and place as indices.

    zone: of `zones_in_order`; place: of the zone's sites, or of the merchant's edges on virtual arrivals.
    """

    offset: np.ndarray
    virtual: np.ndarray
    zone: np.ndarray
    place: np.ndarray


def zones_in_order():
    return sorted(GROUPS, key=str.encode)


# --- Statistics: a sample's p-value under the law ------------------------------------------------------


def fits(found, shares):
    """Chi-square p-value of the indices `found` against these shares."""
    shares = np.array(shares) / sum(shares)
    return float(stats.chisquare(np.bincount(found, minlength=shares.size), shares * found.size).pvalue)


def independent(left, right):
    """Chi-square p-value of a contingency table of two index columns."""
    table = np.zeros((left.max() + 1, right.max() + 1))
    np.add.at(table, (left, right), 1)
    occurring = table[:, table.any(axis=0)]  # indices may have gaps
    return float(stats.chi2_contingency(occurring).pvalue)


def hour_tenth(sample):
    return sample.offset * 10 // DURATION_US


def all_sites(sample):
    """Zone and site as one index."""
    return sample.zone * 10 + sample.place


def sites_within_zones(sample):
    """The least p-value over zones, corrected for looking at several."""
    least = min(fits(sample.place[sample.zone == z], SITES[tzid]) for z, tzid in enumerate(zones_in_order()))
    return min(1.0, least * len(GROUPS))


def within(statistic, virtual, sample):
    """The statistic of the virtual, or of the physical, arrivals alone."""
    chosen = sample.virtual == virtual
    return statistic(Sample(*(column[chosen] for column in sample)))


def repeats(sample):
    """Probability of so many equal offsets: coarse uniforms collide."""
    equal = sample.offset.size - np.unique(sample.offset).size
    return float(stats.poisson.sf(equal - 1, sample.offset.size**2 / 2 / DURATION_US))


TIME_STATISTICS: dict[str, Callable[[Sample], float]] = {
    "offsets are uniform": lambda s: fits(s.offset * 400 // DURATION_US, [1] * 400),
    "offsets are uniform in the milliseconds": lambda s: fits(s.offset // 1000 % 1000, [1] * 1000),
    "offsets are uniform in the microseconds": lambda s: fits(s.offset % 1000, [1] * 1000),
    "offsets do not repeat": repeats,
}
SITE_STATISTICS: dict[str, Callable[[Sample], float]] = {
    "zones follow the group weights": lambda s: fits(s.zone, [GROUPS[tzid] for tzid in zones_in_order()]),
    "sites within a zone follow their weights": sites_within_zones,
    "zone does not depend on time": lambda s: independent(hour_tenth(s), s.zone),
    "site does not depend on time": lambda s: independent(hour_tenth(s), all_sites(s)),
}
EDGE_STATISTICS: dict[str, Callable[[Sample], float]] = {
    "edges follow the alias table": lambda s: fits(s.place, EDGES),
    "edge does not depend on time": lambda s: independent(hour_tenth(s), s.place),
}
STATISTICS: dict[str, dict[str, Callable[[Sample], float]]] = {
    NON_VIRTUAL: {**TIME_STATISTICS, **SITE_STATISTICS},
    VIRTUAL_ONLY: {**TIME_STATISTICS, **EDGE_STATISTICS},
    HYBRID: {
        **TIME_STATISTICS,
        "coin follows its share": lambda s: fits(s.virtual.astype(int), [1 - P_VIRTUAL, P_VIRTUAL]),
        "coin does not depend on time": lambda s: independent(hour_tenth(s), s.virtual.astype(int)),
        **{f"physical: {name}": partial(within, f, False) for name, f in SITE_STATISTICS.items()},
        **{f"virtual: {name}": partial(within, f, True) for name, f in EDGE_STATISTICS.items()},
    },
}
CASES = [(mode, name) for mode, named in STATISTICS.items() for name in named]


# --- The product's arrivals ------------------------------------------------------------------------------


def large_world():
    """One merchant a mode, each with count rows of N arrivals; the physical one with rows that differ in one part."""
    grid = grid_of(instant_us("2026-03-02T00:00"), [DURATION_US // 10**6] * 3)
    sites = tuple(
        Site(merchant, "DE", 10 * zone + number, tzid, weight)
        for merchant in (PHYSICAL, MIXED)
        for zone, (tzid, weights) in enumerate(SITES.items(), 1)
        for number, weight in enumerate(weights)
    )
    return small_world(
        grid=grid,
        counts=(
            CountRow(PHYSICAL, PARIS, "a", 0, N),
            CountRow(PHYSICAL, PARIS, "a", 1, N),
            CountRow(PHYSICAL, PARIS, "b", 0, N),
            CountRow(MIXED, PARIS, "a", 0, N),
            CountRow(ONLINE, PARIS, "a", 0, N),
        ),
        sites=sites,
        group_weights=tuple(
            GroupWeight(merchant, day, tzid, share)
            for merchant in (PHYSICAL, MIXED)
            for day in utc_days(grid)
            for tzid, share in GROUPS.items()
        ),
        modes={PHYSICAL: NON_VIRTUAL, MIXED: HYBRID, ONLINE: VIRTUAL_ONLY},
        settlement={},
        edges={m: edge_table(m, EDGES, [SYDNEY, CASABLANCA]) for m in (MIXED, ONLINE)},
        zones=zones_for([BERLIN, PARIS, NEW_YORK, KATHMANDU, SYDNEY, CASABLANCA], grid),
    )


def place_indices(world):
    """Index of every site within its zone and of every edge within its table, by merchant and id."""
    index = {}
    for merchant in (PHYSICAL, MIXED):
        for tzid in GROUPS:
            own = [site for site in world.sites if (site.merchant_id, site.tzid) == (merchant, tzid)]
            for place, site in enumerate(own):
                index[merchant, law.site_id(merchant, site.country, site.site_order)] = place
    for merchant, table in world.edges.items():
        index |= {(merchant, int(edge.edge_id, 16)): place for place, edge in enumerate(table.edges)}
    return index


def sample_of(world, table):
    index = place_indices(world)
    merchants = table["merchant_id"].to_pylist()
    places = [
        s if s is not None else e for s, e in zip(*(table[n].to_pylist() for n in ("site_id", "edge_id")), strict=True)
    ]
    virtual = np.array(table["is_virtual"].to_pylist())
    zones = {tzid: code for code, tzid in enumerate(zones_in_order())}
    starts = np.array([start for start, _ in world.grid])
    return Sample(
        table["ts_utc"].cast(pa.int64()).to_numpy() - starts[table["bucket_index"].to_numpy()],
        virtual,
        np.array([zones.get(tzid, -1) for tzid in table["tzid_primary"].to_pylist()]),
        np.array([index[key] for key in zip(merchants, places, strict=True)]),
    )


@pytest.fixture(scope="module")
def samples():
    """A sample of every count row, by (merchant, channel, bucket)."""
    world = large_world()
    with on_disk(world) as written:
        table = table_of(planned(written.run_root))
    whole = sample_of(world, table)
    keys = list(zip(*(table[n].to_pylist() for n in ("merchant_id", "channel_group", "bucket_index")), strict=True))
    codes = {key: code for code, key in enumerate(sorted(set(keys)))}
    owner = np.array([codes[key] for key in keys])
    split = {key: Sample(*(column[owner == code] for column in whole)) for key, code in codes.items()}
    assert [sample.offset.size for sample in split.values()] == [N] * 5
    return split


ROW_OF_MODE = {NON_VIRTUAL: (PHYSICAL, "a", 0), HYBRID: (MIXED, "a", 0), VIRTUAL_ONLY: (ONLINE, "a", 0)}


@pytest.mark.parametrize(("mode", "name"), CASES)
def test_the_product_draws_by_the_law(samples, mode, name):
    assert STATISTICS[mode][name](samples[ROW_OF_MODE[mode]]) > LEAST_P


@pytest.mark.parametrize("name", STATISTICS[NON_VIRTUAL])
@pytest.mark.parametrize("row", [(PHYSICAL, "a", 1), (PHYSICAL, "b", 0)], ids=str)
def test_other_count_rows_draw_by_the_law_too(samples, row, name):
    assert STATISTICS[NON_VIRTUAL][name](samples[row]) > LEAST_P


def common_offsets(left, right):
    return np.intersect1d(left.offset, right.offset).size


def test_count_rows_share_no_words(samples):
    """Rows of another bucket, channel or merchant meet in an offset by chance alone: 0.44 times on average."""
    for left, right in itertools.combinations(samples, 2):
        assert common_offsets(samples[left], samples[right]) < 8, (left, right)


# --- The NumPy model, sound and spoilt ---------------------------------------------------------------------


class Words(NamedTuple):
    """The words of every arrival, by use."""

    time: np.ndarray
    group: np.ndarray
    site: np.ndarray
    edge: np.ndarray
    coin: np.ndarray

    @staticmethod
    def drawn(seed=20260329):
        rng = np.random.Generator(np.random.PCG64(seed))
        return Words(*rng.integers(0, law.MASK64, (5, N), np.uint64, endpoint=True))


def halves(words):
    return words >> np.uint64(32), words & np.uint64(law.TWO32 - 1)


def offsets(words):
    """Section 4.1 by 32-bit halves; the duration is below 2^32."""
    high, low = halves(words)
    duration = np.uint64(DURATION_US)
    carried = (low * duration + duration // np.uint64(2)) >> np.uint64(32)
    return ((high * duration + carried) >> np.uint64(32)).astype(np.int64)


def picks(words, weights):
    """Section 3's pick by 32-bit halves; n is small."""
    table = law.build_alias(weights)
    high, low = halves(words)
    scaled = high * np.uint64(len(weights)) + (low * np.uint64(len(weights)) >> np.uint64(32))
    slot, fraction = halves(scaled)
    slot = slot.astype(np.int64)
    taken = fraction < np.array(table.thresholds, np.uint64)[slot]
    return np.where(taken, slot, np.array(table.aliases)[slot])


def modelled(words, mode):
    zone = picks(words.group, [GROUPS[tzid] for tzid in zones_in_order()])
    site = np.choose(zone, [picks(words.site, SITES[tzid]) for tzid in zones_in_order()])
    coin = words.coin < np.uint64(law.coin_threshold(str(P_VIRTUAL)))
    virtual = {NON_VIRTUAL: np.zeros(N, bool), VIRTUAL_ONLY: np.ones(N, bool), HYBRID: coin}[mode]
    place = np.where(virtual, picks(words.edge, EDGES), site)
    return Sample(offsets(words.time), virtual, np.where(virtual, -1, zone), place)


def test_the_model_is_the_law():
    words = Words.drawn()
    sample = modelled(words, NON_VIRTUAL)
    tables = [law.build_alias(SITES[tzid]) for tzid in zones_in_order()]
    groups = law.build_alias([GROUPS[tzid] for tzid in zones_in_order()])
    for i in range(500):
        time, group, site = (int(column[i]) for column in words[:3])
        zone = law.pick(group, groups)
        assert sample.offset[i] == law.offset_us(time, DURATION_US)
        assert (sample.zone[i], sample.place[i]) == (zone, law.pick(site, tables[zone]))


@pytest.mark.parametrize(("mode", "name"), CASES)
def test_the_sound_model_passes(mode, name):
    assert STATISTICS[mode][name](modelled(Words.drawn(), mode)) > LEAST_P


class Spoilt(NamedTuple):
    """Words with a fault, the mode whose arrivals suffer from it, and the statistic that must see it."""

    words: Words
    mode: str
    caught_by: str


WORDS = Words.drawn()
MILLISECOND = np.uint64(law.TWO64 // (DURATION_US // 1000))
FLOAT32 = np.uint64(1 << 40)  # 24 of 64 bits are left


def spoilt(mode, caught_by, **words):
    return Spoilt(WORDS._replace(**words), mode, caught_by)


def constant(words):
    return np.full_like(words, words[0])


def twice(words):
    return np.repeat(words[::2], 2)


def coarse(words, step):
    return words // step * step


BY_SITES = "sites within a zone follow their weights"
SPOILT = {
    "site by the group's word": spoilt(NON_VIRTUAL, BY_SITES, site=WORDS.group),
    "group by the site's word": spoilt(NON_VIRTUAL, BY_SITES, group=WORDS.site),
    "one site word for all": spoilt(NON_VIRTUAL, BY_SITES, site=constant(WORDS.site)),
    "one group word for all": spoilt(NON_VIRTUAL, "zones follow the group weights", group=constant(WORDS.group)),
    "group by the time's word": spoilt(NON_VIRTUAL, "zone does not depend on time", group=WORDS.time),
    "site by the time's word": spoilt(NON_VIRTUAL, "site does not depend on time", site=WORDS.time),
    "one time word for all": spoilt(VIRTUAL_ONLY, "offsets are uniform", time=constant(WORDS.time)),
    "every time word used twice": spoilt(NON_VIRTUAL, "offsets are uniform", time=twice(WORDS.time)),
    "time with 24 bits": spoilt(NON_VIRTUAL, "offsets do not repeat", time=coarse(WORDS.time, FLOAT32)),
    "time in milliseconds": spoilt(
        NON_VIRTUAL, "offsets are uniform in the microseconds", time=coarse(WORDS.time, MILLISECOND)
    ),
    "edge by the time's word": spoilt(VIRTUAL_ONLY, "edge does not depend on time", edge=WORDS.time),
    "one edge word for all": spoilt(VIRTUAL_ONLY, "edges follow the alias table", edge=constant(WORDS.edge)),
    "coin by the edge's word": spoilt(HYBRID, "virtual: edges follow the alias table", coin=WORDS.edge),
    "coin by the time's word": spoilt(HYBRID, "coin does not depend on time", coin=WORDS.time),
    "coin by the site's word": spoilt(HYBRID, f"physical: {BY_SITES}", coin=WORDS.site),
    "coin by the group's word": spoilt(HYBRID, "physical: zones follow the group weights", coin=WORDS.group),
    "one coin for all": spoilt(HYBRID, "coin follows its share", coin=constant(WORDS.coin)),
}


@pytest.mark.parametrize("case", SPOILT.values(), ids=SPOILT)
def test_spoilt_words_are_caught(case):
    assert STATISTICS[case.mode][case.caught_by](modelled(case.words, case.mode)) < SPOILT_P


def test_words_shared_by_count_rows_are_caught():
    """A counter without the bucket, and one that adds bucket and draw, give the next bucket the same words."""
    here = modelled(WORDS, NON_VIRTUAL)
    assert common_offsets(here, here) > N - 8
    moved_on = np.append(WORDS.time[1:], np.uint64(12345))
    assert common_offsets(here, modelled(WORDS._replace(time=moved_on), NON_VIRTUAL)) > N - 8
    other = modelled(Words.drawn(1), NON_VIRTUAL)
    assert common_offsets(here, other) < 8


def test_another_seed_draws_other_arrivals(samples):
    world = large_world()
    with on_disk(replace(world, seed=43, counts=world.counts[:1])) as written:
        other = table_of(planned(written.run_root))
    sample = sample_of(world, other)
    assert common_offsets(sample, samples[PHYSICAL, "a", 0]) < 8
    assert all(statistic(sample) > LEAST_P for statistic in STATISTICS[NON_VIRTUAL].values())
