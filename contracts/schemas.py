"""JSON Schemas (draft 2020-12) of every table, document and policy, and the check of documents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from arrival_engine.contracts.conformity import Test, anchored, certainty_test
from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.contracts.guesses import did_you_mean, nearest

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_SUFFIX = ".schema.json"
_VALUE_CHARS_MAX = 120
_SIGNS = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}


def schema_names() -> tuple[str, ...]:
    """The names of all packaged schemas, sorted."""
    names = (item.name for item in files("arrival_engine.contracts").joinpath("schemas").iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def json_schema(name: str) -> dict[str, Any]:
    """A fresh copy of the packaged schema `name`. Raises UNEXPECTED_INTERNAL_ERROR if there is none."""
    document: dict[str, Any] = json.loads(_text(name))
    return document


def check_document(name: str, document: object, *, code: Code, where: str) -> None:
    """Check `document` against the schema `name`.

    Numbers may be int, float or Decimal; a Decimal is compared with the schema's decimals as written.
    Raises ArrivalError(code) with `where`, the JSON pointer and the value of the first fault.
    """
    if _certain(name)(document):
        return
    faults = sorted(_validator(name).iter_errors(document), key=_pointer)
    if not faults:
        return
    fault = _innermost(faults[0])
    pointer = _pointer(fault)
    more = f" (one of {len(faults)} faults)" if len(faults) > 1 else ""
    raise ArrivalError(
        code,
        f"{where}: at {pointer or '/'}: {_describe(fault)}{more}",
        hint=f"see contracts/schemas/{name}{_SUFFIX} for what is allowed there",
        schema=name,
        pointer=pointer,
        value=shown(fault.instance),
    )


def deref(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """`schema` with its `$ref` (into the schema `name` or a sibling file) replaced by the target."""
    flat = dict(schema)
    reference = flat.pop("$ref", None)
    if reference is None:
        return flat
    target, home = _follow(str(reference), name, _plain)
    return {**deref(target, home), **flat}


def _follow(reference: str, name: str, load: Callable[[str], dict[str, Any]]) -> tuple[Any, str]:
    """The target of a reference in the schema `name`, and the name of the target's schema."""
    file, _, pointer = reference.partition("#")
    home = file.removesuffix(_SUFFIX) if file else name
    target: Any = load(home)
    for step in filter(None, pointer.split("/")):
        target = target[step]
    return target, home


def shown(value: object) -> str:
    """`value` as short text for a message."""
    if isinstance(value, Decimal):
        text = str(value)
    elif isinstance(value, (dict, list)):
        text = f"{type(value).__name__} of {len(value)}"
    else:
        text = repr(value)
    return text if len(text) <= _VALUE_CHARS_MAX else text[: _VALUE_CHARS_MAX - 3] + "..."


@cache
def _text(name: str) -> str:
    path = files("arrival_engine.contracts").joinpath("schemas", name + _SUFFIX)
    if "/" in name or not path.is_file():
        raise ArrivalError(
            Code.UNEXPECTED_INTERNAL_ERROR,
            f"there is no packaged schema {name!r}",
            hint="contracts/schemas holds one file for each schema that the dictionary names",
            schema=name,
        )
    return path.read_text(encoding="utf-8")


@cache
def _plain(name: str) -> dict[str, Any]:
    return json_schema(name)


@cache
def _exact(name: str) -> dict[str, Any]:
    # A policy's 0.35 is read as Decimal("0.35"), which equals no binary float, so constants are decimals too.
    document: dict[str, Any] = json.loads(_text(name), parse_float=Decimal)
    return document


@cache
def _certain(name: str) -> Test:
    return certainty_test(_exact(name), name, partial(_follow, load=_exact))


@cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry, Resource

    siblings: Any = Registry
    registry = siblings(retrieve=lambda uri: Resource.from_contents(_exact(uri.removesuffix(_SUFFIX))))
    extend: Any = validators.extend
    strict = extend(Draft202012Validator, {"pattern": _pattern})
    return strict(_exact(name), registry=registry)


def _pattern(_validator: object, pattern: str, instance: object, _schema: object) -> Iterator[ValidationError]:
    # Python's "$" also matches before a final line feed and "\d" any Unicode digit; ECMA-262, which JSON
    # Schema means, does neither.
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and not re.search(anchored(pattern), instance, re.ASCII):
        yield ValidationError(f"does not match {pattern}")


def _innermost(fault: ValidationError) -> ValidationError:
    """The fault to report: for `X or null` the fault of X, for other choices the deepest."""
    no_null = ("type", "null")
    while fault.context:
        real = [inner for inner in fault.context if (inner.validator, inner.validator_value) != no_null]
        if not real:
            break
        fault = max(real, key=lambda inner: len(inner.absolute_path))
    return fault


def _pointer(fault: ValidationError) -> str:
    steps = [str(step).replace("~", "~0").replace("/", "~1") for step in fault.absolute_path]
    extra = _strangers(fault)
    if extra:
        steps.append(extra[0].replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{step}" for step in steps)


def _strangers(fault: ValidationError) -> list[str]:
    if fault.validator != "additionalProperties" or not isinstance(fault.instance, dict):
        return []
    known = _properties(fault)
    return sorted(str(key) for key in fault.instance if key not in known)


def _properties(fault: ValidationError) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = fault.schema.get("properties", {}) if isinstance(fault.schema, Mapping) else {}
    return properties


def _guessed(fault: ValidationError, key: str) -> str:
    """An unknown key, with the missing keys that it may stand for."""
    instance: Any = fault.instance
    guess = did_you_mean(key, [known for known in _properties(fault) if known not in instance])
    return f"{key!r} ({guess})" if guess else repr(key)


def _found(fault: ValidationError, key: str) -> str:
    """A missing key, with the unknown key that may stand for it."""
    instance: Any = fault.instance
    near = nearest(key, [str(other) for other in instance if other not in _properties(fault)])
    return f"{key!r} (misspelt {near[0]!r}?)" if near else repr(key)


def _describe(fault: ValidationError) -> str:
    wanted: Any = fault.validator_value
    value = shown(fault.instance)
    match fault.validator:
        case "additionalProperties":
            return f"unknown key {', '.join(_guessed(fault, key) for key in _strangers(fault))}"
        case "required":
            present: Any = fault.instance
            return f"missing key {', '.join(_found(fault, key) for key in wanted if key not in present)}"
        case "const":
            return f"value {value} must be {shown(wanted)}"
        case "enum":
            words = [choice for choice in wanted if isinstance(choice, str)]
            guess = did_you_mean(fault.instance, words) if isinstance(fault.instance, str) else ""
            listed = ", ".join(shown(choice) for choice in wanted)
            return f"value {value} is not one of {listed}{f'; {guess}' if guess else ''}"
        case "type":
            kinds = wanted if isinstance(wanted, str) else " or ".join(wanted)
            return f"value {value} is not of type {kinds}"
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            return f"value {value} is not {_SIGNS[fault.validator]} {shown(wanted)}"
        case "pattern":
            return f"value {value} does not match {wanted}"
        case _:
            return f"value {value} violates {fault.validator}: {shown(wanted)}"
