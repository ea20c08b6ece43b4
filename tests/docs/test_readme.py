"""The README's blocks work where it says that they do: in a console, in a test file, in a shell."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bfl_async.catalog import CATALOG
from bfl_async.sandbox import Sandbox
from tests.docs.pages import ROOT

README = (ROOT / "README.md").read_text("utf-8")
SHOWN = re.sub(r"<!--.*?-->", "", README, flags=re.DOTALL)
# A line without an environment of its own is refused by the Python of many systems.
INSTALL = "python3 -m venv .venv && . .venv/bin/activate && pip install '.[cli,images]'"
PUBLISHED = "pip install 'bfl-async[cli,images]'"


def blocks(language: str) -> list[str]:
    """The README's visible blocks of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", SHOWN, re.MULTILINE | re.DOTALL)


def is_file(block: str) -> bool:
    """Whether the block is a file of its own: it defines functions, at the top level and with blank lines before."""
    return re.search(r"^(async )?def ", block, re.MULTILINE) is not None


PASTED = [block for block in blocks("python") if not is_file(block)]


async def paste(text: str, folder: Path) -> tuple[str, str]:
    """Give the text to `python -m asyncio`, with a sandbox for the API; return what it printed to stdout and stderr."""
    async with Sandbox(service_s=0.05) as sandbox:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "asyncio"),
            cwd=folder,
            env={
                **os.environ,
                "BFL_API_KEY": sandbox.key,
                "BFL_BASE_URL": sandbox.url,
                "PYTHONPATH": str(ROOT),
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(text.encode())
    return out.decode(), err.decode()


def failures(err: str) -> list[str]:
    """The last lines of tracebacks."""
    return re.findall(r"^(?:\S*Error|\S*Exception|\S*Warning)\b.*", err, re.MULTILINE)


@pytest.mark.slow
async def test_python_blocks_can_be_pasted_one_after_the_other(tmp_path: Path) -> None:
    """As a reader does: a block, and Enter until the prompt is back."""
    assert len(PASTED) == 4
    out, err = await paste("".join(f"{block}\n\n" for block in PASTED), tmp_path)
    assert (failures(err), "Traceback" in err) == ([], False), err
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg")}
    assert made == {"python-cat.jpg", "snow.jpg", "sync.jpg", "boats/0.jpg", "boats/1.jpg"}, err
    assert "change the request before another try" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("async with bfl:\n    pass\nprint(1)\n", "SyntaxError"),
        ("await bfl.credits()\n", "NameError"),
    ],
    ids=["a statement directly after a block", "a name that only another block has"],
)
async def test_a_block_that_cannot_be_pasted_is_found(text: str, complaint: str, tmp_path: Path) -> None:
    """What the test above looks at does tell."""
    _, err = await paste(f"{text}\n\n", tmp_path)
    assert [each for each in failures(err) if each.startswith(complaint)]


@pytest.mark.slow
def test_the_test_file_passes_with_the_settings_beside_it(tmp_path: Path) -> None:
    """And with no setting of ours."""
    (block,) = (each for each in blocks("python") if "def test_" in each)
    (settings,) = blocks("ini")
    (tmp_path / "pytest.ini").write_text(settings)
    (tmp_path / "test_images.py").write_text(block)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


FIRST_PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "howto").glob("*.md")]
COMMANDS = [
    (path.name, line)
    for path in FIRST_PAGES
    for line in re.findall(
        r"^(?:\$ )?(.*bfl-async (?:generate|batch|estimate|enqueue) .*)$",
        path.read_text("utf-8"),
        re.MULTILINE,
    )
]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_that_are_shown_have_a_known_price(page: str, line: str) -> None:
    """A reader who copies one learns what it costs: the model has a price, and an estimate a whole size."""
    for name in re.findall(r" -m (\S+)", line.partition("bfl-async ")[2]):
        assert CATALOG[name].price is not None, page
    if "estimate" in line:
        assert "--width" in line, page
        assert "--height" in line, page


def test_commands_can_be_pasted_into_any_shell() -> None:
    """A prompt before a command is no command, and zsh takes a comment behind one for arguments."""
    lines = [line for block in (*blocks("sh"), *blocks("console")) for line in block.splitlines()]
    assert len(lines) >= 8
    assert [line for line in lines if line.startswith(("$", "#")) or " #" in line] == []


def test_it_is_read_in_one_sitting() -> None:
    """What takes longer belongs into the documentation."""
    assert len(README.splitlines()) <= 220


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/tutorial.md"])
def test_each_first_page_has_the_line_that_installs_it(page: str) -> None:
    """One that works from a clone, and the one that will work when the package is published."""
    text = " ".join((ROOT / page).read_text("utf-8").split())
    assert INSTALL in text
    assert PUBLISHED in text
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert {"cli", "images"} <= extras.keys()
