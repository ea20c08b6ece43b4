"""Rows of a batch's input: text, JSON, JSON lines, CSV and TSV to requests. A bad row is named by its number.

A row may come from anybody. It says what an image is to show, and nothing else: not which endpoint of the account is
called, not where results are delivered, not in whose name, and not which file of this machine is sent away.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import string
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path

from bfl_async.batch.requests import Given
from bfl_async.cli.field_values import fields_by_name, is_media, is_url
from bfl_async.cli.files import MAX_LINE_BYTES, InputError, read_lines
from bfl_async.cli.formats import Elements, JSONProblem, foreign_format, json_text, json_value
from bfl_async.cli.formats import Kind as Kind
from bfl_async.cli.formats import kind_of as kind_of
from bfl_async.cli.table import CARRIAGE_RETURN, Delimiter, Record, RecordError, TableReader
from bfl_async.errors import InvalidRequestError
from bfl_async.models import CATALOG, ImageRequest, check_model_name, plain_number, request
from bfl_async.models.input_files import FileWithin
from bfl_async.runtime.text import printable

_BAD_ROWS_SHOWN = 20
# A message names what is wrong; it does not repeat a row.
_MAX_MESSAGE_CHARS = 1_000
_MAX_NAME_CHARS = 1_000  # a longer text in an image's field is no name but base64
_MAX_COLUMNS = 1_000
_MAX_DEPTH = 100
_INTEGER, _NUMBER = re.compile(r"[+-]?\d{1,18}"), re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?")

# How like a field's name a column's name is that was probably meant for it.
_NEAR = 0.75

# Halves of surrogate pairs, which no encoding has, and the character that no name of a file has.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_END = object()


class RowError(InputError):
    """A row that is no request."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, _MAX_MESSAGE_CHARS))


