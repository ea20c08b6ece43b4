"""What this release does not know, and sizes by ratio, from the command line and from rows."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from bfl_async import ImageRequest, InvalidRequestError
from bfl_async.cli.fields import GivenFields
from bfl_async.cli.files import InputError
from bfl_async.cli.requesting import make_request
from bfl_async.cli.rows import Kind, Rows
from bfl_async.models.sizes import size_fields
from tests.media import png

pytestmark = pytest.mark.filterwarnings("ignore:the model 'flux-9:UserWarning")
TEXT = base64.b64encode(png(64, 64)).decode()


def asked(
    model: str,
    *set_fields: str,
    ratio: str | None = None,
    megapixels: float | None = None,
    allow: bool = False,
    **options: object,
) -> Mapping[str, object]:
    given = GivenFields(set_fields, options, ratio, megapixels, allow)
    return make_request(model, "x", given).body()


def rows_of(folder: Path, kind: Kind, data: str, **more: Any) -> list[ImageRequest]:
    path = folder / "rows"
    path.write_text(data)
    settings: dict[str, Any] = {
        "model": "flux-dev", "fields": {}, "allow_outside": False, "columns": {}, "prompt": None, "repeat": 1,
    }  # fmt: skip
    rows = Rows(str(path), kind, folder=folder, **(settings | more))
    return [one[1] if isinstance(one, tuple) else one for one in rows.check()]


def test_unknown_fields_need_the_flag() -> None:
    """And are named without it, with what to do in words of the command line."""
    with pytest.raises(InvalidRequestError, match="--allow-unknown-fields sends others") as caught:
        asked("flux-dev", "new_field=1")
    assert "extra_body" not in str(caught.value)
    with pytest.raises(InvalidRequestError, match="safety_tolerance"):
        asked("flux-dev", "safety_tolerance=9")
    sent = asked("flux-dev", "new_field=1", "safety_tolerance=9", "steps=30", allow=True)
    assert sent == {"prompt": "x", "new_field": 1, "safety_tolerance": 9, "steps": 30}
    assert asked("flux-dev", allow=True, guidance=99.0) == {"prompt": "x", "guidance": 99.0}
    assert asked("flux-3-video", "mode=x2v", allow=True)["mode"] == "x2v"


def test_a_file_is_named_for_a_field_that_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its end: of a new field, and of a new model; a text in quotes, a URL and a prompt stay texts."""
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(png(64, 64))
    assert asked("flux-2-pro", "input_image_9=a.png", allow=True)["input_image_9"] == TEXT
    sent = asked(
        "flux-9", 'images=["a.png", "https://h.example/b.png"]', "start=a.png", 'name="a.png"',
        "negative_prompt=no a.png", "caption_text=a.png", "url=https://h.example/a.png", 'frames=[{"image": "a.png"}]',
    )  # fmt: skip
    assert sent == {
        "prompt": "x", "images": [TEXT, "https://h.example/b.png"], "start": TEXT, "name": "a.png",
        "negative_prompt": "no a.png", "caption_text": "a.png", "url": "https://h.example/a.png",
        "frames": [{"image": TEXT}],
    }  # fmt: skip


@pytest.mark.parametrize("row", [{"image": "a.png"}, {"images": ["a.png"]}, {"frames": [{"image": "a.png"}]}])
def test_rows_of_new_models_name_files_in_their_folder_alone(tmp_path: Path, row: dict[str, object]) -> None:
    """As those of known models: nothing outside is read, and a missing file is named before anything is paid."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(64, 64))
    (tmp_path / "b.png").write_bytes(png(64, 64))
    (made,) = rows_of(folder, "jsonl", json.dumps({"prompt": "a.png", **row}), model="flux-9")
    assert TEXT in json.dumps(dict(made.body()))
    assert made.body()["prompt"] == "a.png"
    for name, problem in (
        ("../b.png", "outside"),
        ("c.png", "no file"),
        (str(tmp_path / "b.png"), "outside"),
    ):
        text = json.dumps({"prompt": "x", **row}).replace("a.png", name)
        with pytest.raises(InputError, match=problem):
            rows_of(folder, "jsonl", text, model="flux-9")
    (made,) = rows_of(folder, "jsonl", text, model="flux-9", allow_outside=True)
    assert TEXT in json.dumps(dict(made.body()))
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "b.png")
    with pytest.raises(InputError, match="outside"):
        rows_of(folder, "jsonl", json.dumps({"prompt": "x", "image": "link.png"}), model="flux-9")


def test_rows_have_an_extra_body(tmp_path: Path) -> None:
    """In JSON and in a column; its texts are never files, and two rows that differ in it are two."""
    extra = {"new": 1, "safety_tolerance": 9, "image": "../../etc/a.png"}
    rows = "\n".join(json.dumps({"prompt": "x", "extra_body": {**extra, "new": at}}) for at in (1, 2))
    sent = [made.body() for made in rows_of(tmp_path, "jsonl", rows)]
    assert sent == [{"prompt": "x", **extra}, {"prompt": "x", **extra, "new": 2}]
    (made,) = rows_of(tmp_path, "csv", 'prompt,extra_body\nx,"{""new"": [1]}"\n')
    assert made.body() == {"prompt": "x", "new": [1]}


@pytest.mark.parametrize("name", ["webhook_url", "webhookSecret", "user", "User", "model"])
def test_a_rows_extra_body_does_not_say_what_is_the_operators(tmp_path: Path, name: str) -> None:
    """Where results go and in whose name is not the row's to say, by whichever way."""
    with pytest.raises(InputError, match="not a field of rows"):
        rows_of(tmp_path, "jsonl", json.dumps({"prompt": "x", "extra_body": {name: "https://evil.example"}}))


