"""The gallery's page as text: what it lets in, what it leaves out, and what it warns of."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import re
import secrets
import tracemalloc
from hashlib import sha256
from pathlib import Path
from typing import cast

import pytest
from PIL import Image, ImageFile

from bfl_async.cli import gallery, gallery_rows, main
from bfl_async.cli.files import InputError
from bfl_async.cli.gallery import write_gallery
from bfl_async.cli.gallery_rows import path_inside, read_folder, row_of
from bfl_async.cli.previews import PREVIEW_MAX_BYTES, Preview, preview
from bfl_async.results.incoming import RESULT_TYPES

ELEMENT = re.compile(
    r'<script type="application/json" class="(rows|previews|sizes)">(.*?)</script>', re.DOTALL
)


def an_image(path: Path, size: tuple[int, int] = (64, 48)) -> Path:
    Image.new("RGB", size, "teal").save(path)
    return path


def write_manifest(folder: Path, *lines: object) -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "manifest.jsonl").write_text(text + "\n", "utf-8")


def data_of(page: str, kind: str) -> list[object]:
    return [item for found, text in ELEMENT.findall(page) if found == kind for item in json.loads(text)]


def test_page_holds_no_markup_of_a_prompt(tmp_path: Path) -> None:
    """Neither `</script>` nor an element of a prompt, a model, an error or a file's name is in the page as it is."""
    evil = "</script><img src=x onerror=alert(1)><!--<script>&\u2028"
    an_image(tmp_path / "<img src=x>.png")
    write_manifest(
        tmp_path,
        {
            "file": "<img src=x>.png",
            "prompt": evil,
            "model": evil,
            "task_id": evil,
            "state": evil,
            "index": 0,
        },
        {"prompt": evil, "error": {"type": "X", "message": evil}, "state": "failed", "index": 1},
    )
    page = write_gallery(tmp_path).read_text("utf-8")
    assert "<img" not in page
    assert "alert(1)>" not in page
    assert "\u2028" not in page
    first, second = data_of(page, "rows")
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["prompt"] == first["model"] == first["state"] == evil
    assert second["error"] == evil
    assert first["href"] == "./%3Cimg%20src%3Dx%3E.png"


def test_folder_name_is_escaped_in_the_title(tmp_path: Path) -> None:
    """The name of the folder is the one text that stands in the page outside of its data."""
    folder = tmp_path / "<b>&"
    folder.mkdir()
    page = write_gallery(folder).read_text("utf-8")
    assert "<b>" not in page
    assert "<title>&lt;b&gt;&amp; · gallery</title>" in page


def test_policy_lets_nothing_run_but_the_page_s_own_script(tmp_path: Path) -> None:
    """`default-src 'none'`, and style and script by the hash of what stands in the page."""
    page = write_gallery(tmp_path).read_text("utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for name, text in (("style-src", style), ("script-src", script)):
        assert rules[name] == f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"
    assert "innerHTML" not in script


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../x.png", "a/../../x.png", "..", ".", "", "C:\\x.png", "c:/x.png", "..\\x.png",
        "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "https://evil.example/x.png",
        "//evil.example/x.png", "a\0b", "a\nb", "\ud800.png", "x" * 2000,
    ],
)  # fmt: skip
def test_file_outside_the_folder_is_shown_without_link(tmp_path: Path, name: str) -> None:
    """The names in a manifest are not trusted: no absolute path, no `..`, no scheme, no other host."""
    assert path_inside(name) is None
    an_image(tmp_path / "x.png")
    folder = tmp_path / "out"
    folder.mkdir()
    write_manifest(folder, {"file": name, "prompt": "p"})
    page = write_gallery(folder).read_text("utf-8")
    (row,) = data_of(page, "rows")
    assert isinstance(row, dict)
    assert "href" not in row
    assert data_of(page, "previews") == [""]


