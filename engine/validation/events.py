"""The part files of a scenario, and SQL to read one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.dataset

from arrival_engine.contracts import Code, arrow_schema
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reason, refusal
from arrival_engine.contracts.part_names import naming_fault, parse_part_name
from arrival_engine.engine.rundir.arrow_files import open_arrow, parquet_metadata, parquet_schema, sound_batch
from arrival_engine.engine.validation.database import Cursor, name, parquet
from arrival_engine.engine.validation.footers import ARROW_SCHEMA

Encoding = Literal["timestamp", "rfc3339"]

_INSTANTS = {
    "ts_us": "ts_utc",
    "local_us": "ts_local_primary",
    "settled_us": "ts_local_settlement",
    "operated_us": "ts_local_operational",
}
_UTC_FORM = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"
_WALL_FORM = _UTC_FORM.replace("Z$", "$")


@dataclass(frozen=True)
class Part:
    """One part file: rows by its footer, schema and key-value metadata as stored."""

    path: InsidePath
    rows: int
    schema: pa.Schema
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Events:
    """The parts of one scenario in name order; `strangers` are other files in their directory."""

    scenario_id: str
    directory: InsidePath
    encoding: Encoding
    mirrored: bool
    parts: tuple[Part, ...]
    strangers: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    def numbering_fault(self) -> str:
        """The fault of the parts' names; empty if they are numbered 0, 1, 2, ... in one format and publication."""
        return naming_fault([part.path.name for part in self.parts])

    def schema_faults(self) -> list[dict[str, str]]:
        """Each part's first column that differs from the contract, with the found and the expected type."""
        return [fault for part in self.parts if (fault := self._schema_fault(part))]

    def _schema_fault(self, part: Part) -> dict[str, str] | None:
        expected = arrow_schema("arrival_events_5B", timestamp_encoding=self.encoding)
        file = part.path.name
        for place, field in enumerate(expected):
            if place >= len(part.schema) or part.schema.field(place).name != field.name:
                found = part.schema.names[place] if place < len(part.schema) else "nothing"
                return {"file": file, "column": field.name, "expected": str(field.type), "found": f"column {found}"}
            kind = part.schema.field(place).type
            if not _same_type(kind, field.type):
                return {"file": file, "column": field.name, "expected": str(field.type), "found": str(kind)}
        if len(part.schema) > len(expected):
            extra = part.schema.names[len(expected)]
            return {"file": file, "column": extra, "expected": "no such column", "found": "a column"}
        return None

    @contextmanager
    def relation(self, cursor: Cursor, part: Part) -> Iterator[str]:
        """FROM item over one part: its columns, and every time also in µs (`ts_us`, `local_us`, ...)."""
        extra = ", ".join(f"{self._microseconds(column)} AS {alias}" for alias, column in _INSTANTS.items())
        with ExitStack() as held:
            (file,) = held.enter_context(cursor.opened([part.path]))
            if part.path.suffix == ".parquet":
                yield f"(SELECT *, {extra} FROM {parquet([file])})"
                return
            with reading_part(part.path):
                source = pyarrow.dataset.dataset(file, format="ipc")
            view = f"view_{part.path.stem.replace('-', '_')}"
            cursor.attach(view, source)
            held.callback(cursor.detach, view)
            yield f"(SELECT *, {extra} FROM {name(view)})"

    def _microseconds(self, column: str) -> str:
        if self.encoding == "timestamp":
            return f"epoch_us({name(column)})"
        # The form is checked separately; a text that does not parse is null, and so fails every check that needs it.
        return f"epoch_us(TRY_CAST(rtrim({name(column)}, 'Z') AS TIMESTAMP))"

    def malformed(self) -> str:
        """SQL condition: some time is not in the contract's textual form."""
        if self.encoding == "timestamp":
            return "false"
        forms = {column: _UTC_FORM if column == "ts_utc" else _WALL_FORM for column in _INSTANTS.values()}
        return " OR ".join(
            f"({name(column)} IS NOT NULL AND (NOT regexp_full_match({name(column)}, '{form}') OR {alias} IS NULL))"
            for (alias, column), form in zip(_INSTANTS.items(), forms.values(), strict=True)
        )


def _same_type(found: pa.DataType, expected: pa.DataType) -> bool:
    if _is_text(expected):
        return _is_text(found)
    return bool(found == expected)


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value))


def find_events(directory: InsidePath, scenario_id: str, encoding: Encoding, *, mirrored: bool) -> Events:
    """List and open the parts of a scenario. Raises S5.IO_READ_FAILED for a part that cannot be opened."""
    parts, strangers = [], []
    for path in sorted(directory.iterdir(), key=lambda path: path.name) if directory.is_dir() else ():
        if path.is_file() and parse_part_name(path.name):
            parts.append(_open(path))
        else:
            strangers.append(path.name)
    return Events(scenario_id, directory, encoding, mirrored, tuple(parts), tuple(strangers))


def _open(path: InsidePath) -> Part:
    with reading_part(path):
        if path.suffix == ".parquet":
            stated = parquet_metadata(path)
            schema, rows, pairs = parquet_schema(path), stated.num_rows, stated.metadata or {}
        else:
            with open_arrow(path) as reader:
                schema = reader.schema
                rows = sum(sound_batch(reader, index).num_rows for index in range(reader.num_record_batches))
            pairs = schema.metadata or {}
    texts = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in pairs.items()}
    texts.pop(ARROW_SCHEMA, None)
    return Part(path, rows, schema.remove_metadata(), texts)


@contextmanager
def reading_part(path: InsidePath) -> Iterator[None]:
    """Turn a failure to read a part file into S5.IO_READ_FAILED."""
    try:
        yield
    except (OSError, pa.ArrowException) as failure:
        raise refusal(
            Code.S5_IO_READ_FAILED,
            f"cannot read {path.name}: {reason(failure)}",
            failure,
            "the part is damaged or not readable; run again with --replace",
            path=path,
        ) from failure