class Rows:
    """How the rows of one input become requests.

    Args:
        name: The file; `-` is standard input.
        kind: Its format.
        is_guessed: Nobody said that it is text, neither the caller nor its name.
        model: Of rows that name none.
        fields: Defaults, for what a row leaves out.
        columns: Names of columns by field; other columns are known by the name of a field that they have.
        folder: Where files that rows name for images and videos are looked for.
        allow_outside: Whether they may lie elsewhere.
        allow_unknown_models: Whether rows may name models that the catalog does not know.
        prompt: A template over the columns, such as `{animal} in {style}`; None: the column "prompt".
        repeat: Requests for each row. With a seed, each has the next one.
        ignore: Columns that are not used on purpose.
        on_ignored: Called once with the names of the columns that no request is made of.
    Raises:
        InputError: `columns` or `prompt` cannot be used.
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
        is_guessed: bool = False,
        allow_unknown_models: bool = False,
    ) -> None:
        for field in filter(_is_operators, columns):
            raise InputError(f"--column cannot choose a column for {_quoted(field)}: {_OPERATORS}")
        self.name = name
        self._shown = "standard input" if name == "-" else _quoted(name)
        self._kind = kind
        self._is_guessed = is_guessed
        self._allow_unknown_models = allow_unknown_models
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
        more_bad = 0
        lines = read_lines(self.name)
        assert isinstance(lines, Iterator)
        parser = _Parser(self)
        for line in _with_end(lines):
            try:
                for one in parser.take(line):
                    if not isinstance(one, RowError):
                        yield one
                    elif len(bad) < _BAD_ROWS_SHOWN:
                        bad.append(one.message)
                    else:
                        more_bad += 1
            except InputError:
                # Nothing was there: if rows were refused, that is the reason.
                if not bad:
                    raise
            if parser.is_hopeless:
                break
        if bad:
            raise InputError("; ".join(bad) + (f"; and {more_bad} more" if more_bad else ""))

    def _read(self, lines: Iterator[bytes]) -> Iterator[Given]:
        parser = _Parser(self)
        for line in _with_end(lines):
            yield from map(_good, parser.take(line))

    async def _read_pipe(self, lines: AsyncIterator[bytes]) -> AsyncIterator[Given]:
        parser = _Parser(self)
        async for line in lines:
            for one in parser.take(line):
                yield _good(one)
        for one in parser.take(None):
            yield _good(one)

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
        # Of a table, the header was checked.
        for name in () if are_texts else given:
            if name not in known_fields() and _is_operators(name):
                raise RowError(
                    f"{where}: {_quoted(name)} is not a field of rows: {_OPERATORS}{_ignoring(name)}"
                )
        if are_texts:
            given = {
                field: value
                for name, value in given.items()
                if (field := field_of(name)) in known_fields() and field not in values
            }
        values = {**given, **values}
        if are_texts:
            values = {name: value for name, value in values.items() if value != ""}
        own_id = plain_number(values.pop("id", None), whole=True)
        model = values.pop("model", None) or self._model
        if not isinstance(model, str) or not isinstance(own_id, str | int | None):
            raise RowError(f"{where}: model and id must be texts")
        self._check_model(model, where)
        media = [name for name, field in fields_by_name(model).items() if name in values and is_media(field)]
        for name in media:
            values[name] = self._with_files(values[name], where)
        fields = {**self._fields, **values}
        seed = plain_number(_typed(fields.get("seed")) if are_texts else fields.get("seed"), whole=True)
        for number in range(self._repeat):
            if isinstance(seed, int) and number:
                fields["seed"] = seed + number
            made = _make(model, fields, where, are_texts=are_texts)
            yield made if own_id is None else (str(own_id), made)

    def _check_model(self, model: str, where: str) -> None:
        """Check a model that a row may have named; the operator's own may be any.

        Raises:
            RowError: It is not one, or not in the catalog.
        """
        if model in CATALOG or model == self._model:
            return
        try:
            check_model_name(model, is_foreign=True)
        except InvalidRequestError as exc:
            raise RowError(f"{where}: model: {exc}") from exc
        if not self._allow_unknown_models:
            near = difflib.get_close_matches(model, CATALOG, 1)
            raise RowError(
                f"{where}: {_quoted(model)} is not in this release's catalog of models"
                f"{f'; did you mean {near[0]!r}?' if near else ''}; --allow-unknown-models lets rows name new ones"
            )

    def _with_files(self, value: object, where: str) -> object:
        """Files in the place of their names; a URL or base64 stays what it is."""
        if isinstance(value, list):
            return [self._with_files(item, where) for item in value]
        if not isinstance(value, str) or is_url(value) or len(value) > _MAX_NAME_CHARS:
            return value
        path = self._folder / value
        try:
            # A row may come from anybody: it must not send any file of this machine away.
            is_outside = not self._allow_outside and not path.resolve().is_relative_to(self._folder.resolve())
            is_file = not is_outside and path.is_file()
        except (OSError, ValueError, RuntimeError) as exc:
            # Too long, a loop of links, or nothing that the system takes as a name.
            reason = getattr(exc, "strerror", None) or "not a usable name"
            raise RowError(f"{where}: {_quoted(value)} cannot be looked for: {reason}") from exc
        if is_outside:
            raise RowError(
                f"{where}: {_quoted(value)} lies outside the folder of the input; --allow-outside lets it"
            )
        if not is_file:
            raise RowError(f"{where}: there is no file {_quoted(str(path))}")
        if not os.access(path, os.R_OK):
            raise RowError(f"{where}: {_quoted(value)} may not be read by this user")
        return path if self._allow_outside else FileWithin(path, self._folder)


def _good(one: Given | RowError) -> Given:
    if isinstance(one, RowError):
        raise one
    return one


def _quoted(text: str) -> str:
    return f"'{printable(text, 100)}'"


def _argument(text: str) -> str:
    """Return a foreign text for a command line that a message proposes: whoever copies it runs nothing else."""
    return shlex.quote(printable(text, 60))


def _listed(names: Iterable[str]) -> str:
    """Return foreign names for a message: all of a usual table, and of any other the first ones."""
    shown = [printable(name, 60) for name in names]
    return ", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else "")


_OPERATORS = "who runs the command sets it for all rows, with --set"


def _is_operators(name: str) -> bool:
    """True for a field that says where results go or in whose name, in any spelling: it is not the row's to say."""
    plain = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name[:100]).casefold()))
    return plain == "user" or plain.startswith("webhook")


def _ignoring(name: str) -> str:
    return f"; --ignore-column {_argument(name)} leaves it out"


