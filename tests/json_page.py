"""docs/reference/json.md as schemas: its tables are the contract that the commands' JSON is checked against."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import jsonschema

from bfl_async.cli.output import SCHEMA

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "json.md"
Schema = dict[str, object]

_ROW = re.compile(r"\| `(?P<path>[^`]+)` \| (?P<type>[^|]+) \| [^|]*\|")
_PLAIN = ("string", "number", "integer", "boolean", "object")


def sections() -> dict[str, Schema]:
    """Return the schema of each section with a table, by its heading: `batch: outcome` for one beneath another."""
    found: dict[str, Schema] = {}
    chapter = title = ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("## "):
            chapter = title = line[3:]
        elif line.startswith("### "):
            title = f"{chapter}: {line[4:]}"
        elif row := _ROW.fullmatch(line):
            schema = found.setdefault(title, _object(schema={"const": SCHEMA}))
            _add(schema, row["path"].split("."), row["type"].strip())
    return found


def check(section: str, lines: Iterable[str]) -> None:
    """Check lines of output, at least one, against a section."""
    schema = sections()[section]
    objects = [json.loads(line) for line in lines]
    assert objects
    for each in objects:
        jsonschema.validate(each, schema)


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _add(schema: Schema, path: list[str], words: str) -> None:
    """Add a field; what stands beneath an object makes its fields known, and so the only ones."""
    name = path[0].removesuffix("[]")
    properties, required = schema["properties"], schema["required"]
    assert isinstance(properties, dict)
    assert isinstance(required, list)
    if len(path) > 1:
        beneath = properties[name]["items"] if path[0].endswith("[]") else properties[name]
        if "properties" not in beneath:
            beneath.update(_object())
        _add(beneath, path[1:], words)
        return
    kind, _, rest = words.partition(", ")
    assert rest in ("", "optional"), words
    properties[name] = _type_of(kind)
    if not rest:
        required.append(name)


def _type_of(words: str) -> Schema:
    if words == "anything":
        return {}
    if words.startswith("list of "):
        return {"type": "array", "items": _type_of(words.removeprefix("list of ").removesuffix("s"))}
    kind, _, null = words.partition(" or ")
    assert kind in _PLAIN, words
    assert null in ("", "null"), words
    return {"type": [kind, "null"] if null else kind}
