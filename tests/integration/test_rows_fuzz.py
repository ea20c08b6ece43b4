"""Generated files of rows, read as Python's `csv` and `json` read them: the same rows, or an error at its line."""

from __future__ import annotations

import contextlib
import csv
import gc
import json
import random
import time
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bfl_async.cli.files import InputError
from bfl_async.cli.formats import Kind
from bfl_async.cli.rows import Rows

pytestmark = pytest.mark.slow

FILES = 5_000
"""For each of the four formats of lines."""

Row = Mapping[str, object]
Expected = tuple[list[Row], str | tuple[str, str] | None]
"""The rows before the first one that is bad, and the lines (one of two) that its message names; None: all are good."""


def read(path: Path, kind: Kind, data: bytes, template: str | None) -> tuple[list[Row], str | None]:
    """The bodies that are made of a file, and the message."""
    path.write_bytes(data)
    rows = Rows(
        str(path), kind, model="flux-dev", fields={}, folder=path.parent, allow_outside=False, columns={},
        prompt=template, repeat=1, no_prompt=True,
    )  # fmt: skip
    found: list[Row] = []
    try:
        for one in rows.check():
            assert not isinstance(one, tuple)
            found.append(one.body())
    except InputError as exc:
        return found, exc.message
    return found, None


def check(path: Path, kind: Kind, data: bytes, expected: Expected, template: str | None = None) -> None:
    found, message = read(path, kind, data, template)
    given, lines = expected
    # A row without a prompt, or with one of invisible marks, is sent with an empty one, as `--no-prompt` asks for.
    rows = [{**row, "prompt": visible(str(row.get("prompt", "")))} for row in given]
    shown = (data, found, message, expected)
    # What follows a bad row may be read as well, to name all that is wrong; nothing is sent of such a file.
    assert found[: len(rows)] == rows, shown
    if lines is None and rows:
        assert (len(found), message) == (len(rows), None), shown
    else:
        assert message is not None, shown
        either = lines if isinstance(lines, tuple) else (lines or "holds no prompt",)
        assert any(each in message for each in either), shown


def visible(text: str) -> str:
    """The text; "" if it has no visible character."""
    return text if any(unicodedata.category(char)[0] not in "ZC" for char in text) else ""


def lines_of(data: bytes) -> list[bytes]:
    return [line + b"\n" for line in data.split(b"\n")[:-1]] + [
        last for last in [data.split(b"\n")[-1]] if last
    ]


def named(first: int, last: int) -> str:
    return f"line {first} of" if first == last else f"lines {first} to {last} of"


def text_of(line: bytes, number: int) -> str | None:
    """The text of a line; None if it is not text."""
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


# --- what is to come of a file --------------------------------------------------------------------------


def csv_rows(data: bytes) -> Expected:
    """By Python's `csv`, which is asked record after record."""
    texts: list[str] = []
    for number, line in enumerate(lines_of(data), start=1):
        text = text_of(line, number)
        if text is None:
            break
        texts.append(text)
    bad_line = len(texts) + 1 if len(texts) < len(lines_of(data)) else None
    reader = csv.reader(texts, strict=True)
    rows: list[Row] = []
    has_header = False
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return rows, None if bad_line is None else named(bad_line, bad_line)
        except csv.Error:
            # A record whose quote is open where the texts end goes on in the line that is not text.
            if bad_line is not None and reader.line_num == len(texts):
                return rows, named(bad_line, bad_line)
            return rows, named(first, reader.line_num)
        if not any(map(str.strip, cells)):
            continue
        if not has_header:
            has_header = True
        elif len(cells) > 3:
            return rows, named(first, reader.line_num)
        else:
            rows.append({"prompt": "|".join([*cells, "", ""][:3])})


def tsv_rows(data: bytes) -> Expected:
    """By Python's `csv` as well, which is asked cell after cell: what it cannot unquote is the text itself."""
    rows: list[Row] = []
    has_header = False
    for number, line in enumerate(lines_of(data), start=1):
        where = named(number, number)
        text = text_of(line, number)
        if text is None or "\r" in text.rstrip("\r\n"):
            return rows, where
        cells: list[str] = []
        for cell in text.rstrip("\r\n").split("\t"):
            try:
                cells += next(csv.reader([cell], delimiter="\t", strict=True), []) or [""]
            except csv.Error as exc:
                if "unexpected end" in str(exc):
                    return rows, where
                cells.append(cell)
        if not any(map(str.strip, cells)):
            continue
        if not has_header:
            has_header = True
        elif len(cells) > 3:
            return rows, where
        else:
            rows.append({"prompt": "|".join([*cells, "", ""][:3])})
    return rows, None


