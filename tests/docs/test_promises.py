"""What the documentation says of the code is so."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import get_args

import pytest

import bfl_async
from bfl_async import errors, limiter
from bfl_async.catalog import CATALOG, SOURCES
from bfl_async.cli.app import cli
from bfl_async.events import Event
from tests.docs.pages import ROOT

DOCS = ROOT / "docs"
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_line_of_what_can_be_lost_names_tests_that_exist() -> None:
    """A promise without its test is a wish."""
    text = (DOCS / "explanation" / "what-can-be-lost.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    unproven = [row for row in rows if not row.startswith("| what happens") and not NAMED_TEST.search(row)]
    assert not unproven
    named = NAMED_TEST.findall(text)
    assert len(named) > 20
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not re.search(
            rf"^async def {test}\(|^def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE
        )
    ]
    assert not missing


def test_how_to_observe_names_every_event_and_field() -> None:
    """The table is the code's own."""
    text = (DOCS / "howto" / "observe.md").read_text("utf-8")
    for kind in get_args(Event):
        (row,) = (line for line in text.splitlines() if line.startswith(f"| `{kind.__name__}`"))
        told_elsewhere = ("at", "request_id", "model", "task_id", "prompt")
        missing = [name for name in kind._fields if name not in told_elsewhere and f"`{name}`" not in row]
        assert not missing, kind


def test_each_model_names_the_sources_of_its_fields_and_prices() -> None:
    """With its date in the model's section, by its letter in the table; prices of a range one by one."""
    head, *sections = (DOCS / "reference" / "models.md").read_text("utf-8").split("\n## ")
    assert len(sections) == len(CATALOG)
    for row, section in zip(CATALOG.values(), sections, strict=True):
        assert section.startswith(f"{row.name} {{")
        paragraphs = section.split("\n\n")
        fields = [each for each in paragraphs if each.startswith("`bfl_async.")]
        assert all("Source: " in each or "release notes of a client" in each for each in fields), row.name
        credits = [each for each in paragraphs if each.startswith("Credits: ")]
        assert len(credits) == (row.price is not None), row.name
        (line,) = (line for line in head.splitlines() if line.startswith(f"| [`{row.name}`]"))
        assert line.split(" | ")[2].split() == [*row.source]
        assert all(SOURCES[letter] in credits[0] for letter in row.source)
    legend = head.partition("| [`")[0]
    assert all(f"| {letter} | {source} |" in legend for letter, source in SOURCES.items())
    assert "Credits: 768sq 4.1, 1k 4.8, 2k 10, 4k 60.7. Source: " in "".join(sections)


def test_the_recipes_name_files_and_tests_that_exist() -> None:
    """A recipe that leads nowhere is found when the file or the test moves."""
    recipes = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Recipes")[2]
    files = re.findall(r"`([\w/.-]+\.(?:py|md|txt|toml))`", recipes)
    assert len(files) > 20
    folders = [ROOT / "bfl_async", ROOT / "tests"]
    known = [
        name for name in files if (ROOT / name).exists() or any(any(each.rglob(name)) for each in folders)
    ]
    assert known == files
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    words = [word for line in re.findall(r'-k "(\w[^"]*)"', recipes) for word in line.split(" or ")]
    assert len(words) > 8
    assert [word for word in words if not re.search(rf"def test_\w*{word}", tests)] == []


def test_generated_pages_are_what_the_code_says() -> None:
    """Commands, options, exit codes, models, prices, fault dials, and the drawings of polls and of the layout."""
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"],
        capture_output=True,
        check=False,
        cwd=ROOT,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_reference_has_a_section_for_each_command() -> None:
    """A page and its check that read an empty group would agree, so some commands are named here."""
    text = (DOCS / "reference" / "cli.md").read_text("utf-8")
    sections = set(re.findall(r"^## ([a-z]+)$", text, re.MULTILINE))
    assert sections >= {*cli.commands, "generate", "batch", "doctor", "worker"}


def test_each_error_has_a_line_that_says_what_to_do() -> None:
    """Also one that is added later."""
    text = (DOCS / "howto" / "errors.md").read_text("utf-8")
    told = {
        name
        for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    known = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.BFLError)
    }
    assert told == known - {"BFLError"}


FRAMEWORKS = [
    f"integrations.{path.stem}"
    for path in sorted((ROOT / "bfl_async" / "integrations").glob("*.py"))
    if "def webhook_app(" in path.read_text("utf-8")
]
NAMES = sorted(set(bfl_async.__all__) - {"__version__"})


@pytest.mark.parametrize("name", [*NAMES, *(f"limiter.{each}" for each in limiter.__all__), *FRAMEWORKS])
def test_public_name_stands_in_the_reference(name: str) -> None:
    """What can be imported from the top, each limiter and each web framework can be looked up."""
    pages = "\n".join(path.read_text("utf-8") for path in (DOCS / "reference").glob("*.md"))
    stands_by_itself = f"::: bfl_async.{name}\n" in pages or f"`bfl_async.{name}`" in pages
    assert stands_by_itself or hasattr(errors, name)
