"""Table columns as JSON Schemas declare them, without pyarrow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from arrival_engine.contracts.dictionary import dataset
from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.contracts.schemas import deref, json_schema

# Arrow type of a JSON type if neither the property nor its primitive has "x-arrow".
_DEFAULT_ARROW = {"string": "string", "integer": "int64", "number": "float64", "boolean": "bool"}


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type as text, whether null and absence are allowed, the bounds on its values.

    pattern_fault: what is wrong with a text that the pattern does not match, in words; empty where the pattern says it.
    fields: those of an object, or of the objects in a list, whose Arrow type is a struct.
    """

    name: str
    json_type: str
    arrow: str
    nullable: bool
    required: bool
    minimum: int | float | None = None
    maximum: int | float | None = None
    exclusive_minimum: int | float | None = None
    exclusive_maximum: int | float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    pattern_fault: str = ""
    min_length: int = 0
    fields: tuple[Column, ...] = ()


@dataclass(frozen=True)
class TableShape:
    """All columns of a table in declared order, and whether undeclared ones are legal."""

    dataset_id: str
    columns: tuple[Column, ...]
    extras_allowed: bool
    on_invalid: Code

    def column(self, name: str) -> Column | None:
        """The declared column `name`, or None."""
        return next((column for column in self.columns if column.name == name), None)


@cache
def table_shape(dataset_id: str) -> TableShape:
    """The shape of a dataset whose schema is an array of objects. Raises UNEXPECTED_INTERNAL_ERROR for others."""
    entry = dataset(dataset_id)
    schema = json_schema(entry.schema) if entry.schema else {}
    items = schema.get("items")
    if schema.get("type") != "array" or not isinstance(items, Mapping):
        raise ArrivalError(
            Code.UNEXPECTED_INTERNAL_ERROR,
            f"{dataset_id} is not a table",
            hint="only datasets whose schema is an array of objects have columns",
            dataset=dataset_id,
        )
    required = set(items["required"])
    columns = tuple(_column(name, body, entry.schema, name in required) for name, body in items["properties"].items())
    return TableShape(dataset_id, columns, bool(items["additionalProperties"]), entry.on_invalid)


def _column(name: str, body: Mapping[str, Any], schema: str, required: bool) -> Column:
    flat, nullable = _flatten(body, schema)
    json_type = flat["type"]
    items = deref(flat.get("items", {}), schema) if json_type == "array" else {}
    inner = _fields(flat if json_type == "object" else items, schema)
    choices = [flat["const"]] if "const" in flat else flat.get("enum", [])
    return Column(
        name=name,
        json_type=json_type,
        arrow=flat.get("x-arrow") or _default_arrow(json_type, items, inner),
        nullable=nullable,
        required=required,
        minimum=flat.get("minimum"),
        maximum=flat.get("maximum"),
        exclusive_minimum=flat.get("exclusiveMinimum"),
        exclusive_maximum=flat.get("exclusiveMaximum"),
        choices=tuple(choice for choice in choices if choice is not None),
        pattern=flat.get("pattern", ""),
        pattern_fault=flat.get("x-fault", ""),
        min_length=flat.get("minLength", 0),
        fields=inner,
    )


def _fields(body: Mapping[str, Any], schema: str) -> tuple[Column, ...]:
    required = set(body.get("required", ()))
    return tuple(_column(name, part, schema, name in required) for name, part in body.get("properties", {}).items())


def _default_arrow(json_type: str, items: Mapping[str, Any], fields: tuple[Column, ...]) -> str:
    struct = f"struct<{', '.join(f'{field.name}: {field.arrow}' for field in fields)}>"
    if json_type == "array":
        return f"list<{struct if fields else items.get('x-arrow', _DEFAULT_ARROW[items['type']])}>"
    return struct if json_type == "object" else _DEFAULT_ARROW[json_type]


def _flatten(body: Mapping[str, Any], schema: str) -> tuple[dict[str, Any], bool]:
    """The property with references resolved and null removed, and whether null was allowed."""
    flat = deref(body, schema)
    nullable = False
    if "anyOf" in flat:
        branches = [deref(branch, schema) for branch in flat.pop("anyOf")]
        nullable = any(branch.get("type") == "null" for branch in branches)
        (real,) = (branch for branch in branches if branch.get("type") != "null")
        flat = {**real, **flat}
    if isinstance(flat["type"], list):
        nullable = nullable or "null" in flat["type"]
        (flat["type"],) = (kind for kind in flat["type"] if kind != "null")
    return flat, nullable
