"""Rows of a batch's input: text, JSON lines, CSV and TSV to requests. A bad row is named by its number."""

from __future__ import annotations

import csv
import json
import re
import string
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from bfl_async.batch import Given
from bfl_async.cli.fields import fields_by_name, is_media, is_url
from bfl_async.cli.files import MAX_LINE_BYTES, InputError, read_lines
from bfl_async.errors import InvalidRequestError
from bfl_async.models import CATALOG, ImageRequest, request

Kind: TypeAlias = Literal["text", "jsonl", "csv", "tsv"]

_KINDS: dict[str, Kind] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv"}
_BAD_ROWS_SHOWN = 20
_MAX_NAME_CHARS = 1_000  # a longer text in an image's field is no name but base64
_INTEGER, _NUMBER = re.compile(r"[+-]?\d{1,18}"), re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?")


class RowError(InputError):
    """A row that is no request."""


def kind_of(name: str) -> Kind:
    """Return the format that a file's name says; text where it says none."""
    return _KINDS.get(Path(name).suffix.lower(), "text")


class Rows:
    """How the rows of one input become requests.

    Args:
        name: The file; `-` is standard input.
        kind: Its format.
        model: Of rows that name none.
        fields: Defaults, for what a row leaves out.
        columns: Names of columns by field; other columns are known by the name of a field that they have.
        folder: Where files that rows name for images and videos are looked for.
        allow_outside: Whether they may lie elsewhere.
        prompt: A template over the columns, such as `{animal} in {style}`; None: the column "prompt".
        repeat: Requests for each row. With a seed, each has the next one.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        *,
        model: str,
        fields: Mapping[str, object],
        folder: Path,
        allow_outside: bool,
        columns: Mapping[str, str],
        prompt: str | None,
        repeat: int,
    ) -> None:
        self.name = name
        self._shown = "standard input" if name == "-" else repr(name)
        self._kind = kind
        self._model = model
        self._fields = fields
        self._folder = folder
        self._allow_outside = allow_outside
        self._columns = columns
        self._prompt = None if prompt is None else _Template(prompt)
        self._repeat = repeat
        # Columns of the header that no request is made of, in order. Written when the header is read.
        self.ignored: list[str] = []

    def read(self) -> Iterator[Given] | AsyncIterator[Given]:
        """Read the requests from the beginning: a file lazily, and again with each call; a pipe as it comes.

        Raises:
            RowError: The first row that is none.
            InputError: It cannot be read, or holds nothing.
        """
        lines = read_lines(self.name)
        return self._read(lines) if isinstance(lines, Iterator) else self._read_pipe(lines)

    def check(self) -> Iterator[Given]:
        """Read a file's requests to its end, whatever is wrong with a row.

        Raises:
            InputError: At the end: what was wrong, row by row; or nothing was there.
        """
        bad: list[str] = []
        lines = read_lines(self.name)
        assert isinstance(lines, Iterator)
        parser = _Parser(self)
        for line in _with_end(lines):
            try:
                yield from parser.take(line)
            except RowError as exc:
                bad.append(exc.message)
                if parser.is_hopeless:
                    break
        if bad:
            more = f"; and {len(bad) - _BAD_ROWS_SHOWN} more" if len(bad) > _BAD_ROWS_SHOWN else ""
            raise InputError("; ".join(bad[:_BAD_ROWS_SHOWN]) + more)

    def _read(self, lines: Iterator[bytes]) -> Iterator[Given]:
        parser = _Parser(self)
        for line in _with_end(lines):
            yield from parser.take(line)

    async def _read_pipe(self, lines: AsyncIterator[bytes]) -> AsyncIterator[Given]:
        parser = _Parser(self)
        async for line in lines:
            for one in parser.take(line):
                yield one
        for one in parser.take(None):
            yield one

    # --- one row ------------------------------------------------------------------------------------------

    def requests_of(self, row: Mapping[str, object], where: str, *, are_texts: bool) -> Iterator[Given]:
        """Yield the requests of a row.

        Args:
            where: The row's number, for messages.
            are_texts: The values are texts, of which numbers are to be read.
        Raises:
            RowError: It is none.
        """
        given = dict(row)
        values: dict[str, object] = {}
        for field, column in self._columns.items():
            if column in given:
                values[field] = given.pop(column)
        if self._prompt is not None:
            values["prompt"] = self._prompt.fill(row, where)
            for name in self._prompt.names:
                given.pop(name, None)
        if are_texts:
            given = {
                field: value
                for name, value in given.items()
                if (field := field_of(name)) in known_fields() and field not in values
            }
        values = {**given, **values}
        if are_texts:
            values = {name: value for name, value in values.items() if value != ""}
        own_id = values.pop("id", None)
        model = values.pop("model", None) or self._model
        if not isinstance(model, str) or not isinstance(own_id, str | int | None):
            raise RowError(f"{where}: model and id must be texts")
        media = [name for name, field in fields_by_name(model).items() if name in values and is_media(field)]
        for name in media:
            values[name] = self._with_files(values[name], where)
        fields = {**self._fields, **values}
        seed = _typed(fields.get("seed")) if are_texts else fields.get("seed")
        for number in range(self._repeat):
            if isinstance(seed, int) and number:
                fields["seed"] = seed + number
            made = _make(model, fields, where, are_texts=are_texts)
            yield made if own_id is None else (str(own_id), made)

    def _with_files(self, value: object, where: str) -> object:
        """Files in the place of their names; a URL or base64 stays what it is."""
        if isinstance(value, list):
            return [self._with_files(item, where) for item in value]
        if not isinstance(value, str) or is_url(value) or len(value) > _MAX_NAME_CHARS:
            return value
        path = self._folder / value
        # A row may come from anybody: it must not send any file of this machine away.
        if not self._allow_outside and not path.resolve().is_relative_to(self._folder.resolve()):
            raise RowError(
                f"{where}: {value!r} lies outside the folder of the input; --allow-outside lets it"
            )
        if not path.is_file():
            raise RowError(f"{where}: there is no file {str(path)!r}")
        return path


def _make(model: str, fields: Mapping[str, object], where: str, *, are_texts: bool) -> ImageRequest:
    typed = {name: _typed(value) for name, value in fields.items()} if are_texts else dict(fields)
    if are_texts and "prompt" in fields:
        typed["prompt"] = fields["prompt"]
    try:
        try:
            return request(model, **typed)
        except InvalidRequestError as exc:
            # A text that looks like a number, where a text is wanted.
            texts = {path: fields[path] for path, _ in exc.errors if path in fields}
            if not are_texts or not texts:
                raise
            try:
                return request(model, **{**typed, **texts})
            except InvalidRequestError:
                raise exc from None
    except InvalidRequestError as exc:
        wrong = "; ".join(f"{path}: {message}" for path, message in exc.errors) or str(exc)
        raise RowError(f"{where}: {wrong}") from exc


def _typed(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return {"true": True, "false": False}.get(text.lower(), value)


def field_of(column: str) -> str:
    """Return the field that a column's name may mean."""
    return re.sub(r"[ -]+", "_", column.strip().lower())


