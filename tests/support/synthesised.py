"""A synthetic world read back, and the plain laws that several of its tests recompute."""

import hashlib
import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arrival_engine.contracts import dataset

SCENARIO = "baseline_v1"


HORIZON = datetime(2026, 1, 1, tzinfo=UTC)


BUCKETS = 2160


class Made:
    """A world on disk, read back by the dictionary alone."""

    def __init__(self, root, result):
        self.root = root
        self.result = result
        self.tokens = result.identity.tokens(scenario_id=SCENARIO)
        self._tables = {}

    def files(self, name):
        return [path.outside for path in dataset(name).files(self.root, self.tokens)]

    def table(self, name):
        if name not in self._tables:
            self._tables[name] = pa.concat_tables(pq.read_table(path) for path in self.files(name))
        return self._tables[name]

    def column(self, name, column):
        return self.table(name).column(column).to_pylist()

    def array(self, name, column):
        return self.table(name).column(column).to_numpy()

    def text(self, name, column):
        return np.array(pc.cast(self.table(name).column(column), pa.string()).to_pylist())

    def document(self, name):
        (path,) = self.files(name)
        return json.loads(path.read_bytes())

    def features(self):
        return json.loads((self.root / "reports/synth_report.json").read_bytes())["features"]


def contents(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] != "tmp"
    }


def rows_of(world, name, *columns):
    return list(zip(*(world.column(name, column) for column in columns), strict=True))


def by_entity(world, name, column):
    return world.array(name, column).reshape(-1, BUCKETS)


def unit(word):
    return ((word >> 11) + 0.5) / 2**53


def hashed_unit(*parts):
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return unit(int.from_bytes(digest[:8], "big"))


def picked(slices, m):
    first, end = int(slices.start[m]), int(slices.start[m + 1])
    keep = slices.prob_q[first:end] / 2.0 ** int(slices.qbits[m])
    out = keep / (end - first)
    np.add.at(out, slices.alias[first:end].astype(np.int64), (1 - keep) / (end - first))
    return out
