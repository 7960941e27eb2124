"""Publication in a store that cannot rename: upload, copy into place, read back, then write the manifest.

tmp/arrivals-<scenario>-<token>/     finished parts, while they are uploaded
.../scenario_id=.../_incomplete      exists while parts are put in place: without a manifest, they may be removed
.../scenario_id=.../part-*           the parts; meanwhile, first and last by name, two that no reader can read
.../scenario_id=.../_manifest.json   the list of published parts
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.identity import Identity
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.part_names import publication_token, published_name
from arrival_engine.engine.rundir.lock import STAGING
from arrival_engine.engine.rundir.staging import FOLDER
from arrival_engine.engine.storage.carrier import Carrier
from arrival_engine.engine.storage.lock import LOCK_FOLDER
from arrival_engine.engine.storage.manifest import MANIFEST, Manifest, Part, Source, partition, read_manifest
from arrival_engine.engine.storage.store import COPY_LIMIT, Object, Store, Transfer

if TYPE_CHECKING:
    from arrival_engine.engine.arrivals.publish import Published

MARKER = "_incomplete"
# A reader that lists the folder in place of reading the manifest would take some parts for all of them. A listing comes
# in pages, in the order of names: one that begins or ends meanwhile has the first or the last of these in it.
_OBSTACLES = ("part--incomplete", "part-incomplete")
_NOTE = b"arrivals are being put in place; only a manifest publishes them\n"


class Staged(NamedTuple):
    """Parts uploaded to `folder` under `names`, and the manifest that will list them, in the same order."""

    folder: str
    names: tuple[str, ...]
    manifest: Manifest


@dataclass(frozen=True)
class StorePublication:
    """Publishes one scenario's arrivals. The caller must hold the store's lock."""

    carrier: Carrier
    identity: Identity
    scenario_id: str

    @property
    def partition(self) -> str:
        """The folder of the arrivals."""
        return partition(self.identity, self.scenario_id)

    @property
    def _store(self) -> Store:
        return self.carrier.store

    def clear_leftover(self) -> bool:
        """Remove parts that a killed run put in place without publishing them; whether there were any."""
        store, here = self._store, self.partition
        if store.stat(f"{here}/{MARKER}") is None:
            return False
        if store.stat(f"{here}/{MANIFEST}") is not None:
            # The run was killed after the publication: only this remains to be done.
            self._remove_obstacles()
            store.delete(f"{here}/{MARKER}")
            return False
        self._clear()
        return True

    def refuse_certain_conflict(self, file_format: str, arrivals: int) -> bool:
        """Raise IO_WRITE_CONFLICT, before any work, if published arrivals differ in format or number.

        True if arrivals are published already, so that this run has none to add.
        """
        standing = self._standing()
        if standing is not None and (standing.format, standing.arrivals) != (file_format, arrivals):
            made = f"this run makes {arrivals} arrivals as {file_format}"
            raise self._conflict(f"it holds {_described(standing)}; {made}")
        return standing is not None

    def manifest(self) -> Manifest | None:
        """The manifest of what is published. Raises IO_WRITE_CONFLICT for a damaged one, IO_READ_FAILED."""
        return read_manifest(self._store, self.identity, self.scenario_id)

    def states(self, expected: Published) -> bool:
        """Whether the manifest of what is published states these arrivals; False if nothing is published.

        Only names and sizes of the parts are looked at. Raises IO_WRITE_CONFLICT if other arrivals are published.
        """
        standing = self._standing()
        if standing is None:
            return False
        if (standing.format, standing.digest) != (expected.format, str(expected.digest)):
            made = f"this run made {expected.format} arrivals with digest {expected.digest}"
            raise self._conflict(f"it holds {_described(standing)}; {made}")
        return True

    def holds(self, expected: Manifest) -> bool:
        """Whether the published files are byte for byte these: every part is read and hashed, and there are no others.

        Raises IO_READ_FAILED.
        """
        try:
            standing = self._standing()
        except ArrivalError as error:
            if error.code is not Code.IO_WRITE_CONFLICT:
                raise
            return False
        here = f"{self.partition}/"
        names = {item.path.removeprefix(here) for item in self._store.list(self.partition)}
        if standing != expected or names != {MANIFEST, *(part.name for part in expected.parts)}:
            return False
        return all(found == Transfer(part.bytes, part.sha256) for part, found in self._hashed(expected))

    def place(self, staged: Staged) -> bool:
        """Copy staged parts into place and read them back; remove an earlier manifest. True if there was one.

        Raises IO_WRITE_FAILED for a part that differs from the upload; nothing is published then.
        """
        store, here = self._store, self.partition
        before = {item.path.removeprefix(f"{here}/") for item in store.list(here)}
        store.write_bytes(f"{here}/{MARKER}", _NOTE)
        names = [part.name for part in staged.manifest.parts]
        formats = {name.rpartition(".")[2] for name in (*names, *before)} & {"parquet", "arrow"}
        obstacles = {f"{stem}.{form}" for stem in _OBSTACLES for form in formats}
        for name in sorted(obstacles):
            store.write_bytes(f"{here}/{name}", _NOTE)
        store.delete(f"{here}/{MANIFEST}")
        self.carrier.delete_all(f"{here}/{name}" for name in before - {MANIFEST, MARKER, *names, *obstacles})
        pairs = zip(staged.names, names, strict=True)
        self.carrier.copy_all([(f"{staged.folder}/{sent}", f"{here}/{name}") for sent, name in pairs])
        self.verify(staged.manifest)
        return bool(before - {MARKER})

    def verify(self, manifest: Manifest) -> None:
        """Read every part in its place; raises IO_WRITE_FAILED for one that differs from the manifest."""
        for part, found in self._hashed(manifest):
            where = self._store.url(f"{self.partition}/{part.name}")
            if found != Transfer(part.bytes, part.sha256):
                raise ArrivalError(
                    Code.IO_WRITE_FAILED,
                    f"{where} has {found.bytes} bytes with SHA-256 {found.sha256}; "
                    f"{part.bytes} with {part.sha256} were written",
                    hint="another program writes there, or the store loses data; nothing was published, run again",
                )

    def _hashed(self, manifest: Manifest) -> list[tuple[Part, Transfer]]:
        files = [Object(f"{self.partition}/{part.name}", part.bytes) for part in manifest.parts]
        return list(zip(manifest.parts, self.carrier.hash_all(files), strict=True))

    def commit(self, staged: Staged) -> None:
        """Write the manifest of parts that are in place: from now on they are published."""
        self._store.write_bytes(f"{self.partition}/{MANIFEST}", staged.manifest.to_bytes())
        self.tidy(staged)

    def tidy(self, staged: Staged) -> None:
        """Remove unpublished files as far as the store still answers; the next run removes the rest."""
        with suppress(ArrivalError):
            self.clear_leftover()
            self._store.delete_folder(staged.folder)

    def _clear(self) -> None:
        """Empty the partition, its marker last, so that a second interruption changes nothing."""
        here, kept = self.partition, {f"{self.partition}/{MARKER}", *self._obstacles()}
        self.carrier.delete_all(item.path for item in self._store.list(here) if item.path not in kept)
        self._remove_obstacles()
        self._store.delete(f"{here}/{MARKER}")

    def _obstacles(self) -> list[str]:
        beginnings = tuple(f"{self.partition}/{stem}." for stem in _OBSTACLES)
        return [item.path for item in self._store.list(self.partition) if item.path.startswith(beginnings)]

    def _remove_obstacles(self) -> None:
        self.carrier.delete_all(self._obstacles())

    def _standing(self) -> Manifest | None:
        """The manifest, if all its parts exist; None if nothing is there. Raises IO_WRITE_CONFLICT otherwise."""
        manifest = self.manifest()
        here = f"{self.partition}/"
        sizes = {item.path.removeprefix(here): item.bytes for item in self._store.list(self.partition)}
        if manifest is None:
            if sizes:
                raise self._conflict("it holds files without a manifest, so no run of this engine put them there")
            return None
        lost = [part.name for part in manifest.parts if sizes.get(part.name) != part.bytes]
        if lost:
            raise self._conflict(f"its manifest lists {lost[0]}, which is missing or has another size")
        return manifest

    def _conflict(self, problem: str) -> ArrivalError:
        return ArrivalError(
            Code.IO_WRITE_CONFLICT,
            f"{self._store.url(self.partition)} already exists: {problem}",
            hint="pass --replace to put the new arrivals in its place, or move it away",
            path=self._store.url(self.partition),
        )


class Consignment:
    """Uploads of one scenario's parts to tmp/ of the store, each as soon as it is finished."""

    def __init__(self, target: StorePublication) -> None:
        self._target = target
        self._parts: list[Part] = []
        self._source: Source | None = None
        self.folder = f"{FOLDER}/{STAGING}-{target.scenario_id}-{secrets.token_hex(8)}"

    def send(self, path: InsidePath) -> None:
        """Upload one part file."""
        _refuse_large(path)
        self._enter(path, self._target.carrier.store.upload(path, f"{self.folder}/{path.name}"))

    def send_all(self, paths: Sequence[InsidePath]) -> None:
        """Upload part files, several at once."""
        for path in paths:
            _refuse_large(path)
        sent = self._target.carrier.upload_all([(path, f"{self.folder}/{path.name}") for path in paths])
        for path, transfer in zip(paths, sent, strict=True):
            self._enter(path, transfer)

    def staged(self) -> Staged:
        """All uploaded parts."""
        parts = tuple(sorted(self._parts, key=lambda part: part.name))
        if self._source is None:
            raise ArrivalError(
                Code.UNEXPECTED_INTERNAL_ERROR,
                f"there are no parts of {self._target.scenario_id} to publish",
                hint="this is a defect of the engine; please report it",
            )
        names = tuple(part.name for part in parts)
        form = names[0].rpartition(".")[2]
        token = publication_token(part.sha256 for part in parts)
        named = tuple(replace(part, name=published_name(part.name, token)) for part in parts)
        manifest = Manifest(self._target.identity, self._target.scenario_id, form, self._source, named)
        return Staged(self.folder, names, manifest)

    def _enter(self, path: InsidePath, transfer: Transfer) -> None:
        from arrival_engine.engine.arrivals.part_file import PartFile

        digest = PartFile.at(path).digest()
        self._parts.append(Part(path.name, digest.rows, transfer.bytes, transfer.sha256, str(digest)))
        self._source = self._source or _source(path)


