"""A command's run directory: a path is used in place, a URL through a working copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.flag import remove_flag
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing.inventory import scenario_set
from arrival_engine.engine.storage.manifest import Manifest, check_size, partition, read_manifest
from arrival_engine.engine.storage.publish import Consignment, StorePublication, clear_staging
from arrival_engine.engine.storage.store import Object, Store, open_store
from arrival_engine.engine.storage.url import Place, StoreUrl, parse_place
from arrival_engine.engine.storage.working_copy import RNG_EVENTS, WorkingCopy, fetch_receipt, working_copy

if TYPE_CHECKING:
    from arrival_engine.engine.arrivals.publish import Outcome, Published
    from arrival_engine.engine.world.load import World


class Shipping:
    """Publication in a store, scenario by scenario, for a run whose run directory is there."""

    def __init__(self, copy: WorkingCopy) -> None:
        self.copy = copy
        self._consignment: Consignment | None = None

    def prepare(self, world: World, file_format: str, arrivals: int, *, replace: bool) -> None:
        """Remove leftovers of killed runs; raise IO_WRITE_CONFLICT if this run is certain to be refused."""
        target, reporter = self._target(world.scenario_id), self.copy.carrier.reporter
        for folder in clear_staging(self.copy.store):
            reporter.message(f"removed {folder}, which a killed run had left behind")
        if target.clear_leftover():
            reporter.message(f"removed parts of {target.partition}, which a killed run had not published")
        published = not replace and target.refuse_certain_conflict(file_format, arrivals)
        self._consignment = None if published else Consignment(target)

    def take(self, path: InsidePath) -> None:
        """Upload a finished, verified part, and remove the local file to save space.

        If arrivals are published already, only remove it: they are the same, or refused. For one thread.
        """
        if self._consignment:
            self._consignment.send(path)
        path.unlink()

    def publish(self, world: World, made: Published, *, replace: bool, rng_events: bool) -> Outcome:
        """Put a scenario in place whose parts were taken, or are published in the copy; the manifest last.

        What is published already stays if its manifest states the same arrivals, with `replace` if every byte is the
        same. Raises IO_WRITE_CONFLICT, IO_WRITE_FAILED, IO_READ_FAILED; nothing new is published then.
        """
        target, reporter = self._target(world.scenario_id), self.copy.carrier.reporter
        if not replace and target.states(made):
            return self._left_as_it_is(world, rng_events=rng_events)
        consignment = self._consignment or Consignment(target)
        events = sorted((self.copy.root / target.partition).iterdir())
        if events:
            # Those that were made elsewhere.
            with reporter.phase("upload"):
                consignment.send_all(events)
        staged = consignment.staged()
        check_size(staged.manifest)
        if staged.manifest.digest != str(made.digest):
            raise ArrivalError(
                Code.IO_WRITE_CONFLICT,
                f"parts with digest {staged.manifest.digest} were sent to {self.copy.store}, {made.digest} were made",
                hint="another program writes to the scratch directory (--scratch DIR names another); run again",
            )
        if replace:
            with reporter.phase("compare"):
                same = target.holds(staged.manifest)
            if same:
                return self._left_as_it_is(world, rng_events=rng_events)
        try:
            with reporter.phase("put in place"):
                self._withdraw_flag()
                replaced = target.place(staged)
                self._withdraw_rng_events(world, replaced or rng_events)
                self.copy.bring_back()
                target.commit(staged)
        except BaseException:
            target.tidy(staged)
            raise
        for path in events:
            path.unlink()
        return "replaced" if replaced else "published"

    def _left_as_it_is(self, world: World, *, rng_events: bool) -> Outcome:
        self._withdraw_rng_events(world, rng_events)
        self.clear()
        return "identical"

    def clear(self) -> None:
        """Remove uploads that are not published, as far as the store still answers."""
        if self._consignment:
            with suppress(ArrivalError):
                self.copy.store.delete_folder(self._consignment.folder)

    def url_of(self, path: InsidePath) -> str:
        """The URL in the store of a file of the copy."""
        return self.copy.url_of(path)

    def outward(self, error: ArrivalError) -> ArrivalError:
        """A failure for the run report, with URLs in place of local paths."""
        return self.copy.outward(error)

    def _target(self, scenario_id: str) -> StorePublication:
        return StorePublication(self.copy.carrier, self.copy.receipt.identity, scenario_id)

    def _withdraw_flag(self) -> None:
        """Delete the flag of the validation bundle, which vouches for what is about to change."""
        self.copy.withdraw_flag()

    def _withdraw_rng_events(self, world: World, others_stand_for_nothing: bool) -> None:
        """Delete the scenario's earlier events that this run has not rewritten; they were never fetched."""
        if not others_stand_for_nothing:
            return
        self._withdraw_flag()
        from arrival_engine.engine.world.load import sealed

        index = sealed(world).seal.scenario_set.index(world.scenario_id)
        for dataset_id in RNG_EVENTS:
            part = self.copy.receipt.part(dataset_id, index)
            for path in (part.with_suffix(".jsonl"), part.with_suffix(".parquet")):
                if not path.exists():
                    self.copy.store.delete(self.copy.path_of(path))


