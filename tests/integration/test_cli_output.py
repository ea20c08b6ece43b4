"""Where `generate` and `result` write: no file is replaced unasked, and none is called what it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.integration.test_cli import Run, run

__all__ = ["run"]  # the fixture

KLEIN = ("-m", "flux-2-klein-4b", "--sandbox")  # the quickest


@pytest.mark.parametrize("name", ["out/", "deep/er/", "./out//", "here"])
def test_folder_is_one_that_exists_or_ends_in_a_slash(run: Run, name: str) -> None:
    """Two images in it are two files."""
    Path("here").mkdir()
    for prompt in ("a cat", "a dog"):
        assert run("generate", prompt, "-o", name, *KLEIN)[0] == 0
    assert len(list(Path(name).glob("flux-2-klein-4b-*.jpg"))) == 2
    assert not list(Path().glob("*.jpg"))


@pytest.mark.parametrize(
    ("existing", "name", "options"),
    [
        ("cat.jpg", "cat.jpg", []),
        ("cat.jpg", "cat", []),
        ("cat.png", "cat", ["--output-format", "png"]),
        ("CAT.PNG", "CAT.PNG", []),
        ("sub/cat.webp", "sub/cat.webp", []),
        ("link.jpg", "link.jpg", []),
    ],
)
def test_no_file_is_replaced_unless_told(run: Run, existing: str, name: str, options: list[str]) -> None:
    """The refusal comes before anything is sent; a link that leads nowhere is a file too."""
    Path("sub").mkdir()
    if existing == "link.jpg":
        Path(existing).symlink_to("nowhere")
    else:
        Path(existing).write_bytes(b"paid before")
    code, out, err = run("generate", "a cat", "-o", name, *options, *KLEIN)
    assert (code, out) == (2, "")
    assert f"'{existing}' exists already: " in err
    assert "--force" in err
    if existing != "link.jpg":
        assert Path(existing).read_bytes() == b"paid before"
    code, out, _ = run("generate", "a cat", "-o", name, *options, *KLEIN, "--force")
    assert (code, out) == (0, f"{existing}\n")
    with Image.open(existing) as image:
        image.load()


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("c.gif", [], "makes no .gif files; end the name in .jpg or .png or .webp"),
        ("c.GIF", [], "makes no .gif files"),
        ("c.tiff", ["--output-format", "png"], "makes no .tiff files"),
        ("c.mp4", [], "makes no .mp4 files"),
        ("c.webp", ["--output-format", "png"], "a webp file, but the request asks for png"),
        ("c.jpeg", ["--set", "output_format=webp"], "a jpeg file, but the request asks for webp"),
        ("", [], "neither a file nor a folder"),
    ],
)
def test_suffix_that_the_image_would_not_have_is_refused(
    run: Run, name: str, options: list[str], says: str
) -> None:
    """Before anything is paid."""
    code, out, err = run("generate", "a cat", "-o", name, *options, *KLEIN)
    assert (code, out, list(Path().iterdir())) == (2, "", [])
    assert says in err


def test_video_has_the_suffix_of_one(run: Run) -> None:
    """A picture's suffix is refused."""
    video = ("generate", "a cat", "-m", "flux-3-video", "--set", "mode=t2v", "--sandbox")
    code, _, err = run(*video, "-o", "cat.png")
    assert code == 2
    assert "flux-3-video makes no .png files; end the name in .mp4" in err


@pytest.mark.parametrize("name", ["c.png", "c.WEBP", "c.jpg", "c.jpeg", "c.jfif", "flux-1.1"])
@pytest.mark.parametrize("model", ["flux-2-klein-4b", "flux-kontext-pro"])
def test_suffix_decides_the_format(run: Run, model: str, name: str) -> None:
    """Also where it is not the model's default."""
    code, out, err = run("generate", "a cat", "-o", name, "-m", model, "--sandbox")
    assert (code, err) == (0, "")
    (path,) = map(Path, out.splitlines())
    formats = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG"}
    with Image.open(path) as image:
        assert image.format == formats[path.suffix.lower()]
    assert path.name.startswith(name)


def test_model_that_decides_by_itself_has_its_file_named_after_the_bytes(run: Run) -> None:
    """FLUX 3 images take no format: what came is what the file is called, and it is said."""
    code, out, err = run("generate", "a cat", "-m", "flux-3-image", "-o", "cat.webp", "--sandbox")
    assert (code, out) == (0, "cat.png\n")
    assert "is not what the name 'cat.webp' says" in err