@lru_cache(maxsize=1)
def known_fields() -> frozenset[str]:
    """Return what a column may be named for."""
    return frozenset({"id", "model"}).union(*(fields_by_name(model) for model in CATALOG))


class _Template:
    """A prompt with columns in braces."""

    def __init__(self, text: str) -> None:
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as exc:
            raise InputError(f"--prompt {text!r} cannot be read: {exc}") from exc
        if any(spec or conversion or name == "" for _, name, spec, conversion in parts):
            raise InputError(
                f"--prompt {text!r} may hold columns in braces, such as {{animal}}, and nothing else"
            )
        self._parts = [(literal, name) for literal, name, _, _ in parts]
        self.names = {name for _, name in self._parts if name is not None}
        if not self.names:
            raise InputError(
                f"--prompt {text!r} holds no column: it is a template, such as '{{animal}} in {{style}}'"
            )

    def fill(self, row: Mapping[str, object], where: str) -> str:
        missing = sorted(self.names - row.keys())
        if missing:
            raise RowError(f"{where}: --prompt wants {', '.join(missing)}, and it has {', '.join(row)}")
        return "".join(
            literal + (str(row[name]) if name is not None else "") for literal, name in self._parts
        )


def _with_end(lines: Iterator[bytes]) -> Iterator[bytes | None]:
    yield from lines
    yield None


