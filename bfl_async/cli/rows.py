"""Rows of a batch's input: text, JSON lines, CSV and TSV to requests. A bad row is named by its number."""

from __future__ import annotations

import csv
import difflib
import json
import re
import string
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
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

# What `csv` says of a record whose quote is still open where its lines end.
_UNFINISHED = "unexpected end of data"
# A cell may hold an image in base64.
csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_LINE_BYTES))
# How like a field's name a column's name is that was probably meant for it.
_NEAR = 0.75


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
        ignore: Columns that are not used on purpose.
        on_ignored: Called once with the names of the columns that no request is made of.
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
        ignore: Sequence[str] = (),
        on_ignored: Callable[[Sequence[str]], None] | None = None,
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
        self._ignore = frozenset(ignore)
        self._on_ignored = on_ignored

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
            except InputError:
                # Nothing was there: if rows were refused, that is the reason.
                if not bad:
                    raise
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
        given = {name: value for name, value in row.items() if name not in self._ignore}
        values: dict[str, object] = {}
        for field, column in self._columns.items():
            if column in row:
                values[field] = row[column]
                given.pop(column, None)
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
    """Takes one line after another, and gives the requests of the rows that they complete.

    Of CSV, `csv.reader` alone decides where a record ends: it is asked of each line whether a quote is open at its
    end. So no line is read by one rule and thrown away by another, and each is read at most twice.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        # Of lines.
        self._number = 0
        # Of rows, without the header; refused ones count.
        self._row_number = 0
        self._header: list[str] | None = None
        # Lines of a CSV record that is not complete, and their bytes.
        self._open: list[str] = []
        self._open_bytes = 0
        self._found = False
        # True once what follows cannot be read either.
        self.is_hopeless = False

    def take(self, line: bytes | None) -> Iterator[Given]:
        """Yield the requests of the rows that a line completes; None is the end.

        Raises:
            RowError: The row is not a request.
            InputError: Nothing was there.
        """
        rows = self._rows
        if line is None:
            if self._open:
                raise RowError(f"{self._where_record()}: a quote is not closed up to the end of the input")
            if not self._found:
                raise InputError(f"{rows._shown} holds no prompt: write one a line")
            return
        self._number += 1
        where = f"line {self._number} of {rows._shown}"
        if self._number == 1 and (encoding := _foreign_encoding(line)) is not None:
            self.is_hopeless = True
            raise RowError(f"{rows._shown} is {encoding} text: save it as UTF-8")
        text = _decode(line, self._number, where)
        if rows._kind == "text":
            if prompt := _without_end(text, where).strip():
                self._found = True
                yield from rows.requests_of({"prompt": prompt}, where, are_texts=False)
        elif rows._kind == "jsonl":
            if text.strip():
                self._found = True
                yield from rows.requests_of(_json_row(text, where), where, are_texts=False)
        elif rows._kind == "tsv":
            # TSV has no quotes: one that is there is part of the prompt.
            yield from self._take_cells(_without_end(text, where).split("\t"), where)
        else:
            yield from self._take_csv(text, len(line))

    def _take_csv(self, text: str, size: int) -> Iterator[Given]:
        text = text if text.endswith("\n") else text + "\n"
        is_within = _is_open(text, bool(self._open))
        self._open.append(text)
        self._open_bytes += size
        if self._open_bytes > MAX_LINE_BYTES:
            self.is_hopeless = True
            raise RowError(f"{self._where_record()}: a quote is not closed within {MAX_LINE_BYTES} bytes")
        if is_within:
            return
        where = self._where_record()
        lines, self._open, self._open_bytes = self._open, [], 0
        try:
            records = list(csv.reader(lines, strict=True))
        except csv.Error as exc:
            self._row_number += self._header is not None
            self.is_hopeless = self._header is None
            problem = str(exc)
            if problem.startswith("new-line character"):
                problem = _CARRIAGE_RETURN
            raise RowError(f"{where}: {problem}") from exc
        for cells in records:
            yield from self._take_cells(cells, where)

    def _where_record(self) -> str:
        """Name the record whose lines are in `_open`."""
        first = self._number - len(self._open) + 1
        lines = f"line {first}" if first == self._number else f"lines {first} to {self._number}"
        where = f"{lines} of {self._rows._shown}"
        return where if self._header is None else f"row {self._row_number + 1} ({where})"

    def _take_cells(self, cells: list[str], where: str) -> Iterator[Given]:
        rows = self._rows
        if not any(cell.strip() for cell in cells):
            return
        if self._header is None:
            self._take_header([cell.strip() for cell in cells], where)
            return
        self._found = True
        self._row_number += 1
        if not where.startswith("row "):
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
        chosen = {*rows._columns.values(), *(rows._prompt.names if rows._prompt is not None else ())}
        missing = sorted((chosen | rows._ignore) - set(header))
        if missing:
            raise RowError(f"{where}: no column {', '.join(missing)}; it has {', '.join(header)}")
        ignored = self._ignored_columns(header, chosen, where)
        if not chosen and not any(
            field_of(name) in known_fields() - {"id", "model"} for name in header if name not in rows._ignore
        ):
            raise RowError(
                f"{where}: none of the columns {', '.join(header)} is a field: say which is the prompt with "
                f"--column prompt={header[0]}"
            )
        self.is_hopeless = False
        if ignored and not rows.ignored:
            rows.ignored = ignored
            if rows._on_ignored is not None:
                rows._on_ignored(ignored)

    def _ignored_columns(self, header: list[str], chosen: set[str], where: str) -> list[str]:
        """Return the columns that no request is made of.

        Raises:
            RowError: One has almost the name of a field, or two are the same field.
        """
        rows = self._rows
        set_otherwise = {*rows._columns, *(["prompt"] if rows._prompt is not None else [])}
        ignored: list[str] = []
        columns: dict[str, str] = {}
        for name in header:
            if name in chosen:
                continue
            field = field_of(name)
            if name in rows._ignore or field in set_otherwise:
                ignored.append(name)
            elif field not in known_fields():
                if near := _near(field):
                    raise RowError(
                        f"{where}: the column {name!r} is not a field; if it is {near!r}, rename it or add "
                        f"--column {near}={name}, else add --ignore-column {name}"
                    )
                # A column without a name, as a comma at the end of each line makes it, is not worth a word.
                ignored += [name] if name else []
            elif field in columns:
                raise RowError(
                    f"{where}: the columns {columns[field]!r} and {name!r} are both the field {field!r}; add "
                    f"--ignore-column for one of them"
                )
            else:
                columns[field] = name
        return ignored


def _near(field: str) -> str | None:
    """Return the field that a name was probably meant for."""
    names = [name for name in known_fields() if abs(len(name) - len(field)) <= 1]
    return next(iter(difflib.get_close_matches(field, sorted(names), 1, _NEAR)), None)


def _is_open(line: str, is_within: bool) -> bool:
    """Return whether a quote is open at the end of a line of CSV.

    Args:
        is_within: One is open at its beginning.
    """
    if '"' not in line:
        return is_within
    try:
        for _ in csv.reader(['"' + line if is_within else line], strict=True):
            pass
    except csv.Error as exc:
        return str(exc) == _UNFINISHED
    return False


_CARRIAGE_RETURN = (
    "it holds a carriage return within a line, which ended lines on old Macs: save the file with line feeds"
)


def _without_end(text: str, where: str) -> str:
    """Return a line without its end.

    Raises:
        RowError: It holds several lines that end in another way.
    """
    text = text.rstrip("\r\n")
    if "\r" in text:
        raise RowError(f"{where}: {_CARRIAGE_RETURN}")
    return text


def _json_row(text: str, where: str) -> Mapping[str, object]:
    try:
        row = json.loads(text, object_pairs_hook=_object)
    except _TwiceError as exc:
        raise RowError(f"{where} has {exc.args[0]!r} twice") from None
    except (ValueError, RecursionError) as exc:
        problem = _CARRIAGE_RETURN if "\r" in text.strip() else str(exc)
        raise RowError(f"{where} is not JSON: {problem}") from exc
    if isinstance(row, str):
        return {"prompt": row}
    if not isinstance(row, dict):
        raise RowError(f'{where} is not a JSON object: write {{"prompt": ...}}')
    return row


class _TwiceError(Exception):
    """A name that an object of JSON has twice."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return made


def _foreign_encoding(line: bytes) -> str | None:
    """Return the name of an encoding other than UTF-8 that the first line of a file shows; else None."""
    for mark, name in (
        (b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")
    ):  # fmt: skip
        if line.startswith(mark):
            return name + (" (which PowerShell's > writes)" if name == "UTF-16" else "")
    head = line[:200]
    # English text in UTF-16 has every second byte 0, also without a mark.
    return "UTF-16" if len(head) >= 4 and head.count(0) >= len(head) * 0.4 else None


def _decode(line: bytes, number: int, where: str) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise RowError(f"{where} is longer than {MAX_LINE_BYTES} bytes")
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as exc:
        if b"\0" not in line:
            raise RowError(
                f"{where} is not UTF-8 text (byte {exc.start + 1} of it is 0x{line[exc.start]:02x}; perhaps it is "
                "Windows-1252 or Latin-1): save the file as UTF-8"
            ) from None
        text = "\0"
    if "\0" in text:
        raise RowError(f"{where} is not UTF-8 text: give a text file with one prompt a line")
    return text
