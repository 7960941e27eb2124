"""Facts of the machine and the installation that a run depends on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.safe_text import shell_word
from arrival_engine.engine.process import human, machine
from arrival_engine.engine.process.extras import EXTRAS
from arrival_engine.engine.process.scratch import leftovers
from arrival_engine.engine.process.version import TZDATA_RELEASE, TZDATA_VERSION

__all__ = ["Diagnosis", "Fact", "doctor"]

DISTRIBUTION = "arrival-engine"
PACKAGES = (
    "numba",
    "llvmlite",
    "numpy",
    "pyarrow",
    "duckdb",
    "pyyaml",
    "jsonschema",
    "click",
    "rich",
    "psutil",
    "tzdata",
)
_DEVICE_PACKAGES = {
    "numba-cuda": ("numba-cuda",),
    "CuPy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
    "cuDF": ("cudf-cu13", "cudf-cu12", "cudf"),
}
_CRAMPED_BYTES = 1 << 30
_FINGERPRINT = re.compile("[0-9a-f]{16}")

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Fact:
    """One line of the diagnosis; a `note` informs, a `problem` would make a run fail."""

    name: str
    value: str
    state: State = "ok"
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All facts, in display order."""

    facts: tuple[Fact, ...]

    @property
    def healthy(self) -> bool:
        """Whether no fact would make a run fail."""
        return all(fact.state != "problem" for fact in self.facts)


def doctor() -> Diagnosis:
    """Gather every fact. A fact that cannot be determined becomes a problem with its reason, not an exception."""
    return _examine(_GATHERERS)


def _examine(gatherers: Mapping[str, Callable[[], Iterator[Fact]]]) -> Diagnosis:
    facts: list[Fact] = []
    for name, gather in gatherers.items():
        try:
            facts += gather()
        except Exception as error:  # noqa: BLE001 - one fact must not hide the others
            facts.append(Fact(name, f"cannot be determined: {type(error).__name__}: {error}", "problem"))
    return Diagnosis(tuple(facts))


def _version(*names: str) -> str | None:
    """The version of the first named distribution that is installed."""
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _python() -> Iterator[Fact]:
    yield Fact("Python", f"{platform.python_version()} ({sys.executable}), {platform.platform()}")


def _engine() -> Iterator[Fact]:
    home = Path(__file__).absolute().parents[2]
    if version := _version(DISTRIBUTION):
        yield Fact(DISTRIBUTION, f"{version} ({home})")
    else:
        advice = "pip install -e . installs the command `arrivals`"
        yield Fact(DISTRIBUTION, f"not installed, running from {home}", "note", advice)


def _packages() -> Iterator[Fact]:
    found = {name: _version(name) for name in PACKAGES}
    missing = [name for name, version in found.items() if version is None]
    listed = ", ".join(f"{name} {version}" for name, version in found.items() if version is not None)
    if missing:
        text = f"missing: {', '.join(missing)}; {listed}"
        yield Fact("packages", text, "problem", f"pip install {DISTRIBUTION}")
    else:
        yield Fact("packages", listed)


def _extras() -> Iterator[Fact]:
    for extra, names in EXTRAS.items():
        found = {name: _version(name) for name in names}
        if None in found.values():
            missing = ", ".join(name for name, version in found.items() if version is None)
            yield Fact(f"extra {extra}", f"not installed: {missing}", "note", f"pip install '{DISTRIBUTION}[{extra}]'")
        else:
            yield Fact(f"extra {extra}", ", ".join(f"{name} {version}" for name, version in found.items()))


def _cores() -> Iterator[Fact]:
    usable, present = machine.available_cores(), os.cpu_count() or 1
    yield Fact("cores", f"{usable}" if usable == present else f"{usable} of {present} (affinity or quota)")


def _memory() -> Iterator[Fact]:
    import psutil

    limit, source = machine.memory_limit_bytes()
    free = min(psutil.virtual_memory().available, limit)
    text = f"{human.size(limit)} (limit: {source}), {human.size(free)} free"
    if free < _CRAMPED_BYTES:
        yield Fact("memory", text, "note", "lower --threads or --batch-arrivals if a run does not fit")
    else:
        yield Fact("memory", text)


def _cuda() -> Iterator[Fact]:
    from arrival_engine.gpu_kernels.device import no_writer_reason, unusable_reason
    from arrival_engine.gpu_kernels.driver import cuda_state

    state = cuda_state()
    for ordinal, device in enumerate(state.devices):
        major, minor = device.compute_capability
        yield Fact(
            f"CUDA device {ordinal}",
            f"{device.name}, {human.size(device.memory_bytes)}, compute capability {major}.{minor}, "
            f"driver for CUDA {state.driver_version}",
        )
    for name, reason, instead in (
        ("CUDA backend", unusable_reason(), "runs use the CPU"),
        ("device writer", no_writer_reason(), "the CPU writes the part files"),
    ):
        yield Fact(name, f"cannot be used: {reason}", "note", instead) if reason else Fact(name, "can be used")


