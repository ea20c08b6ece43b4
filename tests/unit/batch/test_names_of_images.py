"""A name template is judged by the names that it makes, before anything is paid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Batch, ConfigError, Fixed, request
from bfl_async.batch.counting import reserved_names
from bfl_async.batch.files import save_new
from bfl_async.batch.naming import NameTemplate
from tests.fake import FakeAPI
from tests.integration.test_cli import Run, run

__all__ = ["run"]  # the fixture


def name(template: NameTemplate, prompt: str = "a", index: int = 0) -> str:
    return template.render(
        index=index, prompt=prompt, model="m", seed=None, task_id="t", key="k" * 32, suffix=".jpg"
    )


@pytest.mark.parametrize(
    "text",
    [
        "manifest.jsonl", "Manifest.JSONL", "manifest.jsonl.old", "gallery.html", "run.db", "run.db-wal", "RUN.DB.lock",
        "manifest.jsonl/{index}.jpg", "run.db/{slug}",
    ],
)  # fmt: skip
def test_a_name_of_the_run_itself_is_refused(tmp_path: Path, text: str) -> None:
    """Also as a folder, and in other cases of letters."""
    with pytest.raises(ConfigError, match="needs for itself"):
        Batch.open(tmp_path / "run.db", AsyncBFL("key"), save_to=tmp_path, name=text)


def test_only_what_is_in_the_folder_is_reserved(tmp_path: Path) -> None:
    """A ledger elsewhere takes no name; one in a folder beneath takes its own."""
    assert "run.db" not in reserved_names(tmp_path / "out", tmp_path / "run.db")
    assert "state/run.db-wal" in reserved_names(tmp_path, tmp_path / "state" / "run.db")
    NameTemplate("state/{index}.jpg", reserved=reserved_names(tmp_path, tmp_path / "state" / "run.db"))


def test_a_prompt_cannot_take_a_reserved_name(tmp_path: Path) -> None:
    """Such as the prompt "manifest" with a suffix of its own; other prompts keep their names."""
    template = NameTemplate("{slug}.jsonl", reserved=reserved_names(tmp_path, tmp_path / "run.db"))
    assert [name(template, "Manifest!"), name(template, "cat")] == ["manifest-image.jsonl", "cat.jsonl"]
    template = NameTemplate("{slug}.db/{index}.jpg", reserved=reserved_names(tmp_path, tmp_path / "run.db"))
    assert name(template, "run") == "run-image.db/0.jpg"


@pytest.mark.parametrize(
    "text",
    [
        "{index:c}", "{slug:/>40}.jpg", "{slug:.>9}.jpg", "{index:0999999999}.jpg", "{index:,}.jpg", "{key:.0}",
        "a\nb{index}", "{index}?.jpg", "a/ /{index}", "/".join(["{task_id}{model}{slug}"] * 9), "{seed:\\>5}",
    ],
)  # fmt: skip
def test_a_format_cannot_make_a_name_that_the_text_would_not_be(text: str) -> None:
    """Characters by number, slashes and dots as fill, names of any length."""
    with pytest.raises(ConfigError):
        NameTemplate(text)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("{index:03x}.{ext}", "00b.jpg"),
        ("{slug:_>4.2}", "__aa"),
        ("{key:.8}.jpeg", "kkkkkkkk.jpeg"),
        ("{index}.GIF", "11.jpg"),
        ("a.png/{slug}.v2.webp", "a.png/aaa.v2.jpg"),
        ("{index}.v2", "11.v2"),
    ],
)
def test_usual_formats_are_taken(text: str, made: str) -> None:
    """Width, precision, fill and base. A suffix of another format gives way to that of the image."""
    assert name(NameTemplate(text), "aaa", 11) == made


def test_names_are_never_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a hundred files of one name the key, which no other image has: few names are tried for each."""
    tried: list[Path] = []
    links = __import__("os").link

    def link(source: Path, target: Path) -> None:
        tried.append(target)
        links(source, target)

    monkeypatch.setattr("os.link", link)
    for number in range(300):
        key = f"{number:032x}"
        tried.clear()
        made = save_new(
            tmp_path, tmp_path / ".parts", "image.jpg", b"x", "", adopt=False, task_id="t", key=key
        )
        assert len(tried) <= 101
    assert made == f"image-{key}.jpg"
    assert len(list(tmp_path.glob("*.jpg"))) == 300


async def test_one_name_for_all_images_saves_all(tmp_path: Path) -> None:
    """Prompts whose words leave nothing for a name, as Chinese ones."""
    api = FakeAPI(service_s=0.002, submit_s=0.001, poll_s=0.001)

    def wanted() -> Iterator[object]:
        return (request("flux-dev", prompt="猫" * n) for n in range(1, 121))

    async with (
        AsyncBFL(transport=api, limits=12, polling=Fixed(0.005)) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path, name="{slug}.{ext}") as batch,
    ):
        await batch.add(wanted())  # type: ignore[arg-type]  # requests
        assert {outcome.state async for outcome in batch.run()} == {"saved"}
    assert len(list(tmp_path.glob("*.jpg"))) == 120


def test_the_command_names_its_option(run: Run) -> None:
    """One line, and nothing was read, written or sent."""
    code, out, err = run("batch", "missing.txt", "-o", "out", "--name", "run.db", "--sandbox")
    assert (code, out) == (2, "")
    assert err.startswith("error: --name: the name template 'run.db' makes the name 'run.db'")
    assert not Path("out").exists()
