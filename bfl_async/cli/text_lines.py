"""Lines of a text file to prompts, and what of them was probably not meant as a prompt.

Each line is a prompt; or, if that is asked for, each paragraph, which blank lines end. A line that begins with `#` is a
comment, and `\\#` begins a prompt with `#`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from bfl_async.cli.words import counted

# A paragraph of more lines is a file without blank lines.
MAX_PARAGRAPH_LINES = 1_000

# Characters at the beginning and at the end of a line that are looked at for hints.
_READ_CHARS = 500

_ENDS_OPEN = re.compile(r"[,;:\\(]$|\b(?:and|or|with|of|the|a|an|in|on|at|by)$", re.IGNORECASE)
_ENDS_CLOSED = (".", "!", "?", "…", "。", '"', "'", ")", "*", "]")
_LIST = re.compile(r"(?:[-*+•–]|\d{1,3}[.)])\s")  # noqa: RUF001 - the dash is one of them
_CODE = re.compile(r"//|/\*|<!--|--\s|;|%|REM\s")
_HEADER = re.compile(r"(?:prompt|id|model|seed|width|height)\s*(?:[,;\t]\s*[\w ]+)*$", re.IGNORECASE)
_QUOTED = re.compile(r"""(["']).*\1,?$""")


class Prompt(NamedTuple):
    """A prompt, and the lines from which it was read; both count."""

    text: str
    first: int
    last: int


class ParagraphError(Exception):
    """A paragraph that is too long to be one."""


class Hints:
    """What lines look like that were probably not meant as prompts: the first of each kind, and how many there are."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, int]] = {}
        self._before: str | None = None
        # Lines of the block between blank lines that goes on, and where it began.
        self._block = self._block_from = 0
        self._blocks = 0
        self._long_block: tuple[int, int] | None = None

    def add(self, line: str, number: int) -> None:
        """Take a line without white space around it; blank ones as well, and no comments."""
        if not line:
            self._end_block()
            self._before = None
            return
        if not self._block:
            self._block_from = number
            self._blocks += 1
        self._block += 1
        for kind in self._kinds_of(line[:_READ_CHARS], number):
            first, count = self._found.get(kind, (number, 0))
            self._found[kind] = first, count + 1
        self._before = line[:1] + line[1:][-_READ_CHARS:]

    def _kinds_of(self, line: str, number: int) -> Iterator[str]:
        before = self._before
        if not any(map(str.isalnum, line)):
            yield "no letters"
        elif _LIST.match(line):
            yield "list"
        elif _CODE.match(line):
            yield "code"
        elif number == 1 and _HEADER.match(line):
            yield "header"
        elif _QUOTED.match(line):
            yield "quotes"
        # Only where the first words of prompts are capital: otherwise each line could be the second half of a prompt.
        goes_on = before is not None and (
            _ENDS_OPEN.search(before) is not None
            or (before[0].isupper() and line[0].islower() and not before.endswith(_ENDS_CLOSED))
        )
        if goes_on:
            yield "goes on"

    def _end_block(self) -> None:
        if self._block > 1 and self._long_block is None:
            self._long_block = self._block_from, self._block
        self._block = 0

    def sentences(self) -> Iterator[str]:
        """Yield one sentence per kind of line, with what to do."""
        self._end_block()
        if self._long_block is not None and self._blocks > 1:
            first, count = self._long_block
            yield (
                f"lines {first} to {first + count - 1} are {count} prompts: --paragraphs makes one prompt of the lines "
                "between blank lines"
            )
        for kind, (first, count) in self._found.items():
            more = f" and {counted(count - 1, 'other')}" if count > 1 else ""
            yield f"line {first}{more} {_LOOKS[kind][count > 1]}"


# What a line of each kind looks like and what to do about it; then the same for several.
_LOOKS = {
    "no letters": (
        "has no letter, and is a prompt: begin it with # to leave it out",
        "have no letter, and are prompts: begin them with # to leave them out",
    ),
    "list": (
        "begins like an item of a list, and its mark is part of the prompt",
        "begin like items of a list, and their marks are part of the prompts",
    ),
    "code": (
        "looks like a comment, and is a prompt: comments begin with #",
        "look like comments, and are prompts: comments begin with #",
    ),
    "header": ("looks like the header of a table: add --format csv or --format tsv",) * 2,
    "quotes": (
        "is in quotes, which are part of the prompt",
        "are in quotes, which are part of the prompts",
    ),
    "goes on": (
        "looks like the second part of the prompt before it: write a prompt on one line, or separate prompts by blank "
        "lines and add --paragraphs",
        "look like parts of the prompts before them: write each prompt on one line, or separate prompts by blank lines "
        "and add --paragraphs",
    ),
}


class TextLines:
    """Takes one line after another, and gives the prompt that it completes.

    Args:
        are_paragraphs: A prompt is the lines up to a blank one.
    """

    def __init__(self, *, are_paragraphs: bool) -> None:
        self._are_paragraphs = are_paragraphs
        self._lines: list[str] = []
        self._first = self._last = 0
        self._hints = Hints()
        self.prompts: int = 0
        self.comments: int = 0
        # The first comment that could be meant as a prompt, such as `#1 in the world`; 0: there is none.
        self._doubtful = 0

    def take(self, line: str, number: int) -> Prompt | None:
        """Take a line; return the prompt that it completes.

        Raises:
            ParagraphError: The paragraph is too long.
        """
        line = line.strip()
        if line.startswith("#"):
            self.comments += 1
            if not self._doubtful and line[1:2].isalnum():
                self._doubtful = number
            return None
        if line.startswith("\\#"):
            line = line[1:]
        if not self._are_paragraphs:
            self._hints.add(line, number)
            self.prompts += bool(line)
            return Prompt(line, number, number) if line else None
        if not line:
            return self.end()
        if not self._lines:
            self._first = number
        self._last = number
        self._lines.append(line)
        if len(self._lines) > MAX_PARAGRAPH_LINES:
            self._lines = []
            raise ParagraphError(
                f"the paragraph that begins in line {self._first} has more than {MAX_PARAGRAPH_LINES:,} lines: "
                "separate prompts by blank lines, or leave out --paragraphs"
            )
        return None

    def end(self) -> Prompt | None:
        """Take the end; return the prompt that it completes."""
        if not self._lines:
            return None
        self.prompts += 1
        text, self._lines = "\n".join(self._lines), []
        return Prompt(text, self._first, self._last)

    def sentences(self) -> Iterator[str]:
        """Yield how the text was read, and what of it was probably not meant so."""
        unit = "paragraph" if self._are_paragraphs else "line"
        comments = f"; {counted(self.comments, 'comment')} left out" if self.comments else ""
        yield f"text with {counted(self.prompts, 'prompt')}, one per {unit}{comments}"
        yield from self._hints.sentences()

    def warnings(self) -> Iterator[str]:
        """Yield what was left out and may have been meant as a prompt."""
        if self._doubtful:
            yield f"line {self._doubtful} begins with # and is a comment: \\# begins a prompt with #"
