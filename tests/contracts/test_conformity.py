"""The quick test of a document never says yes where jsonschema finds a fault, and does say yes to good documents."""

from __future__ import annotations

import copy
import json
import re
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from arrival_engine.contracts.conformity import anchored, certainty_test
from arrival_engine.contracts.schemas import _certain, _exact, _validator, deref, json_schema, schema_names


class Text(str):
    """A text that is not of JSON's own type."""

    __slots__ = ()


NAMES = tuple(name for name in schema_names() if name != "primitives")
# The one word of the packaged schemas that is left to jsonschema.
LEFT = {"upstream_bundle_index_files"}
ODD = (
    *(None, True, False, 0, 1, -1, 2**64, 0.0, 1.0, 0.5, float("nan"), float("inf"), Decimal("1.0"), Decimal("1e-9")),
    *("", "a", "1\n", "\u0661", Text("a"), [], [1], [True], ["a", "a"], {}, {"x": 1}, {1: 1}),
)
# For every pattern of the schemas there is one that it matches.
TEXTS = (
    *("a" * size for size in (1, 16, 32, 64)),
    *("DE", "UTC", "10", "1.0.0", "1e-6", "2026-01-01", "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000"),
    *("0-" + "a" * 32, "part-000000.parquet"),
)
NUMBERS: dict[str, tuple[Any, ...]] = {"integer": (1, 5, 2**63), "number": (1, 0.5, Decimal("0.5"))}


def right(schema: dict[str, Any], home: str, dice: Random) -> Any:
    """A value that the schema accepts, or nearly: whether it lies between two bounds is left to chance."""
    if "$ref" in schema:
        file = schema["$ref"].partition("#")[0].partition(".")[0]
        return right(deref(schema, home), file or home, dice)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return right(dice.choice(schema[word]), home, dice)
    if "const" in schema or "enum" in schema:
        return exact(dice.choice(schema.get("enum") or [schema["const"]]))
    kind = schema["type"] if isinstance(schema["type"], str) else dice.choice(schema["type"])
    return of_kind(kind, schema, home, dice)


def of_kind(kind: str, schema: dict[str, Any], home: str, dice: Random) -> Any:
    match kind:
        case "null":
            return None
        case "boolean":
            return dice.random() < 0.5
        case "string":
            pattern = anchored(schema.get("pattern", "^.+$"))
            return dice.choice([text for text in TEXTS if re.search(pattern, text)])
        case "array":
            size = dice.randint(schema.get("minItems", 0), schema.get("maxItems", 2))
            items = [right(schema["items"], home, dice) for _ in range(size)]
            return list(dict.fromkeys(items)) if schema.get("uniqueItems") else items
        case "object":
            fields = schema.get("properties", {})
            needed = schema.get("required", ())
            wanted = [name for name in fields if name in needed or dice.random() < 0.5]
            if not fields and isinstance(schema.get("additionalProperties"), dict):
                return {"a_class": right(schema["additionalProperties"], home, dice)}
            return {name: right(fields[name], home, dice) for name in wanted}
    bounds = [exact(schema[word]) for word in ("minimum", "maximum") if word in schema]
    return dice.choice(bounds or NUMBERS[kind])


def exact(value: Any) -> Any:
    """As a policy's reader gives it: decimals as written."""
    return json.loads(json.dumps(value), parse_float=Decimal)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) of a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *places(value[key]))]


def changed(document: Any, dice: Random) -> Any:
    """The document with one change somewhere, the whole of it included."""
    # In a list, so that the document itself can be replaced too.
    box = [copy.deepcopy(document)]
    container, key = dice.choice(places(box))
    match dice.choice(("odd", "remove", "add", "line feed")):
        case "add" if isinstance(container[key], dict):
            container[key]["stranger"] = 1
        case "line feed" if isinstance(container[key], str):
            container[key] += "\n"
        case "remove" if isinstance(container, dict):
            del container[key]
        case _:
            container[key] = copy.deepcopy(dice.choice(ODD))
    return box[0]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_certain_is_valid_and_good_documents_are_certain(name: str) -> None:
    dice = Random(name)
    certain, validator = _certain(name), _validator(name)
    good = 0
    for _ in range(10):
        document = right(json_schema(name), name, dice)
        valid = validator.is_valid(document)
        assert certain(document) == (valid and name not in LEFT), document
        good += valid
        for _ in range(5):
            other = changed(document, dice)
            assert not certain(other) or validator.is_valid(other), other
    assert good


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_the_packaged_schemas_is_known(name: str) -> None:
    words = json.dumps(json_schema(name))
    assert ('"oneOf"' in words) == (name in LEFT)
    assert _exact(name) is _exact(name)


@pytest.mark.parametrize(
    ("schema", "sure", "unsure"),
    [
        ({"const": 1}, [1], [True, 1.0, Decimal(1), 2]),
        ({"const": [1, {"a": True}]}, [[1, {"a": True}]], [[True, {"a": True}], [1, {"a": 1}], [1]]),
        ({"enum": ["a", False]}, ["a", False], ["b", 0, Text("a")]),
        ({"type": "integer"}, [0, 2**70], [True, 1.0, "1", Decimal(1)]),
        ({"type": ["number", "null"]}, [None, 1, 1.5, Decimal("1.5")], [False, "1"]),
        ({"minimum": 1, "exclusiveMaximum": 3}, [1, 2.5, "x", [], True], [0, 3, float("nan"), 1j]),
        ({"maximum": 1, "exclusiveMinimum": 0}, [1, 0.5], [0, 1.1]),
        ({"minLength": 2}, ["ab", 1], ["a", Text("ab")]),
        ({"pattern": "^[0-9]+$"}, ["12", 3], ["12\n", "\u0661", "a"]),
        ({"minItems": 1, "maxItems": 2}, [[1], [1, 2], "abc"], [[], [1, 2, 3], (1,)]),
        ({"items": {"type": "string"}}, [["a"], [], {"a": 1}], [["a", 1]]),
        ({"uniqueItems": True}, [["a", "b"], "aa"], [["a", "a"], [1, True], [[], []]]),
        ({"uniqueItems": False}, [["a", "a"]], []),
        ({"minProperties": 1}, [{"a": 1}, []], [{}]),
        ({"required": ["a"]}, [{"a": None}, []], [{"b": 1}]),
        ({"properties": {"a": {"type": "null"}}}, [{"a": None, "b": 1}, 1], [{"a": 1}]),
        ({"properties": {"a": {}}, "additionalProperties": False}, [{"a": 1}, {}], [{"a": 1, "b": 1}]),
        ({"additionalProperties": {"type": "null"}}, [{"a": None}], [{"a": 1}]),
        ({"propertyNames": {"pattern": "^a$"}}, [{"a": 1}, {}], [{"b": 1}]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, [None, "a"], [1]),
        ({"oneOf": [{"type": "null"}]}, [], [None]),
        ({"not": {}, "type": "null"}, [], [None]),
        ({"patternProperties": {"a": {"type": "null"}}}, [], [{"a": 1}, {}]),
    ],
)
def test_each_word(schema: dict[str, Any], sure: list[Any], unsure: list[Any]) -> None:
    test = certainty_test(schema, "none", lambda _reference, _home: ({}, ""))
    assert [test(value) for value in sure] == [True] * len(sure)
    assert [test(value) for value in unsure] == [False] * len(unsure)
    assert all(Draft202012Validator(schema).is_valid(value) for value in sure)
