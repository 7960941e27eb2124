"""The public API: exactly these names, each there, each loaded only when it is asked for."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest

import arrival_engine
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.cluster.depot import Depot

FUNCTIONS = {
    *(
        "synthesise",
        "import_world",
        "adopt",
        "seal",
        "load_world",
        "plan",
        "expand",
        "run",
        "forecast",
        "validate",
        "verify",
    ),
    *("report", "explain", "diff", "stream_arrivals", "parity", "build_tz", "doctor", "export"),
    *("expand_counts", "read_arrivals"),
}
CLASSES = {
    *(
        "Arrivals",
        "ArrivalError",
        "Code",
        "Notice",
        "Reporter",
        "World",
        "Plan",
        "DaskMaker",
        "Question",
        "DeviceBatch",
    ),
    *(
        "ImportRequest",
        "AdoptOptions",
        "RunOptions",
        "ForecastOptions",
        "ValidateOptions",
        "ReportOptions",
        "DiffOptions",
        "ParityOptions",
    ),
    *(
        "SynthResult",
        "ImportResult",
        "AdoptResult",
        "SealResult",
        "RunResult",
        "ScenarioResult",
        "ForecastResult",
        "ValidateResult",
    ),
    *(
        "ExportOptions",
        "ExportResult",
        "Bundle",
        "ReportResult",
        "Explanation",
        "DiffResult",
        "ParityResult",
        "TzCacheResult",
        "Diagnosis",
    ),
}
# What `arrivals` has besides: the demo, which calls functions of the API one after another, and the scripts of shells.
COMMANDS_WITHOUT_A_FUNCTION = {"demo", "completion"}
FUNCTION_OF = {
    "synth": "synthesise",
    "import": "import_world",
    "plan": "forecast",
    "stream": "stream_arrivals",
    "tz": "build_tz",
}


def test_the_api_is_exactly_these_names():
    assert set(arrival_engine.__all__) == FUNCTIONS | CLASSES
    assert len(arrival_engine.__all__) == len(set(arrival_engine.__all__))
    assert dir(arrival_engine) == sorted(arrival_engine.__all__)


@pytest.mark.parametrize("name", sorted(FUNCTIONS | CLASSES))
def test_every_name_is_there_and_says_what_it_is(name):
    value = getattr(arrival_engine, name)
    assert value.__name__ == name
    assert isinstance(value, type) == (name in CLASSES)
    assert value.__doc__


def test_a_name_that_is_not_there_is_named():
    with pytest.raises(AttributeError, match="module 'arrival_engine' has no attribute 'sael'"):
        arrival_engine.sael  # noqa: B018 - the look-up is what fails


def test_every_command_has_its_function():
    from arrival_engine.engine.cli.main import arrivals

    commands = set(arrivals.list_commands(arrivals.make_context("arrivals", [], resilient_parsing=True)))
    assert {FUNCTION_OF.get(name, name) for name in commands - COMMANDS_WITHOUT_A_FUNCTION} <= FUNCTIONS
    assert commands >= COMMANDS_WITHOUT_A_FUNCTION


def test_importing_the_package_loads_none_of_its_modules():
    script = "import sys, arrival_engine; print(sorted(name for name in sys.modules if name.startswith('arrival_')))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "['arrival_engine']"


# These hold what a run reads, with the paths that its readers take.
INSIDE = {"World", "Plan", "DaskMaker", "Reporter"}


def types_of(value):
    """The types of a class's fields, and of what they consist of."""
    ahead, seen = [value], []
    while ahead:
        found = ahead.pop()
        if found not in seen:
            seen.append(found)
            ahead += [*get_args(found), *(get_type_hints(found).values() if dataclasses.is_dataclass(found) else ())]
    return seen


@pytest.mark.parametrize("name", sorted(CLASSES - INSIDE))
def test_paths_of_options_and_results_are_those_of_pathlib(name):
    assert InsidePath not in types_of(getattr(arrival_engine, name))


def test_a_path_within_is_found():
    assert InsidePath in types_of(tuple[Depot, ...])
