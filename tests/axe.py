"""axe-core, which finds barriers in pages: taken from npm, where there is an npm."""

from __future__ import annotations

import functools
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Page

AXE = "axe-core@4.14.1"


@functools.cache
def source() -> str:
    """The script; skips the test where npm is missing or cannot fetch it."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", AXE, "--silent", "--pack-destination", folder]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"npm cannot fetch {AXE}: {error}")
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as files:
            script = files.extractfile("package/axe.min.js")
            assert script is not None
            return script.read().decode()


async def violations(page: Page) -> list[str]:
    """What axe finds on the page as it is now: the rule, and the first element that breaks it."""
    await page.evaluate(source())
    found: list[str] = await page.evaluate(
        "axe.run().then(ran => ran.violations.map(rule => `${rule.id}: ${rule.nodes[0].html.slice(0, 200)}`))"
    )
    return [f"{page.url} {each}" for each in found]