def test_file_inside_the_folder_becomes_a_relative_link(tmp_path: Path) -> None:
    """Also from a page that lies elsewhere, and with characters that mean something in a URL."""
    names = ["a.png", "sub/b c.png", "100%25 #1?.png", "12:30.png", "ü.png", "./d.png"]
    (tmp_path / "out" / "sub").mkdir(parents=True)
    for name in names:
        an_image(tmp_path / "out" / name)
    write_manifest(tmp_path / "out", *({"file": name, "index": n} for n, name in enumerate(names)))
    page = write_gallery(tmp_path / "out", tmp_path / "pages" / "shown.html").read_text("utf-8")
    assert [row["href"] for row in data_of(page, "rows") if isinstance(row, dict)] == [
        "./../out/a.png", "./../out/sub/b%20c.png", "./../out/100%2525%20%231%3F.png", "./../out/12%3A30.png",
        "./../out/%C3%BC.png", "./../out/d.png",
    ]  # fmt: skip


def test_file_that_is_gone_or_no_file_is_told(tmp_path: Path) -> None:
    """A folder or a pipe of that name is not opened."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    names = ["gone.png", "pipe.png", "folder.png"]
    write_manifest(tmp_path, *({"file": name} for name in names))
    rows = data_of(write_gallery(tmp_path).read_text("utf-8"), "rows")
    assert [row["note"] for row in rows if isinstance(row, dict)] == ["the file is not in the folder"] * 3


def test_torn_and_garbage_lines_are_left_out_with_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a crash or a hand left in the manifest, the other lines are shown."""
    (tmp_path / "manifest.jsonl").write_bytes(
        b'{"prompt": "one"}\n\n\xff\xfe\n[1]\nnull\n{"a": 1}\n' + b"[" * 100_000 + b"\n"
        b'{"seed": ' + b"9" * 5000 + b', "prompt": "x"}\n{"prompt": "two", "unknown": {}}\n{"prompt": "thr'
    )
    rows = data_of(write_gallery(tmp_path).read_text("utf-8"), "rows")
    assert [row["prompt"] for row in rows if isinstance(row, dict)] == ["one", "two"]
    err = capsys.readouterr().err
    assert (
        err == "warning: 7 lines of manifest.jsonl cannot be read and were left out, the first is number 3\n"
    )


