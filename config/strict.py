"""YAML and JSON readers that keep decimals exactly as written and refuse what no policy needs.

Refused: duplicate keys, keys that are not text, aliases and anchors, explicit tags, several documents, deep
nesting, numbers of absurd length, NaN and infinities. YAML scalars follow the 1.2 core schema: `yes` is text,
`1e-9` a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from arrival_engine.contracts.plainness import nested_deeper, short, unpaired_surrogate

DEPTH_MAX = 32
# Long enough for any meaningful constant, short enough for cheap exact arithmetic.
NUMBER_CHARS_MAX = 64
EXPONENT_MAX = 400

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FRACTION = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?")
_TAG_DIRECTIVE = re.compile("(?:^|[\n\r\x85\u2028\u2029])\ufeff?%TAG")
_POWER = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+")
_WORDS: dict[str, object] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class FormatError(ValueError):
    """Text is not a policy document; the message says why and where."""


def parse_json(data: bytes) -> Any:
    """The JSON document in `data`; floats become Decimal. Raises FormatError."""
    try:
        value = json.loads(
            _decode(data),
            object_pairs_hook=_pairs,
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=lambda word: _fail(f"{word} is not a JSON number"),
        )
    except json.JSONDecodeError as error:
        raise FormatError(f"line {error.lineno}: {error.msg}") from error
    except RecursionError as error:
        raise FormatError("nested too deeply") from error
    if nested_deeper(value, DEPTH_MAX):
        _fail(f"nested more than {DEPTH_MAX} levels deep")
    if unpaired_surrogate(value):
        _fail("a text holds half of a surrogate pair")
    return value


def parse_yaml(data: bytes) -> Any:
    """The one YAML document in `data`; floats become Decimal. Raises FormatError."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = _decode(data)
    # The library compares each with all before it, ahead of the document that could be refused.
    if _TAG_DIRECTIVE.search(text):
        _fail("%TAG directives are not allowed")
    try:
        return _build(yaml.parse(text, Loader=loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark is not None else ""
        raise FormatError(f"{place}{getattr(error, 'problem', None) or error}") from error


def _fail(what: str) -> NoReturn:
    raise FormatError(what)


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"byte {error.start} is not UTF-8") from error


def _pairs(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            _fail(f"key {short(key)} appears twice")
        result[key] = value
    return result


def _integer(text: str) -> int:
    if len(text) > NUMBER_CHARS_MAX:
        _fail(f"number of {len(text)} characters is too long")
    return int(text)


def _decimal(text: str) -> Decimal:
    if len(text) > NUMBER_CHARS_MAX:
        _fail(f"number of {len(text)} characters is too long")
    value = Decimal(text)
    if value and not -EXPONENT_MAX <= value.adjusted() <= EXPONENT_MAX:
        _fail(f"number {text} is out of range")
    return value


def _scalar(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FRACTION.fullmatch(text) or _POWER.fullmatch(text):
        return _decimal(text)
    return text


@dataclass
class _Level:
    """An open mapping or sequence; `key` is a mapping's key without a value yet."""

    add: Callable[[Any], object]
    mapping: dict[str, Any] | None = None
    key: str | None = None


def _build(events: Iterable[Any]) -> Any:
    from yaml import events as kinds

    top: list[Any] = []
    levels = [_Level(top.append)]
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, kinds.NodeEvent):
            _check_node(event, line)
        if isinstance(event, kinds.ScalarEvent):
            plain = event.style is None or event.style == ""
            _put(levels[-1], _scalar(event.value) if plain else event.value, line)
        elif isinstance(event, kinds.CollectionStartEvent):
            if len(levels) > DEPTH_MAX:
                _fail(f"line {line}: nested more than {DEPTH_MAX} levels deep")
            levels.append(_open(levels[-1], isinstance(event, kinds.MappingStartEvent), line))
        elif isinstance(event, kinds.CollectionEndEvent):
            levels.pop()
        elif isinstance(event, kinds.DocumentStartEvent) and top:
            _fail(f"line {line}: a second document begins")
    if not top:
        _fail("the file is empty")
    return top[0]


def _check_node(event: Any, line: int) -> None:
    if event.anchor is not None:
        _fail(f"line {line}: anchors and aliases are not allowed")
    if getattr(event, "tag", None) is not None:
        _fail(f"line {line}: explicit tags are not allowed")


def _open(parent: _Level, is_mapping: bool, line: int) -> _Level:
    if is_mapping:
        mapping: dict[str, Any] = {}
        _put(parent, mapping, line)
        return _Level(mapping.update, mapping=mapping)
    sequence: list[Any] = []
    _put(parent, sequence, line)
    return _Level(sequence.append)


def _put(level: _Level, value: Any, line: int) -> None:
    if level.mapping is None:
        level.add(value)
    elif level.key is None:
        if not isinstance(value, str):
            _fail(f"line {line}: key {value!r} is not text")
        if value in level.mapping:
            _fail(f"line {line}: key {short(value)} appears twice")
        level.key = value
    else:
        level.mapping[level.key] = value
        level.key = None
