"""Rules that turn a policy of version 1 into version 2, key by key."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

Path = tuple[str, ...]


class Carried(NamedTuple):
    """A key whose value goes over to version 2: to the key `to`, of a list to one `place` of it."""

    key: str
    to: str
    place: int | None = None


class Stated(NamedTuple):
    """A key that states a law of version 1: one of `values`, which version 2 replaces by its own at `to`.

    Without `to`, version 2 has no such key, and `why` says what holds instead.
    """

    key: str
    values: tuple[object, ...]
    to: str
    why: str


class Tightened(NamedTuple):
    """A share that version 1 tolerates, of what version 2 does not tolerate."""

    key: str
    to: str
    why: str


Rule = Carried | Stated | Tightened


@dataclass(frozen=True)
class Difference:
    """A key that differs between the versions; `v1` and `v2` are the values as text, None where there is no key."""

    key: str
    v1: str | None
    v2_key: str | None
    v2: str | None
    why: str


@dataclass(frozen=True)
class CarriedValue:
    """A value that version 2 has from version 1."""

    key: str
    v2_key: str
    value: str


@dataclass(frozen=True)
class Translation:
    """A policy of version 2, with what became of every key of version 1."""

    document: Mapping[str, Any]
    carried: tuple[CarriedValue, ...]
    differences: tuple[Difference, ...]


class NoCounterpartError(Exception):
    """A key or value of version 1 that version 2 cannot express; `key` is its dotted path."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(what)
        self.key = key


def same(key: str, to: str = "") -> Carried:
    """The value goes over, to the same key unless `to` names another."""
    return Carried(key, to or key)


def end(key: str, to: str, place: int) -> Carried:
    """The value becomes one end of a list of bounds."""
    return Carried(key, to, place)


def law(key: str, value: object, to: str = "", why: str = "") -> Stated:
    """The key states `value`; version 2 has `to`, the same key by default."""
    return Stated(key, (value,), to or key, why)


def gone(key: str, value: object, why: str) -> Stated:
    """The key states `value`, and version 2 has no such key."""
    return Stated(key, (value,), "", why)


def either(key: str, to: str, why: str) -> Stated:
    """The key is true or false, and version 2 decides by another key."""
    return Stated(key, (True, False), to, why)


def intolerable(key: str, why: str) -> Tightened:
    """The key is a tolerated share, and version 2 states at the same key that nothing is tolerated."""
    return Tightened(key, key, why)


def translate(document: Mapping[str, Any], rules: Sequence[Rule], base: Mapping[str, Any]) -> Translation:
    """Version 2 of a document of version 1: `base`, the packaged one, with every carried value put in.

    Raises NoCounterpartError for a key without a rule, a key that is missing, and a law that is not version 1's.
    """
    values, now = _flat(document), copy.deepcopy(dict(base))
    known = {_path(rule.key) for rule in rules}
    for path in values:
        if path not in known:
            raise NoCounterpartError(_dotted(path), "is a key that version 2 has no counterpart for")
    carried: list[CarriedValue] = []
    differences: list[Difference] = []
    for rule in rules:
        path = _path(rule.key)
        if path not in values:
            raise NoCounterpartError(_dotted(path), "is missing")
        if isinstance(rule, Carried):
            _put(now, rule, values[path])
            place = "" if rule.place is None else f"[{rule.place}]"
            carried.append(CarriedValue(_dotted(path), f"{_dotted(_path(rule.to))}{place}", _text(values[path])))
        elif isinstance(rule, Tightened):
            differences += _tightened(rule, path, values[path], base)
        else:
            differences += _replaced(rule, path, values[path], base)
    differences += _added(base, rules)
    return Translation(now, tuple(carried), tuple(differences))


def _put(document: dict[str, Any], rule: Carried, value: object) -> None:
    *parents, last = _path(rule.to)
    place: Any = document
    for name in parents:
        place = place[name]
    if rule.place is None:
        place[last] = value
    else:
        place[last][rule.place] = value


def _replaced(rule: Stated, path: Path, value: object, base: Mapping[str, Any]) -> Iterator[Difference]:
    if not any(_equal(value, stated) for stated in rule.values):
        expected = " or ".join(_text(stated) for stated in rule.values)
        raise NoCounterpartError(
            _dotted(path), f"value {_text(value)} has no counterpart in version 2, which knows {expected} only"
        )
    if not rule.to:
        yield Difference(_dotted(path), _text(value), None, None, rule.why)
        return
    yield from _differing(rule, path, value, base)


def _tightened(rule: Tightened, path: Path, value: object, base: Mapping[str, Any]) -> Iterator[Difference]:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or not 0 <= value <= 1:
        raise NoCounterpartError(_dotted(path), f"value {_text(value)} is not a share")
    yield from _differing(rule, path, value, base)


def _differing(rule: Stated | Tightened, path: Path, value: object, base: Mapping[str, Any]) -> Iterator[Difference]:
    target = _path(rule.to)
    found: Any = base
    for name in target:
        found = found[name]
    if not _equal(found, value):
        yield Difference(_dotted(path), _text(value), _dotted(target), _text(found), rule.why)


def _added(base: Mapping[str, Any], rules: Sequence[Rule]) -> Iterator[Difference]:
    targets = {_path(rule.to) for rule in rules if rule.to}
    for path, value in _flat(base).items():
        if path not in targets:
            yield Difference(_dotted(path), None, _dotted(path), _text(value), "version 1 has no such key")


def _equal(value: object, other: object) -> bool:
    """Equal, and both or neither a truth value."""
    return isinstance(value, bool) == isinstance(other, bool) and value == other


def _flat(document: Mapping[str, Any], above: Path = ()) -> dict[Path, Any]:
    """The values by path; a list is one value, except for version 1's list of families, which has one name per item."""
    found: dict[Path, Any] = {}
    for key, value in document.items():
        inner = _by_family(value) if (*above, key) == ("families",) and isinstance(value, list) else value
        if isinstance(inner, dict) and inner:
            found |= _flat(inner, (*above, key))
        else:
            found[*above, key] = value
    return found


def _by_family(families: list[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for place, family in enumerate(families):
        name = family.get("family_id") if isinstance(family, dict) else None
        if not isinstance(name, str) or name in named:
            raise NoCounterpartError(f"families[{place}]", "has no family_id of its own")
        named[name] = family
    return named


def _path(key: str) -> Path:
    # Names of families have dots.
    return tuple(key.split("/"))


def _dotted(path: Path) -> str:
    return ".".join(path)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value)}]"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return "null" if value is None else str(value)
