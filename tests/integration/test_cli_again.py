"""An image leaves a record, and can be made again from it, with changes."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.integration.test_cli import Run, run, server

__all__ = ["run", "server"]  # the fixtures

KLEIN = ("-m", "flux-2-klein-4b", "--sandbox")  # the quickest


def listed(folder: str = ".") -> list[dict[str, Any]]:
    """The lines of a folder's manifest."""
    return [json.loads(line) for line in (Path(folder) / "manifest.jsonl").read_text("utf-8").splitlines()]


def digest(name: str | Path) -> str:
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


def test_image_leaves_a_record_of_how_it_was_made(run: Run) -> None:
    """One line in its folder, with model, fields, seed, cost, task and digest; readable by its owner alone."""
    code, out, _ = run("generate", "a cat", "--width", "256", "-o", "out/cat.png", "--json", *KLEIN)
    shown = json.loads(out)
    (line,) = listed("out")
    assert code == 0
    assert line == {
        "state": "saved", "file": "cat.png", "prompt": "a cat", "model": "flux-2-klein-4b",
        "task_id": shown["task_id"], "cost": 1.4, "seed": shown["seed"],
        "sha256": digest("out/cat.png"), "bytes": Path("out/cat.png").stat().st_size,
        "fields": {"prompt": "a cat", "width": 256, "output_format": "png"},
    }  # fmt: skip
    assert Path("out/manifest.jsonl").stat().st_mode & 0o777 == 0o600
    assert isinstance(line["seed"], int)


def test_batch_lists_what_it_takes_to_make_an_image_again(run: Run) -> None:
    """The same line, with all fields; `again` makes the same bytes."""
    Path("rows.jsonl").write_text('{"prompt": "a cat", "width": 256, "height": 320}\n')
    assert run("batch", "rows.jsonl", "-o", "out", "--name", "deep/{slug}.{ext}", *KLEIN)[0] == 0
    (line,) = listed("out")
    assert line["fields"] == {"prompt": "a cat", "width": 256, "height": 320}
    code, out, _ = run("again", "out/deep/a-cat.jpg", "--sandbox")
    assert (code, out) == (0, "out/deep/a-cat-again.jpg\n")
    assert digest("out/deep/a-cat-again.jpg") == line["sha256"]
    assert run("batch", "rows.jsonl", "-o", "out", "--name", "deep/{slug}.{ext}", *KLEIN)[0] == 0
    assert len(listed("out")) == 1, "nothing was paid again"


def test_image_is_made_again_with_changes(run: Run) -> None:
    """The same bytes without any; a prompt, an option, a model and a format change what they name."""
    Image.new("RGB", (256, 256), "red").save("in.png")
    size = ("--width", "256", "--height", "256")
    assert run("generate", "a cat", *size, "--set", "input_image=in.png", "-o", "cat.jpg", *KLEIN)[0] == 0
    first = listed()[0]
    assert run("again", "cat.jpg", "--sandbox")[:2] == (0, "cat-again.jpg\n")
    assert run("again", "cat.jpg", "--sandbox")[:2] == (0, "cat-again-2.jpg\n")
    assert digest("cat.jpg") == digest("cat-again.jpg") == digest("cat-again-2.jpg")
    changed = run("again", "cat.jpg", "a dog", "--width", "320", "-o", "dog.webp", "--sandbox")
    assert changed[:2] == (0, "dog.webp\n")
    dog = listed()[-1]
    assert (dog["seed"], dog["fields"]["height"]) == (first["seed"], 256)
    assert (dog["prompt"], dog["fields"]["width"], dog["fields"]["output_format"]) == ("a dog", 320, "webp")
    assert dog["fields"]["input_image"] == first["fields"]["input_image"]
    assert run("again", "dog.webp", "--aspect-ratio", "2:1", "-m", "flux-2-pro", "--sandbox")[0] == 0
    wide = listed()[-1]
    assert (wide["model"], wide["file"]) == ("flux-2-pro", "dog-again.webp")
    assert wide["fields"]["width"] == 2 * wide["fields"]["height"]
    Image.new("RGB", (256, 256), "blue").save("in.png")
    code, _, err = run("again", "cat.jpg", "--sandbox")
    assert code == 2
    assert "in.png' was changed since" in err
    Path("in.png").unlink()
    assert "in.png' is no longer there" in run("again", "cat.jpg", "--sandbox")[2]


