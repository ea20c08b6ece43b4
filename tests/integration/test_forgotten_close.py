"""What a program that forgets to close its client shows when it ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from bfl_async.sandbox import Sandbox

PROGRAM = """
import asyncio
from bfl_async import AsyncBFL

async def main():
    bfl = await AsyncBFL().open()
    print(await bfl.credits())
    result = await bfl.generate("flux-dev", prompt="a cat")
    await result.read()

asyncio.run(main())
"""


@pytest.mark.parametrize("options", [[], ["-X", "dev"]])
async def test_a_forgotten_client_is_named_and_not_its_sessions(
    bfl_sandbox: Sandbox, options: list[str]
) -> None:
    """The user has seen a client, and never a session of aiohttp's."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, *options, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    shown = err.decode()
    assert process.returncode == 0, shown
    assert float(out) > 0
    assert "was not closed: use `async with`, or await aclose()" in shown
    assert "Unclosed" not in shown
    assert "Traceback" not in shown
