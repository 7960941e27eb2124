"""A scenario of a run directory, read and checked, as the tables that both backends expand."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code, Identity, Notice
from arrival_engine.cpu_fallback import alias
from arrival_engine.cpu_fallback.tables import Grid, Rows, Tables
from arrival_engine.engine.alias_blobs.inputs import site_slices
from arrival_engine.engine.merchant_names import (
    MerchantNames,
    known_as,
    load_merchant_names,
    merchant_id_of,
    naming_merchants,
    require_names,
    told,
)
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.rundir.settings import Settings, load_settings
from arrival_engine.engine.sealing import Seal, verify_seal
from arrival_engine.engine.world.catalogue import united
from arrival_engine.engine.world.counts import CountRows, merge_rows, read_counts
from arrival_engine.engine.world.grid import load_grid
from arrival_engine.engine.world.groups import NO_GROUP_WEIGHTS, load_group_weights
from arrival_engine.engine.world.join import MerchantFacts, Origin, join
from arrival_engine.engine.world.sites import load_sites
from arrival_engine.engine.world.virtual import load_edges, load_virtual_merchants, verified_universe_hash
from arrival_engine.engine.world.zones import load_zone_table


@dataclass(frozen=True)
class World:
    """One scenario, ready to plan: count rows in law order, lookup tables, and the texts behind their codes.

    seal_digest: of the sealed inputs; None for a world that was never sealed. universe_hash: 3B's, verified. rows:
    count rows with N > 0 (R of them). tzids, channels: texts of zone and channel codes, in byte order; the null
    channel is "". input_rows, zero_rows, merged_rows: numbers of count rows read, dropped and merged. names: the texts
    of the merchants; None if merchant ids are numbers.
    """

    identity: Identity
    spec_version: str
    seal_digest: str | None
    scenario_id: str
    settings: Settings
    universe_hash: str
    tzids: tuple[str, ...]
    channels: tuple[str, ...]
    tables: Tables
    rows: Rows
    input_rows: int
    zero_rows: int
    merged_rows: int
    notices: tuple[Notice, ...]
    names: MerchantNames | None

    @property
    def arrivals(self) -> int:
        """Exact number of arrivals."""
        return int(self.rows.arrivals.sum(dtype=np.int64))

    def told(self, merchant_id: int) -> str:
        """A merchant in a sentence: its text in quotes, or its id."""
        return told(self.names, merchant_id)

    def known_as(self, merchant_id: int) -> dict[str, Any]:
        """A merchant in an error's context or a document: `merchant_id`, and `merchant` if it has a text."""
        return known_as(self.names, merchant_id)

    def merchant_id_of(self, given: int | str) -> int:
        """The id of a merchant given by its text or id. Raises OPTION_INVALID for a text that is neither."""
        return merchant_id_of(self.names, given)


@dataclass(frozen=True)
class SealedWorld(World):
    """A world of a sealed run directory; its receipt is bound to the seal."""

    receipt: Receipt
    seal: Seal


def sealed(world: World) -> SealedWorld:
    """The world, which must be one of a run directory. Raises TypeError for a world in memory."""
    if not isinstance(world, SealedWorld):
        raise TypeError("a world in memory has no run directory")
    return world


def scenario_ids(receipt: Receipt) -> tuple[str, ...]:
    """Scenarios that have counts for the run's seed and fingerprint, in byte order."""
    return tuple(receipt.partitions("s3_bucket_counts_5B"))


def load_world(
    run_root: Path | str,
    scenario_id: str | None = None,
    *,
    seal: Seal | None = None,
    strict: bool = False,
    accept_tz_cache: bool = False,
    threads: int | None = None,
    merchant_ids: Collection[int | str] | None = None,
) -> SealedWorld:
    """Read one scenario of a run directory, or only the given merchants; their arrivals are the same either way.

    `scenario_id` may be omitted if the run has one scenario. A merchant is given by its id or its text. `strict` makes
    every fallback an error; `accept_tz_cache` turns a disagreement of the tz cache with tzdata into a notice. Every
    sealed input is hashed and compared first, unless the caller passes the verified `seal`. Raises ArrivalError with
    the code of the missing or invalid input.
    """
    receipt = read_receipt(Path(run_root))
    seal = seal or verify_seal(receipt)
    with naming_merchants(receipt), ThreadPoolExecutor(2, thread_name_prefix="aside") as aside:
        # numba takes a third of a second to load the first kernel of a process; other threads read meanwhile.
        loading = aside.submit(alias.load_kernel)
        source = read_source(receipt, scenario_id, seal=seal, strict=strict)
        grid = source.grid()
        buckets, max_count = grid.start_us.size, source.settings.max_count
        wanted = _wanted_merchants(source.receipt, merchant_ids)
        drawn = read_counts(
            source.receipt, source.scenario_id, buckets, max_count, threads or available_cores(), wanted
        )
        # The other facts about merchants are read while the rows are sorted.
        whole = united([piece.catalogue for piece in drawn])
        facts = aside.submit(read_merchant_facts, source, grid, whole[0].merchant_ids)
        counts = merge_rows(whole, drawn, buckets, max_count)
        loading.result()
        return _sealed(source, grid, counts, facts.result(), accept_tz_cache=accept_tz_cache)


