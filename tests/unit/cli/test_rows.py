"""Rows of a batch's input: what they become, and how a bad one is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from bfl_async.batch.requests import Given
from bfl_async.cli.files import InputError
from bfl_async.cli.row_names import RowError
from bfl_async.cli.rows import Kind, Rows
from tests.media import png, png_text


def read(
    folder: Path,
    kind: Kind,
    text: str,
    *,
    model: str = "flux-dev",
    fields: dict[str, object] | None = None,
    columns: dict[str, str] | None = None,
    prompt: str | None = None,
    repeat: int = 1,
    check: bool = False,
    allow_outside: bool = False,
) -> list[tuple[str | None, str, dict[str, object]]]:
    """The id, model and body of each request of a file."""
    path = folder / "rows"
    path.write_bytes(text.encode())
    rows = Rows(
        str(path),
        kind,
        model=model,
        fields=fields or {},
        folder=folder,
        allow_outside=allow_outside,
        columns=columns or {},
        prompt=prompt,
        repeat=repeat,
    )
    found = rows.check() if check else cast("Iterator[Given]", rows.read())
    return [
        (given[0], given[1].model, dict(given[1].body()))
        if isinstance(given, tuple)
        else (None, given.model, dict(given.body()))
        for given in found
    ]


def test_text_is_a_prompt_a_line(tmp_path: Path) -> None:
    """Blank lines and a byte order mark are nothing."""
    got = read(tmp_path, "text", "\ufeffa cat\n\n  a dog \r\n", fields={"seed": 7})
    assert got == [
        (None, "flux-dev", {"prompt": "a cat", "seed": 7}), (None, "flux-dev", {"prompt": "a dog", "seed": 7})
    ]  # fmt: skip


def test_json_lines_name_model_id_and_fields(tmp_path: Path) -> None:
    """A row's own values go before the options; a string is a prompt."""
    text = '{"prompt": "a", "model": "flux-2-pro", "id": 17, "seed": 3}\n"b"\n'
    assert read(tmp_path, "jsonl", text, fields={"seed": 7}) == [
        ("17", "flux-2-pro", {"prompt": "a", "seed": 3}),
        (None, "flux-dev", {"prompt": "b", "seed": 7}),
    ]


def test_csv_columns_are_fields_by_name_or_as_told(tmp_path: Path) -> None:
    """Numbers are read where numbers are wanted, empty cells are left out, other columns are not used."""
    text = 'Caption,Width,Safety Tolerance,note\n"a, ""b""\nc",512,3,x\nd,,,\n'
    got = read(tmp_path, "csv", text, columns={"prompt": "Caption"})
    assert got == [
        (None, "flux-dev", {"prompt": 'a, "b"\nc', "width": 512, "safety_tolerance": 3}),
        (None, "flux-dev", {"prompt": "d"}),
    ]


def test_a_text_that_looks_like_a_number_stays_one(tmp_path: Path) -> None:
    """Where a text is wanted; 42.0 is a whole number where one is wanted."""
    text = "prompt,finetune_id,seed\n7,42,42.0\n"
    got = read(tmp_path, "csv", text, model="flux-pro-1.1-ultra-finetuned", repeat=2)
    assert [body for _, _, body in got] == [
        {"prompt": "7", "finetune_id": "42", "seed": 42}, {"prompt": "7", "finetune_id": "42", "seed": 43}
    ]  # fmt: skip


def test_quotes_of_tsv_are_text_unless_they_are_around_the_whole_cell(tmp_path: Path) -> None:
    """A prompt may begin with one; spreadsheets write them around cells that hold some."""
    got = read(
        tmp_path, "tsv", 'Prompt\tCategory\n"G I G G L E" painted\tWriting\n42\t\n"a ""b"", c"\tx\n6" nail\n'
    )
    assert [body["prompt"] for _, _, body in got] == ['"G I G G L E" painted', "42", 'a "b", c', '6" nail']


def test_a_prompt_is_made_of_columns(tmp_path: Path) -> None:
    """Also of JSON keys and of a text's line."""
    got = read(tmp_path, "csv", "animal,style,seed\ncat,oil,1\n", prompt="a {animal} in {style}")
    assert got == [(None, "flux-dev", {"prompt": "a cat in oil", "seed": 1})]
    got = read(tmp_path, "jsonl", '{"animal": "cat", "width": 512}', prompt="a {animal}, {{x}}")
    assert got == [(None, "flux-dev", {"prompt": "a cat, {x}", "width": 512})]
    assert read(tmp_path, "text", "cat", prompt="{prompt} in oil")[0][2] == {"prompt": "cat in oil"}


