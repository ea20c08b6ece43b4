"""A reader of a page: does what its blocks say, in their order, in an empty folder, with a sandbox for the API.

- `python`: run in one event loop for the whole page, with `await` at the top level. A block without any runs in a
  thread, for it may block, or start a loop of its own. One with tests is given to pytest.
- `console`: the commands after `$`, in one bash. Lines beneath a command are what it must print to stdout.
- `sh`: a script for bash.
- `output`: what the block before must have printed to stdout.

`...` stands for anything in an output. `bfl` is an open client in each Python block, which closes none but its own.
What a page needs or proves and its reader need not see stands in it as `<!-- invisible-code-block: python -->`; there
`sandbox` is the server.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser

from bfl_async import AsyncBFL, Fixed
from bfl_async.catalog import CATALOG
from bfl_async.cli.cache import save_timings
from bfl_async.polling.book import TimingsBook
from bfl_async.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT) for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

RUN = ("python", "console", "sh", "output")
SHOWN = ("text", "ini")
"""Languages of blocks that are only shown."""

INSTALLS = "python3 -m venv "
"""How the README's two blocks begin that make an environment. `.ci/run` reads them from there and runs them."""

_SERVICE_S = 0.05
_STEP_S = 60
_MARK = "-- ended with "
_IS_TEST = re.compile(r"^(async )?def test_", re.MULTILINE)


class Reader:
    """One page being read. Must be closed. It sets `BFL_API_KEY` and `BFL_BASE_URL`."""

    def __init__(self, page: Path, folder: Path) -> None:
        self._folder = folder
        self._printed = ""
        self._document = Document.parse(
            str(ROOT / page),
            CodeBlockParser("python", self._python),
            CodeBlockParser("output", self._output),
            CodeBlockParser("console", self._console),
            CodeBlockParser("sh", self._sh),
        )
        self._runner = asyncio.Runner()
        self._sandbox = Sandbox(service_s=_SERVICE_S)
        self._runner.run(self._sandbox.start())
        os.environ["BFL_API_KEY"], os.environ["BFL_BASE_URL"] = self._sandbox.key, self._sandbox.url
        self._bfl = self._runner.run(AsyncBFL(polling=Fixed(0.02)).open())
        self._document.namespace.update(__name__="docs", sandbox=self._sandbox)
        _let_commands_know_the_server(self._sandbox.url)

    def read(self) -> None:
        """Do all of it."""
        for example in self._document.examples():
            example.evaluate()

    def close(self) -> None:
        """End what was opened."""
        self._document.namespace.clear()
        with self._runner:
            self._runner.run(self._bfl.aclose())
            self._runner.run(self._sandbox.aclose())

    def _python(self, example: Example) -> None:
        source = str(example.parsed)
        if _IS_TEST.search(source):
            (self._folder / "test_page.py").write_text(source)
            (self._folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
            self._run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py")
            return
        lines = "\n" * (example.line + example.parsed.line_offset)  # so that tracebacks name the page's line
        code = compile(
            lines + source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
        )
        example.namespace["bfl"] = self._bfl
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            self._runner.run(_execute(code, example.namespace))
        self._printed = printed.getvalue()

    def _output(self, example: Example) -> str | None:
        return _difference(str(example.parsed), self._printed)

    def _sh(self, example: Example) -> None:
        source = str(example.parsed)
        if not source.startswith(INSTALLS):
            self._printed = self._run("bash", "-euo", "pipefail", "-c", source)

    def _console(self, example: Example) -> str | None:
        steps = list(_commands(str(example.parsed)))
        # Each in the same shell, and each with the exit code of the one before in `$?`.
        script = "".join(
            f"{command}\nended=$?; printf '%s%s\\n' '{_MARK}' $ended; (exit $ended)\n" for command, _ in steps
        )
        printed = self._run("bash", "-c", script + "true\n")
        parts = re.split(rf"{_MARK}(\d+)\n", printed)
        self._printed = "".join(parts[::2])
        for number, (command, wanted) in enumerate(steps):
            got, ended = parts[2 * number], parts[2 * number + 1]
            is_asked_for = number + 1 < len(steps) and "$?" in steps[number + 1][0]
            if ended != "0" and not is_asked_for:
                return f"{command!r} ended with {ended}"
            if wanted and (difference := _difference(wanted, got)):
                return f"{command!r}: {difference}"
        return None

    def _run(self, *command: str) -> str:
        return self._runner.run(_run(command, self._folder))


def _let_commands_know_the_server(url: str) -> None:
    """Keep what an earlier run of the command line would have learnt, so that the first polls are not late."""
    book = TimingsBook()
    for row in CATALOG.values():
        for _ in range(5):
            book.observe(row.name, None, row.prior, [], _SERVICE_S)
    save_timings(url, book.to_dict())


async def _execute(code: CodeType, namespace: dict[str, object]) -> None:
    if code.co_flags & inspect.CO_COROUTINE:
        await eval(code, namespace)
    else:
        await asyncio.to_thread(exec, code, namespace)


async def _run(command: tuple[str, ...], folder: Path) -> str:
    """Run a command as in a shell of the user's; return what it printed to stdout."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_STEP_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (
        f"{command} ended with {process.returncode}\n{out.decode()}\n{err.decode()}"
    )
    return out.decode()


def _commands(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a console, each with what it is shown to print."""
    command, wanted = "", ""
    for line in block.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, wanted
            command, wanted = line.removeprefix("$ "), ""
        elif line.startswith("> "):
            command += "\n" + line.removeprefix("> ")
        else:
            wanted += line + "\n"
    yield command, wanted


def _difference(wanted: str, got: str) -> str | None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if doctest.OutputChecker().check_output(wanted, got, flags):
        return None
    return f"expected\n{wanted}\nand got\n{got}"
