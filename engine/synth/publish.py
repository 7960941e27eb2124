"""Where a world goes: an empty run directory, by rename, the receipt last; or nowhere, when it is there already."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts import ArrivalError, Code, Identity, dataset, indented_json, receipt_json
from engine.staging import FOLDER, writing
from engine.synth.policies import policy_copies
from engine.synth.presets import CREATED_UTC, GENERATOR_VERSION, WorldSpec

REPORT = "reports/synth_report.json"
STAGE = "synth"
_CHUNK = 1 << 22


@dataclass(frozen=True)
class WorldReport:
    """What a world's report says: its statistics and features, and the SHA-256 of every file by path."""

    statistics: Mapping[str, Any]
    features: Mapping[str, Any]
    files: Mapping[str, str]
    bytes: int


def receipt_bytes(identity: Identity) -> bytes:
    """`run_receipt.json` of a synthetic world; nothing in it depends on the machine."""
    document = {
        "run_id": identity.run_id,
        "seed": identity.seed,
        "parameter_hash": identity.parameter_hash,
        "manifest_fingerprint": identity.manifest_fingerprint,
        "contracts_layout": "run_root",
        "contracts_root": "",
        "runs_root": "",
        "external_roots": [],
        "created_utc": CREATED_UTC,
    }
    return receipt_json(document)


def file_digests(root: Path) -> dict[str, str]:
    """SHA-256 of every file below `root`, by its path there."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): _sha256(path) for path in paths}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_report(
    stage: Path, spec: WorldSpec, statistics: Mapping[str, Any], features: Mapping[str, Any]
) -> WorldReport:
    """Write the world's report over all the files that are in the stage so far."""
    size = sum(path.stat().st_size for path in stage.rglob("*") if path.is_file())
    report = WorldReport(statistics, features, file_digests(stage), size)
    path = stage / REPORT
    path.parent.mkdir(parents=True)
    path.write_bytes(
        indented_json(
            {
                "generator_version": GENERATOR_VERSION,
                "preset": spec.preset.name,
                "seed": spec.seed,
                "scale": spec.scale,
                "statistics": dict(statistics),
                "features": dict(features),
                "bytes": size,
                "files": dict(report.files),
            }
        )
    )
    return report


def existing_world(run_root: Path, identity: Identity) -> WorldReport | None:
    """The report of exactly this world in `run_root`; None where the directory is free for it.

    Files of later stages may lie beside a world. Raises IO_WRITE_CONFLICT for a directory that holds anything
    else: another world, files of unknown origin, or this world with a file changed or gone.
    """
    if run_root.exists() and not run_root.is_dir():
        raise _conflict(run_root, f"{run_root} is a file")
    found = sorted(path.name for path in run_root.iterdir()) if run_root.exists() else []
    others = [name for name in found if name != FOLDER]
    if not others:
        return None
    receipt = run_root / dataset("run_receipt").path
    if not receipt.is_file():
        raise _conflict(run_root, f"{run_root} is not empty (it holds {', '.join(others[:3])}) and has no receipt")
    if receipt.read_bytes() != receipt_bytes(identity):
        raise _conflict(run_root, f"{run_root} holds another run: {receipt.name} differs from this world's")
    report = _read_report(run_root)
    # Identities do not name the policies, so a world made by other packaged ones is told by their files.
    policies = {dataset(name).path: hashlib.sha256(data).hexdigest() for name, data in policy_copies().items()}
    for relative, digest in (dict(report.files) | policies).items():
        path = run_root / relative
        if not path.is_file() or _sha256(path) != digest:
            state = "differs" if path.is_file() else "is gone"
            raise _conflict(run_root, f"{run_root} holds this world, but {relative} {state}", path=path)
    return report


def _conflict(run_root: Path, what: str, **context: object) -> ArrivalError:
    return ArrivalError(
        Code.IO_WRITE_CONFLICT,
        what,
        hint="give an empty directory, or remove this one first",
        directory=run_root,
        **context,
    )


def _read_report(run_root: Path) -> WorldReport:
    path = run_root / REPORT
    try:
        document = json.loads(path.read_bytes())
        return WorldReport(
            dict(document["statistics"]), dict(document["features"]), dict(document["files"]), document["bytes"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _conflict(run_root, f"{run_root} holds this world's receipt, but no readable {REPORT}") from error


def clear_leftovers(run_root: Path) -> None:
    """Remove the stages of earlier attempts that were killed; call with the run directory's lock held."""
    for path in (run_root / FOLDER).glob(f"{STAGE}-*"):
        shutil.rmtree(path, ignore_errors=True)


def publish(stage: Path, run_root: Path, identity: Identity) -> None:
    """Move what is in the stage into the run directory, and write the receipt when all is in place.

    What was moved is removed again when anything fails.
    """
    moved: list[Path] = []
    try:
        with writing("a synthetic world", run_root):
            for source in sorted(stage.iterdir()):
                target = run_root / source.name
                source.rename(target)
                moved.append(target)
            receipt = stage / dataset("run_receipt").path
            receipt.write_bytes(receipt_bytes(identity))
            receipt.replace(run_root / receipt.name)
    except BaseException:
        for target in moved:
            shutil.rmtree(target, ignore_errors=True)
        raise
