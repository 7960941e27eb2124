"""The CUDA kernels as machine code, without a device: nothing in it may round, spill or be called.

What is read is the code that devices run: PTX after optimisation at link time, by nvJitLink.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numba import cuda
from numba.cuda.dispatcher import CUDADispatcher

from arrival_engine.gpu_kernels import jit, kernels
from arrival_engine.gpu_kernels.shape import MAX_THREADS
from tests.support.ptx.compile import (
    CAPABILITIES,
    KERNELS,
    WHEELS,
    compiled,
    compiled_form,
    skip_without_compiler,
)
from tests.support.ptx.inspection import body, instructions, violations
from tests.support.ptx.parse import parse

EXPANSION = ("draw_keys", "settle")
# numba-cuda takes the features of exactly one architecture from compute capability 9.0 on.
ARCHITECTURES = {(8, 0): "sm_80", (9, 0): "sm_90a", (12, 0): "sm_120a"}
# One launch passes that much before it needs the newest drivers.
PARAMETER_BYTES = 4096
# 65,536 registers of a multiprocessor for at least four blocks of 256 threads.
MOST_REGISTERS = 64

each_capability = pytest.mark.parametrize("capability", CAPABILITIES, ids=ARCHITECTURES.get)


def ptx(name, capability):
    """The PTX of a kernel that devices of a compute capability run."""
    return compiled(name, capability).linked


def test_every_kernel_is_among_these():
    found = {
        name
        for name, value in vars(kernels).items()
        if isinstance(value, CUDADispatcher) and not value.targetoptions.get("device")
    }
    assert found == set(KERNELS)
    for name in KERNELS:
        assert getattr(kernels, name).targetoptions["launch_bounds"] == MAX_THREADS


def test_kernels_are_optimised_when_they_are_linked_where_nvjitlink_is(monkeypatch):
    skip_without_compiler()
    for name in KERNELS:
        assert getattr(kernels, name).targetoptions["lto"] is True
    monkeypatch.setattr(jit, "links_with_optimization", lambda: False)
    assert jit.kernel(_nothing).targetoptions["lto"] is False


def _nothing():
    pass


@each_capability
@pytest.mark.parametrize("name", KERNELS)
def test_integers_only_in_registers_only(name, capability):
    text = ptx(name, capability)
    assert len(body(text)) > 100
    assert f".target {ARCHITECTURES[capability]}\n" in text
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
    ("function", "element", "kind"),
    [(_rounds, np.float64, "floating point"), (_spills, np.int64, "local memory"), (_divides, np.uint64, "division")],
)
def test_a_violation_is_seen(function, element, kind):
    skip_without_compiler()
    found = compiled_form(jit.kernel(function), (np.zeros(1, element),), (9, 0))
    assert kind in violations(found.linked)
    assert kind in violations(found.plain)


def test_a_call_is_seen():
    assert violations("{\n\tcall.uni (retval0), somewhere, (param0);\n}") == {"call"}


@each_capability
@pytest.mark.parametrize(("name", "products"), [("draw_keys", 10 + 1), ("settle", 2 * 10 + 3)])
def test_wide_products_are_one_instruction(name, products, capability):
    """Ten rounds per Philox block, one for the offset, one per pick; edge, group and site are picked."""
    lines = body(ptx(name, capability))
    assert sum(line.startswith("mul.hi.u64") for line in lines) == products


@each_capability
@pytest.mark.parametrize("name", KERNELS)
def test_parameters_fit_a_launch(name, capability):
    last = parse(ptx(name, capability)).parameters[-1]
    assert 0 < last.offset + last.size <= PARAMETER_BYTES


@each_capability
@pytest.mark.parametrize("name", EXPANSION)
def test_shared_memory_is_sized_at_launch(name, capability):
    text = ptx(name, capability)
    assert re.findall(r"^\s*\.(?:extern )?shared.*$", text, re.MULTILINE) == []
    assert len(re.findall(r"^\.extern \.shared .*\[\];$", text, re.MULTILINE)) == 1


def ptxas():
    """The assembler, of the wheel or on the path; None where there is neither."""
    wheel = find_spec("nvidia")
    folders = list(wheel.submodule_search_locations or ()) if wheel else []
    found = [path for folder in folders for path in Path(folder).glob("*/bin/ptxas")]
    return str(found[0]) if found else shutil.which("ptxas")


def assembled(name, capability, folder):
    """What `ptxas` makes of a kernel's PTX: its report and the machine code."""
    assembler = ptxas()
    if assembler is None:
        pytest.skip(f"no ptxas here; {WHEELS}")
    source, code = folder / "kernel.ptx", folder / "kernel.cubin"
    source.write_text(ptx(name, capability), encoding="utf-8")
    command = [assembler, "-v", f"-arch={ARCHITECTURES[capability]}", str(source), "-o", str(code)]
    report = subprocess.run(command, capture_output=True, text=True, check=True)
    return report.stdout + report.stderr, code.read_bytes()


@each_capability
@pytest.mark.parametrize("name", KERNELS)
def test_registers_are_few_and_nothing_spills(name, capability, tmp_path, record_testsuite_property):
    told, _ = assembled(name, capability, tmp_path)
    registers = int(re.search(r"Used (\d+) registers", told)[1])
    record_testsuite_property(f"{name} {ARCHITECTURES[capability]} registers", registers)
    assert registers <= MOST_REGISTERS
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in told


@each_capability
@pytest.mark.parametrize("name", KERNELS)
def test_the_machine_code_that_devices_load_is_this_ptx(name, capability, tmp_path):
    """Instruction by instruction what the assembler makes of the PTX that these tests read and execute."""
    packages = ("nvidia-nvjitlink", "nvidia-cuda-nvcc")
    try:
        versions = {metadata.version(package) for package in packages}
    except metadata.PackageNotFoundError:
        versions = set()
    if len(versions) != 1:
        pytest.skip(f"not one version of {' and '.join(packages)}, which have an assembler each; {WHEELS}")
    _, expected = assembled(name, capability, tmp_path)
    found = instructions(compiled(name, capability).cubin)
    assert len(found) == 1
    assert found == instructions(expected)
