"""Lines of an input to its rows: text, JSON, JSON lines, CSV and TSV. What is wrong with one is in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

from bfl_async.cli.files import MAX_LINE_BYTES, InputError
from bfl_async.cli.formats import Elements, JSONProblem, Kind, foreign_format, json_text, json_value
from bfl_async.cli.row_columns import Columns
from bfl_async.cli.row_names import RowError, quoted
from bfl_async.cli.table import CARRIAGE_RETURN, Record, RecordError, TableReader
from bfl_async.cli.text_lines import ParagraphError, Prompt, TextLines

_MAX_DEPTH = 100
# Halves of surrogate pairs, which no encoding has, and the character that no name of a file has.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_END = object()


@dataclass(frozen=True, slots=True)
class Row:
    """What a row says, and where it stands, for messages."""

    values: Mapping[str, object]
    where: str
    # Of a table: the values are texts, of which numbers are to be read.
    are_texts: bool


class RowReader:
    """Takes one line after another, and gives the rows that they complete.

    Args:
        shown: The input's name, for messages.
        is_guessed: Nobody said that it is text, neither the caller nor its name.
        text: Makes prompts of lines of text. None: each line is one.
    """

    def __init__(
        self,
        shown: str,
        kind: Kind,
        columns: Columns,
        *,
        is_guessed: bool,
        text: TextLines | None = None,
    ) -> None:
        self._text = text if text is not None else TextLines(are_paragraphs=False)
        self._shown = shown
        self._kind: Kind = kind
        self._columns = columns
        self._is_guessed = is_guessed
        # Of lines.
        self._number = 0
        # Of rows, without the header; refused ones count.
        self._row_number = 0
        self._header: list[str] | None = None
        self._table = TableReader("\t") if kind == "tsv" else None
        # The lines of a JSON text, which is read at its end, and their bytes.
        self._json: list[bytes] = []
        self._json_bytes = 0
        self._found = False
        # True once what follows cannot be read either.
        self.is_hopeless: bool = False

    def take(self, line: bytes | None) -> Iterator[Row | RowError]:
        """Yield the rows that a line completes, and in the place of a bad row what is wrong with it.

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
                    if self._kind in ("json", "jsonl"):
                        _check_texts(row, where)
                    yield Row(row, where, are_texts)
                except RowError as exc:
                    yield exc
        except RowError as exc:
            yield exc
        if line is None and not self._found and not self.is_hopeless:
            raise InputError(f"{self._shown} holds no prompt: write one per line")

    def _rows_of(self, line: bytes | None) -> Iterator[tuple[object, str, bool]]:
        """Yield the rows that a line completes, where each stands, and whether it is a mapping of texts.

        Raises:
            RowError: It is not a row.
        """
        if line is None:
            yield from self._rows_at_end()
            return
        self._number += 1
        where = f"line {self._number} of {self._shown}"
        self._check_line(line, where)
        if self._kind == "json":
            self._take_json(line)
            return
        try:
            text = _decode(line, self._number, where)
        except RowError:
            # The next line would be taken for the header.
            self.is_hopeless = self._kind in ("csv", "tsv") and self._header is None
            raise
        if self._kind == "text":
            try:
                found = self._text.take(_without_end(text, where), self._number)
            except ParagraphError as exc:
                self.is_hopeless = True
                raise RowError(f"{self._shown}: {exc}") from None
            yield from self._prompt(found)
        elif self._kind == "jsonl":
            if text.strip():
                self._found = True
                try:
                    value = json_value(text)
                except JSONProblem as exc:
                    raise RowError(f"{where} is not JSON: {exc}") from None
                yield value, where, False
        elif (record := self._record(text)) is not None:
            yield from self._take_record(record)

    def _rows_at_end(self) -> Iterator[tuple[object, str, bool]]:
        if self._kind == "json":
            yield from self._json_rows()
        elif self._kind == "text":
            yield from self._prompt(self._text.end())
        elif self._table is not None:
            with self._named():
                self._table.end()

    def _prompt(self, found: Prompt | None) -> Iterator[tuple[object, str, bool]]:
        if found is not None:
            yield {"prompt": found.text}, self._where(found.first, found.last, 0), False

    def _check_line(self, line: bytes, where: str) -> None:
        if (
            self._number == 1
            and (problem := foreign_format(line, self._kind, is_guessed=self._is_guessed)) is not None
        ):
            self.is_hopeless = True
            raise RowError(f"{self._shown} {problem}")
        if len(line) > MAX_LINE_BYTES:
            # The rest of it would be taken for lines of their own.
            self.is_hopeless = True
            raise RowError(f"{where} is longer than {MAX_LINE_BYTES} bytes")

    def _record(self, text: str) -> Record | None:
        """Return the record that a line of a table completes."""
        if self._table is None:
            if not text.strip():
                return None
            # What spreadsheets write before the header.
            if self._number == 1 and (said := re.fullmatch(r"sep=([,;])", text.strip())) is not None:
                self._table = TableReader(";" if said[1] == ";" else ",")
                return None
            self._table = TableReader(self._columns.delimiter_of(text))
        with self._named():
            return self._table.take(text, self._number)

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
        where = f"{lines} of {self._shown}"
        return where if self._header is None else f"row {row_number} ({where})"

    def _take_json(self, line: bytes) -> None:
        if self._json and not self._json[-1].endswith(b"\n"):
            # Lines of a pipe come without their ends.
            self._json.append(b"\n")
        self._json.append(line)
        self._json_bytes += len(line)
        if self._json_bytes > MAX_LINE_BYTES:
            self.is_hopeless = True
            raise RowError(f"{self._shown} is longer than {MAX_LINE_BYTES} bytes: write JSON lines")

    def _json_rows(self) -> Iterator[tuple[object, str, bool]]:
        shown = self._shown
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
            where = self._where(record.first, record.last, 0)
            # Without a good header nothing that follows can be read.
            self.is_hopeless = True
            self._header = [cell.strip() for cell in cells]
            self._columns.check(self._header, self._kind, where)
            self.is_hopeless = False
            return
        self._row_number += 1
        where = self._where(record.first, record.last, self._row_number)
        if len(cells) > len(self._header):
            raise RowError(
                f"{where}: it has {len(cells)} columns, and the header {len(self._header)}: put a cell that has the "
                "separator in it in double quotes"
            )
        cells += [""] * (len(self._header) - len(cells))
        yield dict(zip(self._header, cells, strict=True)), where, True


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
                raise RowError(f"{where}: {quoted(near)} holds {what}, which is not text")
        elif value and isinstance(value, dict | list):
            if len(levels) > _MAX_DEPTH:
                raise RowError(f"{where}: it is nested more than {_MAX_DEPTH} deep")
            levels.append(chain.from_iterable(value.items()) if isinstance(value, dict) else iter(value))


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
        raise RowError(f"{where} is not UTF-8 text: give a text file with one prompt per line")
    return text
