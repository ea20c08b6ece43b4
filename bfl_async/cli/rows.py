"""Rows of a batch's input: text, JSON, JSON lines, CSV and TSV to requests. A bad row is named by its number.

A row may come from anybody. It says what an image is to show, and nothing else: not which endpoint of the account is
called, not where results are delivered, not in whose name, and not which file of this machine is sent away.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bfl_async.batch.requests import Given
from bfl_async.cli.field_values import (
    MISSING,
    fields_by_name,
    is_media,
    is_url,
    make,
    with_named_files,
)
from bfl_async.cli.files import InputError, read_lines
from bfl_async.cli.formats import JSONProblem, json_value
from bfl_async.cli.formats import Kind as Kind
from bfl_async.cli.formats import kind_of as kind_of
from bfl_async.cli.row_columns import Columns
from bfl_async.cli.row_names import (
    OPERATORS,
    IdCheck,
    RowError,
    RowsError,
    field_of,
    ignoring,
    is_operators,
    known_fields,
    quoted,
)
from bfl_async.cli.row_reader import Row, RowReader
from bfl_async.cli.size_notes import size_note
from bfl_async.cli.stored_catalog import current_catalog
from bfl_async.cli.text_lines import TextLines
from bfl_async.errors import InvalidRequestError
from bfl_async.models import ImageRequest, check_model_name, plain_number
from bfl_async.models._base import EXTRA_BODY
from bfl_async.models.input_files import FileWithin
from bfl_async.models.main_input import missing_input
from bfl_async.runtime.text import printable

_BAD_ROWS_SHOWN = 20
# A value of this length is repeated in a message about it.
_MAX_SHOWN_CHARS = 40
# Notes on sizes that are kept.
_MOST_NOTES = 10
# A longer text in an image's field is no name but base64.
_MAX_NAME_CHARS = 1_000
_INTEGER, _NUMBER = re.compile(r"[+-]?\d{1,18}"), re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?")


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
        allow_unknown_fields: Whether fields and values that this release does not know, or would refuse, are sent.
        size: Returns the fields of a size for a model, for rows that state none; None: no size was asked for.
        prompt: A template over the columns, such as `{animal} in {style}`; None: the column "prompt".
        no_prompt: Send rows that say nothing of what to make; otherwise they are refused.
        repeat: Requests for each row. With a seed, each has the next one.
        ignore: Columns that are not used on purpose.
        on_ignored: Called once with the names of the columns that no request is made of.
        on_repeated_ids: Called once, when all was read, with the ids that several rows have.
        ids: Shared with other inputs of one command, which begins it again. None: this input's own.
        paragraphs: Prompts of text are paragraphs and not lines.
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
        on_repeated_ids: Callable[[Sequence[str]], None] | None = None,
        ids: IdCheck | None = None,
        paragraphs: bool = False,
        is_guessed: bool = False,
        allow_unknown_models: bool = False,
        allow_unknown_fields: bool = False,
        no_prompt: bool = False,
        size: Callable[[str], Mapping[str, object]] | None = None,
    ) -> None:
        self._columns = Columns(columns, prompt, ignore, on_ignored)
        self.name = name
        self._shown = "standard input" if name == "-" else quoted(name)
        self._kind: Kind = kind
        self._is_guessed = is_guessed
        self._allow_unknown_models = allow_unknown_models
        self._allow_unknown_fields = allow_unknown_fields
        self._no_prompt = no_prompt
        self._size = size
        self._model = model
        self._fields = fields
        self._folder = folder
        self._allow_outside = allow_outside
        self._repeat = repeat
        self._on_repeated_ids = on_repeated_ids
        self._are_ids_shared = ids is not None
        self._ids = ids if ids is not None else IdCheck()
        self._paragraphs = paragraphs
        # Of the reading that goes on, or was the last.
        self._text: TextLines | None = None
        # What is to be said of sizes, each once.
        self._sizes: dict[str, None] = {}

    @property
    def ignored(self) -> Sequence[str]:
        """Columns of the header that no request is made of, in order; known once the header was read."""
        return self._columns.ignored

    @property
    def repeated_ids(self) -> Sequence[str]:
        """Ids that several rows have; known once all was read."""
        return self._ids.repeated

    @property
    def warnings(self) -> Sequence[str]:
        """Lines that were left out and may have been meant as prompts, and sizes that the server may change; known once
        all was read.
        """
        left = [] if self._text is None else self._text.warnings()
        return [f"{self._shown}: {said}" for said in (*left, *self._sizes)]

    @property
    def hints(self) -> Sequence[str]:
        """How a text was read, and lines that were probably not meant as prompts; known once all was read."""
        return [] if self._text is None else [f"{self._shown}: {said}" for said in self._text.sentences()]

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
        reader = self._reader()
        for line in _with_end(lines):
            try:
                for one in self._take(reader, line):
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
            if reader.is_hopeless:
                break
        if bad:
            raise RowsError(bad, more_bad)
        self._report_ids()

    def _read(self, lines: Iterator[bytes]) -> Iterator[Given]:
        reader = self._reader()
        for line in _with_end(lines):
            yield from map(_good, self._take(reader, line))
        self._report_ids()

    async def _read_pipe(self, lines: AsyncIterator[bytes]) -> AsyncIterator[Given]:
        reader = self._reader()
        async for line in lines:
            for one in self._take(reader, line):
                yield _good(one)
        for one in self._take(reader, None):
            yield _good(one)
        self._report_ids()

    def _report_ids(self) -> None:
        if self._ids.repeated and self._on_repeated_ids is not None:
            self._on_repeated_ids(self._ids.repeated)
            # A file is checked before it is read.
            self._on_repeated_ids = None

    def _reader(self) -> RowReader:
        if not self._are_ids_shared:
            self._ids.clear()
        self._text = TextLines(are_paragraphs=self._paragraphs) if self._kind == "text" else None
        return RowReader(self._shown, self._kind, self._columns, is_guessed=self._is_guessed, text=self._text)

    def _take(self, reader: RowReader, line: bytes | None) -> Iterator[Given | RowError]:
        """Yield the requests of the rows that a line completes, and in the place of a bad row what is wrong with it."""
        for row in reader.take(line):
            if isinstance(row, RowError):
                yield row
                continue
            try:
                yield from self._requests_of(row)
            except RowError as exc:
                yield exc

    # --- one row ------------------------------------------------------------------------------------------

    def _requests_of(self, row: Row) -> Iterator[Given]:
        """Yield the requests of a row.

        Raises:
            RowError: It is none.
        """
        where, are_texts = row.where, row.are_texts
        given = {name: value for name, value in row.values.items() if name not in self._columns.ignore}
        values: dict[str, object] = {}
        for field, column in self._columns.by_field.items():
            if column in row.values:
                values[field] = row.values[column]
                given.pop(column, None)
        if self._columns.prompt is not None:
            values["prompt"] = self._columns.prompt.fill(row.values, where)
            for name in self._columns.prompt.names:
                given.pop(name, None)
        # Of a table, the header was checked.
        for name in () if are_texts else given:
            if name not in known_fields() and is_operators(name):
                raise RowError(f"{where}: {quoted(name)} is not a field of rows: {OPERATORS}{ignoring(name)}")
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
        if own_id is not None:
            self._ids.add(str(own_id))
        self._check_model(model, where)
        self._find_files(model, values, where)
        _check_extra(values, where, are_texts=are_texts)
        fields = {**self._size_of(model, values, where), **self._fields, **values}
        seed = plain_number(_typed(fields.get("seed")) if are_texts else fields.get("seed"), whole=True)
        for number in range(self._repeat):
            if isinstance(seed, int) and number:
                fields["seed"] = seed + number
            made = _make(model, fields, where, are_texts=are_texts, allow_unknown=self._allow_unknown_fields)
            made = self._with_input(made, where)
            if (note := size_note(made)) is not None and len(self._sizes) < _MOST_NOTES:
                self._sizes[note] = None
            yield made if own_id is None else (str(own_id), made)

    def _with_input(self, made: ImageRequest, where: str) -> ImageRequest:
        """Return a request that says what it wants, or that may say nothing.

        Raises:
            RowError: It says nothing, and would be paid all the same.
        """
        problem = missing_input(made)
        if problem is None:
            return made
        if not self._no_prompt:
            raise RowError(f"{where}: the prompt {problem}: --no-prompt sends rows without one")
        # The API takes a missing prompt for an empty one. Sent as such, the client does not refuse it.
        return made.with_extra_body({"prompt": ""})

    def _check_model(self, model: str, where: str) -> None:
        """Check a model that a row may have named; the operator's own may be any.

        Raises:
            RowError: It is not one, or not in the catalog.
        """
        known = current_catalog()
        if model in known or model == self._model:
            return
        try:
            check_model_name(model, is_foreign=True)
        except InvalidRequestError as exc:
            raise RowError(f"{where}: model: {exc}") from exc
        if not self._allow_unknown_models:
            near = difflib.get_close_matches(model, known, 1)
            raise RowError(
                f"{where}: {quoted(model)} is not in the catalog of models"
                f"{f'; did you mean {near[0]!r}?' if near else ''}; --allow-unknown-models lets rows name new ones"
            )

    def _find_files(self, model: str, values: dict[str, object], where: str) -> None:
        """Put files in the place of their names, in a row's fields.

        Raises:
            RowError: One cannot be sent.
        """
        known = fields_by_name(model)
        for name in values.keys() - {"prompt", "extra_body"}:
            if name not in known:
                values[name] = with_named_files(
                    name, values[name], lambda text: self._with_files(text, where)
                )
            elif is_media(known[name]):
                values[name] = self._with_files(values[name], where)

    def _size_of(self, model: str, values: Mapping[str, object], where: str) -> Mapping[str, object]:
        """Return the fields of the size that the command line asks for; a row's own goes before it.

        Raises:
            RowError: The model cannot be asked for it.
        """
        if self._size is None or not values.keys().isdisjoint({"width", "height", "aspect_ratio"}):
            return {}
        try:
            return self._size(model)
        except InvalidRequestError as exc:
            raise RowError(f"{where}: {exc}") from exc

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
            raise RowError(f"{where}: {quoted(value)} cannot be looked for: {reason}") from exc
        if is_outside:
            raise RowError(
                f"{where}: {quoted(value)} is outside the folder of the input; --allow-outside allows it"
            )
        if not is_file:
            raise RowError(f"{where}: there is no file {quoted(str(path))}")
        if not os.access(path, os.R_OK):
            raise RowError(f"{where}: {quoted(value)} cannot be read: permission denied")
        return path if self._allow_outside else FileWithin(path, self._folder)


def _good(one: Given | RowError) -> Given:
    if isinstance(one, RowError):
        raise one
    return one


def _check_extra(values: dict[str, object], where: str, *, are_texts: bool) -> None:
    """Check what a row puts into `extra_body`: it reaches the server as it is, and so must not be the operator's.

    Raises:
        RowError: It is not an object, or says where results go, in whose name they are made, or by which model.
    """
    extra = values.get(EXTRA_BODY)
    if extra is None:
        return
    if are_texts and isinstance(extra, str):
        with contextlib.suppress(JSONProblem):
            extra = values[EXTRA_BODY] = json_value(extra)
    if not isinstance(extra, dict):
        raise RowError(f"{where}: {EXTRA_BODY} is not a JSON object")
    for name in extra:
        if is_operators(name) or name == "model":
            raise RowError(f"{where}: {EXTRA_BODY}: {quoted(name)} is not a field of rows: {OPERATORS}")


def _make(
    model: str, fields: Mapping[str, object], where: str, *, are_texts: bool, allow_unknown: bool
) -> ImageRequest:
    typed = {name: _typed(value) for name, value in fields.items()} if are_texts else dict(fields)
    if are_texts and "prompt" in fields:
        typed["prompt"] = fields["prompt"]
    try:
        try:
            return make(model, typed, allow_unknown=allow_unknown and not are_texts)
        except InvalidRequestError as exc:
            # A text that looks like a number, where a text is wanted.
            texts = {path: fields[path] for path, _ in exc.errors if path in fields}
            if not are_texts or not texts:
                raise
            with contextlib.suppress(InvalidRequestError):
                return make(model, {**typed, **texts}, allow_unknown=False)
            return make(model, typed, allow_unknown=allow_unknown)
    except InvalidRequestError as exc:
        wrong = [
            "the prompt is missing: write one"
            if (path, message) == ("prompt", MISSING)
            else f"{printable(path, 60)}: {message}{_not_this(message, typed.get(path))}"
            for path, message in exc.errors[:20]
        ]
        raise RowError(f"{where}: {'; '.join(wrong) or exc}") from exc


def _not_this(message: str, value: object) -> str:
    """Return the value that a field must not have, for the end of a message; nothing where it is long."""
    is_short = isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _MAX_SHOWN_CHARS)
    if not is_short or not message.startswith("Input should"):
        return ""
    return f", not {quoted(str(value))}" if isinstance(value, str) else f", not {value}"


def _typed(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return {"true": True, "false": False}.get(text.lower(), value)


def _with_end(lines: Iterator[bytes]) -> Iterator[bytes | None]:
    yield from lines
    yield None
