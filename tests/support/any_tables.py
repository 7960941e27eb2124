"""Any small tables that import, as a Hypothesis strategy."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.support.importing import Count, Member, Tables, Virtual

ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")


WEIGHTS = st.one_of(st.sampled_from((0.0, 1.0, 1e-9, 7.25)), st.floats(0.0, 1e6, allow_subnormal=False))


@st.composite
def any_tables(draw):
    """A few merchants of any mode over a clock change; each has what its mode needs."""
    ids = draw(st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=3, unique=True))
    buckets = draw(st.integers(1, 6))
    counts, sites, virtual, edges = [], [], [], []
    for merchant in ids:
        mode = draw(st.sampled_from(("", "NON_VIRTUAL", "HYBRID", "VIRTUAL_ONLY")))
        if mode:
            settled = draw(st.sampled_from(("", *ZONES))) if mode != "NON_VIRTUAL" else ""
            virtual.append(Virtual(merchant, mode, settled))
        for kind, wanted in ((sites, mode != "VIRTUAL_ONLY"), (edges, mode in ("HYBRID", "VIRTUAL_ONLY"))):
            weights = draw(st.lists(WEIGHTS, min_size=1, max_size=4).filter(lambda ws: sum(ws) > 1e-3))
            if wanted or (kind is sites and draw(st.booleans())):
                kind += [
                    Member(merchant, draw(st.sampled_from(ZONES)), draw(st.sampled_from(("DE", "US"))), order, weight)
                    for order, weight in enumerate(weights, 1)
                ]
        counts += draw(
            st.lists(
                st.builds(
                    Count,
                    st.just(merchant),
                    st.sampled_from(ZONES),
                    st.sampled_from(("", "web", 'Bär, "groß"')),
                    st.integers(0, buckets - 1),
                    st.integers(0, 9),
                ),
                max_size=6,
            )
        )
    if not sites:
        sites.append(Member(ids[0], ZONES[0], "DE", 1, 1.0))
    if not any(row.count for row in counts):
        counts.append(Count(ids[0], ZONES[0], "", 0, 1))
    start = draw(st.sampled_from(("2026-03-29T00:00:00Z", "2026-04-04T13:30:00Z")))
    return Tables(start, buckets, tuple(counts), tuple(sites), tuple(virtual), tuple(edges), draw(st.integers(0, 99)))
