"""The `arrivals` command with one bit of one arrival wrong on the way back from the simulator."""

from __future__ import annotations

import sys
from typing import Any

from arrival_engine.engine.cli.main import main
from arrival_engine.gpu_kernels.simulator import Simulator

_expand = Simulator.expand


def _expand_with_a_wrong_bit(self: Simulator, span: tuple[int, int]) -> Any:
    results, notices = _expand(self, span)
    results.columns.settlement[2] ^= 1
    return results, notices


if __name__ == "__main__":
    Simulator.expand = _expand_with_a_wrong_bit  # type: ignore[method-assign]
    sys.exit(main())
