"""The same expansion as usually written with Polars: data frames, on all of Polars' own threads.

Draws come from numpy's Philox, since Polars has no random numbers by row. As in the NumPy version, the arrival digest
and the checks are left out; columns, order and sequence numbers are the same, and Polars writes the files itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from arrival_engine.cpu_fallback.law import HYBRID, VIRTUAL_ONLY
from arrival_engine.cpu_fallback.tables import I64, U64
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.planning import Batch, Plan
from arrival_engine.engine.world.load import World

_Codec = Literal["lz4", "zstd", "snappy", "uncompressed"]
_CODECS: dict[str, _Codec] = {"lz4": "lz4", "zstd": "zstd", "snappy": "snappy", "none": "uncompressed"}
_HALF = 1 << 32
_WORD = 18446744073709551616.0


class PolarsExpander:
    """Expands batches of one plan to data frames with the contract's 21 columns."""

    def __init__(self, plan: Plan) -> None:
        world = plan.world
        tables = world.tables
        self._plan = plan
        self._names = Assembler(world).schema.names
        entities, merchants = tables.entities, tables.merchants
        self._entities = pl.DataFrame(
            {
                "merchant": entities.merchant,
                "merchant_id": merchants.id[entities.merchant],
                "zone": entities.zone,
                "channel": entities.channel,
                "own_table": entities.site_table,
                "any_table": merchants.site_table[entities.merchant],
                "settlement": merchants.settlement[entities.merchant],
                "edge_start": merchants.edge_start[entities.merchant],
                "edges": np.diff(merchants.edge_start)[entities.merchant],
                "mode": merchants.mode[entities.merchant],
            }
        )
        grid = tables.grid
        self._grid = pl.DataFrame(
            {"start": grid.start_us, "duration": grid.duration_us.astype(np.int64), "day": grid.day}
        )
        groups = tables.groups
        of_merchant = np.repeat(np.arange(merchants.id.size, dtype=np.int32), np.diff(merchants.group_start))
        sizes = np.diff(groups.start)
        self._groups = pl.DataFrame(
            {"merchant": of_merchant, "day": groups.day, "group_start": groups.start[:-1], "groups": sizes}
        )
        self._site_start = pl.Series(tables.sites.start[:-1])
        self._site_count = pl.Series(np.diff(tables.sites.start))
        zones = tables.zones
        self._span = int(grid.start_us.max(initial=0)) // 1_000_000 + _HALF
        zone = np.repeat(np.arange(zones.text.size), np.diff(zones.start))
        self._changes = pl.Series(zone * self._span + np.maximum(zones.instant, 0))
        self._shifts = pl.Series(zones.offset_us)

    def write(self, batch: Batch, path: Path) -> None:
        """One batch to one Parquet file, with the run's codec and row groups as far as Polars offers them."""
        options = self._plan.world.settings.output
        self.frame(batch).write_parquet(
            path, compression=_CODECS[options.compression], row_group_size=options.row_group_rows
        )

    def frame(self, batch: Batch) -> pl.DataFrame:
        """Arrivals of one batch in output order."""
        rng = np.random.Generator(np.random.Philox(key=batch.index))
        ordered = self._ordered(batch, rng)
        draws = {name: rng.random(batch.arrivals) for name in ("coin", "slot", "group_slot")}
        drawn = ordered.with_columns(pl.Series(name, values) for name, values in draws.items())
        coin = float(self._plan.switches.coin) / _WORD
        hybrid = (pl.col("mode") == HYBRID) & (pl.col("coin") < coin)
        drawn = drawn.with_columns(virtual=(pl.col("edges") > 0) & ((pl.col("mode") == VIRTUAL_ONLY) | hybrid))
        routed = pl.concat([self._physical(drawn.filter(~pl.col("virtual"))), self._virtual(drawn.filter("virtual"))])
        return self._contract(routed.sort("order"))

    def _ordered(self, batch: Batch, rng: np.random.Generator) -> pl.DataFrame:
        """Every arrival with what its count row, entity and bucket say, by (segment, offset)."""
        segments, rows = self._plan.segments, self._plan.world.rows
        first, last = batch.segments
        of_rows = slice(*batch.rows)
        segment = np.repeat(np.arange(last - first), np.diff(segments.row_start[first : last + 1]))
        counted = pl.concat(
            [
                pl.DataFrame(
                    {
                        "segment": segment,
                        "bucket": rows.bucket[of_rows],
                        "before": (segments.arrivals_before[first:last] - segments.arrival_start[first:last])[segment],
                        "arrivals": rows.arrivals[of_rows],
                    }
                ),
                self._entities[rows.entity[of_rows]],
                self._grid[rows.bucket[of_rows]],
            ],
            how="horizontal",
        ).join(self._groups, on=["merchant", "day"], how="left", maintain_order="left")
        index = pl.Series(np.repeat(np.arange(counted.height, dtype=np.uint32), rows.arrivals[of_rows]))
        keys = counted.select("segment", "duration")[index]
        bits = 1 << int(counted["duration"].max()).bit_length()  # type: ignore[arg-type]
        keys = keys.select(
            offset=(pl.Series(rng.random(batch.arrivals)) * pl.col("duration")).cast(pl.Int64),
            segment=pl.col("segment") * bits,
            row=index,
        ).sort(pl.col("segment") + pl.col("offset"))
        return counted[keys["row"]].with_columns(
            ts=pl.col("start") + keys["offset"],
            order=pl.int_range(batch.arrivals),
            seq=pl.int_range(1, batch.arrivals + 1) + int(segments.arrival_start[first]) + pl.col("before"),
        )

    def _virtual(self, drawn: pl.DataFrame) -> pl.DataFrame:
        edges = self._plan.world.tables.edges
        chosen = _pick(drawn["edge_start"], drawn["edges"], drawn["slot"], edges.packed)
        zone = pl.Series(edges.zone[chosen])
        routed = drawn.with_columns(
            place=pl.Series(edges.id[chosen]),
            primary=zone,
            settlement=pl.when(pl.col("settlement") < 0).then(zone).otherwise("settlement"),
        )
        clocks = {"local": "primary", "local_settlement": "settlement"}
        return routed.with_columns(self._local(routed, zone).alias(name) for name, zone in clocks.items())

    def _physical(self, drawn: pl.DataFrame) -> pl.DataFrame:
        tables = self._plan.world.tables
        own = pl.col("own_table")
        if self._plan.switches.use_group_weights and self._groups.height:
            start, size = drawn["group_start"].fill_null(0), drawn["groups"].fill_null(1)
            chosen = _pick(start, size, drawn["group_slot"], tables.groups.packed)
            table = pl.Series(tables.groups.site_table[chosen])
            own = pl.when(pl.col("groups").is_null()).then("own_table").otherwise(table)
        table = drawn.select(pl.when(own < 0).then("any_table").otherwise(own)).to_series()
        start, size = self._site_start.gather(table), self._site_count.gather(table)
        chosen = _pick(start, size, drawn["slot"], tables.sites.packed)
        routed = drawn.with_columns(
            place=pl.Series(tables.sites.id[chosen]),
            primary=pl.Series(tables.sites.zone[chosen]),
            settlement=pl.lit(None, pl.Int32),
        )
        return routed.with_columns(
            self._local(routed, "primary").alias("local"), local_settlement=pl.lit(None, pl.Int64)
        )

    def _local(self, routed: pl.DataFrame, zone: str) -> pl.Series:
        wanted = routed.select(pl.col(zone).cast(pl.Int64) * self._span + pl.col("ts") // 1_000_000).to_series()
        return routed["ts"] + self._shifts.gather(self._changes.search_sorted(wanted, side="right") - 1)

    def _contract(self, routed: pl.DataFrame) -> pl.DataFrame:
        world = self._plan.world
        zones, channels = pl.Enum(world.tzids), pl.Enum(world.channels)
        virtual, local = pl.col("virtual"), pl.Datetime("us")
        whole = routed.with_columns(
            *_constants(world),
            zone_representation=_named("zone", zones),
            channel_group=pl.when(_named("channel", channels) != "").then(_named("channel", channels)),
            bucket_index=pl.col("bucket").cast(pl.Int64),
            arrival_seq="seq",
            ts_utc=pl.col("ts").cast(pl.Datetime("us", "UTC")),
            tzid_primary=_named("primary", zones),
            ts_local_primary=pl.col("local").cast(local),
            tzid_settlement=_named("settlement", zones),
            ts_local_settlement=pl.col("local_settlement").cast(local),
            tzid_operational=pl.when(virtual).then(_named("primary", zones)),
            ts_local_operational=pl.when(virtual).then(pl.col("local").cast(local)),
            is_virtual="virtual",
            site_id=pl.when(~virtual).then("place"),
            edge_id=pl.when(virtual).then("place"),
        )
        return whole.select(self._names)


def _constants(world: World) -> list[pl.Expr]:
    identity = world.identity
    texts = {
        "manifest_fingerprint": identity.manifest_fingerprint,
        "parameter_hash": identity.parameter_hash,
        "scenario_id": world.scenario_id,
        "routing_universe_hash": world.universe_hash,
        "s4_spec_version": world.spec_version,
    }
    coded = [pl.lit(text).cast(pl.Enum([text])).alias(name) for name, text in texts.items()]
    return [*coded, pl.lit(identity.seed, pl.UInt64).alias("seed")]


def _named(column: str, names: pl.Enum) -> pl.Expr:
    return pl.col(column).cast(pl.UInt32).cat.to(names)


def _pick(start: pl.Series, size: pl.Series, draw: pl.Series, packed: U64) -> I64:
    """Slots of alias tables, drawn by weight."""
    slots = pl.DataFrame({"start": start, "drawn": draw * size}).with_columns(slot=pl.col("drawn").cast(pl.Int64))
    word = pl.Series(packed).gather(slots["start"] + slots["slot"])
    chosen = slots.select(
        pl.col("start")
        + pl.when((pl.col("drawn") - pl.col("slot")) * _HALF < (word % _HALF))
        .then("slot")
        .otherwise((word // _HALF).cast(pl.Int64))
    )
    return chosen.to_series().to_numpy()
