"""What the gallery shows of a folder: the rows of its manifest, and what its ledger adds to them.

The manifest lists images. The ledger also has the requests that came to nothing, the fields of all, and what the run
has cost in all. Nothing of either is trusted: values are taken by type and bounded in length.
"""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, TypeAlias

from bfl_async.cli.files import InputError
from bfl_async.cli.show_status import LEDGER_NAME
from bfl_async.errors import LedgerError
from bfl_async.ledger import inspect_ledger
from bfl_async.ledger.reader import LedgerReader, read_ledger
from bfl_async.models.open_values import is_secret
from bfl_async.types.common import JSON
from bfl_async.types.entries import EntryState, LedgerEntry

Row: TypeAlias = "dict[str, str | float | list[str] | dict[str, JSON]]"
"""One tile of the page: texts, numbers, the fields of the request, and the names of further files."""

MANIFEST = "manifest.jsonl"
IMAGES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".avif", ".heic", ".heif", ".jxl", ".bmp", ".tif",
    ".tiff",
})  # fmt: skip
VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".webm"})
SHOWN = IMAGES | VIDEOS
"""Ends of names of files in which no browser runs a script, among them all that a result can have."""
_MAX_LINE_BYTES = 2**22
_MAX_TEXT_CHARS = 20_000
_MAX_FIELDS = 200
# A longer text in a field is the base64 of a file.
_MAX_FIELD_CHARS = 2_000
_KEPT_CHARS = 80
_MAX_DEPTH = 6
_MAX_OTHERS = 100
_READ_ROWS = 500
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_TEXTS = ("prompt", "used_prompt", "model", "state", "error", "task_id", "sha256", "id", "key")
_NUMBERS = ("index", "cost", "duration")
# Where the result was announced says nothing about the image.
_LEFT_OUT = frozenset({"webhook_url"})
_OF_IMAGE = frozenset({"cost", "sha256", "others"})


@dataclass(frozen=True)
class Totals:
    """What the run has cost, as `status` says it.

    Attributes:
        credits: Of all tasks, earlier tries and removed rows included.
        unpriced: Tasks whose cost the server did not state.
        queued: Requests that were not sent yet, which have no row.
    """

    credits: float
    unpriced: int
    queued: int


@dataclass(frozen=True)
class Holdings:
    """What a folder holds.

    Attributes:
        rows: In order.
        unreadable: The numbers of the manifest's lines that could not be read.
        found: Whether there is a manifest or a ledger.
        totals: Of the ledger; None if there is none that could be read.
        warning: Why a ledger that is there was not read.
    """

    rows: list[Row]
    unreadable: list[int]
    found: bool
    totals: Totals | None = None
    warning: str | None = field(default=None)


def read_folder(folder: Path, ledger: Path | None = None) -> Holdings:
    """Return the rows of a folder's manifest and ledger, or, where there is neither, its images by name.

    Args:
        ledger: The run's record. None: the one in the folder, if there is one.
    Raises:
        InputError: The folder, its manifest or a ledger that was named cannot be read.
    """
    rows: list[Row] = []
    unreadable: list[int] = []
    try:
        if not folder.is_dir():
            raise InputError(f"{str(folder)!r} is not a folder: give the folder with the images")
        manifest = folder / MANIFEST
        found = manifest.exists()
        if found:
            if not manifest.is_file():
                raise InputError(f"{str(manifest)!r} is not a file")
            rows, unreadable = _read_manifest(manifest)
        path = ledger or folder / LEDGER_NAME
        has_ledger = path.is_file()
        if ledger is not None and not has_ledger:
            raise InputError(f"there is no ledger {str(ledger)!r}")
        if not found and not has_ledger:
            return Holdings(_rows_of_files(folder), [], found=False)
        is_trusted = ledger is not None or path.resolve() == folder.resolve() / LEDGER_NAME
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "not a usable name"
        raise InputError(f"cannot read {str(folder)!r}: {reason}") from exc
    totals, warning = None, None
    if has_ledger and is_trusted:
        try:
            rows, totals = _with_ledger(rows, path)
        except (LedgerError, sqlite3.Error, ArithmeticError, LookupError, TypeError, ValueError) as exc:
            # A file of anybody's may stand there. What a decoder raises about it does not take away the images.
            reason = str(exc) if isinstance(exc, LedgerError) else f"{str(path)!r} is not a ledger"
            if ledger is not None:
                raise InputError(reason) from exc
            warning = reason
    rows.sort(key=_place_of)
    return Holdings([*_with_others(rows)], unreadable, found=True, totals=totals, warning=warning)


def _place_of(row: Row) -> float:
    index = row.get("index")
    return index if isinstance(index, int | float) else math.inf


