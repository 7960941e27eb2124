"""Publication of a world into an empty run directory by rename, the receipt last. An identical world is left alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from arrival_engine.contracts import ArrivalError, Code, Identity, dataset, indented_json, receipt_json
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading, writing
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.hashing import content_sha256
from arrival_engine.engine.rundir.staging import FOLDER, exclusive, staging
from arrival_engine.engine.world_files.shelf import CREATED_UTC


@dataclass(frozen=True)
class Target:
    """A world and its place.

    maker: `synth` or `import`; what: the world's name in messages; policies: bytes by policy id, compared as files,
    because an identity need not cover them.
    """

    run_root: InsidePath
    maker: str
    what: str
    identity: Identity
    policies: Mapping[str, bytes]

    @property
    def report(self) -> str:
        """Path of the world's report below the run directory."""
        return f"reports/{self.maker}_report.json"


@dataclass(frozen=True)
class WorldReport:
    """The contents of a world's report; files: SHA-256 of every file by path."""

    statistics: Mapping[str, Any]
    features: Mapping[str, Any]
    files: Mapping[str, str]
    bytes: int


def receipt_bytes(identity: Identity) -> bytes:
    """`run_receipt.json` of a world; nothing in it depends on the machine."""
    document = {
        **identity.document(),
        "contracts_layout": "run_root",
        "contracts_root": "",
        "runs_root": "",
        "external_roots": [],
        "created_utc": CREATED_UTC,
    }
    return receipt_json(document)


def file_digests(root: InsidePath) -> dict[str, str]:
    """SHA-256 of every file below `root`, by its path there."""
    return {path.relative_to(root).as_posix(): content_sha256([path]) for path, _ in root.walk()}


def write_report(
    stage: InsidePath,
    target: Target,
    made_by: Mapping[str, Any],
    statistics: Mapping[str, Any],
    features: Mapping[str, Any],
) -> WorldReport:
    """Write the world's report, including `made_by`, about all files in the stage."""
    size = sum(path.stat().st_size for path, _ in stage.walk())
    report = WorldReport(statistics, features, file_digests(stage), size)
    path = stage / target.report
    path.parent.mkdir(parents=True)
    path.write_bytes(
        indented_json(
            {
                **made_by,
                "statistics": dict(statistics),
                "features": dict(features),
                "bytes": size,
                "files": dict(report.files),
            }
        )
    )
    return report


def place_world(
    target: Target, write: Callable[[InsidePath], WorldReport], reporter: Reporter
) -> tuple[WorldReport, bool]:
    """The report of the target's world and whether it existed already; if not, `write` fills a stage with it.

    Raises IO_WRITE_CONFLICT for a directory that holds anything else, IO_READ_FAILED, IO_WRITE_FAILED.
    """
    with reporter.phase("look for an existing world"):
        report = _look(target)
    if report is not None:
        return report, True
    with exclusive(target.run_root, target.maker):
        _clear_leftovers(target)
        # Another process may have made the world while this call waited.
        report = _look(target)
        if report is not None:
            return report, True
        with staging(target.run_root, target.maker) as stage:
            with writing(target.what, target.run_root):
                report = write(stage)
            _publish(stage, target)
    return report, False


def _look(target: Target) -> WorldReport | None:
    with reading("directory", target.run_root, hint="give a directory that you may read and write"):
        return _existing_world(target)


def _existing_world(target: Target) -> WorldReport | None:
    """The report of exactly this world in the run directory; None if the directory is free for it.

    Files of later stages may lie beside a world. Raises IO_WRITE_CONFLICT for anything else: another world, files of
    unknown origin, or this world with a file changed or missing.
    """
    run_root = target.run_root
    if run_root.exists() and not run_root.is_dir():
        raise _conflict(run_root, f"{run_root} is a file")
    found = sorted(path.name for path in run_root.iterdir()) if run_root.exists() else []
    others = [name for name in found if name != FOLDER]
    if not others:
        return None
    receipt = run_root / dataset("run_receipt").path
    if not receipt.is_file():
        raise _conflict(run_root, f"{run_root} is not empty (it holds {', '.join(others[:3])}) and has no receipt")
    if receipt.read_bytes() != receipt_bytes(target.identity):
        raise _conflict(run_root, f"{run_root} holds another run: {receipt.name} differs from this world's")
    report = _read_report(target)
    policies = {dataset(name).path: hashlib.sha256(data).hexdigest() for name, data in target.policies.items()}
    for relative, digest in (dict(report.files) | policies).items():
        path = run_root / relative
        if not path.is_file() or content_sha256([path]) != digest:
            state = "differs" if path.is_file() else "is gone"
            raise _conflict(run_root, f"{run_root} holds this world, but {relative} {state}", path=path)
    return report


def _conflict(run_root: InsidePath, what: str, **context: object) -> ArrivalError:
    return ArrivalError(
        Code.IO_WRITE_CONFLICT,
        what,
        hint="give an empty directory, or remove this one first",
        directory=run_root,
        **context,
    )


def _read_report(target: Target) -> WorldReport:
    run_root = target.run_root
    path = run_root / target.report
    try:
        document = json.loads(path.read_bytes())
        return WorldReport(
            dict(document["statistics"]), dict(document["features"]), dict(document["files"]), document["bytes"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _conflict(run_root, f"{run_root} holds this world's receipt, but no readable {target.report}") from error


def _clear_leftovers(target: Target) -> None:
    """Remove the stages of killed attempts; the caller must hold the run directory's lock."""
    for path in (target.run_root / FOLDER).glob(f"{target.maker}-*"):
        path.discard()


def _publish(stage: InsidePath, target: Target) -> None:
    """Move the stage's contents into the run directory, then write the receipt; undo the moves on a failure."""
    run_root = target.run_root
    moved: list[InsidePath] = []
    try:
        with writing(target.what, run_root):
            for source in sorted(stage.iterdir()):
                place = run_root / source.name
                source.rename(place)
                moved.append(place)
            receipt = stage / dataset("run_receipt").path
            receipt.write_bytes(receipt_bytes(target.identity))
            receipt.rename(run_root / receipt.name)
    except BaseException:
        for place in moved:
            place.discard()
        raise
