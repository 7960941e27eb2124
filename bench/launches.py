"""Host time until the CUDA kernels are loaded, and of their launches, with the tests' stand-in for the CUDA driver.

    python -m bench launches [--repeats 7] [--out bench/results]

Real numba-cuda compiles and links, and nothing is computed, so no device is needed and nothing is said of one. Prints
one JSON object with every repeat. Without a C compiler or NVIDIA's compiler, the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import environment, results

_LAUNCHES = 200
_CAPABILITY = (9, 0)
_SHAPE = 256, 200  # threads, blocks


def _loading() -> dict[str, float]:
    """Processor seconds of this process until the driver has the kernels, by way of the kernel cache."""
    from arrival_engine.gpu_kernels.launcher import kernel_functions

    began = time.process_time()
    kernel_functions(0)
    return {"seconds": time.process_time() - began}


def _probing() -> dict[str, float]:
    """Processor seconds of the probe that compiles a kernel of two lines."""
    from arrival_engine.gpu_kernels import probe

    began = time.process_time()
    if problem := probe.compiler_problem(0, "13.0"):
        raise RuntimeError(problem)
    return {"seconds": time.process_time() - began}


def _launching() -> dict[str, Any]:
    """Processor microseconds of one launch, by numba-cuda and by the product, each a mean of many."""
    from arrival_engine.gpu_kernels import kernels
    from arrival_engine.gpu_kernels.arguments import DeviceArray, words
    from arrival_engine.gpu_kernels.jit import cuda
    from arrival_engine.gpu_kernels.launcher import DriverContext, Launcher, kernel_functions
    from arrival_engine.gpu_kernels.layout import KERNELS
    from arrival_engine.gpu_kernels.shape import LaunchShape

    context, stream, shape = DriverContext(0), cuda.stream(), LaunchShape(*_SHAPE)
    launcher = Launcher(kernel_functions(0), int(stream.handle))
    found: dict[str, Any] = {}
    for kernel in KERNELS:
        arguments = _mapped(kernel.prototypes(), cuda.to_device)
        packed = _mapped(arguments, DeviceArray)
        function = getattr(kernels, kernel.name)[shape.blocks, shape.threads, stream, kernel.shared_bytes(shape)]

        def by_product(kernel: Any = kernel, packed: Any = packed) -> None:
            # The tables stay as they are; piece and output are other objects at each launch.
            launcher.launch(kernel, shape, (packed[0], *_mapped(packed[1:], lambda array: array)))

        with context.entered():
            found[kernel.name] = {
                "parameters": len(words(arguments)),
                "numba_us": _microseconds(partial(function, *arguments)),
                "packed_us": _microseconds(by_product),
            }
    return found


def _mapped(part: Any, change: Callable[[Any], Any]) -> Any:
    """Nested groups made anew, with their arrays changed."""
    if isinstance(part, tuple):
        parts = [_mapped(one, change) for one in part]
        return type(part)(*parts) if hasattr(part, "_fields") else tuple(parts)
    return part if isinstance(part, (int, np.generic)) else change(part)


def _microseconds(launch: Callable[[], None]) -> float:
    launch()
    began = time.thread_time()
    for _ in range(_LAUNCHES):
        launch()
    return (time.thread_time() - began) / _LAUNCHES * 1e6


_INSIDE = {"load": _loading, "probe": _probing, "launch": _launching}


def measure(repeats: int) -> dict[str, Any]:
    """Every repeat, each in a process of its own; kernels are compiled in the first of each pair of processes."""
    from tests.support.stand_in_driver import build

    found: dict[str, list[Any]] = {"compile": [], "load": [], "probe": [], "launch": []}
    with tempfile.TemporaryDirectory() as folder:
        driver = build(Path(folder))
        for turn in range(repeats):
            cached = driver.environment(compute_capability=_CAPABILITY, ARRIVALS_CACHE_DIR=f"{folder}/{turn}")
            for name, inside in (("compile", "load"), ("load", "load"), ("probe", "probe"), ("launch", "launch")):
                command = [sys.executable, "-W", "ignore", "-m", "bench.launches", "inside", inside]
                done = subprocess.run(command, env=cached, cwd=environment.ROOT, stdout=subprocess.PIPE, check=True)
                found[name].append(json.loads(done.stdout))
    return {
        "compute_capability": ".".join(map(str, _CAPABILITY)),
        "launches_per_repeat": _LAUNCHES,
        "processor_seconds": {name: [one["seconds"] for one in found[name]] for name in ("compile", "load", "probe")},
        "launches": found["launch"],
    }


def main(words: list[str]) -> int:
    """Run one command line and give its exit code."""
    from tests.support.stand_in_driver import no_driver_reason, no_linker_reason

    if words[:1] == ["inside"]:
        print(json.dumps(_INSIDE[words[1]]()))
        return 0
    parser = argparse.ArgumentParser(prog="python -m bench launches", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="write the result file to this folder, such as bench/results")
    options = parser.parse_args(words)
    if reason := no_driver_reason() or no_linker_reason():
        print(f"bench launches: nothing measured: {reason}", file=sys.stderr)
        return 1
    surroundings, command = environment.describe(), f"python -m bench launches --repeats {options.repeats}"
    result = results.Result("launches", command, surroundings, measure(options.repeats))
    print(json.dumps(result.measured, indent=1))
    if options.out:
        print(f"written to {results.save(result, options.out)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
