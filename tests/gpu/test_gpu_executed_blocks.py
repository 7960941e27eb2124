"""Worlds that together reach every block of the kernels' PTX, so that no code is left unexecuted."""

from __future__ import annotations

import pytest

from arrival_engine.gpu_kernels.shape import LaunchShape
from tests.support import gpu as support
from tests.support.ptx.compile import CAPABILITIES, KERNELS
from tests.support.ptx.device import PretendedDevice, executable
from tests.support.ptx.worlds import microsecond_case, refusing_worlds, without_group_weights

# One thread, idle blocks, and blocks that take several tiles.
SHAPES = (LaunchShape(1, 1), LaunchShape(33, 2), LaunchShape(96, 64))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    models = {"small": support.shrunk_small_world(), "no-groups": without_group_weights(), **refusing_worlds()}
    found = [support.make_case(model, folder / name, batch_arrivals=150) for name, model in models.items()]
    return [*found, microsecond_case(folder / "microseconds")]


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda cc: f"cc{cc[0]}{cc[1]}")
def test_every_block_of_ptx_is_run(capability, cases, record_testsuite_property):
    kernels = {name: executable(name, capability) for name in KERNELS}
    for case in cases:
        for shape in SHAPES:
            expand = PretendedDevice(kernels, shape, "random").open(case.work).expand
            assert support.refusal(case, expand) == support.refusal(case, support.on_cpu(case))
    for name, kernel in kernels.items():
        blocks = kernel.coverage()
        idle = [" ".join(step.text for step in block.instructions) for block, times in blocks if times == 0]
        report = f"{len(blocks) - len(idle)} of {len(blocks)} blocks"
        record_testsuite_property(f"{name} cc {capability[0]}.{capability[1]} executed", report)
        assert idle == [], f"{name}: {report}"
