"""Every line of an input is in a request or in a message; nothing that changes what is paid for is dropped."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from bfl_async.cli import table as table_module
from bfl_async.cli.files import InputError
from bfl_async.cli.rows import Kind, Rows


def rows_of(
    folder: Path,
    kind: Kind,
    data: str | bytes,
    *,
    columns: dict[str, str] | None = None,
    prompt: str | None = None,
    ignore: Sequence[str] = (),
) -> Rows:
    path = folder / "rows"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return Rows(
        str(path), kind, model="flux-dev", fields={}, folder=folder, allow_outside=False, columns=columns or {},
        prompt=prompt, repeat=1, ignore=ignore, no_prompt=True,
    )  # fmt: skip


def bodies(rows: Rows) -> list[dict[str, object]]:
    return [dict((one[1] if isinstance(one, tuple) else one).body()) for one in rows.check()]


def prompts(rows: Rows) -> list[object]:
    return [body["prompt"] for body in bodies(rows)]


def message(rows: Rows) -> str:
    with pytest.raises(InputError) as caught:
        bodies(rows)
    return caught.value.message


# --- CSV has one reader ---------------------------------------------------------------------------------


def test_csv_is_read_as_pythons_csv_reads_it(tmp_path: Path) -> None:
    """Quotes within cells, doubled quotes, line ends within quotes, and what cannot be read: 400 random files."""
    pieces = ['"', '""', "a", "b ", ",", "\n", "\r\n", '5"', '"x"', '"y\n"', "é", " "]
    for number in range(400):
        rng = random.Random(number)
        text = "prompt,note,other\n" + "".join(rng.choice(pieces) for _ in range(rng.randint(1, 40)))
        try:
            expected = [
                row
                for row in list(csv.reader(io.StringIO(text, newline=""), strict=True))[1:]
                if any(map(str.strip, row))
            ]
        except csv.Error:
            expected = None
        rows = rows_of(tmp_path, "csv", text)
        if expected is None or any(len(row) > 3 for row in expected) or not expected:
            assert message(rows), f"file {number}"
        else:
            # A blank prompt is sent as an empty one.
            found = [body["prompt"] for body in bodies(rows)]
            assert found == [row[0] if row[0].strip() else "" for row in expected], f"file {number}"


def test_a_quote_within_a_cell_joins_no_rows(tmp_path: Path) -> None:
    """As in measures of screens and of people."""
    text = 'prompt,note\na 27" screen,x\n"a ""man""",y\n6\' 2" tall,z\n'
    assert prompts(rows_of(tmp_path, "csv", text)) == ['a 27" screen', 'a "man"', "6' 2\" tall"]


def test_every_bad_record_has_the_number_that_it_has_in_the_file(tmp_path: Path) -> None:
    """Also behind one that cannot be read, and one of several lines."""
    says = message(rows_of(tmp_path, "csv", 'prompt,width\n"a"b,1\n"c\nd",7\ne,512\nf,8\n'))
    for part in ("row 1 (line 2 of", "row 2 (lines 3 to 4 of", "row 4 (line 6 of"):
        assert part in says
    assert "row 3" not in says


def test_a_quote_that_stays_open_is_named_where_it_was_opened(tmp_path: Path) -> None:
    """Also where it is not in the first line of its record, and however much follows."""
    says = message(rows_of(tmp_path, "csv", 'prompt,note\n"a\nb",c\n"d\ne","f\n' + 'g ""h"",i\n' * 20))
    assert "row 2 (lines 4 to 25 of" in says
    assert "the quote opened in line 5 is not closed up to the end of the input" in says
    says = message(rows_of(tmp_path, "csv", 'prompt\na\n"b\n' + "c\n" * 5_000))
    assert "row 2 (lines 3 to 1002 of" in says
    assert "the quote opened in line 3 is not closed within 1000 lines" in says
    says = message(rows_of(tmp_path, "csv", 'prompt,note\nx,"tall\n"wide man",y\nz,"q"r\n'))
    assert "row 1 (lines 2 to 3 of" in says
    assert "text follows the end of the cell whose quote was opened in line 2" in says
    assert "text follows the end of the cell whose quote was opened in line 4" in says


