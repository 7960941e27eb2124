"""The job: arrivals from a source to a table of another tool, whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.options import TableFormat
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.exporting.beside import spill_file
from arrival_engine.engine.exporting.chunks import Chunk, Columns, chunks
from arrival_engine.engine.exporting.croissant import croissant, files_described
from arrival_engine.engine.exporting.days import DayFile
from arrival_engine.engine.exporting.digests import digest_of
from arrival_engine.engine.exporting.facts import Facts
from arrival_engine.engine.exporting.files import DataFile, Form, Group, Made, write_files
from arrival_engine.engine.exporting.layout import layout_of
from arrival_engine.engine.exporting.options import ExportOptions
from arrival_engine.engine.exporting.reading_advice import first_rows
from arrival_engine.engine.exporting.sink import FileFacts, Layout, Numbering, Sink, Standing, conflict
from arrival_engine.engine.exporting.source import open_source
from arrival_engine.engine.exporting.targets import opened_sink
from arrival_engine.engine.process.interrupts import heard_interrupts
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.version import LAW_VERSION, version
from arrival_engine.engine.readable.published import PublishedSource
from arrival_engine.engine.readable.source import Source
from arrival_engine.engine.storage.url import Place, parse_place

__all__ = ["ExportResult", "export", "write_export"]

Outcome = Literal["written", "replaced", "identical"]


@dataclass(frozen=True)
class ExportResult:
    """An export that readers see.

    outcome: `identical` if it was there before, so that nothing was written. files, bytes: of the whole export.
    description: the place of its Croissant description. license: empty where none was stated. read_by: a command that
    shows the first rows.
    """

    target: str
    to: TableFormat
    outcome: Outcome
    scenario_id: str
    arrivals: int
    digest: str
    columns: str
    ids: str
    cluster_by: str
    files: int
    bytes: int
    description: str
    license: str
    read_by: str
    seconds: float


def export(
    run_root: Path | str,
    target: Place | str,
    options: ExportOptions | None = None,
    reporter: Reporter | None = None,
) -> ExportResult:
    """Export the arrivals of a run directory to a table of another tool: Parquet, Delta, Iceberg or DuckDB.

    Readers of the target see all arrivals or none. An export of the same arrivals in the same form is left as it is.
    `target`: a path, or the URL of a place in an object store. Raises IO_WRITE_CONFLICT if the target holds anything
    else, and `replace` was not asked for or it is not an export; ArrivalError for arrivals that cannot be read or whose
    digest is not that of their run.
    """
    options, reporter = options or ExportOptions(), reporter or Reporter()
    with heard_interrupts():
        return write_export(open_source(Path(run_root), options, reporter), target, options, reporter)


def write_export(
    source: Source, target: Place | str, options: ExportOptions | None = None, reporter: Reporter | None = None
) -> ExportResult:
    """Export the arrivals of a source; the rest as in `export`. What the options say of sources is not used."""
    options, reporter = options or ExportOptions(), reporter or Reporter()
    began, place = time.monotonic(), parse_place(target)
    with reporter.phase("prepare"):
        columns, layout = layout_of(source, options)
    work = _Work(source, options, reporter, place, columns, layout)
    with opened_sink(place, options, layout) as sink:
        outcome, facts, files, description = work.done(sink)
    return ExportResult(
        target=str(place),
        to=options.to,
        outcome=outcome,
        scenario_id=facts.scenario_id,
        arrivals=facts.rows,
        digest=facts.digest,
        columns=facts.columns,
        ids=facts.ids,
        cluster_by=facts.cluster_by,
        files=len(files),
        bytes=sum(file.bytes for file in files),
        description=description,
        license=facts.license,
        read_by=first_rows(place, options),
        seconds=time.monotonic() - began,
    )


def _facts(source: Source, options: ExportOptions) -> Facts:
    """The facts of an export, but for the digest."""
    identity = {name: str(value) for name, value in source.identity.columns().items()}
    return Facts(
        digest="",
        scenario_id=source.scenario_id,
        **identity,
        columns=options.columns,
        ids=options.id_type,
        cluster_by=options.cluster_by,
        partitioned=str(options.partitioned).lower(),
        license=options.license or "",
        sealed_inputs_digest=source.seal_digest or "",
        law_version=str(LAW_VERSION),
        engine_version=version(),
        command=options.recipe(source.scenario_id),
    )


@dataclass(frozen=True)
class _Work:
    """One export: what it makes, of what, and where."""

    source: Source
    options: ExportOptions
    reporter: Reporter
    place: Place
    columns: Columns
    layout: Layout

    @property
    def threads(self) -> int:
        return self.options.threads or available_cores()

    def done(self, sink: Sink) -> tuple[Outcome, Facts, Sequence[FileFacts], str]:
        """The outcome, the facts of the export, its files, and the place of its description."""
        wanted = _facts(self.source, self.options)
        with self.reporter.phase("look at the target"):
            standing = sink.standing(thorough=self.options.replace)
            if standing is not None and self._is_same(standing, wanted):
                return "identical", standing.facts, *self._redescribed(sink, standing.facts)
        with self.reporter.phase("write"):
            self.reporter.expect("arrivals", self.source.rows)
            files = list(self._written(sink, wanted))
        facts = wanted.with_digest(self._proven(files))
        with self.reporter.phase("commit"):
            listed = sink.commit(files, facts, replace=self.options.replace)
            place = sink.describe(self._document(sink, facts, listed))
        return "written" if standing is None else "replaced", facts, listed, place

    def _is_same(self, standing: Standing, wanted: Facts) -> bool:
        """Whether nothing is to be done. Raises IO_WRITE_CONFLICT for another export that may not be replaced."""
        differences = standing.facts.with_digest("").differences(wanted)
        # The digest last: for arrivals that are expanded it takes a pass over all of them.
        if not differences and standing.facts.digest != self.source.digest():
            differences = ["digest"]
        if (differences or standing.fault) and not self.options.replace:
            raise self._other(standing, differences)
        return not differences and not standing.fault

    def _other(self, standing: Standing, differences: Sequence[str]) -> ArrivalError:
        if differences:
            problem = f"holds another export: it differs in {', '.join(differences)}"
        else:
            problem = f"holds an export that is damaged: {standing.fault}"
        again = self.options.command(self.source.scenario_id, str(self.place))
        return conflict(self.place, problem, f"put this export in its place with `{again} --replace`")

    def _redescribed(self, sink: Sink, facts: Facts) -> tuple[Sequence[FileFacts], str]:
        """The files of an export that stands, and the place of its description, which a killed export lacks."""
        document = sink.description()
        files = None if document is None else files_described(document, facts, sink.root)
        listed = sink.listed() if files is None else files
        return listed, sink.describe(self._document(sink, facts, listed))

    def _document(self, sink: Sink, facts: Facts, files: Sequence[FileFacts]) -> bytes:
        return croissant(self.layout, facts, sink.root, files)

    def _written(self, sink: Sink, facts: Facts) -> Iterator[DataFile]:
        schema = sink.numbered() if isinstance(sink, Numbering) else self.layout.schema
        form = Form(schema, facts, self.reporter.advance)
        with closing(chunks(self.source, self.columns, self.threads)) as rows:
            if self.options.cluster_by == "day":
                yield from self._by_day(sink, form, rows)
            else:
                with closing(_groups(rows, self.columns)) as groups:
                    yield from write_files(sink, form, groups, self.threads)

    def _by_day(self, sink: Sink, form: Form, rows: Generator[Chunk, None, None]) -> Iterator[DataFile]:
        with spill_file(self.place) as file:
            days = DayFile(file, self.columns)
            days.fill(rows, self.threads)
            with closing(days.groups(partitioned=self.options.partitioned)) as groups:
                yield from write_files(sink, form, groups, self.threads)

    def _proven(self, files: Sequence[DataFile]) -> Digest:
        """The digest of what was written. Raises IO_READ_FAILED unless it is that of the arrivals."""
        digest = sum((file.digest for file in files), Digest())
        stated = self.source.digest() if isinstance(self.source, PublishedSource) else str(digest)
        if str(digest) != stated or digest.rows != self.source.rows:
            raise ArrivalError(
                Code.IO_READ_FAILED,
                f"the arrivals that were read have digest {digest}, but their part files state {stated}",
                hint="the part files are damaged: publish them again with `arrivals run RUN_ROOT --replace`",
            )
        return digest


def _groups(rows: Iterable[Chunk], columns: Columns) -> Generator[Group, None, None]:
    """A row group per chunk."""
    for chunk in rows:
        yield Group(chunk.rows.num_rows, partial(_made, chunk, columns))


def _made(chunk: Chunk, columns: Columns) -> Made:
    return Made(columns.decode(chunk.rows), digest_of(chunk.hashes))