def _rows_of_files(folder: Path) -> list[Row]:
    names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    images = [name for name in names if Path(name).suffix.lower() in SHOWN and not name.startswith(".")]
    return [{"file": name, "state": "saved"} for name in sorted(images, key=_by_numbers)]


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """A key by which 2.jpg comes before 10.jpg."""
    return [(len(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", name.lower())]


def _with_others(rows: list[Row]) -> Iterator[Row]:
    """Yield the rows, each with one more per further image of the same answer."""
    for row in rows:
        yield row
        others = row.get("others")
        for name in others if isinstance(others, list) else ():
            yield {key: value for key, value in row.items() if key not in _OF_IMAGE} | {"file": name}


# --- the manifest -------------------------------------------------------------------------------------------


def _read_manifest(path: Path) -> tuple[list[Row], list[int]]:
    """Read it line by line. What a later run says of the same image, or of one that failed before, counts."""
    rows: dict[object, Row] = {}
    unreadable: list[int] = []
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), start=1):
            if not line.strip():
                continue
            row = row_of(line)
            if row is None:
                unreadable.append(number)
                continue
            request = (row.get("index"), row.get("prompt"), row.get("model"))
            rows.pop(request, None)
            rows[row.get("file") or (request if "index" in row else number)] = row
    return [*rows.values()], unreadable


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; one that is too long is cut, its rest left out, so that it cannot fill the memory."""
    while line := file.readline(_MAX_LINE_BYTES):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(_MAX_LINE_BYTES)
        yield line


def row_of(line: bytes) -> Row | None:
    """Return what the page needs of a manifest's line; None when it is not a JSON object that describes an image."""
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, dict) or not ({"file", "prompt", "state", "error", "task_id"} & given.keys()):
        return None
    return _row_of(given)


def _row_of(given: Mapping[str, object]) -> Row:
    """Return a row by type and length of each value; what has another type is left out."""
    row: Row = {}
    for name in _TEXTS:
        value = given.get(name)
        # An error may come with its type.
        if isinstance(value, dict):
            value = value.get("message") or value.get("type")
        if isinstance(value, str) and value:
            row[name] = value[:_MAX_TEXT_CHARS]
    for name in _NUMBERS:
        value = given.get(name)
        # NaN is not below anything.
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53:
            row[name] = value
    seed = given.get("seed")
    if isinstance(seed, int | str) and not isinstance(seed, bool):
        # As text: JavaScript would round a large number.
        row["seed"] = str(seed)[:40]
    file = given.get("file")
    if isinstance(file, str) and file:
        row["file"] = file[:_MAX_TEXT_CHARS]
    others = given.get("others")
    if isinstance(others, list):
        row["others"] = [name[:_MAX_TEXT_CHARS] for name in others[:_MAX_OTHERS] if isinstance(name, str)]
    fields = fields_of(given.get("fields"), row)
    if fields:
        row["fields"] = fields
    row.setdefault("state", "saved" if "file" in row else "failed")
    return row


def fields_of(given: object, row: Mapping[str, object]) -> dict[str, JSON]:
    """Return the fields of a request as the page shows them: bounded, without secrets and what the row has itself."""
    if not isinstance(given, Mapping):
        return {}
    shown: dict[str, JSON] = {}
    for name, value in islice(given.items(), _MAX_FIELDS):
        has_itself = name in ("prompt", "seed") and name in row
        if value is not None and not has_itself and name not in _LEFT_OUT and not is_secret(name):
            shown[name[:_KEPT_CHARS]] = _bounded(value, _MAX_DEPTH)
    return shown


def _bounded(value: object, depth: int) -> JSON:
    if isinstance(value, str):
        if len(value) <= _MAX_FIELD_CHARS:
            return value
        return f"{value[:_KEPT_CHARS]}… ({len(value):,} characters)"
    if isinstance(value, bool | None) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if depth and isinstance(value, Mapping):
        # How a ledger keeps a file that was given by its path.
        if isinstance(path := value.get("$path"), str):
            return path[:_MAX_FIELD_CHARS]
        return {
            str(name)[:_KEPT_CHARS]: _bounded(each, depth - 1)
            for name, each in islice(value.items(), _MAX_FIELDS)
            if not is_secret(str(name))
        }
    if depth and isinstance(value, list):
        return [_bounded(each, depth - 1) for each in value[:_MAX_FIELDS]]
    return "…"


# --- the ledger ---------------------------------------------------------------------------------------------


def _with_ledger(rows: list[Row], path: Path) -> tuple[list[Row], Totals]:
    """Return the rows with what a ledger knows of them, its other entries as further rows, and its totals."""
    by_key = {key: row for row in rows if isinstance(key := row.get("key"), str) and row["state"] == "saved"}
    further: list[Row] = []

    def read(reader: LedgerReader) -> None:
        states = [state for state in EntryState if state is not EntryState.QUEUED]
        after = 0
        while entries := reader.read(states, after=after, most=_READ_ROWS):
            after = entries[-1].id
            for entry in entries:
                row, listed = _row_of_entry(entry), by_key.get(entry.key)
                if listed is None or entry.state is not EntryState.SAVED:
                    further.append(row)
                else:
                    # What the manifest says of its image counts.
                    for name, value in row.items():
                        listed.setdefault(name, value)

    read_ledger(path, read)
    view = inspect_ledger(path, errors=0)
    return [*rows, *further], Totals(view.spent_credits, view.unpriced, view.counts[EntryState.QUEUED])


def _row_of_entry(entry: LedgerEntry) -> Row:
    return _row_of(
        {
            **(entry.result or {}),
            "index": entry.id - 1,
            "state": entry.state.value,
            "file": entry.file,
            "prompt": entry.fields.get("prompt"),
            "model": entry.model,
            "task_id": entry.task_id,
            "cost": entry.cost,
            "error": entry.error,
            "id": entry.name,
            "key": entry.key,
            "fields": entry.fields,
        }
    )


def path_inside(name: str) -> Path | None:
    """Return a manifest's file name as a relative path, None where it might lead out of the folder."""
    if not name or len(name) > 1024 or name.startswith("/") or "\\" in name or _SCHEME.match(name):
        return None
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        return None
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return None
    return Path(*parts)
