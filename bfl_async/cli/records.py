"""The record of single images: a line for each in its folder's manifest, from which it can be made again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bfl_async.batch.files import MANIFEST, Manifest
from bfl_async.batch.records import recorded_fields
from bfl_async.cli.files import InputError
from bfl_async.cli.output import say
from bfl_async.cli.saving import Saved
from bfl_async.errors import SaveError
from bfl_async.runtime.text import printable
from bfl_async.types.common import JSON

_MAX_LINE_BYTES = 2**22
# Every line of a manifest has these.
_OWN = {"file", "state"}


def record(saved: Saved, fields: Mapping[str, JSON] | None) -> None:
    """Add a line for a saved result to its folder's manifest. What goes wrong is a warning: the image is saved.

    Args:
        fields: The request's, as a ledger keeps them. None: not known, since it was made elsewhere.
    """
    folder = saved.path.parent
    try:
        end = _end_of(folder / MANIFEST)
        if end is None:
            say(
                f"warning: not recorded, since '{printable(str(folder / MANIFEST))}' is another program's file"
            )
            return
        Manifest(folder).append([end + _line_of(each, fields) for each in (saved, *saved.others)])
    except SaveError as exc:
        say(f"warning: the image is saved but not recorded in {MANIFEST}: {exc.strerror or exc}")
    except OSError as exc:
        say(
            f"warning: the image is saved but not recorded in {MANIFEST}: {exc.strerror or type(exc).__name__}"
        )


def _line_of(saved: Saved, fields: Mapping[str, JSON] | None) -> bytes:
    result = saved.result
    asked = (fields or {}).get("prompt")
    line: dict[str, JSON] = {
        "state": "saved",
        "file": saved.path.name,
        "prompt": asked if asked is not None else result.prompt,
        "model": result.model,
        "task_id": result.task_id,
        "cost": result.cost,
        # The server's seed where it states one, else the one that was asked for: either makes the image again.
        "seed": result.seed if result.seed is not None else (fields or {}).get("seed"),
    }
    if asked is not None and result.prompt not in (None, asked):
        line["used_prompt"] = result.prompt
    if result.duration is not None:
        line["duration"] = result.duration
    line |= {"sha256": saved.sha256, "bytes": saved.size}
    if fields is not None:
        line["fields"] = recorded_fields(fields)
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _end_of(path: Path) -> bytes | None:
    """Return what must precede a new line: a line end behind a line that a killed run left; None in a foreign file."""
    try:
        with path.open("rb") as file:
            first = file.readline(_MAX_LINE_BYTES)
            if first.strip() and not (isinstance(row := _json(first), dict) and row.keys() >= _OWN):
                return None
            file.seek(0, os.SEEK_END)
            if not file.tell():
                return b""
            file.seek(-1, os.SEEK_END)
            return b"" if file.read(1) == b"\n" else b"\n"
    except FileNotFoundError:
        return b""


def _json(line: bytes) -> object:
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value


@dataclass(frozen=True, slots=True)
class Recorded:
    """The record of an image.

    Attributes:
        model: The model that made it.
        fields: The request's fields, as a ledger keeps them.
        seed: What makes the same image again. None: not known.
        used_prompt: The prompt that the model was shown, where it is not the one that was given.
    """

    model: str
    fields: Mapping[str, JSON]
    seed: int | None
    used_prompt: str | None


def read_record(path: Path) -> Recorded:
    """Return the record of an image: the last line for its bytes in a manifest of its folder, or of one above.

    An image that was renamed within its folder is found by its bytes.

    Raises:
        InputError: There is none, it is of other bytes, or it does not say how the image was made.
    """
    shown = printable(str(path))
    if not path.is_file():
        raise InputError(f"'{shown}' is not a file: name an image that was made before")
    line = _find(path, _sha256_of(path))
    if line is None:
        raise InputError(
            f"no {MANIFEST} beside '{shown}' has a line for it, so it is not known how it was made: name an image that "
            "`generate` or `batch` has made, in its folder"
        )
    model, fields = line.get("model"), line.get("fields")
    if not isinstance(model, str) or not isinstance(fields, dict):
        raise InputError(
            f"the record of '{shown}' has no fields: it was fetched by its task's id, or made by an older release"
        )
    seed, used_prompt = line.get("seed"), line.get("used_prompt")
    return Recorded(
        model,
        fields,
        seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        used_prompt if isinstance(used_prompt, str) else None,
    )


def _find(path: Path, sha256: str) -> Mapping[str, JSON] | None:
    absolute = path.absolute()
    # Names of a batch may have folders, of which each is beneath that of the manifest.
    for folder in list(absolute.parents)[:_MOST_FOLDERS]:
        name = absolute.relative_to(folder).as_posix()
        found, named = None, False
        for line in _lines_of(folder / MANIFEST):
            row = _json(line)
            if not isinstance(row, dict):
                continue
            has_name = row.get("file") == name
            named = named or has_name
            if row.get("sha256") == sha256 or (has_name and "sha256" not in row):
                found = row
        if found is not None:
            return found
        if named:
            raise InputError(
                f"'{printable(str(path))}' is not the image that {MANIFEST} has under this name: it was replaced or "
                "changed since"
            )
    return None


def _sha256_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise InputError(f"cannot read '{printable(str(path))}': {exc.strerror}") from exc


# A name template has few slashes.
_MOST_FOLDERS = 4


def _lines_of(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from iter(lambda: file.readline(_MAX_LINE_BYTES), b"")
    except FileNotFoundError:
        return
    except OSError as exc:
        raise InputError(f"cannot read '{printable(str(path))}': {exc.strerror}") from exc
