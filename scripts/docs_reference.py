"""Parts of the reference that are generated from the commands, the API, the dictionary, the schemas and the codes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, cast

import click
import yaml

from arrival_engine.config import policy_ids, resolve_policy
from arrival_engine.contracts import Code, Dataset, dataset, datasets, json_schema
from arrival_engine.contracts.columns import Column, table_shape
from arrival_engine.contracts.schemas import deref

ROOT = Path(__file__).parent.parent
# In reading order; a test compares them with POLICY_IDS of engine.rundir.settings.
OF_A_RUN = (
    "arrival_routing_policy_5B",
    "arrival_output_policy_5B",
    "arrival_time_placement_policy_5B",
    "arrival_rng_policy_5B",
    "alias_layout_policy_v1",
)
OF_VALIDATION = ("validation_policy_5B", "bundle_layout_policy_5B")
ERRORS = ROOT / "docs" / "reference" / "errors.yaml"

SEGMENTS = {
    "engine": "The run",
    "5B": "5B: counts, arrivals, validation",
    "5A": "5A: scenarios and demand",
    "1B": "1B: site locations",
    "2A": "2A: time zones",
    "2B": "2B: site weights and group weights",
    "3A": "3A: zone allocation",
    "3B": "3B: virtual merchants and edges",
}
_SIGNS = {"minimum": "≥ {}", "maximum": "≤ {}", "exclusiveMinimum": "> {}", "exclusiveMaximum": "< {}"}


class Key(NamedTuple):
    """One key of a document: its dotted path, its schema with references resolved, whether it is required."""

    path: str
    schema: dict[str, Any]
    required: bool


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table. Bars are escaped outside code; inside, they do not separate, and an escape would show."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    parts = text.split("`")
    return "`".join(part if place % 2 else part.replace("|", "\\|") for place, part in enumerate(parts))


# --------------------------------------------------------------------------- keys of documents


def keys(name: str) -> Iterator[Key]:
    """Every key of the object that the schema `name` describes, nested ones included, in order."""
    yield from _keys(json_schema(name), name, "")


def _keys(schema: Mapping[str, Any], name: str, prefix: str) -> Iterator[Key]:
    required = schema.get("required", ())
    for key, body in schema.get("properties", {}).items():
        flat, home = deref(body, name), _home(body, name)
        path = f"{prefix}{key}"
        yield Key(path, flat, key in required)
        yield from _keys(flat, home, f"{path}.")
        items = flat.get("items")
        if isinstance(items, Mapping):
            yield from _keys(deref(items, home), home, f"{path}[].")
        others = flat.get("additionalProperties")
        if isinstance(others, Mapping):
            yield from _keys(deref(others, home), home, f"{path}.*.")


def _home(body: Mapping[str, Any], name: str) -> str:
    file = str(body.get("$ref", "")).partition("#")[0]
    return file.removesuffix(".schema.json") or name


def is_group(key: Key) -> bool:
    """Whether the key only holds further keys."""
    return bool(key.schema.get("properties"))


def allowed(schema: Mapping[str, Any]) -> str:
    """The allowed values, in words."""
    if "const" in schema:
        return f"always {_code(schema['const'])}"
    if "enum" in schema:
        return ", ".join(_code(choice) for choice in schema["enum"])
    kind = schema.get("type", "")
    if "anyOf" in schema:
        return " or ".join(allowed(deref(branch, "primitives")) for branch in schema["anyOf"])
    words = [" or ".join(kind) if isinstance(kind, list) else str(kind)]
    words += [text.format(schema[sign]) for sign, text in _SIGNS.items() if sign in schema]
    words += _of_items(schema)
    return " ".join(words)


def _of_items(schema: Mapping[str, Any]) -> list[str]:
    items, others = schema.get("items"), schema.get("additionalProperties")
    if isinstance(items, Mapping):
        exact = schema.get("minItems") == schema.get("maxItems", -1)
        count = f"{schema['minItems']} x " if exact else ""
        return [f"of {count}{allowed(items)}" if "properties" not in items else "of objects"]
    if isinstance(others, Mapping) and "properties" not in others:
        return [f"from name to {allowed(others)}"]
    if "x-fault" in schema:
        return [f"that never {schema['x-fault']}"]
    return [f"like `{schema['pattern']}`"] if "pattern" in schema else []


def _code(value: object) -> str:
    return f"`{json.dumps(value, ensure_ascii=False, default=_number)}`"


def _number(value: object) -> object:
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} in a policy")
    return int(value) if value == value.to_integral_value() else float(value)


# --------------------------------------------------------------------------- policies


def policies_part() -> str:
    """Every policy, key by key, grouped by reader."""
    parts: list[str] = []
    others = tuple(policy_id for policy_id in policy_ids() if policy_id not in (*OF_A_RUN, *OF_VALIDATION))
    for title, members in (
        ("Read by a run", OF_A_RUN),
        ("Read by `arrivals validate`", OF_VALIDATION),
        ("Followed by synthetic worlds", others),
    ):
        parts.append(f"\n## {title}\n")
        parts += [_policy(policy_id) for policy_id in members]
    return "".join(parts)


def _policy(policy_id: str) -> str:
    entry, policy = dataset(policy_id), resolve_policy(policy_id)
    rows: list[tuple[str, ...]] = [
        (
            f"`{key.path}`",
            "" if "const" in key.schema else _delivered(policy.document, key.path),
            allowed(key.schema),
            key.schema["description"],
        )
        for key in keys(entry.schema)
        if not is_group(key)
    ]
    return (
        f"\n### {policy_id}\n\n{json_schema(entry.schema)['title']}.\n\n"
        f"`{entry.path}`, version {policy.version}. Error code: `{entry.on_invalid.value}`.\n\n"
        + table(("key", "packaged value", "allowed", "meaning"), rows)
    )


def _delivered(document: object, path: str) -> str:
    # Keys may hold dots themselves (`S2.latent_vector.v1`), so the longest name that is there is taken.
    if "[]" in path:
        return ""
    value = document
    while path:
        names = [name for name in value if path == name or path.startswith(f"{name}.")]  # type: ignore[attr-defined]
        if not names:  # a key that upstream's policies may have and the packaged one has not
            return ""
        name = max(names, key=len)
        value = value[name]  # type: ignore[index]
        path = path[len(name) + 1 :]
    return _code(value) if not isinstance(value, (dict, list)) or len(_code(value)) < 60 else f"{len(value)} entries"


# --------------------------------------------------------------------------- contracts


def contracts_part() -> str:
    """Every dataset: its path, keys, and columns or fields."""
    parts: list[str] = []
    entries = [entry for entry in datasets() if entry.role != "policy"]
    for segment, title in SEGMENTS.items():
        mine = [entry for entry in entries if entry.owner_segment == segment and not _upstream_proof(entry)]
        parts.append(f"\n## {title}\n")
        parts += [_dataset(entry) for entry in mine]
    proofs = [entry for entry in entries if _upstream_proof(entry)]
    parts.append("\n## Upstream bundles\n\nThe seal and validation read these to check that upstream passed.\n\n")
    parts.append(table(("dataset", "path"), [(f"`{entry.id}`", f"`{entry.path}`") for entry in proofs]))
    return "".join(parts)


def _upstream_proof(entry: Dataset) -> bool:
    return entry.owner_segment != "5B" and entry.id.startswith("validation_")


def _dataset(entry: Dataset) -> str:
    schema = json_schema(entry.schema) if entry.schema else {}
    facts = [
        ("path", f"`{entry.path}{entry.part_name}`"),
        ("format", entry.format),
        ("primary key", ", ".join(entry.primary_key)),
        ("order", ", ".join(entry.order)),
        ("sealed", "yes" if entry.sealed else "no"),
        ("required", "yes" if entry.need == "always" else "no"),
        ("error code", f"`{entry.on_invalid.value}`"),
    ]
    title = f"{schema['title']}.\n\n" if schema else ""
    text = f"\n### {entry.id}\n\n{title}" + "".join(f"* {name}: {value}\n" for name, value in facts if value)
    if schema.get("type") == "array":
        shape = table_shape(entry.id)
        described = schema["items"]["properties"]
        rows = [_column(column, described[column.name]) for column in shape.columns]
        return f"{text}\n" + table(("column", "Arrow type", "allowed", "meaning"), rows)
    if schema:
        rows = [_field(key) for key in keys(entry.schema) if not is_group(key)]
        return f"{text}\n" + table(("field", "allowed", "meaning"), rows)
    return text


def _column(column: Column, body: Mapping[str, Any]) -> tuple[str, ...]:
    words = ["null allowed"] if column.nullable else []
    words += [] if column.required else ["optional"]
    words += [", ".join(f"`{choice}`" for choice in column.choices)] if column.choices else []
    signs = (
        ("≥", column.minimum),
        ("≤", column.maximum),
        (">", column.exclusive_minimum),
        ("<", column.exclusive_maximum),
    )
    words += [f"{sign} {bound}" for sign, bound in signs if bound is not None and abs(bound) < 2**63]
    return (f"`{column.name}`", f"`{column.arrow}`", "; ".join(words), body.get("description", ""))


def _field(key: Key) -> tuple[str, ...]:
    optional = "" if key.required else "; optional"
    return (f"`{key.path}`", allowed(key.schema) + optional, key.schema.get("description", ""))


# --------------------------------------------------------------------------- commands


def cli_part() -> str:
    """Every command, as in its help page."""
    from arrival_engine.engine.cli.main import arrivals

    context = arrivals.make_context("arrivals", [], resilient_parsing=True)
    return "".join(_command(context, name) for name in arrivals.list_commands(context))


def _command(parent: click.Context, name: str) -> str:
    group = cast("click.Group", parent.command)
    command = group.get_command(parent, name)
    if command is None:
        raise LookupError(name)
    context = click.Context(command, parent=parent, info_name=name)
    text = f"\n## {context.command_path}\n\n{_prose(command.help or '')}\n\n"
    text += f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n\n"
    rows = [_option(parameter, context) for parameter in command.params if isinstance(parameter, click.Option)]
    text += table(("option", "meaning"), [row for row in rows if row]) if rows else ""
    text += f"\n{_example(command.epilog)}\n" if command.epilog else ""
    if isinstance(command, click.Group):
        text += "".join(_command(context, child) for child in command.list_commands(context))
    return text


def _prose(help_text: str) -> str:
    """The paragraphs; those that click must not wrap become text blocks."""
    paragraphs = []
    for paragraph in inspect.cleandoc(help_text).split("\n\n"):
        kept = paragraph.removeprefix("\b\n")
        paragraphs.append(kept if kept == paragraph else f"```text\n{kept}\n```")
    return "\n\n".join(paragraphs)


def _option(option: click.Option, context: click.Context) -> tuple[str, ...]:
    record = option.get_help_record(context)
    # Brackets would become references.
    return () if record is None else (f"`{record[0]}`", " ".join(record[1].split()).replace("[", "\\["))


def _example(epilog: str) -> str:
    before, mark, example = epilog.partition("Example: ")
    command, comma, rest = example.partition(", which")
    return f"{before}Example: `{command}`{comma}{rest}" if mark else epilog


# --------------------------------------------------------------------------- Python


def api_part() -> str:
    """A directive for every public name: mkdocstrings renders its signature and docstring."""
    import arrival_engine

    homes = {name: home for home, names in arrival_engine._HOMES.items() for name in names}  # noqa: SLF001
    functions = [f"{homes[name]}.{name}" for name in arrival_engine.__all__ if name.islower()]
    classes = [f"{homes[name]}.{name}" for name in arrival_engine.__all__ if not name.islower()]
    sections = (("Functions", functions), ("Classes", classes))
    return "".join(f"\n## {title}\n\n" + "".join(f"::: {path}\n\n" for path in paths) for title, paths in sections)


# --------------------------------------------------------------------------- error codes


def error_entries() -> dict[str, dict[str, str]]:
    """Cause, cure and test, by member name of `Code`."""
    entries: dict[str, dict[str, str]] = yaml.safe_load(ERRORS.read_text(encoding="utf-8"))
    return entries


def errors_part() -> str:
    """Every error code with its cause and cure."""
    entries = error_entries()
    parts: list[str] = []
    states = (
        ("S4: arrivals", "5B.S4."),
        ("S5: validation", "5B.S5."),
        ("Machine, installation and options", "ARRIVALS."),
    )
    for title, prefix in states:
        parts.append(f"\n## {title}\n")
        for code in Code:
            if code.value.startswith(prefix):
                entry = entries[code.name]
                parts.append(f"\n### {code.value}\n\n{entry['cause']}\n\n**What to do.** {entry['cure']}\n\n")
                parts.append(f"Tested by `{entry['test']}`.\n")
    return "".join(parts)
