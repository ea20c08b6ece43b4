"""The README's examples run as they stand there."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from bfl_async import AsyncBFL, Fixed
from bfl_async.sandbox import Sandbox

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


def runnable(block: str) -> Callable[[AsyncBFL | None], Awaitable[None]]:
    """A README block as a coroutine function of the client that it uses."""
    names: dict[str, object] = {}
    exec(f"async def example(bfl):\n{textwrap.indent(block, '    ')}", names)
    return cast("Callable[[AsyncBFL | None], Awaitable[None]]", names["example"])


@pytest.mark.parametrize("number", [0, 1, 2], ids=["one image", "a handle", "many images"])
async def test_readme_example_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a newcomer copies works."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("a cat\na dog [moderate-prompt]\n")
    async with Sandbox(speed=100) as sandbox:
        monkeypatch.setenv("BFL_API_KEY", sandbox.key)
        monkeypatch.setenv("BFL_BASE_URL", sandbox.url)
        async with AsyncBFL(polling=Fixed(0.05)) as bfl:
            await runnable(BLOCKS[number])(bfl)
    if number == 0:
        assert (tmp_path / "cat.jpg").exists()
    if number == 2:
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["00000.jpg"]


def test_every_readme_example_compiles() -> None:
    """Also the web app's, whose framework is not needed here."""
    assert len(BLOCKS) == 4
    for block in BLOCKS:
        compile(f"async def example():\n{textwrap.indent(block, '    ')}", "README.md", "exec")