def _check_texts(row: Mapping[str, object], where: str) -> None:
    """Check that all texts of a row of JSON can be encoded and stored.

    Raises:
        RowError: One cannot, or the row is nested too deep.
    """
    # One iterator for each level: nothing is copied, however much a level holds.
    levels: list[Iterator[object]] = [iter((row,))]
    while levels:
        value = next(levels[-1], _END)
        if value is _END:
            levels.pop()
        elif isinstance(value, str):
            if (found := _NO_TEXT.search(value)) is not None:
                what = "a NUL character" if found[0] == "\0" else "half of a surrogate pair"
                near = value[max(found.start() - 20, 0) :][:60]
                raise RowError(f"{where}: {_quoted(near)} holds {what}, which is not text")
        elif value and isinstance(value, dict | list):
            if len(levels) > _MAX_DEPTH:
                raise RowError(f"{where}: it is nested more than {_MAX_DEPTH} deep")
            levels.append(chain.from_iterable(value.items()) if isinstance(value, dict) else iter(value))


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
        wrong = "; ".join(f"{printable(path, 60)}: {message}" for path, message in exc.errors[:20]) or str(
            exc
        )
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
    names = frozenset({"id", "model"}).union(*(fields_by_name(model) for model in CATALOG))
    return frozenset(name for name in names if not _is_operators(name))


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
            raise RowError(f"{where}: --prompt wants {_listed(missing)}, and it has {_listed(row)}")
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
        # Of lines.
        self._number = 0
        # Of rows, without the header; refused ones count.
        self._row_number = 0
        self._header: list[str] | None = None
        self._table = TableReader("\t") if rows._kind == "tsv" else None
        # The lines of a JSON text, which is read at its end, and their bytes.
        self._json: list[bytes] = []
        self._json_bytes = 0
        self._found = False
        # True once what follows cannot be read either.
        self.is_hopeless = False

    def take(self, line: bytes | None) -> Iterator[Given | RowError]:
        """Yield the requests of the rows that a line completes, and in the place of a bad row what is wrong with it.

        Args:
            line: None is the end.
        Raises:
            InputError: Nothing was there.
        """
        try:
            for value, where, are_texts in self._rows_of(line):
                self._found = True
                try:
                    row = _row_of(value, where)
                    # Lines of the other formats were text when they were decoded.
                    if self._rows._kind in ("json", "jsonl"):
                        _check_texts(row, where)
                    yield from self._rows.requests_of(row, where, are_texts=are_texts)
                except RowError as exc:
                    yield exc
        except RowError as exc:
            yield exc
        if line is None and not self._found and not self.is_hopeless:
            raise InputError(f"{self._rows._shown} holds no prompt: write one a line")

    def _rows_of(self, line: bytes | None) -> Iterator[tuple[object, str, bool]]:
        """Yield the rows that a line completes, where each stands, and whether it is a mapping of texts.

        Raises:
            RowError: It is not a row.
        """
        rows = self._rows
        if line is None:
            if rows._kind == "json":
                yield from self._json_rows()
            elif self._table is not None:
                with self._named():
                    self._table.end()
            return
        self._number += 1
        where = f"line {self._number} of {rows._shown}"
        if (
            self._number == 1
            and (problem := foreign_format(line, rows._kind, is_guessed=rows._is_guessed)) is not None
        ):
            self.is_hopeless = True
            raise RowError(f"{rows._shown} {problem}")
        if len(line) > MAX_LINE_BYTES:
            # The rest of it would be taken for lines of their own.
            self.is_hopeless = True
            raise RowError(f"{where} is longer than {MAX_LINE_BYTES} bytes")
        if rows._kind == "json":
            self._take_json(line)
            return
        text = _decode(line, self._number, where)
        if rows._kind == "text":
            if prompt := _without_end(text, where).strip():
                yield {"prompt": prompt}, where, False
        elif rows._kind == "jsonl":
            if text.strip():
                self._found = True
                try:
                    value = json_value(text)
                except JSONProblem as exc:
                    raise RowError(f"{where} is not JSON: {exc}") from None
                yield value, where, False
        else:
            if self._table is None:
                if not text.strip():
                    return
                # What spreadsheets write before the header.
                if self._number == 1 and (said := re.fullmatch(r"sep=([,;])", text.strip())) is not None:
                    self._table = TableReader(";" if said[1] == ";" else ",")
                    return
                self._table = TableReader(self._delimiter_of(text))
            with self._named():
                record = self._table.take(text, self._number)
            if record is not None:
                yield from self._take_record(record)

    def _delimiter_of(self, header: str) -> Delimiter:
        """Return what separates the columns of CSV: a semicolon only where it makes them known ones."""
        rows = self._rows
        wanted = {*rows._columns.values(), *(rows._prompt.names if rows._prompt is not None else ())}
        delimiters: tuple[Delimiter, ...] = (",", ";")
        for delimiter in delimiters:
            try:
                record = TableReader(delimiter).take(header, 1)
            except RecordError:
                continue
            names = [] if record is None else [name.strip() for name in record.cells[:_MAX_COLUMNS]]
            if any(name in wanted or field_of(name) in known_fields() for name in names):
                return delimiter
        return ","

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the lines of a record that cannot be read."""
        try:
            yield
        except RecordError as exc:
            self.is_hopeless = exc.is_hopeless or self._header is None
            self._row_number += self._header is not None
            raise RowError(f"{self._where(exc.first, exc.last, self._row_number)}: {exc}") from None

    def _where(self, first: int, last: int, row_number: int) -> str:
        lines = f"line {first}" if first == last else f"lines {first} to {last}"
        where = f"{lines} of {self._rows._shown}"
        return where if self._header is None else f"row {row_number} ({where})"

    def _take_json(self, line: bytes) -> None:
        if self._json and not self._json[-1].endswith(b"\n"):
            # Lines of a pipe come without their ends.
            self._json.append(b"\n")
        self._json.append(line)
        self._json_bytes += len(line)
        if self._json_bytes > MAX_LINE_BYTES:
            self.is_hopeless = True
            raise RowError(f"{self._rows._shown} is longer than {MAX_LINE_BYTES} bytes: write JSON lines")

    def _json_rows(self) -> Iterator[tuple[object, str, bool]]:
        shown = self._rows._shown
        try:
            for number, element in enumerate(Elements(json_text(b"".join(self._json))), start=1):
                yield element.value, f"row {number} (line {element.line} of {shown})", False
        except JSONProblem as exc:
            self.is_hopeless = True
            raise RowError(f"line {exc.line} of {shown} is not JSON: {exc}") from None

    def _take_record(self, record: Record) -> Iterator[tuple[object, str, bool]]:
        cells = record.cells
        if not any(cell.strip() for cell in cells):
            return
        if self._header is None:
            self._take_header([cell.strip() for cell in cells], self._where(record.first, record.last, 0))
            return
        self._row_number += 1
        where = self._where(record.first, record.last, self._row_number)
        if len(cells) > len(self._header):
            raise RowError(f"{where}: it has {len(cells)} columns, and the header {len(self._header)}")
        cells += [""] * (len(self._header) - len(cells))
        yield dict(zip(self._header, cells, strict=True)), where, True

    def _take_header(self, header: list[str], where: str) -> None:
        rows = self._rows
        self.is_hopeless = True
        if len(header) > _MAX_COLUMNS:
            raise RowError(f"{where}: it has more than {_MAX_COLUMNS} columns")
        self._header = header
        if len(set(header)) < len(header):
            raise RowError(f"{where}: two columns have the same name")
        chosen = {*rows._columns.values(), *(rows._prompt.names if rows._prompt is not None else ())}
        missing = sorted((chosen | rows._ignore) - set(header))
        if missing:
            raise RowError(f"{where}: no column {_listed(missing)}; it has {_listed(header)}")
        ignored = self._ignored_columns(header, chosen, where)
        fields = known_fields() - {"id", "model"}
        if not chosen and not any(field_of(name) in fields for name in header if name not in rows._ignore):
            raise RowError(f"{where}: {_no_field_in(header, rows._kind)}")
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
            elif _is_operators(name):
                raise RowError(
                    f"{where}: the column {_quoted(name)} is not a field of rows: {_OPERATORS}{_ignoring(name)}"
                )
            elif field not in known_fields():
                if near := _near(field):
                    raise RowError(
                        f"{where}: the column {_quoted(name)} is not a field; if it is {near!r}, rename it or add "
                        f"--column {_argument(f'{near}={name}')}, else add --ignore-column {_argument(name)}"
                    )
                # A column without a name, as a comma at the end of each line makes it, is not worth a word.
                ignored += [name] if name else []
            elif field in columns:
                raise RowError(
                    f"{where}: the columns {_quoted(columns[field])} and {_quoted(name)} are both the field {field!r}; "
                    f"add --ignore-column for one of them"
                )
            else:
                columns[field] = name
        return ignored


def _near(field: str) -> str | None:
    """Return the field that a name was probably meant for."""
    names = [name for name in known_fields() if abs(len(name) - len(field)) <= 1]
    return next(iter(difflib.get_close_matches(field, sorted(names), 1, _NEAR)), None)


def _no_field_in(header: Sequence[str], kind: Kind) -> str:
    """Return what is wrong with a header of which no column is a field."""
    only = header[0]
    if len(header) == 1:
        for mark, name, advice in (
            (";", "semicolons", "say which is the prompt"),
            ("\t", "tabs", "add --format tsv"),
            (",", "commas", "add --format csv"),
            ("|", "bars", "separate them by commas"),
        ):
            if mark in only:
                first = only.partition(mark)[0].strip() or "COLUMN"
                option = (
                    f" with --column {_argument(f'prompt={first}')}" if mark == ";" and kind == "csv" else ""
                )
                return f"it is one column, {_quoted(only)}: if {name} separate its columns, {advice}{option}"
    return (
        f"none of the columns {_listed(header)} is a field: say which is the prompt with "
        f"--column {_argument(f'prompt={only}')}"
    )


def _without_end(text: str, where: str) -> str:
    """Return a line without its end.

    Raises:
        RowError: It holds several lines that end in another way.
    """
    text = text.rstrip("\r\n")
    if "\r" in text:
        raise RowError(f"{where}: {CARRIAGE_RETURN}")
    return text


def _row_of(value: object, where: str) -> Mapping[str, object]:
    if isinstance(value, str):
        return {"prompt": value}
    if not isinstance(value, dict):
        raise RowError(f'{where} is not a JSON object: write {{"prompt": ...}}')
    return value


def _decode(line: bytes, number: int, where: str) -> str:
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
