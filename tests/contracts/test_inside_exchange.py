"""Two directories that change places."""

from __future__ import annotations

import shutil

import pytest

from arrival_engine.contracts.inside import InsidePath


class TestExchange:
    """Both ways of swapping, on real directories."""

    @pytest.fixture(params=[InsidePath.exchange, InsidePath._exchange_by_renames])
    def swap(self, request):
        return request.param

    @pytest.fixture
    def places(self, tmp_path):
        first, second = InsidePath(tmp_path) / "first", InsidePath(tmp_path) / "second"
        for place in (first, second):
            place.mkdir()
            (place / place.name).write_bytes(place.name.encode())
        return first, second

    def test_each_holds_what_the_other_held(self, swap, places):
        first, second = places
        swap(first, second)
        assert [path.name for path in first.iterdir()] == ["second"]
        assert [path.name for path in second.iterdir()] == ["first"]
        assert sorted(path.name for path in first.parent.iterdir()) == ["first", "second"]

    @pytest.mark.parametrize("absent", [0, 1])
    def test_a_failure_leaves_both_as_they_were(self, swap, places, absent):
        shutil.rmtree(places[absent].outside)
        with pytest.raises(FileNotFoundError):
            swap(*places)
        (left,) = places[0].parent.iterdir()
        assert left == places[1 - absent]
        assert [path.name for path in left.iterdir()] == [left.name]

    def test_files_swap_as_directories_do(self, swap, tmp_path):
        root = InsidePath(tmp_path)
        (root / "a").write_bytes(b"a")
        (root / "b").write_bytes(b"b")
        swap(root / "a", root / "b")
        assert ((root / "a").read_text(), (root / "b").read_text()) == ("b", "a")
