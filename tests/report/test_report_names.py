"""The report of a world whose merchant ids are texts."""

from __future__ import annotations

import html
import re
import shutil

import pytest

from arrival_engine import ReportOptions, report
from arrival_engine.contracts import ArrivalError, Code
from tests.support.importing import BIG, HYBRID_SHOP, ONLINE, SHOPS
from tests.support.named import IDS, TEXTS, forge

WITH_ARRIVALS = [TEXTS[merchant] for merchant in (SHOPS, HYBRID_SHOP, ONLINE, BIG)]


def test_merchants_have_their_texts_as_text(named_run, tmp_path):
    page = report(named_run, ReportOptions(out=tmp_path / "page.html")).page.read_text("utf-8")
    cells = re.findall(r'<th scope="row"><bdi>(.*?)</bdi><br><span class="muted">(\d+)</span></th>', page)
    assert {html.unescape(text): int(merchant_id) for text, merchant_id in cells} == {
        text: IDS[text] for text in WITH_ARRIVALS
    }
    assert "<b onclick" not in page
    assert "&lt;b onclick" in page


def test_a_forged_table_of_names_is_an_error(named_run, tmp_path):
    root = shutil.copytree(named_run, tmp_path / "world")
    forge(root, "swapped")
    with pytest.raises(ArrivalError) as caught:
        report(root, ReportOptions(out=tmp_path / "page.html"))
    assert caught.value.code == Code.SCHEMA_VIOLATION
    assert not (tmp_path / "page.html").exists()
