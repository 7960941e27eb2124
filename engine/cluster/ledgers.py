"""Sums per count row, read back from the workers' files some merchants at a time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.oserrors import reading
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.cpu_fallback.tables import Rows, RowTotals
from arrival_engine.engine.cluster.depot import LEDGERS, Depot
from arrival_engine.engine.cluster.receipts import ShardReceipt
from arrival_engine.engine.cluster.tasks import ledger_name
from arrival_engine.engine.expand.backend import BatchSums
from arrival_engine.engine.expand.ledger import FamilyAccount, Ledger
from arrival_engine.engine.expand.planning import Batch
from arrival_engine.engine.rundir.array_files import load_array
from arrival_engine.engine.world.load import World

Table = NDArray[np.int32]  # [6, R]: Rows above RowTotals


@dataclass(frozen=True)
class _Sums:
    virtual: int
    counted: int
    count_rows: int
    buckets: NDArray[np.int32]
    fallbacks: Mapping[str, int]
    accounts: Mapping[str, FamilyAccount]


class StoredLedger:
    """A scenario's ledger in the files of its shards; in memory are one shard's rows and those of one merchant."""

    def __init__(self, world: World, depot: Depot, receipts: Sequence[ShardReceipt]) -> None:
        self.world = world
        self.digest = sum((receipt.digest for receipt in receipts), Digest())
        self.at_start = sum(receipt.at_start for receipt in receipts)
        self.at_end = sum(receipt.at_end for receipt in receipts)
        self._depot = depot
        self._receipts = receipts

    @property
    def virtual(self) -> int:
        """Virtual arrivals."""
        return self._sums.virtual

    @property
    def counted(self) -> int:
        """Arrivals that the count rows ask for."""
        return self._sums.counted

    @property
    def count_rows(self) -> int:
        """Count rows with N > 0."""
        return self._sums.count_rows

    def buckets(self) -> NDArray[np.int32]:
        """The buckets with arrivals, ascending."""
        return self._sums.buckets

    def fallbacks(self) -> Mapping[str, int]:
        """Arrivals that took each fallback of LAW section 4."""
        return self._sums.fallbacks

    def accounting(self) -> Mapping[str, FamilyAccount]:
        """Blocks and words per family, by LAW section 6, keyed by substream label."""
        return self._sums.accounts

    def pieces(self) -> Iterator[Ledger]:
        """Ledgers of whole merchants: a merchant that shards share is held over until its last rows are read."""
        held = np.empty((6, 0), np.int32)
        owner = self.world.tables.entities.merchant
        for receipt in self._receipts:
            table = np.concatenate([held, self._read(receipt)], axis=1)
            merchant = owner[table[0]]
            whole = int(np.searchsorted(merchant, merchant[-1])) if merchant.size else 0
            if whole:
                yield self._ledger(table[:, :whole])
            held = table[:, whole:]
        if held.shape[1]:
            yield self._ledger(held)

    @cached_property
    def _sums(self) -> _Sums:
        fallbacks: Counter[str] = Counter()
        accounts = Ledger(self.world).accounting()
        virtual = counted = rows = 0
        buckets = np.empty(0, np.int32)
        for piece in self.pieces():
            virtual += piece.virtual
            counted += piece.counted
            rows += piece.count_rows
            buckets = np.union1d(buckets, piece.buckets())
            fallbacks.update(piece.fallbacks())
            accounts = {label: accounts[label].then(account) for label, account in piece.accounting().items()}
        return _Sums(virtual, counted, rows, buckets, dict(fallbacks), accounts)

    def _read(self, receipt: ShardReceipt) -> Table:
        path = self._depot.folder / LEDGERS / ledger_name(receipt.shard)
        with reading("sums per count row", path):
            table: Table = load_array(path)
        if hashlib.sha256(table.tobytes()).hexdigest() != receipt.ledger_sha256:
            raise ArrivalError(
                Code.IO_READ_FAILED,
                f"{path} is not what worker {receipt.worker} wrote",
                hint="check the disk, and that the workers share it with the client; nothing was published",
                path=str(path),
            )
        return table

    def _ledger(self, table: Table) -> Ledger:
        columns = [np.ascontiguousarray(column) for column in table]
        rows, row_totals = Rows(*columns[:3]), RowTotals(*columns[3:])
        ledger = Ledger(replace(self.world, rows=rows))
        # Digests and edge counts belong to shards; a piece has none, since merchants cross shards.
        everything = Batch(0, (0, 0), (0, rows.arrivals.size), int(rows.arrivals.sum(dtype=np.int64)))
        ledger.add(BatchSums(everything, row_totals, Digest(), 0, 0))
        return ledger
