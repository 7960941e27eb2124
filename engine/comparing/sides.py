"""The two sides of a comparison: published scenarios of a run directory, or one partition directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.arrivals.reading import part_files
from arrival_engine.engine.merchant_names import MerchantNames, load_merchant_names
from arrival_engine.engine.rundir.receipt import read_receipt


class Pair(NamedTuple):
    """One scenario of both sides."""

    scenario_id: str
    a: InsidePath
    b: InsidePath


class Pairing(NamedTuple):
    """What can be compared, and the scenarios that only one side has."""

    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def pair_up(a: InsidePath, b: InsidePath, scenario_id: str | None) -> Pairing:
    """Scenarios of the same name; where each side has just one, those two under any names.

    Raises IO_READ_FAILED for a side without arrivals.
    """
    left, right = _scenarios(a, scenario_id), _scenarios(b, scenario_id)
    if len(left) == len(right) == 1:
        (name, first), (other, second) = *left.items(), *right.items()
        return Pairing((Pair(name if name == other else f"{name or a} / {other or b}", first, second),), (), ())
    both = [name for name in left if name in right]
    return Pairing(
        tuple(Pair(name, left[name], right[name]) for name in both),
        tuple(name for name in left if name not in right),
        tuple(name for name in right if name not in left),
    )


def names_of(*sides: InsidePath) -> MerchantNames | None:
    """The texts of merchants by the first side that has them; None if none has, or only such as cannot be read."""
    for side in sides:
        if (side / dataset("run_receipt").path).is_file():
            with suppress(ArrivalError):
                names = load_merchant_names(read_receipt(side))
                if names is not None:
                    return names
    return None


def _scenarios(path: InsidePath, scenario_id: str | None) -> Mapping[str, InsidePath]:
    found = dict(_published(path))
    if scenario_id is not None and len(found) > 1:
        found = {name: directory for name, directory in found.items() if name == scenario_id}
    elif scenario_id is not None and set(found) - {"", scenario_id}:
        found = {}
    if not found:
        raise _nothing(path, f" of scenario {scenario_id}" if scenario_id is not None else "")
    return found


def listed(directory: InsidePath) -> list[InsidePath]:
    """The part files of a side's partition directory. Raises IO_READ_FAILED if they are gone."""
    parts = part_files(directory)
    if not parts:
        raise _nothing(directory)
    return parts


def _nothing(path: InsidePath, wanted: str = "") -> ArrivalError:
    return ArrivalError(
        Code.IO_READ_FAILED,
        f"{path} has no arrivals{wanted}",
        hint="give a run directory in which `arrivals run` has published, or a directory of part files",
        path=str(path),
    )


def _published(path: InsidePath) -> Iterator[tuple[str, InsidePath]]:
    """Scenario and partition directory, in byte order of the scenario; "" where nothing names it."""
    if part_files(path):
        name, _, value = path.outside.resolve().name.partition("=")
        yield (value if name == "scenario_id" else ""), path
    elif dataset("run_receipt").locate(path, {}).is_file():
        for scenario_id, directory in read_receipt(path).partitions("arrival_events_5B").items():
            if part_files(directory):
                yield scenario_id, directory
