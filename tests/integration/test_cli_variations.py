"""Several images of one request, images to start from, and the viewer."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.integration.test_cli import Run, run

__all__ = ["run"]  # the fixture

KLEIN = ("-m", "flux-2-klein-4b", "--sandbox")  # the quickest


def listed() -> list[dict[str, Any]]:
    """The lines of the manifest, by their files."""
    lines = [json.loads(line) for line in Path("manifest.jsonl").read_text("utf-8").splitlines()]
    return sorted(lines, key=lambda line: str(line["file"]))


def test_variations_have_files_and_seeds_of_their_own(run: Run) -> None:
    """The seeds are reported in the order of the files; a seed that is given is the first."""
    code, out, err = run("generate", "a cat", "-n", "3", "-o", "cat.jpg", *KLEIN)
    assert code == 0
    assert sorted(out.splitlines()) == ["cat-1.jpg", "cat-2.jpg", "cat-3.jpg"]
    seeds = [line["seed"] for line in listed()]
    assert len(set(seeds)) == 3
    assert err == f"seeds: {', '.join(map(str, seeds))}\n"
    code, out, err = run("generate", "a cat", "-n", "2", "--seed", "7", "-o", "sub/", "--json", *KLEIN)
    assert (code, err) == (0, "seeds: 7, 8\n")
    assert {json.loads(line)["seed"] for line in out.splitlines()} == {7, 8}
    assert len(list(Path("sub").glob("*.jpg"))) == 2
    code, out, _ = run("again", "cat-2.jpg", "-n", "2", "--sandbox")
    assert sorted(out.splitlines()) == ["cat-2-again-1.jpg", "cat-2-again-2.jpg"]
    again = [line["fields"] for line in listed() if "again" in line["file"]]
    assert all("seed" not in fields for fields in again)


def test_variation_that_exists_is_refused_before_any_is_paid(run: Run) -> None:
    """As a single file is."""
    Path("cat-2.jpg").write_bytes(b"")
    code, out, err = run("generate", "a cat", "-n", "3", "-o", "cat.jpg", *KLEIN)
    assert (code, out, sorted(map(str, Path().iterdir()))) == (2, "", ["cat-2.jpg"])
    assert "'cat-2.jpg' exists already" in err
    assert run("generate", "a cat", "-n", "0", *KLEIN)[0] == 2
    assert run("generate", "a cat", "-n", "100000", *KLEIN)[0] == 2


def test_variations_that_fail_are_reported(run: Run) -> None:
    """Each by its own line; the exit code is that of the error where none was saved."""
    code, out, err = run("generate", "[fail] x", "-n", "2", *KLEIN)
    assert (code, out) == (1, "")
    assert [line.partition(": task")[0] for line in err.splitlines()] == ["error: image 1", "error: image 2"]


def test_seeds_name_their_files_where_the_files_have_no_numbers(run: Run) -> None:
    """The names come in the order in which the images are ready."""
    code, out, err = run("generate", "a cat", "-n", "3", "-o", "sub/", *KLEIN)
    assert code == 0
    assert err.splitlines() == [
        f"seed {line['seed']}: sub/{line['file']}"
        for line in sorted(
            map(json.loads, Path("sub/manifest.jsonl").read_text("utf-8").splitlines()),
            key=lambda line: err.index(line["file"]),
        )
    ]
    assert sorted(out.splitlines()) == sorted(line.partition(": ")[2] for line in err.splitlines())


@pytest.mark.parametrize("command", ["generate", "estimate"])
def test_size_that_the_server_may_change_is_said(run: Run, command: str) -> None:
    """Where BFL's pages state a multiple and its schema does not; where it does, the size is refused."""
    sides = ("--width", "513", "--height", "512")
    where = ["-o", "new.jpg", "--sandbox"] if command == "generate" else []
    code, _, err = run(command, "a cat", "-m", "flux-2-klein-4b", *sides, *where)
    assert code == 0
    assert err == "flux-2-klein-4b takes sides that are multiples of 16 px: the server may round 513\n"
    assert run(command, "a cat", *sides, *where)[0] == 2
    Path("p.txt").write_text("a cat\na dog\n")
    code, _, err = run("batch", "p.txt", "-m", "flux-2-klein-4b", *sides, "--dry-run")
    assert err.count("the server may round 513") == 1


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("flux-2-klein-4b", ["input_image"]),
        ("flux-2-pro", ["input_image", "input_image_2", "input_image_3"]),
        ("flux-kontext-pro", ["input_image", "input_image_2"]),
        ("flux-pro-1.1", ["image_prompt"]),
        ("flux-tools/deblur-v1", ["image"]),
        ("flux-pro-1.0-fill", ["image"]),
    ],
)
def test_image_goes_into_the_field_of_the_model(run: Run, model: str, names: list[str]) -> None:
    """Several into the numbered ones."""
    images = []
    for number in range(len(names)):
        Image.new("RGB", (256, 256), (number, 0, 0)).save(f"{number}.png")
        images += ["--image", f"{number}.png"]
    prompt = [] if "deblur" in model else ["a cat"]
    code, _, err = run("generate", *prompt, "-m", model, *images, "-o", "made.jpg", "--sandbox")
    assert code == 0, err
    fields = listed()[0]["fields"]
    assert [Path(fields[name]["$path"]).name for name in names] == [f"{n}.png" for n in range(len(names))]


