"""A quick test of values by a JSON Schema, with the answers "certainly valid" and "not certain".

jsonschema takes some 60 ms to load and build, and 20 us per value. Documents are nearly always valid, so it is used
only if this test is not certain. The test knows the keywords of the packaged schemas and the types of JSON. Anything
else is "not certain": other keywords, subclasses, NaN, whole floats, lists that may repeat items.
tests/contracts/test_conformity.py compares it with jsonschema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from operator import ge, gt, le, lt
from typing import Any, NamedTuple

Test = Callable[[Any], bool]
# (a $ref, the name of the schema that holds it) -> the schema it points to, and the name of that schema's file.
Follow = Callable[[str, str], tuple[Any, str]]

_TYPES: dict[str, frozenset[type]] = {
    "object": frozenset({dict}),
    "array": frozenset({list}),
    "string": frozenset({str}),
    "integer": frozenset({int}),
    "number": frozenset({int, float, Decimal}),
    "boolean": frozenset({bool}),
    "null": frozenset({type(None)}),
}
_PLAIN = frozenset[type]().union(*_TYPES.values())
_SILENT = ("$schema", "$id", "$defs", "title", "description", "x-arrow", "x-accepts-version", "x-fault")


def anchored(pattern: str) -> str:
    """The Python form of a schema pattern: its final `$` matches only the end of the text."""
    return pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern


class _Place(NamedTuple):
    """A schema, the name of the packaged schema that contains it, and the function that follows its references."""

    schema: Any
    home: str
    follow: Follow


def certainty_test(schema: Any, home: str, follow: Follow) -> Test:
    """A function that is true only for values that `schema` certainly accepts."""
    return _test(_Place(schema, home, follow))


def _test(place: _Place) -> Test:
    if not isinstance(place.schema, Mapping):
        accepted = place.schema is True
        return lambda _value: accepted
    words = {word: wanted for word, wanted in place.schema.items() if word not in _SILENT}
    if not words.keys() <= _WORDS.keys():
        return lambda _value: False
    tests = [_WORDS[word](wanted, place) for word, wanted in words.items()]
    # A value of a plain type has either the type that a keyword is about or one that the keyword ignores.
    if not words.keys() & {"type", "$ref"}:
        tests.insert(0, lambda value: type(value) in _PLAIN)
    return _all_of(tests)


def _all_of(tests: list[Test]) -> Test:
    """Nested calls, because a loop would take twice as long, and documents hold millions of values."""
    if len(tests) == 1:
        return tests[0]
    first, rest = tests[0], _all_of(tests[1:])
    return lambda value: first(value) and rest(value)


def _type(wanted: Any, _place: _Place) -> Test:
    names = [wanted] if isinstance(wanted, str) else wanted
    types = frozenset[type]().union(*(_TYPES[name] for name in names))
    return lambda value: type(value) in types


def _ref(wanted: Any, place: _Place) -> Test:
    schema, home = place.follow(wanted, place.home)
    return _test(_Place(schema, home, place.follow))


def _any_of(wanted: Any, place: _Place) -> Test:
    tests = [_test(place._replace(schema=schema)) for schema in wanted]
    return lambda value: any(test(value) for test in tests)


def _const(wanted: Any, _place: _Place) -> Test:
    return lambda value: _same(value, wanted)


def _enum(wanted: Any, _place: _Place) -> Test:
    return lambda value: any(_same(value, choice) for choice in wanted)


def _same(value: Any, wanted: Any) -> bool:
    """Equal at every depth, with the same types, because True equals 1 in Python."""
    if type(value) is not type(wanted) or value != wanted:
        return False
    if isinstance(value, dict):
        return all(_same(value[key], wanted[key]) for key in wanted)
    return not isinstance(value, list) or all(map(_same, value, wanted))


def _bound(holds: Callable[[Any, Any], bool]) -> Callable[[Any, _Place], Test]:
    numbers = _TYPES["number"]
    return lambda wanted, _place: lambda value: type(value) not in numbers or holds(value, wanted)


def _length(kind: Any, holds: Callable[[int, int], bool]) -> Callable[[Any, _Place], Test]:
    return lambda wanted, _place: lambda value: type(value) is not kind or holds(len(value), wanted)


def _pattern(wanted: Any, _place: _Place) -> Test:
    search = re.compile(anchored(wanted), re.ASCII).search
    return lambda value: type(value) is not str or search(value) is not None


def _items(wanted: Any, place: _Place) -> Test:
    test = _test(place._replace(schema=wanted))
    return lambda value: type(value) is not list or all(map(test, value))


def _unique_items(wanted: Any, _place: _Place) -> Test:
    def unique(value: Any) -> bool:
        return type(value) is not list or (all(type(item) is str for item in value) and len(set(value)) == len(value))

    return unique if wanted else lambda _value: True


def _properties(wanted: Any, place: _Place) -> Test:
    tests = {name: _test(place._replace(schema=schema)) for name, schema in wanted.items()}
    return lambda value: (
        type(value) is not dict or all(tests[name](item) for name, item in value.items() if name in tests)
    )


def _additional(wanted: Any, place: _Place) -> Test:
    known = place.schema.get("properties", {}).keys()
    test = _test(place._replace(schema=wanted))
    return lambda value: type(value) is not dict or all(test(value[name]) for name in value.keys() - known)


def _property_names(wanted: Any, place: _Place) -> Test:
    test = _test(place._replace(schema=wanted))
    return lambda value: type(value) is not dict or all(map(test, value))


def _required(wanted: Any, _place: _Place) -> Test:
    names = frozenset(wanted)
    return lambda value: type(value) is not dict or value.keys() >= names


# `oneOf` is missing: it needs certainty about what the other choices refuse.
_WORDS: dict[str, Callable[[Any, _Place], Test]] = {
    "$ref": _ref,
    "additionalProperties": _additional,
    "anyOf": _any_of,
    "const": _const,
    "enum": _enum,
    "exclusiveMaximum": _bound(lt),
    "exclusiveMinimum": _bound(gt),
    "items": _items,
    "maxItems": _length(list, le),
    "maximum": _bound(le),
    "minItems": _length(list, ge),
    "minLength": _length(str, ge),
    "minProperties": _length(dict, ge),
    "minimum": _bound(ge),
    "pattern": _pattern,
    "properties": _properties,
    "propertyNames": _property_names,
    "required": _required,
    "type": _type,
    "uniqueItems": _unique_items,
}
