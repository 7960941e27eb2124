"""A local working copy of a run directory in a store: inputs are fetched, results are brought back.

The command itself works on files, so the seal check hashes exactly the bytes that are read afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arrival_engine.config.policies import RUN_REFERENCE
from arrival_engine.contracts import ArrivalError, Code, dataset, datasets
from arrival_engine.contracts.errors import json_safe
from arrival_engine.contracts.identity import Identity
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.scratch import scratch_folder, temporary_root
from arrival_engine.engine.rundir.flag import flag_of, remove_flag
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.rundir.staging import FOLDER
from arrival_engine.engine.storage.carrier import Carrier
from arrival_engine.engine.storage.lock import store_lock
from arrival_engine.engine.storage.store import Store
from arrival_engine.engine.storage.url import path_fault

EVENTS = "arrival_events_5B"
RNG_EVENTS = tuple(f"rng_event_{label}" for label in ("arrival_time_jitter", "arrival_site_pick", "arrival_edge_pick"))
_RECEIPT_BYTES_MAX = 16 * 2**20
# Each vouches for files beside it or written before it, so it is uploaded last and deleted first.
_VOUCHERS = frozenset({"_passed.flag", "s0_gate_receipt_5B.json"})
_REPORT = "segment_state_runs"

_Stamp = tuple[int, int, int]


@dataclass
class WorkingCopy:
    """The fetched files of `store` below `root`; `receipt` is the copy's."""

    carrier: Carrier
    root: InsidePath
    receipt: Receipt
    _seen: dict[str, _Stamp] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """The store of the run directory."""
        return self.carrier.store

    def path_of(self, path: InsidePath) -> str:
        """The path below the run directory of a file of the copy."""
        return path.relative_to(self.root).as_posix()

    def url_of(self, path: InsidePath) -> str:
        """The URL in the store of a file of the copy."""
        return self.store.url(self.path_of(path))

    def outward(self, error: ArrivalError) -> ArrivalError:
        """The error with the store's files named instead of their copies."""
        return _outward(error, self.store, self.root)

    def folder(self, dataset_id: str) -> str:
        """The folder of a dataset's files, below the run directory."""
        return _folder(dataset(dataset_id).path, self.receipt.identity)

    def fetch(self, folders: Iterable[str], paths: Iterable[str] = ()) -> None:
        """Download everything below the folders, and those single files that exist."""
        found = {item.path: item for item in self.carrier.list_all(folders)}
        found.update((item.path, item) for item in self.carrier.find_all(paths))
        missing = [item for item in found.values() if not (self.root / item.path).exists()]
        self.carrier.download_all(missing, self.root)
        self._seen = self._stamps()

    def withdraw_flag(self) -> None:
        """Delete the flag of the validation bundle, in the store first: nothing may rely on it any longer."""
        self.store.delete(self.path_of(flag_of(self.receipt)))
        remove_flag(self.receipt)

    def bring_back(self, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Upload new and changed files, delete removed ones; arrivals are published separately."""
        now, vouchers = self._stamps(), {}
        changed = sorted(path for path, stamp in now.items() if wanted(path) and self._seen.get(path) != stamp)
        gone = sorted(path for path in self._seen if wanted(path) and path not in now)
        for path in self._seen:
            folder, _, name = path.rpartition("/")
            if name in _VOUCHERS:
                vouchers[folder] = path
        # A flag must not lie beside members that it was not written for.
        withdrawn = {vouchers[folder] for folder in (path.rpartition("/")[0] for path in changed) if folder in vouchers}
        self.carrier.delete_all(sorted(withdrawn | set(gone)))
        members = [path for path in changed if path.rpartition("/")[2] not in _VOUCHERS]
        last = sorted({*changed, *(path for path in withdrawn if path in now)} - set(members))
        for group in (members, last):
            self.carrier.upload_all([(self.root / path, path) for path in group])
        for path in gone:
            del self._seen[path]
        self._seen.update((path, now[path]) for path in (*members, *last))

    def bring_back_report(self) -> None:
        """Upload the run report alone, for a run that failed."""
        folder = self.folder(_REPORT)
        self.bring_back(lambda path: path.startswith(f"{folder}/"))

    def _stamps(self) -> dict[str, _Stamp]:
        stamps = {}
        own = (FOLDER, self.folder(EVENTS))
        for file, _ in self.root.walk():
            path = self.path_of(file)
            if not any(path.startswith(f"{mine}/") for mine in own):
                found = file.stat()
                stamps[path] = (found.st_mtime_ns, found.st_size, found.st_ino)
        return stamps


@contextmanager
def working_copy(
    store: Store, reporter: Reporter, *, scratch: Path | None = None, writes: bool = True
) -> Iterator[WorkingCopy]:
    """A copy of the control plane and the inputs of a run directory, in a private directory that is removed at the end.

    If the block succeeds, everything that it made is brought back, except arrivals; if it fails, only the run report.
    `writes` False leaves the store unchanged. Errors name the store's URLs. Raises S0_GATE_MISSING_OR_INVALID without a
    run receipt, IO_READ_FAILED, IO_WRITE_FAILED, and IO_WRITE_CONFLICT while another run holds the store.
    """
    with _scratch(scratch, reporter) as folder:
        # read_receipt compares the directory's name with the run id if it looks like one.
        root = _emptied(folder, store)
        with _speaking_of(store, root):
            copy = WorkingCopy(Carrier(store, reporter), root, _fetch_receipt(store, root))
            # Not earlier: a mistyped URL must not get a lock object.
            with store_lock(store) if writes else nullcontext():
                with reporter.phase("download"):
                    _fetch_world(copy)
                try:
                    yield copy
                except Exception:
                    # Report the first failure, even if the report cannot be written either.
                    with suppress(ArrivalError):
                        if writes:
                            copy.bring_back_report()
                    raise
                if writes:
                    with reporter.phase("upload"):
                        copy.bring_back()


def fetch_receipt(store: Store) -> Receipt:
    """The run receipt alone; its `run_root` no longer exists. Raises as `working_copy`."""
    with _scratch(None, Reporter()) as folder:
        root = _emptied(folder, store)
        with _speaking_of(store, root):
            return _fetch_receipt(store, root)


def _emptied(folder: InsidePath, store: Store) -> InsidePath:
    """A directory of the run directory's name; in one of its own, for any name may be in `folder` already."""
    root = folder / "copy" / (store.place.name or "world")
    with writing("working copy", root):
        root.mkdir(parents=True)
    return root


@contextmanager
def _scratch(parent: Path | None, reporter: Reporter) -> Iterator[InsidePath]:
    """A private folder; those that killed commands left in the same place are removed."""

    def tell(path: InsidePath) -> None:
        reporter.message(f"removed {path}, which a killed command had left behind")

    with ExitStack() as stack:
        place = InsidePath(parent) if parent else temporary_root()
        with writing("working copy", place):
            place.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(scratch_folder(place, removed=tell))
        yield folder.resolve()


def _fetch_receipt(store: Store, root: InsidePath) -> Receipt:
    name = dataset("run_receipt").path
    if store.stat(name) is None:
        store.require()
        raise ArrivalError(
            Code.S0_GATE_MISSING_OR_INVALID,
            f"{store} has no run receipt {name}",
            hint="give the run directory itself; to put a local world there, use any program that copies directories",
            path=store.url(name),
        )
    (root / name).write_bytes(store.read_bytes(name, _RECEIPT_BYTES_MAX))
    receipt = read_receipt(root)
    relative = [path for path in receipt.document.get("external_roots", ()) if not Path(path).is_absolute()]
    if relative:
        raise ArrivalError(
            Code.S0_GATE_MISSING_OR_INVALID,
            f"{store.url(name)}: external root {relative[0]!r} is relative, and a store has no directory above it",
            hint="put those policies below config/ of the run directory, or name absolute directories of this machine",
        )
    return receipt


def _fetch_world(copy: WorkingCopy) -> None:
    from arrival_engine.engine.sealing.upstream import members_by_run_root

    copy.fetch(_control_folders(copy.receipt.identity))
    # Two segments' indexes name files elsewhere in the run directory. What runs make there is not among their inputs.
    made = tuple(f"{folder}/" for folder in (FOLDER, copy.folder(EVENTS)))
    named = {path for path in members_by_run_root(copy.receipt) if not path_fault(path) and not path.startswith(made)}
    copy.fetch((), sorted(path for path in named if not (copy.root / path).exists()))


def _control_folders(identity: Identity) -> list[str]:
    """The folders of every dataset except those that a run makes in bulk; none is inside another."""
    bulk = {EVENTS, "arrival_manifest_5B", *RNG_EVENTS, "run_receipt"}
    folders = {_folder(entry.path, identity) for entry in datasets() if entry.id not in bulk}
    # Policies have two places in a run directory.
    folders |= {f"{RUN_REFERENCE}/{_folder(entry.path, identity)}" for entry in datasets() if entry.role == "policy"}
    return sorted(path for path in folders if not any(path.startswith(f"{other}/") for other in folders))


def _folder(template: str, identity: Identity) -> str:
    """The folder of a dataset's files, up to the first token that the identity lacks."""
    tokens, parts = identity.tokens(), []
    for part in template.split("/")[:-1]:
        with suppress(KeyError):
            parts.append(part.format_map(tokens))
            continue
        break
    return "/".join(parts)


@contextmanager
def _speaking_of(store: Store, root: InsidePath) -> Iterator[None]:
    try:
        yield
    except ArrivalError as error:
        raise _outward(error, store, root) from error


def _outward(error: ArrivalError, store: Store, root: InsidePath) -> ArrivalError:
    """The error with URLs of the store in place of the copy's paths, which no longer exist when it is read."""
    local, there = str(root), str(store)
    context = _replaced(json_safe(error.context), local, there)
    message, hint = (text.replace(local, there) for text in (error.message, error.hint))
    return ArrivalError(error.code, message, hint=hint, **context)


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    return value