def _wanted_merchants(receipt: Receipt, given: Collection[int | str] | None) -> Collection[int] | None:
    if given is None:
        return None
    texts = any(isinstance(merchant, str) for merchant in given)
    names = load_merchant_names(receipt) if texts else None
    return [merchant_id_of(names, merchant) for merchant in given]


def read_source(receipt: Receipt, scenario_id: str | None, *, seal: Seal, strict: bool) -> Source:
    """The source of a world, with its routing universe verified; options and errors as in `load_world`.

    Its receipt is bound to the seal.
    """
    receipt = seal.bind(receipt)
    scenario = _chosen_scenario(receipt, scenario_id)
    settings = load_settings(receipt)
    settings = settings.strict() if strict else settings
    universe_hash = verified_universe_hash(receipt)
    # The law draws sites from weights, not from the blob, but a blob that contradicts its index means damage to 2B.
    site_slices(receipt)
    return Source(receipt, seal, scenario, settings, universe_hash)


def _chosen_scenario(receipt: Receipt, scenario_id: str | None) -> str:
    known = scenario_ids(receipt)
    if scenario_id in known:
        return str(scenario_id)
    if scenario_id is None and len(known) == 1:
        return known[0]
    listed = ", ".join(known) or "none"
    problem = f"scenario {scenario_id!r} has no counts" if scenario_id else "the run has several scenarios"
    raise ArrivalError(
        Code.OPTION_INVALID if known else Code.S1_OR_S3_OUTPUT_MISSING,
        f"{problem if known else 'the run has no bucket counts'}; found: {listed}",
        hint="name one of the scenarios found, and check the seed and manifest_fingerprint of run_receipt.json",
        scenarios=list(known),
    )


@dataclass(frozen=True)
class Source:
    """The run and scenario of a world, and its settings."""

    receipt: Receipt
    seal: Seal
    scenario_id: str
    settings: Settings
    universe_hash: str

    def origin(self) -> Origin:
        """What the scenario's arrivals are drawn under."""
        return Origin(
            identity=self.receipt.identity,
            spec_version=self.seal.spec_version,
            seal_digest=self.seal.digest,
            scenario_id=self.scenario_id,
            settings=self.settings,
            universe_hash=self.universe_hash,
        )

    def grid(self) -> Grid:
        """The scenario's time grid."""
        return load_grid(self.receipt, self.scenario_id, self.settings.max_bucket_seconds)


def read_merchant_facts(source: Source, grid: Grid, merchant_ids: NDArray[np.uint64]) -> MerchantFacts:
    """Read and check everything but the counts; errors as in `load_world`."""
    receipt = source.receipt
    sites = load_sites(receipt, merchant_ids)
    used = source.settings.use_group_weights
    weights = load_group_weights(receipt, merchant_ids, grid) if used else NO_GROUP_WEIGHTS
    virtual = load_virtual_merchants(receipt, merchant_ids)
    edges = load_edges(receipt, merchant_ids, virtual.mode)
    names = load_merchant_names(receipt)
    if names is not None:
        require_names(names, merchant_ids)
    return MerchantFacts(sites, weights, virtual, edges, load_zone_table(receipt), names)


def assemble_world(source: Source, grid: Grid, counts: CountRows, *, accept_tz_cache: bool) -> SealedWorld:
    """The world of these counts: lookup tables of their merchants, read and checked."""
    facts = read_merchant_facts(source, grid, counts.catalogue.merchant_ids)
    return _sealed(source, grid, counts, facts, accept_tz_cache=accept_tz_cache)


def _sealed(
    source: Source, grid: Grid, counts: CountRows, facts: MerchantFacts, *, accept_tz_cache: bool
) -> SealedWorld:
    origin = source.origin()
    joined = join(origin, grid, counts, facts, accept_tz_cache=accept_tz_cache)
    return SealedWorld(**vars(origin), **vars(joined), receipt=source.receipt, seal=source.seal)


def world_in_memory(origin: Origin, grid: Grid, counts: CountRows, facts: MerchantFacts) -> World:
    """The world of tables that no run directory holds; errors as in `load_world`."""
    return World(**vars(origin), **vars(join(origin, grid, counts, facts, accept_tz_cache=False)))
