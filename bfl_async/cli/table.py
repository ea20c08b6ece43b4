"""Records of CSV and TSV from one line after another, in time and memory in proportion to what is read."""

from __future__ import annotations

from typing import Literal, NamedTuple, NoReturn, TypeAlias

from bfl_async.cli.files import MAX_LINE_BYTES

Delimiter: TypeAlias = Literal[",", ";", "\t"]

MAX_RECORD_LINES = 1_000
"""Lines of one record. A longer one is a quote that somebody forgot to close."""

CARRIAGE_RETURN = (
    "it holds a carriage return within a line, which ended lines on old Macs: save the file with line feeds"
)


class Record(NamedTuple):
    """One record, and the lines from which it was read; both count."""

    cells: list[str]
    first: int
    last: int


class RecordError(Exception):
    """Lines that are not a record.

    Attributes:
        is_hopeless: Nobody can say where the next record would begin.
    """

    def __init__(self, problem: str, first: int, last: int, *, is_hopeless: bool = False) -> None:
        super().__init__(problem)
        self.first = first
        self.last = last
        self.is_hopeless = is_hopeless


class TableReader:
    """Takes one line after another, and returns the record that it completes.

    A quote opens a quoted cell only where it begins a cell; anywhere else it is part of the text, as in `a 6" nail`.
    Within quotes, two quotes are one. A quoted cell of CSV may hold line ends; a record of TSV is one line.
    Each character is looked at once.
    """

    def __init__(self, delimiter: Delimiter) -> None:
        self._delimiter = delimiter
        # Lines that were taken.
        self._number = 0
        self._first = 0
        self._cells: list[str] = []
        # The quoted cell that is open, and the line in which it was opened; 0: none is.
        self._parts: list[str] = []
        self._opened = 0
        self._bytes = 0

    def take(self, line: str, number: int) -> Record | None:
        """Take a line with its end; return the record that it completes, None if a quote is open.

        Args:
            number: Of the line in its file.
        Raises:
            RecordError: It is not part of a record. The next line begins a new one.
        """
        self._number = number
        if not self._opened:
            self._first = number
        if self._delimiter == "\t":
            self._cells = [self._tsv_cell(cell) for cell in self._checked(line.rstrip("\r\n")).split("\t")]
        elif not self._take_cells(line if line.endswith("\n") else line + "\n"):
            return None
        cells, self._cells, self._bytes = self._cells, [], 0
        return Record(cells, self._first, number)

    def end(self) -> None:
        """Take the end of the input.

        Raises:
            RecordError: A quote is open.
        """
        if self._opened:
            self._fail(f"the quote opened in line {self._opened} is not closed up to the end of the input")

    def _take_cells(self, line: str) -> bool:
        """Take the cells of a line of CSV; return whether they complete a record."""
        content = line.rstrip("\r\n")
        end = len(content)
        at = 0
        while True:
            if self._opened or line[at] == '"':
                if not self._opened:
                    self._opened = self._number
                    at += 1
                closed = self._take_quoted(line, at)
                if closed is None:
                    self._check_bounds(line)
                    return False
                at = closed
                if at < end and line[at] != self._delimiter:
                    self._fail(
                        CARRIAGE_RETURN
                        if line[at] == "\r"
                        else f"text follows the end of the cell whose quote was opened in line {self._opened}; a "
                        "quote within a quoted cell is written twice"
                    )
                self._opened = 0
            else:
                start, at = at, content.find(self._delimiter, at)
                if at < 0:
                    at = end
                self._cells.append(self._checked(content[start:at]))
            if at >= end:
                return True
            at += 1

    def _take_quoted(self, line: str, at: int) -> int | None:
        """Take the rest of a quoted cell; return where it ended, None if it did not."""
        start = at
        while (quote := line.find('"', at)) >= 0:
            if not line.startswith('"', quote + 1):
                self._parts.append(line[start:quote])
                self._cells.append("".join(self._parts))
                self._parts = []
                return quote + 1
            self._parts.append(line[start : quote + 1])
            start = at = quote + 2
        self._parts.append(line[start:])
        return None

    def _check_bounds(self, line: str) -> None:
        self._bytes += len(line.encode()) if not line.isascii() else len(line)
        if self._bytes > MAX_LINE_BYTES:
            self._fail(
                f"the quote opened in line {self._opened} is not closed within {MAX_LINE_BYTES} bytes",
                is_hopeless=True,
            )
        if self._number - self._first + 1 >= MAX_RECORD_LINES:
            self._fail(
                f"the quote opened in line {self._opened} is not closed within {MAX_RECORD_LINES} lines",
                is_hopeless=True,
            )

    def _tsv_cell(self, cell: str) -> str:
        """Return the text of a cell of TSV.

        Spreadsheets write quotes around some cells, other tools around none. A cell that is quoted as a whole is
        unquoted; where more follows the second quote, both are part of the text.
        """
        if not cell.startswith('"'):
            return cell
        at = 1
        while (at := cell.find('"', at)) >= 0:
            if not cell.startswith('"', at + 1):
                return cell[1:-1].replace('""', '"') if at == len(cell) - 1 else cell
            at += 2
        self._fail(
            f"a cell begins with a quote, opened in line {self._number}, that it does not close: a cell of TSV holds "
            "neither tabs nor line ends; save the file as CSV"
        )

    def _checked(self, text: str) -> str:
        if "\r" in text:
            self._fail(CARRIAGE_RETURN)
        return text

    def _fail(self, problem: str, *, is_hopeless: bool = False) -> NoReturn:
        self._cells, self._parts, self._opened, self._bytes = [], [], 0, 0
        raise RecordError(problem, self._first, self._number, is_hopeless=is_hopeless)
