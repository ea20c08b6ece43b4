"""The one filter for foreign text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bfl_async.runtime.text import MAX_TEXT, escaped, printable
from tests.nasty import NASTY, RAW


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_whatever_comes_is_one_bounded_line_that_can_be_printed(text: str) -> None:
    """No control character, no line end, no half of a pair, and no more than the limit."""
    line = printable(text)
    assert RAW.search(line) is None
    assert len(line.splitlines()) <= 1
    assert len(line) <= MAX_TEXT
    line.encode()


@given(st.text(st.characters(categories=None)), st.integers(1, 300))
def test_any_text_becomes_one_line_within_the_limit(text: str, limit: int) -> None:
    """Also text that no encoding knows."""
    line = printable(text, limit)
    assert len(line) <= limit
    assert RAW.search(line) is None
    assert not any(end in line for end in "\n\r\t\x0b\x0c")
    line.encode()


@pytest.mark.parametrize(
    "text", ["a fox", "Mädchen mit Perlenohrring", "赤い狐 🦊", "👩\u200d🚀 in a suit", "50 % {x} [y]"]
)
def test_ordinary_text_of_every_script_stays_as_it_is(text: str) -> None:
    """Joined emoji included."""
    assert printable(text) == escaped(text) == text


def test_what_is_escaped_can_be_read() -> None:
    """The escapes are those of Python."""
    assert printable("a\x1bb\u202ec\U000e0041d") == "a\\x1bb\\u202ec\\U000e0041d"
    assert printable(" two  spaces\nand lines ") == "two spaces and lines"


def test_what_is_cut_off_is_marked() -> None:
    """An ellipsis stands for it, whether it is text or white space alone."""
    assert printable("x" * 300) == "x" * 199 + "…"
    assert printable("abc" + " " * 1000 + "d", 5) == "abc…"
    assert printable("x" * 200) == "x" * 200


def test_the_time_depends_on_the_limit_and_not_on_the_text() -> None:
    """Text of a server may have any size."""
    text = "\x1b " * 20_000_000
    began = time.process_time()
    printable(text)
    assert time.process_time() - began < 0.05
