"""Building of a run's time zone cache from the tzdata package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from arrival_engine.contracts import ArrivalError, Code, receipt_json
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading, writing
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.rundir.staging import exclusive, owned_staging, publish_folder, write_file
from arrival_engine.engine.tz.pinned import LAST_YEAR, archive_sha256, check_release, pinned_zones, release
from arrival_engine.engine.tz.tzc1 import encode


@dataclass(frozen=True)
class TzCacheResult:
    """The cache of a run; `changed` is False if the same cache existed, and no file was touched."""

    changed: bool
    folder: Path
    zones: int
    sha256: str
    release: str


def _utc_micros(text: str) -> str:
    """An RFC 3339 time with any offset as UTC with six fraction digits."""
    moment = datetime.fromisoformat(text).astimezone(UTC)
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _manifest(receipt: Receipt, data: bytes) -> bytes:
    return receipt_json(
        {
            "manifest_fingerprint": receipt.identity.manifest_fingerprint,
            "tzdb_release_tag": release(),
            "tzdb_archive_sha256": archive_sha256(),
            "tz_index_digest": sha256(data).hexdigest(),
            "rle_cache_bytes": len(data),
            # The run's own time, so that every build for a run gives the same bytes.
            "created_utc": _utc_micros(receipt.created_utc),
        }
    )


def _existing(folder: InsidePath) -> dict[str, bytes] | None:
    """The files in the cache's folder, None if it does not exist."""
    with reading("directory", folder):
        if not folder.exists():
            return None
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _conflict(folder: InsidePath, present: dict[str, bytes], wanted: dict[str, bytes]) -> ArrivalError:
    return ArrivalError(
        Code.IO_WRITE_CONFLICT,
        f"{folder} holds a time zone cache that differs from the one built from tzdata {release()}",
        hint="keep it, or pass --replace and seal again if the run was sealed with it",
        path=folder,
        found={name: sha256(content).hexdigest() for name, content in sorted(present.items())},
        built={name: sha256(content).hexdigest() for name, content in sorted(wanted.items())},
    )


def _publish(run_root: InsidePath, folder: InsidePath, wanted: dict[str, bytes]) -> None:
    with owned_staging(run_root, "tz") as work:
        staged = work / "new"
        with writing("directory", staged):
            staged.mkdir()
        for name, content in wanted.items():
            write_file(staged / name, content)
        publish_folder(staged, folder)


def build_tz(
    run_root: Path,
    reporter: Reporter | None = None,
    *,
    tzids: Sequence[str] | None = None,
    until_year: int = LAST_YEAR,
    replace: bool = False,
) -> TzCacheResult:
    """Write `tz_cache_v1.bin` and `tz_timetable_cache.json` for the run's manifest_fingerprint, or neither.

    All zones of the package by default, exact through the end of `until_year`. `tzdb_archive_sha256` in the manifest is
    `archive_sha256()`. Raises IO_WRITE_CONFLICT if another cache exists and `replace` is False, DST_MAPPING_FAILED for
    unknown zones and for a tzdata release that is not the engine's, IO_WRITE_FAILED.
    """
    reporter = reporter if reporter is not None else Reporter()
    check_release()
    receipt = read_receipt(Path(run_root))
    folder = receipt.path("tz_timetable_cache")
    with reporter.phase("read tzdata"):
        table = pinned_zones(tzids, until_year)
        data = encode(table)
    wanted = {
        receipt.path("tz_timetable_cache_bin").name: data,
        receipt.path("tz_timetable_cache_manifest").name: _manifest(receipt, data),
    }
    with reporter.phase("write cache"), exclusive(receipt.run_root, "tz"):
        present = _existing(folder)
        changed = present != wanted
        if present and changed and not replace:
            raise _conflict(folder, present, wanted)
        if changed:
            _publish(receipt.run_root, folder, wanted)
    return TzCacheResult(changed, folder.outside, len(table.tzids), sha256(data).hexdigest(), release())
