"""The published vectors of the law, and values to draw for its properties."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.support.known_answers import law_vectors
from tests.support.law import MASK64

LAW = law_vectors()


WHO = LAW["identity"]


DAY_US = 86_400 * 10**6


words = st.one_of(
    st.sampled_from((0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, MASK64 - 1, MASK64)), st.integers(0, MASK64)
)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


instants = st.integers(-4_000_000_000, 8_000_000_000)