@pytest.mark.parametrize("command", ["generate", "estimate"])
def test_what_becomes_of_an_image_is_said_where_no_model_was_chosen(run: Run, command: str) -> None:
    """The default model does not edit, and whoever gives an image mostly wants that."""
    Image.new("RGB", (256, 256)).save("in.png")
    where = ["-o", "new.jpg", "--sandbox"] if command == "generate" else []
    code, _, err = run(command, "make it night", "--image", "in.png", *where)
    assert code == 0
    assert err == (
        "flux-pro-1.1, the default, takes an image as image_prompt: a hint for a new image, and not an image to edit; "
        "-m flux-2-pro edits it\n"
    )
    for argv in (["--image", "in.png", "-m", "flux-pro-1.1"], []):
        assert run(command, "make it night", *argv, *where, *(["--force"] if where else []))[2] == ""


def test_images_of_a_list_are_its_items(run: Run) -> None:
    """FLUX 3 has one field for all."""
    Image.new("RGB", (256, 256)).save("in.png")
    images = ("--image", "in.png", "--image", "in.png")
    assert run("generate", "a cat", "-m", "flux-3-image", *images, "-o", "made", "--sandbox")[0] == 0
    assert len(listed()[0]["fields"]["images"]) == 2


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["-m", "flux-tools/vto-v1"], "takes no --image: use --set person=FILE or --set garment=FILE"),
        (["-m", "flux-pro-1.1", "--image", "in.png"], "takes one image, and --image is given 2 times"),
        (["-m", "flux-unheard-of", "--allow-unknown-models"], "does not know which field"),
        (["-m", "flux-2-pro", "--set", "input_image=in.png"], "given twice: by --image, and by --set input_image"),
        (["-m", "flux-2-pro", "--image", "missing.png"], "'missing.png' cannot be read"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:the model")
def test_image_that_fits_nowhere_is_refused(run: Run, argv: list[str], says: str) -> None:
    """With what to do instead; `estimate` says the same."""
    Image.new("RGB", (256, 256)).save("in.png")
    for command in ("generate", "estimate"):
        options = ["--sandbox"] if command == "generate" else []
        code, out, err = run(command, "a cat", "--image", "in.png", *argv, *options)
        assert (code, out) == (2, "")
        assert says in err


def test_new_image_takes_the_place_of_those_of_the_record(run: Run) -> None:
    """All else of the record stays."""
    for name in ("red", "blue"):
        Image.new("RGB", (256, 256), name).save(f"{name}.png")
    first = ("--image", "red.png", "--image", "blue.png")
    assert run("generate", "a cat", *first, "--seed", "5", "-o", "cat.jpg", *KLEIN)[0] == 0
    assert run("again", "cat.jpg", "--image", "blue.png", "-o", "dog.jpg", "--sandbox")[0] == 0
    fields = listed()[1]["fields"]
    assert fields.keys() == {"prompt", "seed", "input_image"}
    assert (Path(fields["input_image"]["$path"]).name, fields["seed"]) == ("blue.png", 5)


def test_file_is_opened_with_the_viewer(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its whole name, so that it is never taken for an option; without a viewer it is a warning."""
    opened: list[str] = []

    def launch(name: str) -> int:
        opened.append(name)
        return len(opened) - 1

    monkeypatch.setattr("click.launch", launch)
    assert run("generate", "a cat", "-o", "-x.jpg", "--open", *KLEIN)[0] == 0
    assert opened == [os.path.join(tmp_path, "-x.jpg")]
    code, out, err = run("generate", "a cat", "-o", "y.jpg", "--open", *KLEIN)
    assert (code, out) == (0, "y.jpg\n")
    assert re.fullmatch(r"warning: no viewer could be started for 'y.jpg'\n", err)
