"""Requests to entries of a ledger and back: their keys, their fields, their files."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import (
    AsyncIterable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, cast

from bfl_async.errors import (
    InvalidRequestError,
)
from bfl_async.models import CATALOG, ImageRequest, PassThroughRequest, request
from bfl_async.models._base import EXTRA_BODY
from bfl_async.models.input_files import FileWithin
from bfl_async.models.main_input import sendable_request
from bfl_async.models.open_values import canonical_json, files_in
from bfl_async.runtime.files import Digests
from bfl_async.runtime.text import printable
from bfl_async.types.common import JSON
from bfl_async.types.entries import LedgerEntry, NewEntry

if TYPE_CHECKING:
    from bfl_async.models.known import Catalog

Given: TypeAlias = "ImageRequest | tuple[str, ImageRequest]"


Source: TypeAlias = "Iterable[Given] | AsyncIterable[Given]"


# A field that names a file is kept as {"$path": name, "$sha256": digest}. The digest is what it is known by. One that
# must lie in a folder has the folder's name as well, and a run that reads it days later checks it again.
PATH, _DIGEST, _WITHIN = "$path", "$sha256", "$within"
# Where any JSON may stand, an object that looks like one of these is kept within another: it must never name a file.
_LITERAL = "$literal"


# How the notes of a ledger name what is known of input files.
FILE_NOTE = "file "


def new_entry(item: object, seen: dict[int, int], digest_of: Callable[[Path], str]) -> NewEntry:
    """Make the entry of a request; `seen` counts how often each was met. Reads the files that it names."""
    name: str | None = None
    if isinstance(item, tuple):
        if len(item) != 2 or not isinstance(item[0], str):
            raise InvalidRequestError("a batch takes requests, or pairs of an id and a request")
        name, item = item
        try:
            name.encode()
        except UnicodeEncodeError:
            problem = "holds half of a surrogate pair, which is not text"
            raise InvalidRequestError(
                f"the id '{printable(name)}' {problem}", errors=[("id", problem)]
            ) from None
    wanted = sendable_request(item)
    given = fields_of(wanted, digest_of)
    fields = json.dumps(given, sort_keys=True, separators=(",", ":"))
    known_by = fields
    # What a file is known by is its content: where it is, and how its folder was reached, is not part of the key.
    if is_open(wanted):
        # No class has given its numbers one form: here 20 and 20.0 become the same.
        known_by = canonical_json(_without_places(given))
    elif PATH in fields:
        known_by = json.dumps(_without_places(given), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(
        f"{wanted.model}\0{'' if name is None else 'id ' + name}\0{known_by}".encode("utf-8", "replace")
    )
    short = int.from_bytes(digest.digest()[:8])
    occurrence = seen.get(short, 0)
    seen[short] = occurrence + 1
    digest.update(f"\0{occurrence}".encode())
    return NewEntry(digest.hexdigest()[:32], wanted.model, fields, name)


def key_of(item: Given, seen: dict[int, int], digests: Digests | None = None) -> str:
    """Return the key that a request has in a ledger; `seen` counts how often each was met, beginning empty.

    Args:
        digests: Of the files that requests name; they are read where it does not know them.
    Raises:
        InvalidRequestError: It is not a request, or names a file that cannot be read.
    """
    return new_entry(item, seen, (digests if digests is not None else Digests()).of).key


def fields_of(wanted: ImageRequest, digest_of: Callable[[Path], str] | None = None) -> Mapping[str, JSON]:
    """Return a request's fields as JSON; a file that is given by its path is kept as its path and its digest.

    Raises:
        InvalidRequestError: A file cannot be read, or a class of the caller's own names it for an unknown model.
    """
    given = given_to(wanted)
    extra = given.pop(EXTRA_BODY, None)
    more: dict[str, JSON] = {} if extra is None else {EXTRA_BODY: _kept(extra, digest_of)}
    if isinstance(wanted, PassThroughRequest):
        return {name: _kept(value, digest_of) for name, value in given.items()} | more
    files = {name for name, value in given.items() if has_path(value)}
    if files and wanted.model not in CATALOG:
        # Only the caller's own class knows how to send a path, and a later run does not have that class.
        raise InvalidRequestError(
            f"a batch cannot make a request for {wanted.model} with files anew: give their bytes, not their paths",
            errors=[(name, "is a path") for name in sorted(files)],
        )
    if not files:
        return {**wanted.own_body(), **more} if more else wanted.body()
    others = {name for name, value in given.items() if name not in files and not isinstance(value, bytes)}
    plain = wanted.model_dump(mode="json", include=others)
    data = {name: value for name, value in given.items() if name not in others}
    return {**plain, **{name: _kept(value, digest_of) for name, value in data.items()}, **more}


def sent_fields_of(wanted: ImageRequest) -> Mapping[str, JSON]:
    """Return a request's fields as JSON, with the content of its files: what another machine can make it of. Blocks.

    Raises:
        InvalidRequestError: A file cannot be read, or does not fit.
    """
    extra = wanted.extra_json()
    return {**wanted.own_body(), EXTRA_BODY: extra} if extra else wanted.body()


def given_to(wanted: ImageRequest) -> dict[str, object]:
    """Return the fields that a request was given, by name."""
    # Not by getattr: the field of an unknown model may have the name of a property.
    values = {**vars(wanted), **(wanted.__pydantic_extra__ or {})}
    return {name: values[name] for name in values if name in wanted.model_fields_set}


def is_open(wanted: ImageRequest) -> bool:
    """Return whether a request has values that no class has checked."""
    return isinstance(wanted, PassThroughRequest) or wanted.extra_body is not None


def has_path(value: object) -> bool:
    return any(isinstance(file, Path | FileWithin) for file in files_in(value))


def _kept(value: object, digest_of: Callable[[Path], str] | None) -> JSON:
    if isinstance(value, FileWithin):
        kept = cast("Mapping[str, JSON]", _kept(value.path, digest_of))
        return {**kept, _WITHIN: str(value.folder.absolute())}
    if isinstance(value, Path):
        place: dict[str, JSON] = {PATH: str(value.absolute())}
        if digest_of is not None:
            try:
                place[_DIGEST] = digest_of(value)
            except (OSError, ValueError) as exc:
                reason = getattr(exc, "strerror", None) or "not a usable name"
                raise InvalidRequestError(
                    f"the file '{printable(str(value))}' cannot be read: {reason}"
                ) from exc
        return place
    if isinstance(value, list | tuple):
        return [_kept(one, digest_of) for one in value]
    if isinstance(value, Mapping):
        kept = {name: _kept(one, digest_of) for name, one in value.items()}
        return {_LITERAL: kept} if _is_place(kept) or _LITERAL in kept else kept
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return cast("JSON", value)


def _is_place(value: object) -> TypeGuard[Mapping[str, JSON]]:
    return (
        isinstance(value, Mapping)
        and PATH in value
        and isinstance(value.get(_DIGEST), str)
        and set(value) <= {PATH, _DIGEST, _WITHIN}
    )


def _literal_in(value: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """Return the object that an entry's object is: itself, or what it keeps from looking like a file."""
    inner = value.get(_LITERAL)
    return inner if len(value) == 1 and isinstance(inner, Mapping) else value