def test_a_record_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open quote does not gather a file of any size in memory; what follows is not taken for rows."""
    monkeypatch.setattr(table_module, "MAX_LINE_BYTES", 1_000)
    says = message(rows_of(tmp_path, "csv", 'prompt\na\n"b\n' + "c\n" * 2_000))
    assert "row 3" not in says
    assert "row 2 (lines 3 to 502 of" in says
    assert "the quote opened in line 3 is not closed within 1000 bytes" in says


def test_a_cell_may_hold_an_image(tmp_path: Path) -> None:
    """Longer than `csv` takes by itself."""
    (body,) = bodies(rows_of(tmp_path, "csv", f'prompt\n"{"long " * 60_000}"\n'))
    assert len(str(body["prompt"])) > 131_072


# --- columns --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "near"),
    [
        ("promt,seed", "prompt"),
        ("prompt,hieght", "height"),
        ("Prompt,sed", "seed"),
        ("prompt,Safety Tolerence", "safety_tolerance"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_column_that_is_almost_a_field_is_refused(
    tmp_path: Path, kind: Kind, header: str, near: str
) -> None:
    """It would be paid for without that field. The message says what to do in each case."""
    text = f"{header}\na,512\n".replace(",", "," if kind == "csv" else "\t")
    says = message(rows_of(tmp_path, kind, text))
    assert f"did you mean {near!r}? Rename it" in says
    assert "--ignore-column" in says


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    """Also a field that is set in another way; not the empty one that a comma at the end makes."""
    rows = rows_of(
        tmp_path, "csv", "Caption,prompt,Category,seed,\na,b,c,1,\n", columns={"prompt": "Caption"}
    )
    assert bodies(rows) == [{"prompt": "a", "seed": 1}]
    assert rows.ignored == ["prompt", "Category"]
    rows = rows_of(tmp_path, "csv", "animal,prompt\ncat,x\n", prompt="a {animal}")
    assert (bodies(rows), rows.ignored) == ([{"prompt": "a cat"}], ["prompt"])


def test_a_column_can_be_ignored_on_purpose(tmp_path: Path) -> None:
    """Whether it is a field or almost one; one that is not there is a mistake."""
    text = "prompt,seed,hight\na,1,2\n"
    assert bodies(rows_of(tmp_path, "csv", text, ignore=["hight", "seed"])) == [{"prompt": "a"}]
    assert "no column steps" in message(rows_of(tmp_path, "csv", text, ignore=["steps", "hight"]))


def test_no_value_replaces_another_without_a_word(tmp_path: Path) -> None:
    """Two columns of one field, one name twice in an object; one column may be two fields."""
    assert "are both the field 'safety_tolerance'" in message(
        rows_of(tmp_path, "csv", "prompt,Safety Tolerance,safety_tolerance\na,1,2\n")
    )
    assert "has 'prompt' twice" in message(rows_of(tmp_path, "jsonl", '{"prompt": "a", "prompt": "b"}\n'))
    rows = rows_of(tmp_path, "csv", "x\na cat\n", columns={"prompt": "x", "id": "x"})
    (pair,) = list(rows.check())
    assert isinstance(pair, tuple)
    assert (pair[0], pair[1].body()["prompt"]) == ("a cat", "a cat")


# --- encodings and line ends ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "jsonl", "csv", "tsv"])
@pytest.mark.parametrize(
    ("encoding", "says"),
    [
        ("utf-16", "is UTF-16 (which"),
        ("utf-16-be", "is UTF-16 text"),
        ("utf-16-le", "is UTF-16 text"),
        ("utf-32", "is UTF-32 text"),
        ("cp1252", "perhaps it is Windows-1252"),
    ],
)
def test_an_encoding_that_is_not_utf8_is_named(tmp_path: Path, kind: Kind, encoding: str, says: str) -> None:
    """In place of 'holds no prompt', which would hide it."""
    text = {"jsonl": '{"prompt": "a café"}\n'}.get(kind, "prompt\na café\n")
    found = message(rows_of(tmp_path, kind, text.encode(encoding)))
    assert says in found
    assert "holds no prompt" not in found


@pytest.mark.parametrize("kind", ["text", "jsonl", "csv", "tsv"])
def test_line_ends_that_are_carriage_returns_are_named(tmp_path: Path, kind: Kind) -> None:
    """Neither one prompt of many lines nor an empty file."""
    text = '{"prompt": "a"}\r{"prompt": "b"}\r' if kind == "jsonl" else "prompt\ra\rb\r"
    assert "carriage return" in message(rows_of(tmp_path, kind, text))


def test_reasons_are_told_where_no_row_is_good(tmp_path: Path) -> None:
    """Each of them, and not that there is no prompt."""
    says = message(rows_of(tmp_path, "text", b"\xff\n\xfe\n"))
    assert "line 1" in says
    assert "line 2" in says
    assert "holds no prompt" not in says