def test_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its head is one unreadable line, and the next line counts."""
    monkeypatch.setattr(gallery_rows, "_MAX_LINE_BYTES", 100)
    write_manifest(tmp_path, {"prompt": "x" * 1000}, {"prompt": "short"})
    manifest = read_folder(tmp_path)
    assert manifest.unreadable == [1]
    assert [row["prompt"] for row in manifest.rows] == ["short"]


@pytest.mark.parametrize(
    ("given", "row"),
    [
        ({"prompt": 5, "task_id": "t"}, {"task_id": "t", "state": "failed"}),
        ({"file": "a.png"}, {"file": "a.png", "state": "saved"}),
        ({"file": None, "error": "no", "state": "moderated"}, {"error": "no", "state": "moderated"}),
        ({"prompt": "p", "cost": float("nan"), "index": float("inf")}, {"prompt": "p", "state": "failed"}),
        ({"prompt": "p", "cost": True, "seed": True}, {"prompt": "p", "state": "failed"}),
        ({"prompt": "p", "seed": 2**63, "cost": 4}, {"prompt": "p", "seed": str(2**63), "cost": 4, "state": "failed"}),
    ],
)  # fmt: skip
def test_value_of_a_wrong_type_is_left_out(given: object, row: object) -> None:
    """One odd field costs no row; a seed keeps all its digits."""
    assert row_of(json.dumps(given).encode()) == row


def test_later_line_of_the_same_image_counts(tmp_path: Path) -> None:
    """A request that failed and was saved in a later run is one entry, and so is a file that is named twice."""
    write_manifest(
        tmp_path,
        {"index": 1, "prompt": "b", "state": "failed", "error": "no"},
        {"index": 0, "prompt": "a", "file": "a.png", "seed": 1},
        {"index": 1, "prompt": "b", "file": "b.png"},
        {"index": 0, "prompt": "a", "file": "a.png", "seed": 2},
        {"prompt": "same"},
        {"prompt": "same"},
    )
    rows = read_folder(tmp_path).rows
    assert [(row.get("file"), row["state"]) for row in rows] == [
        ("a.png", "saved"), ("b.png", "saved"), (None, "failed"), (None, "failed")
    ]  # fmt: skip
    assert rows[0]["seed"] == "2"


def test_folder_without_a_manifest_shows_its_images_by_name(tmp_path: Path) -> None:
    """Numbers in names count as numbers; other files are not shown."""
    for name in ("10.png", "9.JPG", "1.webp"):
        an_image(tmp_path / name)
    for name in ("notes.txt", ".hidden.png", "gallery.html.part"):
        (tmp_path / name).write_text("")
    assert [row["file"] for row in read_folder(tmp_path).rows] == ["1.webp", "9.JPG", "10.png"]


def test_whatever_a_result_can_be_is_shown(tmp_path: Path) -> None:
    """Each kind of file that this package saves is listed and linked, and a video is known as one."""
    suffixes = sorted({kind.suffix for kind in RESULT_TYPES.values()})
    for suffix in suffixes:
        (tmp_path / f"a{suffix}").write_bytes(b"not looked at")
    rows = rows_of(write_gallery(tmp_path))
    assert sorted(str(row["href"]) for row in rows) == [f"./a{suffix}" for suffix in suffixes]
    assert [row["file"] for row in rows if row.get("kind") == "video"] == ["a.mp4"]


def test_sizes_are_those_of_the_images(tmp_path: Path) -> None:
    """In px and in the order of the rows; 0 where a file cannot be read."""
    an_image(tmp_path / "a.png", (300, 200))
    an_image(tmp_path / "b.avif", (64, 480))
    (tmp_path / "c.png").write_text("no image")
    page = write_gallery(tmp_path).read_text("utf-8")
    assert data_of(page, "sizes") == [[300, 200], [64, 480], [0, 0]]


def test_fields_are_shown_without_secrets_and_bounded(tmp_path: Path) -> None:
    """Also those within others; a file is shown by its name, and one that was given as bytes by its length."""
    fields = {
        "prompt": "a cat", "seed": 1, "steps": 28, "raw": False, "nothing": None, "aspect_ratio": "16:9",
        "webhook_url": "https://me.example/hook", "webhook_secret": "s3cret", "input_image": "A" * 50_000,
        "image_prompt": {"$path": "cat.png", "$sha256": "ab"}, "big": 2**60, "x_api_key": "s3cret",
        "keyframes": [{"image": "B" * 9_000, "second": 1.5, "token": "s3cret"}], "deep": [[[[[[[["x"]]]]]]]],
    }  # fmt: skip
    write_manifest(tmp_path, {"index": 0, "prompt": "a cat", "seed": 7, "file": "a.png", "fields": fields})
    text = write_gallery(tmp_path).read_text("utf-8")
    (row,) = cast("list[dict[str, object]]", data_of(text, "rows"))
    assert row["fields"] == {
        "steps": 28, "raw": False, "aspect_ratio": "16:9", "input_image": "A" * 80 + "… (50,000 characters)",
        "image_prompt": "cat.png", "big": str(2**60), "deep": [[[[[["…"]]]]]],
        "keyframes": [{"image": "B" * 80 + "… (9,000 characters)", "second": 1.5}],
    }  # fmt: skip
    assert "s3cret" not in text
    assert "me.example" not in text


def test_further_images_of_an_answer_are_shown_too(tmp_path: Path) -> None:
    """Each is a tile of its own; the cost is counted once."""
    for name in ("a.png", "a-2.png", "a-3.png"):
        an_image(tmp_path / name)
    line = {
        "index": 0,
        "prompt": "a cat",
        "file": "a.png",
        "cost": 4,
        "others": ["a-2.png", "a-3.png", 5, "../x.png"],
    }
    write_manifest(tmp_path, line, {"index": 1, "prompt": "b", "file": "b.png"})
    rows = read_folder(tmp_path).rows
    assert [row["file"] for row in rows] == ["a.png", "a-2.png", "a-3.png", "../x.png", "b.png"]
    assert [row.get("cost") for row in rows] == [4, None, None, None, None]
    assert ["href" in row for row in rows_of(write_gallery(tmp_path))] == [True, True, True, False, False]


def test_without_pillow_the_page_loads_the_files_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page has the links and no previews, and a line says what would make it fast."""
    an_image(tmp_path / "a.png")
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "PIL" else found(name))
    monkeypatch.setattr(gallery, "preview", lambda path: pytest.fail("Pillow is not there"))
    page = write_gallery(tmp_path).read_text("utf-8")
    size = (tmp_path / "a.png").stat().st_size
    assert data_of(page, "rows") == [{"file": "a.png", "state": "saved", "href": "./a.png", "bytes": size}]
    assert data_of(page, "previews") == data_of(page, "sizes") == []
    assert "bfl-async[images]" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16", "CMYK", "LA", "1"])
