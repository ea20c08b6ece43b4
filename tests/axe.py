"""axe-core, which finds what keeps people from using a page: fetched from npm once, and run in a page."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Page

VERSION = "4.14.1"
_FETCH_S = 25.0


def axe_source() -> str:
    """Return the script; the test is skipped where it cannot be had. BFL_AXE names a file of it."""
    if named := os.environ.get("BFL_AXE"):
        return Path(named).read_text("utf-8")
    source, reason = _fetched()
    if not source:
        pytest.skip(reason)
    return source


@functools.cache
def _fetched() -> tuple[str, str]:
    """The script, kept for the next process; or "" and why it cannot be had, which is tried once."""
    kept = Path(tempfile.gettempdir()) / f"bfl-axe-{os.getuid()}-{VERSION}.js"
    if kept.is_file() and not kept.is_symlink() and kept.stat().st_uid == os.getuid():
        return kept.read_text("utf-8"), ""
    npm = shutil.which("npm")
    if npm is None:
        return "", "npm is not installed, and BFL_AXE does not name axe.min.js"
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [npm, "pack", "--silent", "--fetch-retries=0", f"axe-core@{VERSION}"],
                cwd=folder, capture_output=True, text=True, timeout=_FETCH_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "", f"axe-core was not fetched within {_FETCH_S:.0f} s"
        if done.returncode:
            return "", f"axe-core cannot be fetched: {done.stderr.strip()[-120:]}"
        with tarfile.open(Path(folder) / done.stdout.strip().splitlines()[-1]) as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            source = member.read().decode()
    part = kept.with_suffix(f".{os.getpid()}")
    part.write_text(source, "utf-8")
    part.replace(kept)
    return source, ""


async def violations_of(page: Page) -> list[str]:
    """Return what axe-core finds in a page as it is now: each rule with the elements that break it."""
    if await page.evaluate("typeof axe") == "undefined":
        await page.evaluate(f"{axe_source()};0")
    found = await page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations.map("
        "(each) => `${each.id}: ${each.nodes.slice(0, 4).map((node) => node.target.join(' ')).join(', ')}`))"
    )
    return [str(each) for each in found]