def test_repeated_rows_have_seeds_of_their_own(tmp_path: Path) -> None:
    """Without a seed the server draws one each time."""
    got = read(tmp_path, "csv", "prompt,seed\na,5\nb,\n", repeat=3)
    assert [body for _, _, body in got] == [
        {"prompt": "a", "seed": 5}, {"prompt": "a", "seed": 6}, {"prompt": "a", "seed": 7},
        {"prompt": "b"}, {"prompt": "b"}, {"prompt": "b"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("text", "a\n\x00\n", ["line 2", "not UTF-8"]),
        (
            "jsonl",
            '{"prompt": "a"}\n{"prompt"\n[1]\n{"prompt": "b", "width": 7}\n',
            ["line 2", "line 3", "line 4", "width"],
        ),
        ("jsonl", '{"prompt": "a", "model": 7}\n', ["line 1", "model"]),
        ("jsonl", '{"prompt": "a", "model": "../x"}\n', ["line 1", "not a model name"]),
        ("csv", "prompt,width\na,512\nb,7\nc,x\n", ["row 2 (line 3", "row 3 (line 4", "width"]),
        ("csv", "prompt,width\na,512,7\n", ["row 1 (line 2", "3 columns"]),
        ("csv", 'prompt\n"a\n', ["row 1", "not closed"]),
        ("csv", "a,b\nc,d\n", ["none of the columns a, b", "--column prompt=a", "put a line 'prompt' above it"]),
        ("csv", "prompt,prompt\nc,d\n", ["same name"]),
        ("csv", "prompt\n", ["holds no prompt"]),
        ("tsv", "", ["holds no prompt"]),
    ],
)  # fmt: skip
def test_every_bad_row_is_named_by_its_number(tmp_path: Path, kind: Kind, text: str, says: list[str]) -> None:
    """All of them, before anything is paid; none shows the rest of the file."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, kind, text, check=True)
    for part in says:
        assert part in caught.value.message


@pytest.mark.parametrize("template", ["no column", "{", "{a!r}", "{a:5}", "{}"])
def test_a_template_that_is_none_is_told(tmp_path: Path, template: str) -> None:
    """Before anything is read."""
    with pytest.raises(InputError, match="--prompt"):
        read(tmp_path, "text", "a", prompt=template)


def test_columns_that_are_missing_are_told(tmp_path: Path) -> None:
    """Of --column and of --prompt."""
    with pytest.raises(InputError, match="no column Caption; it has prompt"):
        read(tmp_path, "csv", "prompt\na\n", columns={"prompt": "Caption"}, check=True)
    with pytest.raises(InputError, match="--prompt wants colour"):
        read(tmp_path, "jsonl", '{"prompt": "a"}', prompt="{colour}", check=True)


def test_many_bad_rows_are_not_all_listed(tmp_path: Path) -> None:
    """Twenty are enough to see what is wrong."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, "csv", "prompt,width\n" + "a,7\n" * 50, check=True)
    head, first, *_, last = lines = caught.value.message.splitlines()
    assert (head, last) == ("50 rows cannot be used: nothing was sent", "and 30 more")
    assert first.startswith("row 1 (line 2 of ")
    assert first.endswith("width: Input should be a multiple of 32, not 7")
    assert len(lines) == 22


