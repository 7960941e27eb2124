"""The files that a table's version names, compared with what is there and with what its description says."""

from __future__ import annotations

from collections.abc import Mapping

from arrival_engine.engine.exporting.beside import Neighbourhood
from arrival_engine.engine.exporting.croissant import files_described
from arrival_engine.engine.exporting.facts import Facts
from arrival_engine.engine.exporting.sink import FileFacts
from arrival_engine.engine.exporting.surroundings import StoreNeighbourhood
from arrival_engine.engine.exporting.trees import FolderTree, StoreTree

__all__ = ["fault", "gap", "listed"]


def listed(tree: FolderTree | StoreTree, live: Mapping[str, int]) -> list[FileFacts]:
    """The live files, given with their sizes; each is read and hashed. Raises IO_READ_FAILED."""
    return [FileFacts(path, size, tree.sha256(path)) for path, size in live.items()]


def fault(
    tree: FolderTree | StoreTree, near: Neighbourhood | StoreNeighbourhood, facts: Facts, live: Mapping[str, int]
) -> str:
    """Which of the live files has other bytes than the description says; empty if none, or without a description."""
    document = near.description()
    told = None if document is None else files_described(document, facts, near.root)
    differing = set(listed(tree, live)) ^ set(told) if told is not None else set()
    return f"{min(differing).name} is not as the description says" if differing else ""


def gap(tree: FolderTree | StoreTree, live: Mapping[str, int]) -> str:
    """Which of the live files is missing, or has another size than the table says; empty if none."""
    there = tree.sizes()
    for path, size in live.items():
        if there.get(path) != size:
            return f"{path} {'has another size' if path in there else 'is missing'}"
    return ""
