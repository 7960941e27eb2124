"""A folder of Parquet files, staged beside its place and put there by one rename."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading, writing
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.exporting.beside import Neighbourhood, SyncedFile
from arrival_engine.engine.exporting.croissant import files_described
from arrival_engine.engine.exporting.facts import Facts
from arrival_engine.engine.exporting.files import PARTITION, DataFile
from arrival_engine.engine.exporting.options import ExportOptions
from arrival_engine.engine.exporting.sink import FileFacts, Layout, Output, Sink, Standing, conflict
from arrival_engine.engine.rundir.arrow_files import parquet_metadata
from arrival_engine.engine.rundir.hashing import content_sha256
from arrival_engine.engine.storage.url import Place

__all__ = ["file_number", "open_sink"]

_NAME = re.compile(rf"(?:{PARTITION}=[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}/)?([0-9a-f]{{12}})-([0-9]{{6,}})\.parquet")
_ELSEWHERE = "give the path of a new folder"


def open_sink(place: Place, options: ExportOptions, layout: Layout) -> Sink:  # noqa: ARG001 - as of every format
    """The sink of a place."""
    if isinstance(place, Path):
        return _ParquetFolder(place)
    from arrival_engine.engine.exporting.parquet_store import ParquetStore

    return ParquetStore(place)


def file_number(name: str) -> int:
    """The number of a data file by its name below the table's root; -1 for a name that no export gives."""
    found = _NAME.fullmatch(name)
    return int(found[2]) if found else -1


class _ParquetFolder:
    """The sink of a local folder."""

    def __init__(self, target: Path) -> None:
        self._near = Neighbourhood(target)
        self._target = self._near.target

    @property
    def root(self) -> str:
        return f"{self._target.name}/"

    def standing(self, *, thorough: bool) -> Standing | None:
        with reading("folder", self._target):
            kind = self._target.kind()
            if kind is None or (kind == "directory" and not self._target.entries()):
                return None
            if kind != "directory":
                raise conflict(self._target, "is not a folder", _ELSEWHERE)
            files = list(self._files())
        found = [self._stated(path) for _, path in files]
        digest = sum((Digest.parse(facts.digest) for facts in found), Digest())
        facts = found[0].with_digest(digest)
        if any(other.with_digest(digest) != facts for other in found):
            raise conflict(self._target, "holds files of several exports", _ELSEWHERE)
        fault = self._fault([name for name, _ in files])
        return Standing(facts, fault or (self._damage(facts) if thorough else ""))

    def _files(self) -> Iterator[tuple[str, InsidePath]]:
        """Every file by name. Raises IO_WRITE_CONFLICT for one that is not an export's."""
        for path, kind in self._target.walk():
            name = path.relative_to(self._target).as_posix()
            if kind != "file" or not _NAME.fullmatch(name):
                raise conflict(self._target, f"holds {name}, which is not a file of an export", _ELSEWHERE)
            yield name, path

    def _stated(self, path: InsidePath) -> Facts:
        try:
            stated = parquet_metadata(path).metadata or {}
            facts = Facts.parse({name.decode(): value.decode() for name, value in stated.items()})
            Digest.parse(facts.digest)
        except (OSError, ValueError, pa.ArrowException) as failure:
            raise conflict(
                self._target, f"holds {path.name}, which states no export: {failure}", _ELSEWHERE
            ) from failure
        return facts

    def _fault(self, names: Sequence[str]) -> str:
        found = [match for name in names if (match := _NAME.fullmatch(name))]
        numbers = sorted(int(match[2]) for match in found)
        missing = set(range(numbers[-1] + 1)) - set(numbers)
        return f"file {min(missing)} is missing" if missing else ""

    def _damage(self, facts: Facts) -> str:
        """How the files differ from their description."""
        document = self.description()
        told = None if document is None else files_described(document, facts, self.root)
        # Without a description, nothing is known of the bytes.
        differing = set(self.listed()) ^ set(told) if told is not None else set()
        return f"{min(differing).name} is not as the description says" if differing else ""

    def create(self, name: str) -> Output:
        path = self._near.staged / "table" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return SyncedFile(path)

    def commit(self, files: Sequence[DataFile], facts: Facts, *, replace: bool) -> Sequence[FileFacts]:  # noqa: ARG002
        staged = self._near.staged / "table"
        with writing("folder", self._target):
            for name in {file.name.rpartition("/")[0] for file in files}:
                (staged / name).sync()
            staged.sync()
            self._put(staged, replace=replace)
            self._target.parent.sync()
        return [FileFacts(file.name, file.bytes, file.sha256) for file in files]

    def _put(self, staged: InsidePath, *, replace: bool) -> None:
        if replace and self.standing(thorough=False) is not None:
            staged.exchange(self._target)
            return
        try:
            # Onto an empty folder or nothing.
            staged.rename(self._target)
        except OSError as failure:
            if self._target.kind() is None:
                raise
            raise conflict(
                self._target, "was made by another process meanwhile", "add --replace to put this export in its place"
            ) from failure

    def listed(self) -> Sequence[FileFacts]:
        with reading("folder", self._target):
            files = sorted(self._files(), key=lambda file: int(file[0].rpartition("-")[2].removesuffix(".parquet")))
            return [FileFacts(name, path.stat().st_size, content_sha256([path])) for name, path in files]

    def description(self) -> bytes | None:
        return self._near.description()

    def describe(self, document: bytes) -> str:
        return self._near.describe(document)

    def abandon(self) -> None:
        self._near.close()