def _without_places(value: JSON | Mapping[str, JSON]) -> JSON:
    if _is_place(value):
        return {_DIGEST: value[_DIGEST]}
    if isinstance(value, Mapping):
        return {name: _without_places(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    return value


def given_of(value: JSON) -> object:
    if _is_place(value):
        path, folder = Path(str(value[PATH])), value.get(_WITHIN)
        return path if folder is None else FileWithin(path, Path(str(folder)))
    if isinstance(value, list):
        return [given_of(one) for one in value]
    if isinstance(value, Mapping):
        return {name: given_of(one) for name, one in _literal_in(value).items()}
    return value


def rebuild(
    row: LedgerEntry,
    fields: Mapping[str, JSON] | None = None,
    *,
    given: Callable[[JSON], object] = lambda value: value,
    catalog: Catalog | None = None,
) -> ImageRequest:
    """Make the request of an entry again.

    Args:
        fields: Those to take in place of the entry's.
        given: Returns what a field was given as. Only a batch has fields that are not what is sent: files, by their
            names. Anything else that keeps requests keeps their bytes, and must not read a file because it says so.
        catalog: That of the client. None: the release's models alone.
    """
    made = {name: given(value) for name, value in (row.fields if fields is None else fields).items()}
    if row.model in (CATALOG if catalog is None else catalog):
        make = request if catalog is None else catalog.request
        # Of a class of the caller's own, or of another release: what was checked then is sent.
        with contextlib.suppress(InvalidRequestError):
            return make(row.model, **made)
    return PassThroughRequest.named(row.model, made)


def files_of(fields: Mapping[str, JSON]) -> Iterator[tuple[Path, str]]:
    """Yield the files that an entry's fields name, each with the digest that it had."""
    yield from _places_in(list(fields.values()))


def _places_in(value: JSON) -> Iterator[tuple[Path, str]]:
    if _is_place(value):
        if isinstance(digest := value.get(_DIGEST), str):
            yield Path(str(value[PATH])), digest
    elif isinstance(value, list):
        for one in value:
            yield from _places_in(one)
    elif isinstance(value, Mapping):
        yield from _places_in(list(_literal_in(value).values()))


def replaced_file(files: Iterable[tuple[Path, str]], digests: Digests) -> str | None:
    """Return the first file whose content is not the one that it had; None if all are as they were, or are missing.

    A missing file is not replaced: sending the request says what is wrong with it.
    """
    for path, digest in files:
        with contextlib.suppress(OSError, ValueError):
            if digests.of(path) != digest:
                return str(path)
    return None


def known_files(notes: Mapping[str, str]) -> dict[str, str]:
    """Return what a ledger's notes know of input files, for `Digests`."""
    return {
        name.removeprefix(FILE_NOTE): facts for name, facts in notes.items() if name.startswith(FILE_NOTE)
    }