class _Parser:
    """Takes one line after another, and gives the requests of the rows that they complete."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._number = 0  # of lines
        self._row_number = 0  # of rows, without the header
        self._header: list[str] | None = None
        self._open: list[str] = []  # lines of a CSV row that is not complete
        self._found = False
        self.is_hopeless = False  # what follows cannot be read either

    def take(self, line: bytes | None) -> Iterator[Given]:
        """Yield the requests of the rows that a line completes; None is the end.

        Raises:
            RowError: The row is none.
            InputError: Nothing was there.
        """
        rows = self._rows
        if line is None:
            if self._open:
                raise RowError(f"row {self._row_number + 1} of {rows._shown}: a quote is not closed")
            if not self._found:
                raise InputError(f"{rows._shown} holds no prompt: write one a line")
            return
        self._number += 1
        where = f"line {self._number} of {rows._shown}"
        text = _decode(line, self._number, where)
        if rows._kind == "text":
            if prompt := text.strip():
                self._found = True
                yield from rows.requests_of({"prompt": prompt}, where, are_texts=False)
        elif rows._kind == "jsonl":
            if text.strip():
                self._found = True
                yield from rows.requests_of(_json_row(text, where), where, are_texts=False)
        else:
            yield from self._take_cells(text, where)

    def _take_cells(self, text: str, where: str) -> Iterator[Given]:
        rows = self._rows
        if rows._kind == "tsv":  # has no quotes: one that stands there is part of the prompt
            cells = text.rstrip("\r\n").split("\t")
        else:
            self._open.append(text if text.endswith("\n") else text + "\n")
            if sum(one.count('"') for one in self._open) % 2:
                return
            try:
                cells = next(csv.reader(self._open, strict=True), [])
            except csv.Error as exc:
                raise RowError(f"{where}: {exc}") from exc
            finally:
                self._open = []
        if not any(cell.strip() for cell in cells):
            return
        if self._header is None:
            self._take_header([cell.strip() for cell in cells], where)
            return
        self._found = True
        self._row_number += 1
        where = f"row {self._row_number} ({where})"
        if len(cells) > len(self._header):
            raise RowError(f"{where}: it has {len(cells)} columns, and the header {len(self._header)}")
        cells += [""] * (len(self._header) - len(cells))
        yield from rows.requests_of(dict(zip(self._header, cells, strict=True)), where, are_texts=True)

    def _take_header(self, header: list[str], where: str) -> None:
        rows = self._rows
        self._header = header
        self.is_hopeless = True
        if len(set(header)) < len(header):
            raise RowError(f"{where}: two columns have the same name")
        wanted = {*rows._columns.values(), *(rows._prompt.names if rows._prompt is not None else ())}
        missing = sorted(wanted - set(header))
        if missing:
            raise RowError(f"{where}: no column {', '.join(missing)}; it has {', '.join(header)}")
        if not wanted and not any(field_of(name) in known_fields() - {"id", "model"} for name in header):
            raise RowError(
                f"{where}: none of the columns {', '.join(header)} is a field: say which is the prompt with "
                f"--column prompt={header[0]}"
            )
        self.is_hopeless = False


def _json_row(text: str, where: str) -> Mapping[str, object]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise RowError(f"{where} is no JSON: {exc}") from exc
    if isinstance(row, str):
        return {"prompt": row}
    if not isinstance(row, dict):
        raise RowError(f'{where} is no JSON object: write {{"prompt": ...}}')
    return row


def _decode(line: bytes, number: int, where: str) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise RowError(f"{where} is longer than {MAX_LINE_BYTES} bytes")
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise RowError(f"{where} is not UTF-8 text: give a text file with one prompt a line")
    return text