@pytest.mark.parametrize("value", ["[1]", '"a"', "1"])
def test_a_rows_extra_body_is_an_object(tmp_path: Path, value: str) -> None:
    """Anything else is named by its row."""
    with pytest.raises(InputError, match=r"line 1 .*extra_body is not a JSON object"):
        rows_of(tmp_path, "jsonl", f'{{"prompt": "x", "extra_body": {value}}}')


def test_unknown_fields_of_rows_need_the_flag_too(tmp_path: Path) -> None:
    """With it they are sent, beside the defaults of the command line; a row's own go first."""
    row = json.dumps({"prompt": "x", "new": 1, "steps": 99, "extra_body": {"other": 2}})
    with pytest.raises(InputError, match="new"):
        rows_of(tmp_path, "jsonl", row)
    (made,) = rows_of(tmp_path, "jsonl", row, allow_unknown_fields=True, fields={"other": 3, "more": 4})
    assert made.body() == {"prompt": "x", "new": 1, "steps": 99, "other": 2, "more": 4}
    with pytest.raises(InputError, match="not a field of rows"):
        rows_of(tmp_path, "jsonl", '{"prompt": "x", "webhook": "u"}', allow_unknown_fields=True)
    (made,) = rows_of(tmp_path, "csv", "prompt,seed,steps\n12,7,99\n", allow_unknown_fields=True)
    assert made.body() == {"prompt": "12", "seed": 7, "steps": 99}


def test_a_ratio_becomes_what_the_model_takes(tmp_path: Path) -> None:
    """A size for one that knows no ratios; in rows, for each model, and a row's own size goes first."""
    assert asked("flux-2-pro", ratio="16:9", megapixels=2) == {"prompt": "x", "width": 1904, "height": 1072}
    assert asked("flux-kontext-pro", ratio="16:9") == {"prompt": "x", "aspect_ratio": "16:9"}
    assert asked("flux-dev", megapixels=0.25) == {"prompt": "x", "width": 512, "height": 512}
    size = functools.partial(size_fields, aspect_ratio="16:9")
    data = "\n".join(
        json.dumps({"prompt": "x", **row})
        for row in ({}, {"model": "flux-kontext-pro"}, {"width": 512}, {"model": "flux-2-pro"})
    )
    assert [{**made.body(), "prompt": 0} for made in rows_of(tmp_path, "jsonl", data, size=size)] == [
        {"prompt": 0, "width": 1344, "height": 768}, {"prompt": 0, "aspect_ratio": "16:9"},
        {"prompt": 0, "width": 512}, {"prompt": 0, "width": 1360, "height": 768},
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"line 1 .*neither a ratio"):
        rows_of(tmp_path, "jsonl", '{"prompt": "x", "model": "flux-tools/deblur-v1"}', size=size)


def test_a_size_is_given_once() -> None:
    """Of two that contradict each other, neither is silently dropped."""
    for side in ("width", "height"):
        with pytest.raises(click.UsageError, match="given twice"):
            make_request("flux-dev", "x", GivenFields((), {side: 512}, "1:1", None, False))
    with pytest.raises(click.UsageError, match="given twice"):
        asked("flux-kontext-pro", "aspect_ratio=1:1", ratio="1:1")
    with pytest.raises(InvalidRequestError, match="megapixels"):
        make_request("flux-pro-1.1-ultra", "x", GivenFields((), {}, None, 1.0, False))
