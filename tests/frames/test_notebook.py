"""The example notebook runs as a script, and jupytext turns it into cells and back."""

from __future__ import annotations

import subprocess
import sys

import jupytext

from tests.support.paths import ROOT

NOTEBOOK = ROOT / "examples" / "notebook.py"


def test_the_script_runs_and_writes_nothing(tmp_path):
    subprocess.run([sys.executable, str(NOTEBOOK)], cwd=tmp_path, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []


def test_it_is_a_notebook_of_text_and_code():
    notebook = jupytext.read(NOTEBOOK)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds.count("markdown") >= 5
    assert kinds.count("code") >= 5
    assert notebook.cells[0].source.startswith("# Counts to arrivals")
    assert all(cell.source for cell in notebook.cells)


def test_it_comes_back_the_same_from_a_jupyter_notebook(tmp_path):
    jupytext.write(jupytext.read(NOTEBOOK), tmp_path / "notebook.ipynb")
    back = jupytext.writes(jupytext.read(tmp_path / "notebook.ipynb"), fmt="py:percent")
    _, _, cells = back.partition("# %% [markdown]")
    assert f"# %% [markdown]{cells}" == NOTEBOOK.read_text(encoding="utf-8")
