"""The documentation: its code runs, it builds without a warning, its links lead somewhere, its reference is whole."""

from __future__ import annotations

from tests.support.paths import ROOT

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import arrival_engine
from arrival_engine.config import policy_ids
from arrival_engine.contracts import Code, dataset, datasets, json_schema
from arrival_engine.contracts.columns import table_shape
from arrival_engine.contracts.schemas import deref
from arrival_engine.engine.cli.main import arrivals
from arrival_engine.engine.rundir.settings import POLICY_IDS
from scripts.docs_reference import OF_A_RUN
from scripts.run_page import Block, bash_script, blocks, commands
from tests.support.known_answers import law_vectors, philox_answers

DOCS = ROOT / "docs"
RUNNER = ROOT / "scripts" / "run_page.py"
ROOT_NAMES = ("README", "ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "RELEASING", "SECURITY")
AT_THE_ROOT = [ROOT / f"{name}.md" for name in ROOT_NAMES]
PAGES = [*AT_THE_ROOT, *sorted(DOCS.rglob("*.md"))]
# What a page takes for granted: the readme's examples in Python follow `make demo`, for which a page has no Makefile.
PREPARED = {
    "README.md": "arrivals synth arrivals-demo --scale 0.05 --quiet && arrivals seal arrivals-demo --quiet "
    "&& arrivals run arrivals-demo --quiet"
}
# Each takes more than ten seconds; tests of the same commands on small worlds are not slow.
SLOW = {"ci-without-gpu.md", "dask.md", "gpu.md", "object-stores.md", "report.md", "scaling.md", "stream.md"}
RUN, SHOWN = {"console", "python"}, {"text", "yaml", "json", "csv", "sql", "toml", "dockerfile", "cff", "diff", "xml"}
# A hang guard only.
SECONDS_MAX = 600


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def page_blocks(page: Path) -> list[Block]:
    return list(blocks(page.read_text(encoding="utf-8")))


def runs_something(page: Path) -> bool:
    return any(block.language in RUN and not block.skip for block in page_blocks(page))


# --------------------------------------------------------------------------- code


def running_pages() -> list[Any]:
    found = [page for page in PAGES if runs_something(page)]
    return [pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] * (page.name in SLOW)) for page in found]


@pytest.mark.parametrize("page", running_pages())
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in (["bash", "-c", PREPARED.get(page.name, "true")], [sys.executable, str(RUNNER), str(page)]):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, timeout=SECONDS_MAX, check=False
        )
        assert done.returncode == 0, f"{done.stdout.decode()[-4000:]}\n{done.stderr.decode()[-4000:]}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_what_they_are(page: Path) -> None:
    for block in page_blocks(page):
        # A shell block by another name would look run and never be.
        allowed = RUN | SHOWN | ({""} if page in AT_THE_ROOT else set())
        assert block.language in allowed, f"{page}:{block.line}: {block.language!r}"
        if block.language == "console":
            assert list(commands(block)), f"{page}:{block.line}: no line begins with '$ '"
        assert block.exit == 0 or block.language == "console"


def test_a_block_knows_its_place_and_its_notes() -> None:
    console = "<!-- exit: 1 -->\n```console\n$ a \\\n  b\nshown\n$ c <<X\n> d\n> X\n```\n"
    python = "<!-- exit: 2 -->\n\n```python\nx\n```\n"
    first, second = blocks(f"one\n{console}\n{python}")
    assert (first.language, first.line, first.exit, first.skip) == ("console", 4, 1, "")
    assert [(command.line, command.text) for command in commands(first)] == [(4, "a \\\n  b"), (7, "c <<X\nd\nX")]
    assert (second.language, second.line, second.exit) == ("python", 15, 0)
    assert next(blocks("<!-- not run: no device -->\n    ```console\n    $ a\n    ```\n")).skip == "no device"
    with pytest.raises(ValueError, match="line 2"):
        list(blocks("\n```text\nnever closed\n"))


@pytest.mark.parametrize(("wanted", "given", "good"), [(0, 0, True), (1, 1, True), (0, 1, False), (1, 0, False)])
def test_a_command_must_end_as_the_page_says(wanted: int, given: int, good: bool, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"<!-- exit: {wanted} -->\n```console\n$ (exit {given})\n```\n")
    done = subprocess.run([sys.executable, str(RUNNER), str(page)], capture_output=True, check=False)
    assert (done.returncode == 0) is good
    assert good or f"page.md:3: exit {given}, not {wanted}" in done.stderr.decode()


def test_a_failure_on_the_left_of_a_pipe_counts() -> None:
    block = Block("console", 1, "$ false | cat", 0, "")
    assert subprocess.run(["bash", "-c", bash_script(block, "page")], capture_output=True, check=False).returncode != 0


# --------------------------------------------------------------------------- the site


