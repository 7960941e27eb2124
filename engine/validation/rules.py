"""Every check by name, with what it demands and the canonical code of a breach."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from arrival_engine.contracts import Code


class Labelled(StrEnum):
    """Members that are (text in files, label for people)."""

    label: str

    def __new__(cls, value: str, label: str) -> Self:
        """A member with its label."""
        member = str.__new__(cls, value)
        member._value_, member.label = value, label
        return member


class Area(Labelled):
    """The statement of the report that a check belongs to."""

    INPUTS = "inputs", "inputs"
    SHAPE = "schema_partition_pk_ok", "keys and order"
    COUNTS = "counts_match_s3", "counts"
    WINDOWS = "time_windows_ok", "time windows"
    CIVIL = "civil_time_ok", "civil time"
    ROUTING = "routing_ok", "routing"
    RNG = "rng_accounting_ok", "random numbers"
    REALISM = "realism", "realism"


@dataclass(frozen=True)
class Rule:
    """A check: its area, the canonical code of a breach, and what it demands in one line."""

    area: Area
    code: Code
    demands: str


RULES: dict[str, Rule] = {
    "upstream": Rule(Area.INPUTS, Code.S5_UPSTREAM_HASHGATE_NOT_PASSED, "every upstream segment has passed"),
    "sealed_inputs": Rule(
        Area.INPUTS, Code.S5_S0_SEALED_INPUTS_INCONSISTENT, "inputs and policies are those that were sealed and run"
    ),
    "domain": Rule(
        Area.INPUTS, Code.S5_DOMAIN_DISCOVERY_FAILED, "counts, arrivals and run report have the same scenarios"
    ),
    "strangers": Rule(
        Area.SHAPE,
        Code.S5_S4_PARTITION_OR_IDENTITY_VIOLATION,
        "only files of this run are in the directories of arrivals and records",
    ),
    "time_grid": Rule(
        Area.INPUTS, Code.S5_S1_S3_GRID_DOMAIN_MISMATCH, "buckets are numbered, half-open, as long as they say"
    ),
    "bucket_counts": Rule(
        Area.INPUTS, Code.S5_S1_S3_GRID_DOMAIN_MISMATCH, "counts lie on the grid, from 0 to the maximum"
    ),
    "grouping": Rule(Area.INPUTS, Code.S5_S1_S3_GRID_DOMAIN_MISMATCH, "every counted entity is grouped"),
    "intensity": Rule(
        Area.INPUTS, Code.S5_S1_S3_GRID_DOMAIN_MISMATCH, "every count has a finite intensity, positive where it is"
    ),
    "merchant_names": Rule(
        Area.INPUTS,
        Code.S5_S0_SEALED_INPUTS_INCONSISTENT,
        "every merchant has one text, of which its id is the hash",
    ),
    "files": Rule(
        Area.SHAPE,
        Code.S5_S4_PARTITION_OR_IDENTITY_VIOLATION,
        "parts are numbered, of one format, of this run, and their footers are true",
    ),
    "schema": Rule(Area.SHAPE, Code.S5_S4_SCHEMA_VIOLATION, "columns and their types are the contract's"),
    "values": Rule(Area.SHAPE, Code.S5_S4_SCHEMA_VIOLATION, "no value is null, malformed or out of range"),
    "identity": Rule(
        Area.SHAPE, Code.S5_S4_PARTITION_OR_IDENTITY_VIOLATION, "identity columns equal the partition's tokens"
    ),
    "order": Rule(
        Area.SHAPE, Code.S5_S4_SCHEMA_VIOLATION, "rows ascend by merchant, sequence and time, across files too"
    ),
    "primary_key": Rule(
        Area.SHAPE, Code.S5_S4_PK_VIOLATION, "arrival_seq is 1, 2, 3, ... of each merchant, none twice, none missing"
    ),
    "counts": Rule(Area.COUNTS, Code.S5_COUNT_MISMATCH_S3_S4, "every count row has exactly its arrivals"),
    "summary": Rule(
        Area.COUNTS, Code.S5_COUNT_MISMATCH_S3_S4, "the summary dataset says what the law says of every count row"
    ),
    "anomalies": Rule(
        Area.COUNTS, Code.S5_COUNT_MISMATCH_S3_S4, "the anomalies dataset names every fallback taken, and no other"
    ),
    "run_report": Rule(
        Area.COUNTS,
        Code.S5_COUNT_MISMATCH_S3_S4,
        "the run report says what arrivals and inputs say, and no later run failed",
    ),
    "arrival_digest": Rule(
        Area.SHAPE, Code.S5_S4_PARTITION_OR_IDENTITY_VIOLATION, "arrivals are those that the run reported, by digest"
    ),
    "time_window": Rule(Area.WINDOWS, Code.S5_TIME_WINDOW_VIOLATION, "ts_utc lies in [start, end) of its bucket"),
    "civil_primary": Rule(
        Area.CIVIL, Code.S5_CIVIL_TIME_MAPPING_FAILED, "ts_local_primary follows from ts_utc and tzdata"
    ),
    "civil_settlement": Rule(
        Area.CIVIL, Code.S5_CIVIL_TIME_MAPPING_FAILED, "ts_local_settlement follows from ts_utc and tzdata"
    ),
    "civil_operational": Rule(
        Area.CIVIL, Code.S5_CIVIL_TIME_MAPPING_FAILED, "ts_local_operational follows from ts_utc and tzdata"
    ),
    "one_hour_shift": Rule(Area.CIVIL, Code.S5_CIVIL_TIME_MAPPING_FAILED, "no clock is off by exactly one hour"),
    "clock_zones": Rule(
        Area.CIVIL, Code.S5_CIVIL_TIME_MAPPING_FAILED, "settlement and operational zones are the merchant's and edge's"
    ),
    "site_edge_flag": Rule(
        Area.ROUTING, Code.S5_SITE_EDGE_FLAG_INCONSISTENT, "exactly one of site and edge, as is_virtual says"
    ),
    "virtual_mode": Rule(
        Area.ROUTING, Code.S5_SITE_EDGE_FLAG_INCONSISTENT, "is_virtual agrees with the merchant's mode"
    ),
    "site_of_merchant": Rule(
        Area.ROUTING, Code.S5_PHYSICAL_ROUTING_INVALID, "the site is one of the merchant's, with a weight"
    ),
    "site_zone": Rule(Area.ROUTING, Code.S5_PHYSICAL_ROUTING_INVALID, "tzid_primary is the zone of the site"),
    "zone_choice": Rule(
        Area.ROUTING, Code.S5_PHYSICAL_ROUTING_INVALID, "the zone is one that the day's group weights allow"
    ),
    "zone_alloc": Rule(
        Area.ROUTING, Code.S5_PHYSICAL_ROUTING_INVALID, "the count row's zone has sites by the zone allocation"
    ),
    "edge_of_merchant": Rule(Area.ROUTING, Code.S5_VIRTUAL_ROUTING_INVALID, "the edge is one of the merchant's"),
    "edge_zone": Rule(Area.ROUTING, Code.S5_VIRTUAL_ROUTING_INVALID, "tzid_primary is the zone of the edge"),
    "routing_universe": Rule(
        Area.ROUTING, Code.S5_VIRTUAL_ROUTING_INVALID, "routing_universe_hash is that of the sealed edge universe"
    ),
    "alias_rows": Rule(
        Area.ROUTING, Code.S5_PHYSICAL_ROUTING_INVALID, "every merchant that was routed has its alias rows"
    ),
    "site_table": Rule(
        Area.ROUTING, Code.S5_PHYSICAL_ROUTING_INVALID, "the published table of sites says what the inputs say"
    ),
    "edge_table": Rule(
        Area.ROUTING, Code.S5_VIRTUAL_ROUTING_INVALID, "the published table of edges says what the inputs say"
    ),
    "law": Rule(
        Area.RNG, Code.S5_RNG_ACCOUNTING_MISMATCH, "every arrival is the one that inputs and random numbers determine"
    ),
    "rng_logs": Rule(Area.RNG, Code.S5_RNG_ACCOUNTING_INCOMPLETE, "audit and trace records of every family are there"),
    "rng_draws": Rule(Area.RNG, Code.S5_RNG_ACCOUNTING_MISMATCH, "events, blocks and words are those the law predicts"),
    "rng_overlap": Rule(Area.RNG, Code.S5_RNG_ACCOUNTING_MISMATCH, "no two streams share a counter"),
    "rng_events": Rule(Area.RNG, Code.S5_RNG_ACCOUNTING_MISMATCH, "event records that were kept are those of the law"),
    "offsets": Rule(Area.REALISM, Code.S5_TIME_WINDOW_VIOLATION, "offsets in the bucket are uniform"),
    "offsets_largest": Rule(
        Area.REALISM, Code.S5_TIME_WINDOW_VIOLATION, "offsets are uniform within the largest count rows"
    ),
    "offset_variety": Rule(Area.REALISM, Code.S5_TIME_WINDOW_VIOLATION, "offsets differ, and are not all zero"),
    "site_weights": Rule(Area.REALISM, Code.S5_PHYSICAL_ROUTING_INVALID, "sites are met as often as their weights say"),
    "group_weights": Rule(
        Area.REALISM, Code.S5_PHYSICAL_ROUTING_INVALID, "zones are met as often as the day's weights say"
    ),
    "edge_weights": Rule(Area.REALISM, Code.S5_VIRTUAL_ROUTING_INVALID, "edges are met as often as their weights say"),
    "hybrid_share": Rule(Area.REALISM, Code.S5_VIRTUAL_ROUTING_INVALID, "hybrid merchants are virtual as often as p"),
    "coverage": Rule(
        Area.REALISM, Code.S5_VIRTUAL_ROUTING_INVALID, "both routes occur where merchants of both kinds have arrivals"
    ),
    "edge_countries": Rule(
        Area.REALISM, Code.S5_VIRTUAL_ROUTING_INVALID, "virtual arrivals have the countries that edge weights say"
    ),
    "dst_hours": Rule(
        Area.REALISM, Code.S5_CIVIL_TIME_MAPPING_FAILED, "local hours around DST changes are those of tzdata"
    ),
    "latent_factor": Rule(
        Area.REALISM, Code.S5_S1_S3_GRID_DOMAIN_MISMATCH, "the latent factor has mean one, within its bounds"
    ),
    "count_spread": Rule(Area.REALISM, Code.S5_S1_S3_GRID_DOMAIN_MISMATCH, "counts are spread as demand is"),
    "top_zones": Rule(Area.REALISM, Code.S5_PHYSICAL_ROUTING_INVALID, "the ten largest zones leave room for others"),
    "virtual_share": Rule(Area.REALISM, Code.S5_VIRTUAL_ROUTING_INVALID, "the share of virtual arrivals is calibrated"),
    "weekend_share": Rule(
        Area.REALISM, Code.S5_CIVIL_TIME_MAPPING_FAILED, "as many weekend arrivals by the stored clock as by tzdata"
    ),
    "residual_spread": Rule(
        Area.REALISM, Code.S5_S1_S3_GRID_DOMAIN_MISMATCH, "counts scatter about their intensity as calibrated"
    ),
}
