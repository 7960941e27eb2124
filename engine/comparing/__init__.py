"""`arrivals diff`: whether two sets of published arrivals are the same, and where they are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.arrivals.part_file import PartFile
from arrival_engine.engine.arrivals.reading import reading_arrivals
from arrival_engine.engine.comparing.canonical import COLUMNS, Rows, Vocabulary
from arrival_engine.engine.comparing.digests import digest_of
from arrival_engine.engine.comparing.lockstep import Aligned, lockstep
from arrival_engine.engine.comparing.sides import Pair, listed, names_of, pair_up
from arrival_engine.engine.merchant_names import MerchantNames
from arrival_engine.engine.process.progress import Reporter

__all__ = ["DiffOptions", "DiffResult", "RowDifference", "ScenarioDiff", "Side", "diff"]

Kind = Literal["differs", "only_a", "only_b"]


@dataclass(frozen=True)
class Side:
    """One partition directory: its rows, their digest as recomputed, and how they are written.

    physical_clocks: how physical rows write their settlement and operational clocks: null, mirror, mixed, or none
    where there are no physical rows.
    """

    path: Path
    parts: int
    format: str
    timestamps: str
    physical_clocks: str
    rows: int
    digest: str


@dataclass(frozen=True)
class RowDifference:
    """One key whose rows differ, or that one side lacks; `values` has (a, b) by column, None for the missing side.

    merchant: the merchant's text; None if neither side is of a run directory whose merchant ids are texts.
    """

    merchant_id: int
    arrival_seq: int
    kind: Kind
    values: Mapping[str, tuple[object, object]]
    merchant: str | None = None


@dataclass(frozen=True)
class ScenarioDiff:
    """Two datasets compared row by row; `columns` counts the differing values of each column that has any."""

    scenario_id: str
    a: Side
    b: Side
    rows_in_both: int
    different_rows: int
    only_a: int
    only_b: int
    columns: Mapping[str, int]
    first: tuple[RowDifference, ...]

    @property
    def same_digest(self) -> bool:
        """Whether both are the same arrivals in the sense of LAW section 7."""
        return self.a.digest == self.b.digest

    @property
    def identical(self) -> bool:
        """Whether every row is in both with the same values, also those that the digest does not cover."""
        return self.different_rows == self.only_a == self.only_b == 0


@dataclass(frozen=True)
class DiffOptions:
    """What to compare and show. scenario_id: None for every scenario; limit: the most differing rows shown."""

    scenario_id: str | None = None
    limit: int = 10


@dataclass(frozen=True)
class DiffResult:
    """Every scenario compared, and those that only one side has."""

    scenarios: tuple[ScenarioDiff, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return not self.only_a and not self.only_b and all(scenario.identical for scenario in self.scenarios)


def diff(
    a: Path | str, b: Path | str, options: DiffOptions | None = None, reporter: Reporter | None = None
) -> DiffResult:
    """Compare the arrivals of two run directories (or partition directories) by their key, streaming.

    Part sizes, file formats, timestamp encodings and the two ways to write a physical row's further clocks make no
    difference. Raises IO_READ_FAILED, SCHEMA_VIOLATION, and PARTITION_OR_PK_VIOLATION for rows that are not in key
    order.
    """
    options, reporter = options or DiffOptions(), reporter or Reporter()
    sides = InsidePath(Path(a)), InsidePath(Path(b))
    pairing = pair_up(*sides, options.scenario_id)
    names = names_of(*sides)
    compared = []
    for pair in pairing.pairs:
        with reporter.phase(f"compare {pair.scenario_id}" if pair.scenario_id else "compare"):
            reporter.expect("arrivals", None)
            compared.append(_compare(pair, options.limit, names, reporter))
    return DiffResult(tuple(compared), pairing.only_a, pairing.only_b)


@dataclass
class _Tally:
    """What has been seen of one side."""

    digest: Digest = field(default_factory=Digest)
    null_clocks: bool = False
    mirrored_clocks: bool = False

    def add(self, rows: Rows, digest: Digest) -> None:
        self.digest += digest
        physical, shown = rows.physical(), rows.columns["tzid_settlement"].present()
        self.null_clocks |= bool((physical & ~shown).any())
        self.mirrored_clocks |= bool((physical & shown).any())

    def side(self, path: InsidePath, parts: Sequence[InsidePath]) -> Side:
        clocks = {(True, False): "null", (False, True): "mirror", (True, True): "mixed", (False, False): "none"}
        with reading_arrivals(parts[0]):
            times = PartFile.at(parts[0]).schema().field("ts_utc").type
        return Side(
            path=path.outside,
            parts=len(parts),
            format="/".join(sorted({part.suffix[1:] for part in parts})),
            timestamps="rfc3339" if pa.types.is_string(times) else "timestamp",
            physical_clocks=clocks[self.null_clocks, self.mirrored_clocks],
            rows=self.digest.rows,
            digest=str(self.digest),
        )


@dataclass
class _Comparison:
    vocabulary: Vocabulary
    limit: int
    names: MerchantNames | None
    a: _Tally = field(default_factory=_Tally)
    b: _Tally = field(default_factory=_Tally)
    rows_in_both: int = 0
    different_rows: int = 0
    only: dict[Kind, int] = field(default_factory=lambda: {"only_a": 0, "only_b": 0})
    columns: dict[str, int] = field(default_factory=dict)
    first: list[RowDifference] = field(default_factory=list)

    def add(self, stretch: Aligned) -> None:
        """Take in the next stretch of both sides."""
        found: list[RowDifference] = []
        if stretch.a is not None and stretch.b is not None:
            found += self._pairs(stretch.a, stretch.b)
        if stretch.only_a is not None:
            self.a.add(stretch.only_a, digest_of(stretch.only_a, self.vocabulary))
            found += self._alone(stretch.only_a, "only_a")
        if stretch.only_b is not None:
            self.b.add(stretch.only_b, digest_of(stretch.only_b, self.vocabulary))
            found += self._alone(stretch.only_b, "only_b")
        found.sort(key=lambda row: (row.merchant_id, row.arrival_seq))
        self.first += found[: self.limit - len(self.first)]

    def _pairs(self, a: Rows, b: Rows) -> Iterator[RowDifference]:
        unequal = {name: a.differs(b, name) for name in COLUMNS}
        counts = {name: int(np.count_nonzero(mask)) for name, mask in unequal.items()}
        differing = np.flatnonzero(np.logical_or.reduce([mask for name, mask in unequal.items() if counts[name]]))
        digest = digest_of(a, self.vocabulary)
        self.a.add(a, digest)
        self.b.add(b, digest_of(b, self.vocabulary) if differing.size else digest)
        self.rows_in_both += a.size
        self.different_rows += differing.size
        for name, count in counts.items():
            if count:
                self.columns[name] = self.columns.get(name, 0) + count
        for row in differing[: self.limit - len(self.first)].tolist():
            names = [name for name in COLUMNS if unequal[name][row]]
            values = {name: tuple(side.shown(row, name, self.vocabulary) for side in (a, b)) for name in names}
            yield self._difference(a, row, "differs", values)

    def _alone(self, rows: Rows, kind: Kind) -> Iterator[RowDifference]:
        self.only[kind] += rows.size
        for row in range(min(rows.size, self.limit - len(self.first))):
            shown = {name: rows.shown(row, name, self.vocabulary) for name in COLUMNS}
            values = {name: (value, None) if kind == "only_a" else (None, value) for name, value in shown.items()}
            yield self._difference(rows, row, kind, values)

    def _difference(self, rows: Rows, row: int, kind: Kind, values: Mapping[str, tuple[object, ...]]) -> RowDifference:
        pairs = {name: (pair[0], pair[1]) for name, pair in values.items()}
        merchant_id = int(rows.merchant_id[row])
        text = None if self.names is None else self.names.text(merchant_id)
        return RowDifference(merchant_id, int(rows.arrival_seq[row]), kind, pairs, text)


def _compare(pair: Pair, limit: int, names: MerchantNames | None, reporter: Reporter) -> ScenarioDiff:
    vocabulary = Vocabulary()
    comparison = _Comparison(vocabulary, limit, names)
    # Listed once: the facts of a side are those of the files whose rows are compared, or an error if these are gone.
    a, b = listed(pair.a), listed(pair.b)
    for stretch in lockstep(a, b, vocabulary):
        comparison.add(stretch)
        reporter.advance(sum(rows.size for rows in (stretch.a, stretch.only_a, stretch.only_b) if rows is not None))
    return ScenarioDiff(
        scenario_id=pair.scenario_id,
        a=comparison.a.side(pair.a, a),
        b=comparison.b.side(pair.b, b),
        rows_in_both=comparison.rows_in_both,
        different_rows=comparison.different_rows,
        only_a=comparison.only["only_a"],
        only_b=comparison.only["only_b"],
        columns=comparison.columns,
        first=tuple(comparison.first),
    )