def clear_staging(store: Store) -> list[str]:
    """Remove parts uploaded by killed runs; return their folders. The caller must hold the store's lock."""
    found = [item.path for item in store.list(FOLDER)]
    folders = {"/".join(path.split("/")[:2]) for path in found}
    staged = sorted(name for name in folders if name.startswith(f"{FOLDER}/{STAGING}-") and name != LOCK_FOLDER)
    for folder in staged:
        # A store may have an object of the folder's own name, beside those in it or instead of them.
        if folder in found:
            store.delete(folder)
        store.delete_folder(folder)
    return staged


def _source(path: InsidePath) -> Source:
    from arrival_engine.engine.arrivals.part_file import PartFile

    stated = PartFile.at(path).statements()
    return Source(
        int(stated["arrivals.law_version"]),
        stated["arrivals.engine_version"],
        stated["arrivals.sealed_inputs_digest"],
    )


def _refuse_large(path: InsidePath) -> None:
    size = path.stat().st_size
    if size > COPY_LIMIT:
        raise ArrivalError(
            Code.IO_WRITE_FAILED,
            f"{path.name} has {size} bytes; object stores copy {COPY_LIMIT} at most",
            hint="lower --batch-arrivals: a batch is a part file",
        )


def _described(manifest: Manifest) -> str:
    return f"{manifest.format} arrivals with digest {manifest.digest}"