def _device_packages() -> Iterator[Fact]:
    for name, distributions in _DEVICE_PACKAGES.items():
        if version := _version(*distributions):
            yield Fact(name, version)
        else:
            advice = f"for a device: pip install '{DISTRIBUTION}[cuda13]' or [cuda12]"
            yield Fact(name, "not installed", "note", advice)


def _count_reader() -> Iterator[Fact]:
    from arrival_engine.gpu_kernels.load import reader

    name, reason = reader()
    yield Fact("count rows", f"{name}: {reason}")


def _jit_cache() -> Iterator[Fact]:
    from arrival_engine.cpu_fallback import jit

    if unused := jit.cache_unused():
        advice = f"every process compiles its kernels; {unused.remedy}"
        yield Fact("JIT cache", f"not used: {unused.reason}", "note", advice)
        return
    folder = jit.cache_directory()
    kernels, kernel_bytes = _compiled(folder)
    older = [other for other in folder.parent.iterdir() if _FINGERPRINT.fullmatch(other.name) and other != folder]
    text = f"warm, {kernels} compiled functions, {human.size(kernel_bytes)}" if kernels else "cold"
    text += f", sources {jit.source_fingerprint()}, in {folder.parent}"
    if older:
        old_bytes = sum(_compiled(other)[1] for other in older)
        text += f"; {len(older)} for other sources or versions, {human.size(old_bytes)}"
    if kernels:
        yield Fact("JIT cache", text)
    else:
        yield Fact("JIT cache", text, "note", "the first run takes some seconds to compile its kernels")


def _compiled(folder: Path) -> tuple[int, int]:
    sizes = [path.stat().st_size for path in folder.rglob("*.nbc")]
    return len(sizes), sum(sizes)


def _tzdata() -> Iterator[Fact]:
    import tzdata

    text = f"{tzdata.IANA_VERSION} (package {tzdata.__version__})"
    if tzdata.IANA_VERSION == TZDATA_RELEASE:
        yield Fact("tzdata", text)
        return
    advice = f"civil times are checked against {TZDATA_RELEASE}: pip install tzdata=={TZDATA_VERSION}"
    yield Fact("tzdata", text, "problem", advice)


def _terminal() -> Iterator[Fact]:
    if not sys.stderr.isatty():
        yield Fact("terminal", "none: progress is one plain line per 10 s")
        return
    columns, lines = shutil.get_terminal_size()
    colour = "NO_COLOR set, " if os.environ.get("NO_COLOR") else ""
    kind = f"{colour}TERM {os.environ.get('TERM', 'unset')}"
    yield Fact("terminal", f"{columns} x {lines}, {sys.stderr.encoding}, {kind}")


def _temporary() -> Iterator[Fact]:
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        # A run stages inside its own directory.
        advice = "set TMPDIR to a folder with space"
        yield Fact("temporary files", f"cannot be written: {error}", "note", advice)
        return
    yield Fact("temporary files", f"{folder}, {human.size(shutil.disk_usage(folder).free)} free")
    dead, unknown = leftovers(InsidePath(Path(folder)))
    if dead:
        advice = "the next command on a URL, or `arrivals report`, removes them"
        yield Fact("leftovers", f"{_described(dead)} of killed commands in {folder}", "note", advice)
    if unknown:
        listed = " ".join(shell_word(str(path)) for path in unknown)
        advice = f"if no command of another machine or an older version uses them: rm -r {listed}"
        yield Fact("unknown folders", f"{_described(unknown)} in {folder}", "note", advice)


def _described(folders: Sequence[InsidePath]) -> str:
    size = 0
    for folder in folders:
        # Another command may remove one meanwhile.
        with suppress(OSError):
            size += sum(path.stat().st_size for path, kind in folder.walk() if kind == "file")
    return f"{human.count(len(folders))} folder{'s' if len(folders) != 1 else ''}, {human.size(size)}"


_GATHERERS: dict[str, Callable[[], Iterator[Fact]]] = {
    DISTRIBUTION: _engine,
    "Python": _python,
    "packages": _packages,
    "extras": _extras,
    "cores": _cores,
    "memory": _memory,
    "CUDA": _cuda,
    "device packages": _device_packages,
    "count rows": _count_reader,
    "JIT cache": _jit_cache,
    "tzdata": _tzdata,
    "terminal": _terminal,
    "temporary files": _temporary,
}
