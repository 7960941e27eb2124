"""Groups of one size, whatever the sizes of the chunks that they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.engine.records.groups import equal_groups


@given(st.lists(st.integers(0, 20), max_size=8), st.integers(1, 15))
def test_groups_are_full_but_for_the_last_and_lose_no_row(sizes, size):
    numbers = np.arange(sum(sizes))
    cuts = np.cumsum(sizes)[:-1] if sizes else []
    chunks = [(part, -part) for part in np.split(numbers, cuts)]
    groups = list(equal_groups(chunks, size))
    assert [group[0].size for group in groups[:-1]] == [size] * (len(groups) - 1)
    assert all(0 < group[0].size <= size for group in groups)
    together = np.concatenate([numbers[:0], *(group[0] for group in groups)])
    assert together.tolist() == numbers.tolist()
    assert all((group[1] == -group[0]).all() for group in groups)


@pytest.mark.parametrize("chunks", [[], [(np.empty(0, np.int32),)]])
def test_no_rows_are_no_group(chunks):
    assert list(equal_groups(chunks, 4)) == []
