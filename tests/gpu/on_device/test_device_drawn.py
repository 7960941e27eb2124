"""The CUDA backend on a device, on drawn worlds; the one test of devices that needs Hypothesis."""

from __future__ import annotations

import pytest

from tests.support import gpu as support
from tests.support.gpu import gpu, on_device

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.strategies import worlds as drawn_worlds


@gpu
@given(model=drawn_worlds(), batch_arrivals=st.sampled_from((1, 40, 10**6)))
@settings(max_examples=40)
def test_drawn_worlds(model, batch_arrivals):
    with support.temporary_case(model, batch_arrivals) as case, on_device(case) as expander:
        support.assert_equals_reference(case, support.assert_equals_cpu(case, expander.expand))