@pytest.mark.parametrize(
    ("file", "options", "says"),
    [
        ("missing.jpg", [], "'missing.jpg' is not a file"),
        ("folder", [], "'folder' is not a file"),
        ("foreign.jpg", [], "beside 'foreign.jpg' has a line for it"),
        ("old.jpg", [], "the record of 'old.jpg' has no fields"),
        ("bytes.jpg", [], "does not hold input_image: the file was given as bytes"),
        ("good.jpg", [""], "the prompt is empty"),
        ("good.jpg", ["--set", "widht=3"], "no such field"),
        ("good.jpg", ["a dog", "--set", "prompt=a cow"], "given twice"),
        ("good.jpg", ["-o", "foreign.jpg"], "'foreign.jpg' exists already"),
    ],
)
def test_what_cannot_be_made_again_is_one_line(run: Run, file: str, options: list[str], says: str) -> None:
    """Exit code 2, and nothing is sent."""
    Path("folder").mkdir()
    for name in ("foreign.jpg", "old.jpg", "bytes.jpg", "good.jpg"):
        Path(name).write_bytes(b"")
    line = {"state": "saved", "model": "flux-2-pro"}
    embedded = {"prompt": "a cat", "input_image": {"$omitted": "0" * 64, "chars": 99_999}}
    lines = [
        {**line, "file": "old.jpg"},
        {**line, "file": "bytes.jpg", "fields": embedded},
        {**line, "file": "good.jpg", "fields": {"prompt": "a cat"}},
    ]  # fmt: skip
    Path("manifest.jsonl").write_text("garbage\n[]\n" + "".join(json.dumps(each) + "\n" for each in lines))
    code, out, err = run("again", file, *options, "--sandbox")
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") <= 4


def test_other_manifest_is_left_alone(run: Run) -> None:
    """Many programs have a file of that name; half a line of a killed run is ended first."""
    Path("manifest.jsonl").write_text('{"audio_filepath": "x.wav"}\n')
    code, out, err = run("generate", "a cat", "-o", "cat.jpg", *KLEIN)
    assert (code, out) == (0, "cat.jpg\n")
    assert "another program's file" in err
    assert Path("manifest.jsonl").read_text() == '{"audio_filepath": "x.wav"}\n'
    Path("sub").mkdir()
    Path("sub/manifest.jsonl").write_text('{"state": "saved", "file": "a.jpg"}\n{"state": "sav')
    assert run("generate", "a cat", "-o", "sub/", *KLEIN)[0] == 0
    lines = Path("sub/manifest.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[2])["prompt"] == "a cat"


def test_record_holds_no_secret_and_no_embedded_file(run: Run) -> None:
    """Where the result is announced says nothing about the image; a file given as text is named by its digest."""
    code, _, _ = run(
        "generate", "a cat", "--set", "webhook_url=https://example.com/hook", "--set", "webhook_secret=hush",
        "-o", "cat.jpg", *KLEIN,
    )  # fmt: skip
    assert code == 0
    assert listed()[0]["fields"] == {"prompt": "a cat"}
    assert "hush" not in Path("manifest.jsonl").read_text()


@pytest.mark.parametrize("server", [200], indirect=True)
def test_result_is_recorded_with_what_is_known(run: Run, server: subprocess.Popen[str]) -> None:
    """A task that was submitted elsewhere has no fields, and cannot be made again."""
    shown = json.loads(run("generate", "a cat", "-m", "flux-2-klein-4b", "-o", "cat.jpg", "--json")[1])
    assert run("result", shown["task_id"], "-o", "sub/cat.jpg")[0] == 0
    (line,) = listed("sub")
    assert (line["task_id"], line["seed"], line["sha256"]) == (
        shown["task_id"],
        shown["seed"],
        digest("cat.jpg"),
    )
    assert "fields" not in line
    code, _, err = run("again", "sub/cat.jpg")
    assert code == 2
    assert "it was fetched by its task's id" in err


def test_record_of_another_image_is_not_taken(run: Run) -> None:
    """A file that was replaced is not what its line describes, which would be paid for; one that was renamed is."""
    assert run("generate", "a cat", "-o", "cat.jpg", *KLEIN)[0] == 0
    made = Path("cat.jpg").read_bytes()
    Path("renamed.jpg").write_bytes(made)
    assert run("again", "renamed.jpg", "--sandbox")[:2] == (0, "renamed-again.jpg\n")
    Path("cat.jpg").write_bytes(b"another")
    code, out, err = run("again", "cat.jpg", "--sandbox")
    assert (code, out) == (2, "")
    assert "'cat.jpg' is not the image that manifest.jsonl has under this name" in err
