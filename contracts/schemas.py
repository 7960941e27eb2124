"""JSON Schemas (draft 2020-12) of every table, document and policy, and the check of documents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache, partial
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

from arrival_engine.contracts.conformity import Test, anchored, certainty_test
from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.contracts.guesses import did_you_mean, nearest
from arrival_engine.contracts.plainness import NAMED_MAX, short

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_SUFFIX = ".schema.json"
_SIBLING = re.compile(r'"\$ref": *"([^"#]+)' + re.escape(_SUFFIX))
_VALUE_CHARS_MAX = 120
# Each fault takes a third of a millisecond to find, and a document of another program may have millions.
_FAULTS_MAX = 1000
_SIGNS = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}


def schema_names() -> tuple[str, ...]:
    """The names of all packaged schemas, sorted."""
    names = (item.name for item in files("arrival_engine.contracts").joinpath("schemas").iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def json_schema(name: str) -> dict[str, Any]:
    """A fresh copy of the packaged schema `name`. Raises UNEXPECTED_INTERNAL_ERROR if there is none."""
    document: dict[str, Any] = json.loads(_text(name))
    return document


def check_document(name: str, document: object, *, code: Code, where: str, hint: str = "") -> None:
    """Check `document` against the schema `name`.

    Numbers may be int, float or Decimal; a Decimal is compared with the schema's decimals as written.
    Raises ArrivalError(code) with `where`, the JSON pointer and the value of the first fault; `hint` says what to do.
    """
    if _certain(name)(document):
        return
    found = _validator(name).iter_errors(document)
    faults = sorted(islice(found, _FAULTS_MAX), key=_pointer)
    if not faults:
        return
    fault = _innermost(faults[0])
    pointer = _pointer(fault)
    number = f"at least {len(faults)}" if len(faults) == _FAULTS_MAX else f"{len(faults)}"
    more = f" (one of {number} faults)" if len(faults) > 1 else ""
    raise ArrivalError(
        code,
        f"{where}: at {pointer or '/'}: {_describe(fault)}{more}",
        hint=hint or f"see contracts/schemas/{name}{_SUFFIX} for what is allowed there",
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
        # Only as much as may be shown: a text may have millions of characters.
        text = short(value, _VALUE_CHARS_MAX) if isinstance(value, str) else repr(value)
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

    # A schema that is not in the registry is retrieved and crawled once per fault.
    registry: Any = Registry()
    known = [(related + _SUFFIX, Resource.from_contents(_exact(related))) for related in _related(name)]
    extend: Any = validators.extend
    strict = extend(Draft202012Validator, {"pattern": _pattern, "uniqueItems": _unique_items})
    return strict(_exact(name), registry=registry.with_resources(known))


def _related(name: str) -> set[str]:
    """The names of a schema and of all that it refers to."""
    found: set[str] = set()
    pending = {name}
    while pending:
        found |= pending
        pending = {other for one in pending for other in _SIBLING.findall(_text(one))} - found
    return found


def _pattern(_validator: object, pattern: str, instance: object, _schema: object) -> Iterator[ValidationError]:
    # Python's "$" also matches before a final line feed and "\d" any Unicode digit; ECMA-262, which JSON
    # Schema means, does neither.
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and not re.search(anchored(pattern), instance, re.ASCII):
        yield ValidationError(f"does not match {pattern}")


def _unique_items(_validator: object, wanted: object, instance: object, _schema: object) -> Iterator[ValidationError]:
    # jsonschema's own compares each item with all others where they have no common order.
    from jsonschema.exceptions import ValidationError

    if wanted and isinstance(instance, list) and len({_hashable(item) for item in instance}) < len(instance):
        yield ValidationError("has repeated items")


def _hashable(value: object) -> object:
    """Equal for values that JSON Schema takes for equal, of which truth values equal no numbers."""
    if isinstance(value, list):
        return "list", tuple(_hashable(item) for item in value)
    if isinstance(value, dict):
        return "dict", frozenset((key, _hashable(item)) for key, item in value.items())
    return isinstance(value, bool), value


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
    steps = [str(step) for step in fault.absolute_path]
    extra = _strangers(fault)
    if extra:
        steps.append(extra[0])
    return "".join(f"/{_step(step)}" for step in steps)


def _step(text: str) -> str:
    kept = text if len(text) <= _VALUE_CHARS_MAX else text[: _VALUE_CHARS_MAX - 3] + "..."
    return kept.replace("~", "~0").replace("/", "~1")


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
    return f"{short(key)} ({guess})" if guess else short(key)


def _found(fault: ValidationError, key: str) -> str:
    """A missing key, with the unknown key that may stand for it."""
    instance: Any = fault.instance
    strangers = (str(other) for other in instance if other not in _properties(fault))
    near = nearest(key, list(islice(strangers, _FAULTS_MAX)))
    return f"{key!r} (misspelt {short(near[0])}?)" if near else repr(key)


def _describe(fault: ValidationError) -> str:
    wanted: Any = fault.validator_value
    value = shown(fault.instance)
    match fault.validator:
        case "additionalProperties":
            strangers = _strangers(fault)
            more = f" and {len(strangers) - NAMED_MAX} more" if len(strangers) > NAMED_MAX else ""
            return f"unknown key {', '.join(_guessed(fault, key) for key in strangers[:NAMED_MAX])}{more}"
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
            known: Any = fault.schema
            return f"value {value} {known.get('x-fault') or f'does not match {wanted}'}"
        case _:
            return f"value {value} violates {fault.validator}: {shown(wanted)}"
