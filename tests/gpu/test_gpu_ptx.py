"""The CUDA kernels as machine code, without a device: nothing in it may round, spill or be called."""

from __future__ import annotations

import re
import shutil
import subprocess
import types
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numba import cuda
from numba.cuda.cudadrv.nvvm import NvvmSupportError
from numba.cuda.dispatcher import CUDADispatcher
from numba.cuda.typing.typeof import Purpose, typeof

from arrival_engine.gpu_kernels import kernels
from arrival_engine.gpu_kernels.layout import Output, Piece, Resident
from arrival_engine.gpu_kernels.shape import MAX_THREADS
from tests.support.gpu import prototype

CAPABILITIES = ((8, 0), (9, 0))
KERNELS = ("prepare_segments", "draw_keys", "settle")
EXPANSION = KERNELS[1:]
WHEELS = "pip install nvidia-nvvm nvidia-cuda-nvrtc nvidia-cuda-nvcc"
# One launch passes that much before it needs the newest drivers.
PARAMETER_BYTES = 4096
# 65,536 registers of a multiprocessor for at least four blocks of 256 threads.
MOST_REGISTERS = 64


def arguments(name):
    keys = np.zeros(1, np.uint64)
    return {
        "prepare_segments": (prototype(Resident),),
        "draw_keys": (prototype(Resident), prototype(Piece), keys),
        "settle": (prototype(Resident), prototype(Piece), keys, prototype(Output)),
    }[name]


@cache
def compiled(compiler, name, capability):
    kernel = getattr(kernels, name)
    signature = tuple(typeof(value, Purpose.argument) for value in arguments(name))
    text, _ = compiler(kernel.py_func, signature, cc=capability, launch_bounds=MAX_THREADS)
    return text


@pytest.fixture(scope="module")
def compiler():
    """numba's CUDA compiler; where NVIDIA's libraries are not installed, nothing can be compiled."""
    try:
        cuda.compile_ptx(_nothing, (), cc=(9, 0))
    except (NvvmSupportError, ImportError, RuntimeError) as failure:
        if find_spec("nvidia") is None:
            pytest.skip(f"no CUDA compiler here ({type(failure).__name__}); {WHEELS}")
        raise
    return cuda.compile_ptx


def _nothing():
    pass


@pytest.fixture
def ptx(compiler, monkeypatch):
    """Function from kernel and compute capability to PTX."""

    def compile_for(name, capability):
        # Only nested device functions ask for the current device, to learn what to compile for.
        device = types.SimpleNamespace(compute_capability=capability)
        monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: device)
        return compiled(compiler, name, capability)

    return compile_for


def body(text):
    """Instructions and declarations of the kernel, without labels and comments."""
    lines = (line.strip() for line in text[text.index("{") :].splitlines())
    return [line for line in lines if line and line[0] not in "{}/$" and not line.endswith(":")]


FORBIDDEN = {
    "floating point": r"\.b?f(16|32|64)(x2)?\b",  # arithmetic that could round, and conversions to and from it
    "local memory": r"\.local\b",  # a thread's own memory: spills, or tuples passed through memory
    "call": r"^(\(.*\)\s*)?call\b",
    "division": r"^(div|rem)\.",  # a subroutine on every device
}


def violations(text):
    """The kinds of forbidden lines that the kernel has."""
    return {kind for kind, pattern in FORBIDDEN.items() if any(re.search(pattern, line) for line in body(text))}


def test_every_kernel_is_among_these():
    found = {
        name
        for name, value in vars(kernels).items()
        if isinstance(value, CUDADispatcher) and not value.targetoptions.get("device")
    }
    assert found == set(KERNELS)
    for name in KERNELS:
        assert getattr(kernels, name).targetoptions["launch_bounds"] == MAX_THREADS


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
@pytest.mark.parametrize("name", KERNELS)
def test_integers_only_in_registers_only(ptx, name, capability):
    text = ptx(name, capability)
    assert len(body(text)) > 100
    assert f".target sm_{capability[0]}{capability[1]}" in text
    assert text.count(".entry ") == 1
    assert ".func " not in text, "a device function was not inlined"
    assert violations(text) == set()


def _rounds(values):
    values[0] = values[0] * 1.5


def _spills(values):
    own = cuda.local.array(64, np.int64)
    for i in range(64):
        own[i] = values[i]
    values[0] = own[values[1]]


def _divides(values):
    values[0] = np.uint64(values[0]) // np.uint64(values[1])


@pytest.mark.parametrize(
    ("kernel", "element", "kind"),
    [(_rounds, np.float64, "floating point"), (_spills, np.int64, "local memory"), (_divides, np.uint64, "division")],
)
def test_a_violation_is_seen(compiler, kernel, element, kind):
    signature = (typeof(np.zeros(1, element), Purpose.argument),)
    text, _ = compiler(kernel, signature, cc=(9, 0))
    assert kind in violations(text)


def test_a_call_is_seen():
    assert violations("{\n\tcall.uni (retval0), somewhere, (param0);\n}") == {"call"}


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
@pytest.mark.parametrize(("name", "products"), [("draw_keys", 10 + 1), ("settle", 2 * 10 + 3)])
def test_wide_products_are_one_instruction(ptx, name, products, capability):
    """Ten rounds a Philox block, one for the offset, one a pick; edge, group and site are picked."""
    lines = body(ptx(name, capability))
    assert sum(line.startswith("mul.hi.u64") for line in lines) == products


@pytest.mark.parametrize("name", KERNELS)
def test_parameters_fit_a_launch(ptx, name):
    text = ptx(name, (9, 0))
    header = text[text.index(".entry ") : text.index("{", text.index(".entry "))]
    sizes = {"64": 8, "32": 4, "16": 2, "8": 1}
    total = sum(sizes[bits] for bits in re.findall(r"\.param \.[ubs](\d+) ", header))
    assert 0 < total <= PARAMETER_BYTES


@pytest.mark.parametrize("name", EXPANSION)
def test_shared_memory_is_sized_at_launch(ptx, name):
    text = ptx(name, (9, 0))
    assert re.findall(r"^\s*\.(?:extern )?shared.*$", text, re.MULTILINE) == []
    assert len(re.findall(r"^\.extern \.shared .*\[\];$", text, re.MULTILINE)) == 1


def ptxas():
    """The assembler, of the wheel or on the path; None where there is neither."""
    wheel = find_spec("nvidia")
    folders = list(wheel.submodule_search_locations or ()) if wheel else []
    found = [path for folder in folders for path in Path(folder).glob("*/bin/ptxas")]
    return str(found[0]) if found else shutil.which("ptxas")


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
@pytest.mark.parametrize("name", KERNELS)
def test_registers_are_few_and_nothing_spills(ptx, name, capability, tmp_path, record_testsuite_property):
    assembler = ptxas()
    if assembler is None:
        pytest.skip(f"no ptxas here, so registers are not counted; {WHEELS}")
    source = tmp_path / "kernel.ptx"
    source.write_text(ptx(name, capability), encoding="utf-8")
    architecture = f"sm_{capability[0]}{capability[1]}"
    command = [assembler, "-v", f"-arch={architecture}", str(source), "-o", str(tmp_path / "kernel.cubin")]
    report = subprocess.run(command, capture_output=True, text=True, check=True)
    told = report.stdout + report.stderr
    registers = int(re.search(r"Used (\d+) registers", told)[1])
    record_testsuite_property(f"{name} {architecture} registers", registers)
    assert registers <= MOST_REGISTERS
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in told