def body_of(value: object) -> Row | None:
    """The body of a row of JSON; None if it is bad."""
    row = {"prompt": value} if isinstance(value, str) else value
    if not isinstance(row, dict) or not row.keys() <= {"prompt", "seed"}:
        return None
    prompt, seed = row.get("prompt", ""), row.get("seed")
    if not isinstance(prompt, str) or "\0" in prompt or _has_halves(prompt):
        return None
    if isinstance(seed, float) and seed.is_integer() and abs(seed) <= 2**53:
        seed = int(seed)
    if isinstance(seed, bool) or not isinstance(seed, int | None):
        return None
    return row | ({"seed": seed} if "seed" in row else {})


def _has_halves(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("twice")
    return dict(pairs)


def jsonl_rows(data: bytes) -> Expected:
    rows: list[Row] = []
    for number, line in enumerate(lines_of(data), start=1):
        text = text_of(line, number)
        if text is not None and not text.strip():
            continue
        body = None
        with contextlib.suppress(ValueError):
            body = None if text is None else body_of(json.loads(text, object_pairs_hook=_once))
        if body is None:
            return rows, named(number, number)
        rows.append(body)
    return rows, None


def json_rows(data: bytes) -> Expected:
    """Of a bad element the row is named, of what is not JSON the line."""
    text = data.decode("utf-8-sig")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as exc:
        if not text.strip():
            return [], None
        # Elements before the fault are rows already; how many is not asked here.
        line = exc.lineno
        if exc.msg.startswith("Illegal trailing comma"):
            # Python 3.13 names the comma, versions before it what stands where a value is missing.
            rest = text[exc.pos + 1 :]
            later = line + rest[: len(rest) - len(rest.lstrip())].count("\n")
            return [], (named(line, line), named(later, later))
        return [], named(line, line)
    rows: list[Row] = []
    for number, element in enumerate(value if isinstance(value, list) else [value], start=1):
        body = body_of(element)
        if body is None:
            return rows, f"row {number} ("
        rows.append(body)
    return rows, None


def text_rows(data: bytes) -> Expected:
    rows: list[Row] = []
    for number, line in enumerate(lines_of(data), start=1):
        text = text_of(line, number)
        if text is None or "\r" in text.rstrip("\r\n"):
            return rows, named(number, number)
        if text.strip():
            rows.append({"prompt": text.strip()})
    return rows, None


# --- files ----------------------------------------------------------------------------------------------

PIECES = [
    "a",
    "b ",
    "é",
    "🦊",
    " ",
    '6" nail',
    '"',
    '""',
    '"""',
    '"q"',
    '"two\nlines"',
    "\n",
    "\n",
    "\r\n",
    "\x0b",
    "\u2028",
]
RARE = [b"\r", b"\xe9", b"\0", b"\xff\xfe", b"\x1b", b"\n\n\n", b"\xf0\x9f"]


def table(rng: random.Random, mark: str) -> bytes:
    pieces = [*PIECES, mark, mark, mark]
    data = "".join(rng.choice(pieces) for _ in range(rng.randint(0, 40))).encode()
    return spoiled(rng, data, f"a{mark}b{mark}c\n".encode())


def spoiled(rng: random.Random, data: bytes, head: bytes = b"") -> bytes:
    """Some bytes that are no text, in one file of six; a mark of the byte order in one of ten."""
    if rng.random() < 1 / 6:
        at = rng.randint(0, len(data))
        data = data[:at] + rng.choice(RARE) + data[at:]
    return (b"\xef\xbb\xbf" if rng.random() < 0.1 else b"") + head + data


JSON_VALUES: list[Callable[[random.Random], object]] = [
    lambda rng: {"prompt": "".join(rng.choice(PIECES) for _ in range(rng.randint(0, 5)))},
    lambda rng: {"prompt": "x", "seed": rng.choice([1, 2.0, -3, None, 2**40, 1.5, "1", True, [1], 1e20])},
    lambda rng: rng.choice(["a", 'b "c"', "é", "[", "{}", "\\"]),
    lambda rng: rng.choice([{"prompt": 1}, {"seed": 1}, {"prompt": "x", "y": {"z": []}}, 7, None, [], {}]),
    lambda rng: {"prompt": rng.choice(["half \ud83e", "\udd8a", "nul \0", "\x1b[2J", "\u202e"])},
]


def element(rng: random.Random) -> str:
    """A value of JSON, good four times of five; rarely one that is spoiled, or that has a name twice."""
    weights = [8, 4, 4, 1, 0.5]
    (make,) = rng.choices(JSON_VALUES, weights)
    # A lone half of a pair can only be written with an escape.
    text = json.dumps(make(rng), ensure_ascii=True)
    if rng.random() < 0.04 and text:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(["", ",", '"', "}", "\\", "\t", "x"]) + text[at + 1 :]
    return text


def json_lines(rng: random.Random) -> bytes:
    lines = [element(rng) for _ in range(rng.randint(0, 6))]
    if rng.random() < 0.05:
        lines.append('{"prompt": "a", "prompt": "b"}')
    return spoiled(
        rng,
        "".join(line + rng.choice(["\n", "\r\n", " \n", "\n\n"]) for line in lines).encode(),
        b'"first"\n',
    )


def json_text(rng: random.Random) -> bytes:
    def space() -> str:
        return rng.choice(["", " ", "\n", "\r\n  ", "\n\n\t"])

    elements = [space() + element(rng) + space() for _ in range(rng.randint(0, 6))]
    text = f"{space()}[{','.join(elements)}]{space()}" if rng.random() < 0.9 else "".join(elements[:2])
    if rng.random() < 0.1 and text:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(["", "]", "[", ",", "\n"]) + text[at + 1 :]
    return text.encode()


def plain(rng: random.Random) -> bytes:
    return spoiled(rng, "".join(rng.choice(PIECES) for _ in range(rng.randint(0, 30))).encode(), b"first\n")


FORMATS: list[tuple[Kind, Callable[[random.Random], bytes], Callable[[bytes], Expected], str | None]] = [
    ("csv", lambda rng: table(rng, ","), csv_rows, "{a}|{b}|{c}"),
    ("tsv", lambda rng: table(rng, "\t"), tsv_rows, "{a}|{b}|{c}"),
    ("jsonl", json_lines, jsonl_rows, None),
    ("text", plain, text_rows, None),
    ("json", json_text, json_rows, None),
]


@pytest.mark.parametrize(("kind", "make", "expect", "template"), FORMATS, ids=[one[0] for one in FORMATS])
@pytest.mark.timeout(300)
def test_rows_are_those_that_pythons_readers_find(
    tmp_path: Path,
    kind: Kind,
    make: Callable[[random.Random], bytes],
    expect: Callable[[bytes], Expected],
    template: str | None,
) -> None:
    """No row is lost, joined or made up; a file that is refused says in which line."""
    counts = [0, 0]
    for number in range(FILES):
        data = make(random.Random(f"{kind} {number}"))
        expected = expect(data)
        check(tmp_path / "rows", kind, data, expected, template)
        counts[expected[1] is None] += 1
    # Neither all good nor all bad: both sides were tried.
    assert min(counts) > FILES / 20


# --- time -----------------------------------------------------------------------------------------------


def _lines(head: str, line: str) -> Callable[[int], str]:
    return lambda count: head + line * count


GROWING: dict[str, tuple[Kind, Callable[[int], str]]] = {
    "inch marks": ("csv", _lines("prompt,note\n", 'a 6" nail,b"c\n')),
    "quoted": ("csv", _lines("prompt,note\n", '"a ""b"", c",d\n')),
    "long records": ("csv", _lines("prompt,note\n", '"' + "a\n" * 500 + '",b\n')),
    "one long cell": ("csv", lambda count: 'prompt\n"' + 'x""y, ' * count + '"\n'),
    "many cells": ("csv", lambda count: "prompt\n" + "," * count + "\n"),
    "wide header": ("csv", lambda count: "," * count + "prompt\na\n"),
    "bad rows": ("csv", _lines("prompt,note\n", '"a"b,c\n')),
    "tsv": ("tsv", _lines("prompt\tnote\n", '"a ""b"""\t"c" d\n')),
    "json array": ("json", lambda count: "[" + '{"prompt": "a"},\n' * count + '"b"]'),
    "one object": (
        "jsonl",
        lambda count: "{" + "".join(f'"k{n}": 1, ' for n in range(count)) + '"k1": 2, "k1": 3}',
    ),
    "one list": ("jsonl", lambda count: '{"prompt": [' + "[],\n".strip() * count + "1]}"),
    "text": ("text", _lines("", "a cat\n")),
}
"""Files that grow with a number, of every shape that could take more than its part of the time."""

SMALL = {
    "long records": 40,
    "one long cell": 40_000,
    "many cells": 100_000,
    "wide header": 100_000,
    "one list": 20_000,
}


def _seconds(path: Path, kind: Kind, data: bytes) -> float:
    def once() -> float:
        began = time.process_time()
        read(path, kind, data, None)
        return time.process_time() - began

    # The collector's time depends on what other tests left in the process.
    gc.collect()
    gc.disable()
    try:
        return min(once() for _ in range(3))
    finally:
        gc.enable()


@pytest.mark.alone
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", GROWING)
def test_time_grows_with_the_file_and_no_faster(tmp_path: Path, shape: str) -> None:
    """Eight times the file takes eight times the time; where every line looked back, it would be sixty-four."""
    kind, make = GROWING[shape]
    count = SMALL.get(shape, 2_500)
    once, eight = (_seconds(tmp_path / "rows", kind, make(count * factor).encode()) for factor in (1, 8))
    assert eight < 24 * max(once, 0.005), (once, eight)


def test_an_open_quote_costs_no_more_than_its_bound(tmp_path: Path) -> None:
    """A million lines behind one are neither kept nor read."""
    data = b'prompt\n"a\n' + b"b\n" * 1_000_000
    began = time.process_time()
    found, message = read(tmp_path / "rows", "csv", data, None)
    assert message is not None
    assert "the quote opened in line 2 is not closed within 1000 lines" in message
    assert found == []
    assert time.process_time() - began < 2