def test_one_bad_row_is_one_line(tmp_path: Path) -> None:
    """With the value that it has, where that is short."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, "csv", "prompt,width\na,wide\n", check=True)
    assert caught.value.message.endswith("width: Input should be a valid integer, not 'wide'")
    assert "\n" not in caught.value.message
    with pytest.raises(InputError) as caught:
        read(tmp_path, "csv", f"prompt,width\na,{'9' * 90}x\n", check=True)
    assert "9" * 41 not in caught.value.message


@pytest.mark.parametrize("kind", ["text", "jsonl", "json", "csv", "tsv"])
def test_another_encoding_is_named_with_its_line(tmp_path: Path, kind: Kind) -> None:
    """It is the one thing that is wrong: neither an empty file nor a header without fields."""
    path = tmp_path / "rows"
    path.write_bytes(b'["caf\xe9"]\n"a",b\n' if kind.startswith("json") else b"prompt,caf\xe9\n")
    rows = Rows(
        str(path), kind, model="flux-dev", fields={}, folder=tmp_path, allow_outside=False, columns={}, prompt=None,
        repeat=1,
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        list(rows.check())
    first = caught.value.message.splitlines()[0 if kind != "jsonl" else 1]
    assert "line 1 of" in first
    assert "not UTF-8 text" in first
    assert "Latin-1" in first
    assert "holds no prompt" not in caught.value.message


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("csv", "id,prompt\n1,a\n2,b\n1,c\n1,d\n"),
        ("jsonl", '{"id": 1, "prompt": "a"}\n{"id": "1", "prompt": "b"}\n'),
    ],
)
def test_ids_that_rows_share_are_named_once(tmp_path: Path, kind: Kind, text: str) -> None:
    """Each row is a request all the same; repeats of one row have its id on purpose."""
    path = tmp_path / "rows"
    path.write_text(text)
    named: list[object] = []
    rows = Rows(
        str(path), kind, model="flux-dev", fields={}, folder=tmp_path, allow_outside=False, columns={}, prompt=None,
        repeat=2, on_repeated_ids=lambda ids: named.append(list(ids)),
    )  # fmt: skip
    count = sum(1 for _ in rows.check())
    assert (
        count
        == sum(1 for _ in cast("Iterator[Given]", rows.read()))
        == 2 * text.strip().count("\n") + 2 * (kind == "jsonl")
    )
    assert (named, rows.repeated_ids) == ([["1"]], ["1"])


def test_rows_name_images_in_the_inputs_folder(tmp_path: Path) -> None:
    """A name becomes a file; URLs and base64 stay what they are; what lies elsewhere must be allowed."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(64, 64))
    (tmp_path / "b.png").write_bytes(png(64, 64))
    ((_, _, body),) = read(folder, "csv", "prompt,input_image\nx,a.png\n", model="flux-2-pro")
    assert body["input_image"] == png_text(64, 64)
    ((_, _, body),) = read(
        folder, "csv", "prompt,input_image\nx,https://h.example/a.png\n", model="flux-2-pro"
    )
    assert body["input_image"] == "https://h.example/a.png"
    for name in ("../b.png", str(tmp_path / "b.png")):
        row = json.dumps({"prompt": "x", "input_image": name})
        with pytest.raises(RowError, match="outside the folder"):
            read(folder, "jsonl", row, model="flux-2-pro")
        read(folder, "jsonl", row, model="flux-2-pro", allow_outside=True)
    with pytest.raises(RowError, match="there is no file"):
        read(folder, "csv", "prompt,input_image\nx,c.png\n", model="flux-2-pro")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("jsonl", "{}"), ("json", '[{"seed": 5}]'), ("csv", "prompt,seed\n,5\n"), ("tsv", "prompt\tseed\n \t5\n"),
        ("jsonl", '{"prompt": "  "}'), ("jsonl", '{"prompt": "\u200b"}'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("model", ["flux-dev", "flux-pro-1.1"])
def test_row_without_a_prompt_is_refused_unless_it_is_meant(
    tmp_path: Path, kind: Kind, text: str, model: str
) -> None:
    """These models make an image of nothing, and it is paid."""
    path = tmp_path / "rows"
    path.write_text(text)

    def rows(*, no_prompt: bool) -> Rows:
        return Rows(
            str(path), kind, model=model, fields={}, folder=tmp_path, allow_outside=False, columns={}, prompt=None,
            repeat=1, no_prompt=no_prompt,
        )  # fmt: skip

    with pytest.raises(
        InputError, match=r"line [12] of .*: the prompt is (missing|blank): --no-prompt sends"
    ):
        list(rows(no_prompt=False).check())
    (given,) = rows(no_prompt=True).check()
    assert not isinstance(given, tuple)
    assert given.body()["prompt"] == ""


def test_row_with_an_image_needs_no_prompt(tmp_path: Path) -> None:
    """It says what is wanted."""
    (tmp_path / "a.png").write_bytes(png(64, 64))
    ((_, _, body),) = read(tmp_path, "jsonl", '{"image_prompt": "a.png"}', model="flux-pro-1.1", check=True)
    assert body.keys() == {"image_prompt"}