@dataclass(frozen=True)
class RunDirectory:
    """A local run directory: the one named, or a working copy of it; `shipping` is for a run."""

    root: Path
    copy: WorkingCopy | None = None
    shipping: Shipping | None = None

    def shown(self, path: Path) -> Path | str:
        """The name of a file below `root` in messages: its path or its URL."""
        return self.copy.store.url(path.relative_to(self.root).as_posix()) if self.copy else path

    def withdraw_flag(self) -> None:
        """Remove the flag of the validation bundle, from the store first: nothing may rely on it any longer."""
        if self.copy is not None:
            self.copy.withdraw_flag()
        else:
            remove_flag(read_receipt(self.root))

    def fetch_arrivals(self) -> None:
        """Download arrivals and random-number events, for commands that read them.

        Raises IO_READ_FAILED for a part that differs from its manifest, IO_WRITE_CONFLICT for a damaged manifest.
        """
        if self.copy is None:
            return
        copy = self.copy
        with copy.carrier.reporter.phase("download arrivals"):
            for scenario_id in scenario_set(copy.receipt):
                manifest = read_manifest(copy.store, copy.receipt.identity, scenario_id)
                if manifest is not None:
                    _fetch_parts(copy, manifest)
            copy.fetch(copy.folder(dataset_id) for dataset_id in RNG_EVENTS)


def _fetch_parts(copy: WorkingCopy, manifest: Manifest) -> None:
    here = partition(copy.receipt.identity, manifest.scenario_id)
    files = [Object(f"{here}/{part.name}", part.bytes) for part in manifest.parts]
    found = copy.carrier.download_all(files, copy.root)
    for part, item, transfer in zip(manifest.parts, files, found, strict=True):
        if transfer.sha256 != part.sha256:
            raise ArrivalError(
                Code.IO_READ_FAILED,
                f"{copy.store.url(item.path)} has SHA-256 {transfer.sha256}, its manifest says {part.sha256}",
                hint="another program has changed it; publish again with `arrivals run URL --replace`",
            )


@contextmanager
def run_directory(
    place: str | Place, reporter: Reporter, *, scratch: Path | None = None, writes: bool = True
) -> Iterator[RunDirectory]:
    """Open a run directory for one command: a path is used as it is; a URL is copied, and results are brought back.

    scratch: folder for the copy, by default below the directory for temporary files. Raises as `working_copy`.
    """
    place = parse_place(place)
    if isinstance(place, Path):
        yield RunDirectory(place)
        return
    with working_copy(Store(place), reporter, scratch=scratch, writes=writes) as copy:
        shipping = Shipping(copy)
        try:
            yield RunDirectory(copy.root.outside, copy, shipping)
        except BaseException:
            shipping.clear()
            raise


def published_parts(place: str | Place, scenario_id: str) -> list[str]:
    """The parts of a scenario's arrivals, in arrival order: URLs without options, or paths for a local directory.

    In a store these are exactly the parts that the manifest lists. Raises IO_READ_FAILED if nothing is published,
    IO_WRITE_CONFLICT for a damaged manifest, and the errors of reading the run receipt.
    """
    from arrival_engine.engine.arrivals.reading import part_files
    from arrival_engine.engine.rundir.receipt import read_receipt

    place = parse_place(place)
    if isinstance(place, StoreUrl):
        store = open_store(place)
        identity = fetch_receipt(store).identity
        manifest = read_manifest(store, identity, scenario_id)
        here = partition(identity, scenario_id)
        found = [store.url(f"{here}/{part.name}") for part in manifest.parts] if manifest else []
    else:
        found = [
            str(path) for path in part_files(read_receipt(place).path("arrival_events_5B", scenario_id=scenario_id))
        ]
    if not found:
        raise ArrivalError(
            Code.IO_READ_FAILED,
            f"no arrivals of scenario {scenario_id} are published in {place}",
            hint="publish them with `arrivals run`",
        )
    return found