def test_preview_is_small_whatever_the_image(tmp_path: Path, mode: str) -> None:
    """Noise, which compresses worst, in every kind of pixels."""
    path = tmp_path / "noise.x"
    kind = "JPEG" if mode == "CMYK" else "PNG"
    noise = Image.frombytes("RGB", (700, 500), secrets.token_bytes(700 * 500 * 3))
    image = noise.convert("L").convert(mode) if mode in ("I;16", "LA", "1") else noise.convert(mode)
    image.save(path, kind)
    made = preview(path)
    assert (made.width, made.height) == (700, 500)
    data = base64.b64decode(made.data)
    assert 0 < len(data) <= PREVIEW_MAX_BYTES
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.format == "WEBP"
        assert max(opened.size) <= 256


def test_preview_stands_upright(tmp_path: Path) -> None:
    """A camera's note of how it was held is followed: the preview does not carry it."""
    image = Image.new("RGB", (200, 100))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    made = preview(tmp_path / "a.jpg")
    assert (made.width, made.height) == (100, 200)
    with Image.open(io.BytesIO(base64.b64decode(made.data))) as opened:
        assert opened.size == (100, 200)


def test_broken_image_keeps_its_link_and_has_no_preview(tmp_path: Path) -> None:
    """The others are shown all the same."""
    whole = an_image(tmp_path / "whole.png", (500, 500)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none.jpg").write_text("no image")
    page = write_gallery(tmp_path).read_text("utf-8")
    assert [bool(each) for each in data_of(page, "previews")] == [False, False, True]
    assert [row["href"] for row in data_of(page, "rows") if isinstance(row, dict)] == [
        "./cut.png", "./none.jpg", "./whole.png"
    ]  # fmt: skip


def test_page_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error half-way leaves the former page and no part of the new one."""
    an_image(tmp_path / "a.png")
    page = write_gallery(tmp_path)
    before = page.read_bytes()
    an_image(tmp_path / "b.png")

    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(gallery, "_json_element", full)
        with pytest.raises(OSError, match="No space"):
            write_gallery(tmp_path)
    assert page.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "gallery.html"]
    write_gallery(tmp_path)
    assert page.read_bytes() != before


def test_page_takes_the_place_of_nothing_else(tmp_path: Path) -> None:
    """Neither an image nor a page of somebody else is overwritten."""
    image = an_image(tmp_path / "a.png")
    other = tmp_path / "index.html"
    other.write_text("<p>mine</p>")
    for target, says in ((image, "not the name of a page"), (other, "is not a gallery")):
        before = target.read_bytes()
        with pytest.raises(InputError, match=says):
            write_gallery(tmp_path, target)
        assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["missing"], "'missing' is not a folder"),
        (["file"], "'file' is not a folder"),
        (["out", "-o", "file/x.html"], "cannot write 'file/x.html'"),
        (["out", "-o", "shown.txt"], "must end in .html"),
    ],
)
def test_mistake_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    says: str,
) -> None:
    """Exit code 2 and what to do."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("out").mkdir()
    an_image(Path("out/a.png"))
    assert main(["gallery", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err


def test_command_prints_the_page_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing else, where all is well."""
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    an_image(Path("out/a.png"))
    assert main(["gallery", "out"]) == 0
    assert capsys.readouterr() == (os.path.join("out", "gallery.html") + "\n", "")


@pytest.mark.parametrize("failure", [0, 1])
def test_page_is_opened_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: int
) -> None:
    """By its absolute name, which no browser takes for an option; the page is there also where none can be started."""
    monkeypatch.chdir(tmp_path)
    Path("-out").mkdir()
    an_image(Path("-out/a.png"))
    opened: list[str] = []

    def launch(name: str) -> int:
        opened.append(name)
        return failure

    monkeypatch.setattr("click.launch", launch)
    assert main(["gallery", "--open", "--", "-out"]) == 0
    page = str(tmp_path / "-out" / "gallery.html")
    assert opened == [page]
    out, err = capsys.readouterr()
    assert out == os.path.join("-out", "gallery.html") + "\n"
    assert ("no browser could be started" in err) == bool(failure)


def test_previews_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with them: 20 MB of previews pass through 3, and what else the process does."""
    image = an_image(tmp_path / "a.png")
    count = 4000
    for number in range(count):
        os.link(image, tmp_path / f"{number}.png")
    monkeypatch.setattr(gallery, "preview", lambda path: Preview(os.urandom(2500).hex(), 64, 48))
    tracemalloc.start()
    try:
        page = write_gallery(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert page.stat().st_size > count * 5000
    assert peak < 10_000_000, f"{peak / 1e6:.1f} MB"


# --- what a folder may hold ---------------------------------------------------------------------------------


def rows_of(page: Path) -> list[dict[str, object]]:
    return [cast("dict[str, object]", row) for row in data_of(page.read_text("utf-8"), "rows")]


def previews_of(page: Path) -> list[object]:
    return data_of(page.read_text("utf-8"), "previews")


def test_image_of_too_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its format; it is listed and linked, and the others have their previews."""
    Image.new("1", (8_000, 5_001)).save(tmp_path / "a.png")
    Image.new("L", (5_001, 8_000)).save(tmp_path / "b.webp", quality=1, method=0)
    Image.new("RGB", (300, 200)).save(tmp_path / "c.png")
    decoded: list[tuple[int, int]] = []
    load = ImageFile.ImageFile.load

    def note(image: ImageFile.ImageFile) -> object:
        decoded.append(image.size)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", note)
    page = write_gallery(tmp_path)
    assert [bool(preview) for preview in previews_of(page)] == [False, False, True]
    assert all("href" in row for row in rows_of(page))
    assert max(width * height for width, height in decoded) < 1_000_000


def test_file_that_a_link_leads_to_outside_is_neither_linked_nor_shown(tmp_path: Path) -> None:
    """A link to a file, through a folder, and two in a row; links that stay inside are as good as files."""
    inside, outside = tmp_path / "out", tmp_path / "private"
    inside.mkdir()
    outside.mkdir()
    Image.new("RGB", (30, 20)).save(outside / "passport.png")
    Image.new("RGB", (30, 20)).save(inside / "0.png")
    (inside / "1.png").symlink_to("0.png")
    (inside / "2.png").symlink_to(outside / "passport.png")
    (inside / "folder").symlink_to(outside)
    (inside / "4.png").symlink_to("2.png")
    (inside / "5.png").symlink_to("5.png")
    os.mkfifo(inside / "6.png")
    names = ["0.png", "1.png", "2.png", "folder/passport.png", "4.png", "5.png", "6.png"]
    (inside / "manifest.jsonl").write_text(
        "".join(json.dumps({"index": n, "file": name, "prompt": "x"}) + "\n" for n, name in enumerate(names))
    )
    for where in (inside, tmp_path / "a link"):
        if where != inside:
            where.symlink_to(inside)
        page = write_gallery(where)
        assert ["href" in row for row in rows_of(page)] == [True, True, *[False] * 5]
        assert [bool(preview) for preview in previews_of(page)] == [True, True, *[False] * 5]


def test_only_names_of_images_and_videos_are_linked(tmp_path: Path) -> None:
    """A browser runs what stands in the others, whatever the bytes are."""
    names = [
        "a.svg",
        "b.SVG",
        "c.html",
        "d.png.xhtml",
        "e.xml",
        "f",
        "g.mhtml",
        "h.pdf",
        "i.js",
        "j.svgz",
        "k.bin",
        "l.",
    ]
    good = ["a.PNG", "b.jpeg", "c.mp4", "d.webp", "e.avif", "f.html.jpg"]
    for name in [*names, *good]:
        (tmp_path / name).write_bytes(
            b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
        )
    (tmp_path / "manifest.jsonl").write_text(
        "".join(json.dumps({"index": n, "file": name}) + "\n" for n, name in enumerate([*names, *good]))
    )
    shown = {row["file"]: "href" in row for row in rows_of(write_gallery(tmp_path))}
    assert shown == {**dict.fromkeys(names, False), **dict.fromkeys(good, True)}


def test_page_can_be_read_by_its_owner_alone_until_they_say_otherwise(tmp_path: Path) -> None:
    """It holds the prompts. A page that was opened to others stays open to them when it is written again."""
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    before = os.umask(0)
    try:
        page = write_gallery(tmp_path)
        assert page.stat().st_mode & 0o777 == 0o600
        page.chmod(0o644)
        assert write_gallery(tmp_path).stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
