"""Texts: comments, paragraphs, and lines that are paid for but were probably not meant as prompts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bfl_async.cli.files import InputError
from bfl_async.cli.inputs import Inputs, files_of
from bfl_async.cli.row_names import IdCheck
from bfl_async.cli.rows import Kind, Rows
from bfl_async.cli.text_lines import MAX_PARAGRAPH_LINES


def rows_of(path: Path, *, kind: Kind = "text", paragraphs: bool = False, ids: IdCheck | None = None) -> Rows:
    return Rows(
        str(path), kind, model="flux-dev", fields={}, folder=path.parent, allow_outside=False, columns={}, prompt=None,
        repeat=1, paragraphs=paragraphs, ids=ids,
    )  # fmt: skip


def prompts(rows: Rows | Inputs) -> list[object]:
    return [(one[1] if isinstance(one, tuple) else one).body()["prompt"] for one in rows.check()]


def written(folder: Path, text: str) -> Path:
    path = folder / "p.txt"
    path.write_text(text)
    return path


def test_comments_are_left_out(tmp_path: Path) -> None:
    """With or without a space; a prompt that begins with # is written with a backslash."""
    rows = rows_of(written(tmp_path, "# a comment\na cat # not one\n  #another\n\\#1 dad mug\n#\n"))
    assert prompts(rows) == ["a cat # not one", "#1 dad mug"]
    assert rows.hints == [f"'{tmp_path}/p.txt': text with 2 prompts, one per line; 3 comments left out"]
    (warning,) = rows.warnings
    assert "line 3 begins with # and is a comment: \\# begins a prompt with #" in warning
    assert not list(rows_of(written(tmp_path, "# a\n## b\nc\n")).warnings)


def test_file_of_comments_holds_no_prompt(tmp_path: Path) -> None:
    """It is refused as an empty one."""
    with pytest.raises(InputError, match="holds no prompt"):
        prompts(rows_of(written(tmp_path, "# a\n\n# b\n")))


def test_paragraphs_are_prompts_of_several_lines(tmp_path: Path) -> None:
    """Blank lines end them, comments do not; the last one needs no blank line."""
    text = "\n a cat\n# which?\nin a hat\r\n \n\na dog\n\t\na bird\nflies"
    rows = rows_of(written(tmp_path, text), paragraphs=True)
    assert prompts(rows) == ["a cat\nin a hat", "a dog", "a bird\nflies"]
    assert "text with 3 prompts, one per paragraph; 1 comment left out" in rows.hints[0]


def test_paragraph_without_an_end_is_refused(tmp_path: Path) -> None:
    """A list of prompts that is taken for one prompt would be paid as one, and make nothing of use."""
    text = "a cat\n" * (MAX_PARAGRAPH_LINES + 1)
    with pytest.raises(InputError, match="begins in line 1 has more than 1,000 lines: separate"):
        prompts(rows_of(written(tmp_path, text), paragraphs=True))
    assert len(prompts(rows_of(written(tmp_path, text)))) == MAX_PARAGRAPH_LINES + 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A cat on a wall,\nin the rain\n", "line 2 looks like the second part of the prompt before it"),
        ("A cat on a wall\nin the rain\nand a dog\n", "line 2 looks like the second part"),
        ("A cat,\nB,\nC,\nD\n", "line 2 and 2 others look like parts of the prompts before them"),
        ("a cat\nin a hat\n\na dog\n", "lines 1 to 2 are 2 prompts: --paragraphs makes one prompt"),
        ("a cat\n---\na dog\n***\n", "line 2 and 1 other have no letter"),
        ("- a cat\n- a dog\n", "line 1 and 1 other begin like items of a list"),
        ("1. a cat\n", "line 1 begins like an item of a list"),
        ("// birds\na bird\n", "line 1 looks like a comment, and is a prompt: comments begin with #"),
        ("prompt,width\na cat,512\n", "line 1 looks like the header of a table: add --format csv"),
        ('"a cat",\n', "line 1 is in quotes, which are part of the prompt"),
    ],
)
def test_lines_that_look_unintended_are_named(tmp_path: Path, text: str, says: str) -> None:
    """With what to do; they are prompts all the same."""
    rows = rows_of(written(tmp_path, text))
    assert len(prompts(rows)) == sum(map(bool, text.splitlines()))
    assert says in "\n".join(rows.hints)


