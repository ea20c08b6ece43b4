"""What stands in a block of the documentation works as it stands there."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from benchmarks.redis_server import RedisServer
from tests.docs.pages import INSTALLS, PAGES, ROOT, RUN, SHOWN, Reader

_FENCE = re.compile(r"^[ \t]*```([^\n`]*)$\n", re.MULTILINE)
_PROGRAMS = {"docs/howto/shell.md": "jq", "docs/howto/shared-limit.md": "redis-server"}
"""What a page needs beside Python."""


@contextmanager
def redis_for(page: Path, folder: Path) -> Iterator[None]:
    """A Redis that `BFL_REDIS_URL` names, where the page needs one."""
    if _PROGRAMS.get(page.as_posix()) != "redis-server":
        yield
        return
    server = RedisServer(folder)
    server.start()
    try:
        os.environ["BFL_REDIS_URL"] = server.url
        yield
    finally:
        server.kill()


@contextmanager
def logging_of_its_own() -> Iterator[None]:
    """Take away again what a page sets up, so that no other test logs into it."""
    loggers = [logging.getLogger(name) for name in (None, "bfl_async")]
    before = [(logger.handlers[:], logger.level) for logger in loggers]
    try:
        yield
    finally:
        for logger, (handlers, level) in zip(loggers, before, strict=True):
            logger.handlers[:] = handlers
            logger.setLevel(level)


def is_slow(page: Path) -> bool:
    """Whether commands are run: each is a process that imports the client, half a second or more."""
    return (
        re.search(rf"^```(console|sh\n(?!{INSTALLS}))", (ROOT / page).read_text("utf-8"), re.MULTILINE)
        is not None
    )


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page), marks=[pytest.mark.slow] * is_slow(page)) for page in PAGES]
)
def test_blocks_of_the_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader copies works, in the order of the page."""
    program = _PROGRAMS.get(page.as_posix())
    if program is not None and shutil.which(program) is None:
        pytest.skip(f"{page} needs {program}: apt-get install {program}")
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ), logging_of_its_own(), redis_for(page, tmp_path):
        reader = Reader(page, tmp_path)
        try:
            reader.read()
        finally:
            reader.close()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_is_run_or_of_a_language_that_is_only_shown(page: Path) -> None:
    """A block that no reader knows would be tested by nobody."""
    fences = _FENCE.findall((ROOT / page).read_text("utf-8"))
    assert set(fences[::2]) <= {*RUN, *SHOWN}
    assert set(fences[1::2]) <= {""}


@pytest.mark.parametrize("page", [page for page in PAGES if page != Path("docs/reference/cli.md")], ids=str)
def test_commands_that_are_shown_can_be_pasted(page: Path) -> None:
    """A prompt is for a block that is run and shows output; zsh takes a comment behind a command for arguments."""
    fenced = re.findall(r"^```(\w+)$\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [(language, line) for language, block in fenced for line in block.splitlines()]
    assert [line for language, line in lines if language in ("sh", "text") and line.startswith("$ ")] == []
    assert [line for language, line in lines if language in ("sh", "console", "text") and " # " in line] == []


def test_blocks_that_install_are_the_two_of_the_readme() -> None:
    """They are left out here by how they begin, and nothing else may be."""
    begin = re.compile(rf"^```sh\n{INSTALLS}", re.MULTILINE)
    assert [page for page in PAGES for _ in begin.findall((ROOT / page).read_text("utf-8"))] == [
        Path("README.md")
    ] * 2


@pytest.mark.parametrize(
    ("blocks", "complaint"),
    [
        ("```python\nprint(1)\n```\n\n```output\n1\n```\n", None),
        ("```python\nprint('a b c')\n```\n\n```output\na ... c\n```\n", None),
        ("```python\nprint(1)\n```\n\n```output\n2\n```\n", "expected\n2"),
        ("```python\nprint(1)\nprint(2)\n```\n\n```output\n1\n```\n", "expected\n1"),
        ("```python\nawait bfl.generate('flux-dev', prompt='[fail]')\n```\n", "Error"),
        ("```python\nimport asyncio\nasyncio.run(None)\n```\n", "a coroutine was expected"),
        ("```console\n$ echo 1\n1\n$ false\n$ echo $?\n1\n```\n", None),
        ("```console\n$ echo 1\n2\n```\n", "expected\n2"),
        ("```console\n$ false\n```\n", "'false' ended with 1"),
        ("```sh\nfalse\ntrue\n```\n", "ended with 1"),
        (
            "<!-- invisible-code-block: python\nassert sandbox.limit == 13, 'hidden'\n-->\n",
            "hidden",
        ),
    ],
    ids=[
        "the output is right",
        "a part is anything",
        "another output",
        "more output",
        "an exception",
        "a block without await fails",
        "an exit code that is asked for",
        "a command prints something else",
        "a command fails",
        "a script of bash fails",
        "a hidden check fails",
    ],
)
def test_reader_complains_of_what_does_not_work(
    blocks: str, complaint: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a wrong output, a failing command, an exception; and of nothing else."""
    page = tmp_path / "page.md"
    page.write_text(blocks)
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ):
        reader = Reader(page, tmp_path)
        try:
            if complaint is None:
                reader.read()
            else:
                with pytest.raises(Exception, match=re.escape(complaint)):
                    reader.read()
        finally:
            reader.close()