class Page(HTMLParser):
    """Ids, and what the browser loads by itself, of a built page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag in ("script", "img", "iframe", "source"):
            self.loads.append(given.get("src", ""))
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loads.append(given.get("href", ""))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    # Not --quiet: what is not logged is not counted as a warning either.
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return target


def built(site: Path, page: str) -> Page:
    return Page((site / page).read_text(encoding="utf-8"))


def test_the_site_builds_without_a_warning(site: Path) -> None:
    assert (site / "index.html").is_file()
    assert (site / "search" / "search_index.json").is_file()
    # A generated part that was not put in would still be its comment.
    assert not [page for page in site.rglob("*.html") if "<!-- generated" in page.read_text(encoding="utf-8")]


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not [source for source in built(site, str(page)).loads if re.match(r"(https?:)?//", source)], page


def links_of(page: Path) -> Iterator[tuple[str, str]]:
    """File and anchor of every link that stays in the repository."""
    code = re.compile(r"^ *(`{3,}).*?^ *\1", re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", code.sub("", page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield file, anchor


def anchors_of(page: Path) -> set[str]:
    """Anchors that repository viewers give to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path, site: Path) -> None:
    for file, anchor in links_of(page):
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page}: {file}"
        if anchor and target.suffix == ".md":
            inside = target.relative_to(DOCS).with_suffix(".html") if target.is_relative_to(DOCS) else None
            made = built(site, str(inside)).ids if inside else set()
            assert anchor in anchors_of(target) | made, f"{page}: {file}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_of_the_repository_that_a_page_names_exist(page: Path) -> None:
    folders = "bench|config|contracts|cpu_fallback|docs|engine|examples|gpu_kernels|scripts|tests"
    named = re.findall(rf"`((?:{folders})/[\w./*-]+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not any(ROOT.glob(name.rstrip("/")))] == []


# --------------------------------------------------------------------------- the reference


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    page = built(site, "reference/cli.html")
    context = arrivals.make_context("arrivals", [], resilient_parsing=True)
    for name in arrivals.list_commands(context):
        command = arrivals.get_command(context, name)
        assert command is not None
        assert f"arrivals-{name}" in page.ids, name
        for parameter in command.params:
            assert all(option in page.text for option in parameter.opts if option.startswith("-")), (name, parameter)


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    ids = {anchor.rpartition(".")[2] for anchor in built(site, "reference/api.html").ids}
    assert set(arrival_engine.__all__) <= ids


def test_every_function_is_shown_in_an_example_that_runs() -> None:
    shown = "".join(block.text for block in page_blocks(DOCS / "reference" / "api.md") if block.language == "python")
    functions = [name for name in arrival_engine.__all__ if name.islower()]
    assert [name for name in functions if not re.search(rf"\b{name}\(", shown)] == []


def test_every_dataset_and_column_is_in_the_reference(site: Path) -> None:
    page = built(site, "reference/contracts.html")
    for entry in datasets():
        if entry.role == "policy":
            continue
        assert entry.id in page.text
        if entry.schema and json_schema(entry.schema).get("type") == "array":
            assert all(column.name in page.text for column in table_shape(entry.id).columns), entry.id


def policy_keys(schema: dict[str, Any], name: str, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Dotted path and schema of every key of a policy that holds a value."""
    for key, body in schema.get("properties", {}).items():
        flat = deref(body, name)
        if "properties" in flat:
            yield from policy_keys(flat, name, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", flat


def test_the_policies_of_a_run_are_those_it_reads() -> None:
    assert sorted(OF_A_RUN) == sorted(POLICY_IDS)


def test_every_policy_key_is_in_the_reference_and_says_what_it_is_for(site: Path) -> None:
    text = built(site, "reference/policies.html").text
    for policy_id in policy_ids():
        name = dataset(policy_id).schema
        _, _, section = text.partition(f"{policy_id}\n")
        for key, body in policy_keys(json_schema(name), name):
            assert key in section, f"{policy_id}: {key}"
            assert body["description"].replace("`", "") in section, key


def error_entries() -> dict[str, dict[str, str]]:
    import yaml

    entries: dict[str, dict[str, str]] = yaml.safe_load((DOCS / "reference" / "errors.yaml").read_text("utf-8"))
    return entries


def test_every_error_code_has_a_cause_a_cure_and_a_test(site: Path) -> None:
    page, entries = built(site, "reference/errors.html"), error_entries()
    assert entries.keys() == {code.name for code in Code}
    for code in Code:
        entry = entries[code.name]
        assert entry.keys() == {"cause", "cure", "test"}
        assert code.value in page.text
        file, _, test = entry["test"].partition("::")
        assert re.search(rf"^ *def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), entry["test"]


# --------------------------------------------------------------------------- the law


def law_tables() -> list[list[list[str]]]:
    """The cells of every table of the law's section of vectors, without heads."""
    section = (DOCS / "reference" / "law.md").read_text("utf-8").partition("\n## 8.")[2].partition("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in part.splitlines()[2:]] for part in tables]


def test_the_laws_page_has_the_vectors_of_the_code() -> None:
    philox, streams, offsets, edges, aliases, others = law_tables()
    law = law_vectors()
    known = {tuple(f"{word:016x}" for word in answer) for answer in philox_answers()}
    assert len(philox) == 3
    assert {tuple(row) for row in philox} <= known
    wanted = [[s["family"], s["key"], s["hi0"], *s["blocks"][0], *s["blocks"][1]] for s in law["streams"]]
    assert streams == wanted
    assert [int(row[1]) for row in offsets] == law["offsets_of_time_stream"]["offsets_us"]
    assert edges == [[v["x0"], str(v["duration_us"]), str(v["offset_us"])] for v in law["offsets"]]
    listed = [
        [", ".join(map(str, v[part])) for part in ("weights", "thresholds", "aliases")] for v in law["alias_tables"]
    ]
    assert aliases == listed
    site = law["site_ids"][0]["site_id"]
    factors = law["digest_factors"]
    assert [row[1] for row in others] == [law["coins"][0]["threshold"], factors["1"], factors["12"], str(site)]
    text = (DOCS / "reference" / "law.md").read_text("utf-8")
    assert all(f"`{digest['digest']}`" in text for digest in law["digests"])


def test_the_navigation_names_each_page_once() -> None:
    named = re.findall(r"^\s+- (?:[\w ]+: )?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert {"index.md", "scaling.md", "adr/index.md"} <= {*named}
    assert sorted(named) == sorted(set(named))