@pytest.mark.parametrize(
    "text",
    [
        "a cat\na dog\n", "a cat\n\na dog\n\na bird\n", "A cat.\nA dog, old.\nan owl\n", "猫\n犬\n",
        "Жиль\nЛиль\n", "a cat (old)\na dog's bone\n24 birds\n",
    ],
)  # fmt: skip
def test_plain_lists_of_prompts_have_no_hints(tmp_path: Path, text: str) -> None:
    """A hint that is usually wrong is not read."""
    rows = rows_of(written(tmp_path, text))
    prompts(rows)
    assert len(rows.hints) == 1


def test_hints_take_time_in_proportion(tmp_path: Path) -> None:
    """Lines of megabytes, whatever they hold."""
    for line in ("prompt," + " " * 3_000_000 + "!", "'" * 3_000_000, "a," * 1_500_000, "and " * 700_000):
        rows = rows_of(written(tmp_path, f"{line}\nx\n"))
        began = time.perf_counter()
        prompts(rows)
        list(rows.hints)
        assert time.perf_counter() - began < 2


def test_folder_stands_for_its_files_of_rows(tmp_path: Path) -> None:
    """In the order of their names; images, what describes them, manifests and hidden files are not read."""
    for name, text in {
        "b.txt": "a bird\n", "a.jsonl": '{"prompt": "a cat"}\n', "c.json": '["a dog"]', "cat.json": "{}", "cat.png": "",
        "manifest.jsonl": "{}", ".hidden.txt": "x\n", "README": "x\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    (tmp_path / "sub").mkdir()
    said: list[str] = []
    files = files_of([str(tmp_path)], said.append)
    assert [Path(file).name for file in files] == ["a.jsonl", "b.txt", "c.json"]
    assert said == [
        f"of the folder '{tmp_path}': a.jsonl, b.txt, c.json; not read: README, cat.json, cat.png, manifest.jsonl, sub/"
    ]
    with pytest.raises(InputError, match="has no file with prompts"):
        files_of([str(tmp_path / "sub")], said.append)


def test_input_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    """By any path: its rows would be paid as further images."""
    path = written(tmp_path, "a\n")
    (tmp_path / "link.txt").symlink_to(path)
    for names in ([str(path)] * 2, [str(tmp_path / "link.txt"), str(path)], ["-", "-"]):
        with pytest.raises(InputError, match="is given twice"):
            files_of(names, print)


def test_several_inputs_are_read_in_order_and_checked_together(tmp_path: Path) -> None:
    """All that is wrong in all of them is named at once; ids are those of all rows."""
    texts = {
        "a.txt": "a cat\n",
        "b.csv": "id,prompt\n1,a dog\n",
        "c.jsonl": '{"id": 1, "prompt": "a bird"}\n',
    }
    kinds: dict[str, Kind] = {"a.txt": "text", "b.csv": "csv", "c.jsonl": "jsonl"}
    ids, named = IdCheck(), list[object]()
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    parts = [rows_of(tmp_path / name, kind=kind, ids=ids) for name, kind in kinds.items()]
    inputs = Inputs(parts, ids, lambda found: named.append(list(found)))
    for _ in range(2):
        assert prompts(inputs) == ["a cat", "a dog", "a bird"]
    assert (named, inputs.is_pipe) == ([["1"]], False)
    (tmp_path / "a.txt").write_bytes(b"\xe9\n")
    (tmp_path / "c.jsonl").write_text("")
    with pytest.raises(InputError) as caught:
        prompts(inputs)
    head, first, second = caught.value.message.splitlines()
    assert head == "2 rows cannot be used: nothing was sent"
    assert "line 1 of" in first
    assert "c.jsonl' holds no prompt" in second
