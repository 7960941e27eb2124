"""Two directories that change places."""

from __future__ import annotations

import shutil

import pytest

from arrival_engine.engine.rundir.exchange import _exchange_by_renames, exchange


class TestExchange:
    """Both ways of swapping, on real directories."""

    @pytest.fixture(params=[exchange, _exchange_by_renames])
    def swap(self, request):
        return request.param

    @pytest.fixture
    def places(self, tmp_path):
        first, second = tmp_path / "first", tmp_path / "second"
        for place in (first, second):
            place.mkdir()
            (place / place.name).write_text(place.name)
        return first, second

    def test_each_holds_what_the_other_held(self, swap, places):
        first, second = places
        swap(first, second)
        assert [path.name for path in first.iterdir()] == ["second"]
        assert [path.name for path in second.iterdir()] == ["first"]
        assert sorted(path.name for path in first.parent.iterdir()) == ["first", "second"]

    @pytest.mark.parametrize("absent", [0, 1])
    def test_a_failure_leaves_both_as_they_were(self, swap, places, absent):
        shutil.rmtree(places[absent])
        with pytest.raises(FileNotFoundError):
            swap(*places)
        (left,) = places[0].parent.iterdir()
        assert left == places[1 - absent]
        assert [path.name for path in left.iterdir()] == [left.name]

    def test_files_swap_as_directories_do(self, swap, tmp_path):
        (tmp_path / "a").write_text("a")
        (tmp_path / "b").write_text("b")
        swap(tmp_path / "a", tmp_path / "b")
        assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("b", "a")
