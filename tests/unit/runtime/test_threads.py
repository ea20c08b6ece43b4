"""Worker threads: what the caller does with the default ones blocks nothing of ours."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Batch, Fixed, request
from bfl_async.cli.screen import open_screen
from bfl_async.cli.snapshot import Snapshot
from bfl_async.cli.threads import in_thread
from bfl_async.integrations.storage import FolderStorage
from bfl_async.ledger import SQLiteLedger
from tests.fake import JPEG, FakeAPI
from tests.threads import all_threads_taken

WITHIN_S = 20.0


async def test_batch_runs_while_all_default_threads_are_taken(tmp_path: Path) -> None:
    """From its opening to its closing: a large request, the images, the manifest, the ledger."""
    api = FakeAPI(service_s=0.01, submit_s=0.001, poll_s=0.001)
    requests = [request("flux-dev", prompt=f"{n} " + "x" * 300_000 * (n % 2)) for n in range(30)]
    async with all_threads_taken(), asyncio.timeout(WITHIN_S):
        async with (
            AsyncBFL(transport=api, polling=Fixed(0.01)) as bfl,
            Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out", downloads=1) as batch,
        ):
            await batch.add(requests)
            assert [outcome.state async for outcome in batch.run()] == ["saved"] * 30
        assert len((tmp_path / "out" / "manifest.jsonl").read_text("utf-8").splitlines()) == 30
        assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".parts")]


async def test_ledger_opens_and_closes_while_all_default_threads_are_taken(tmp_path: Path) -> None:
    """Any number of coroutines may close it; each returns when its thread has ended."""
    async with all_threads_taken(), asyncio.timeout(WITHIN_S):
        ledger = SQLiteLedger(tmp_path / "run.db")
        await ledger.open()
        written = ledger.note({"a": "b"})
        await asyncio.gather(ledger.aclose(), ledger.aclose())
        assert written.done()
        again = SQLiteLedger(tmp_path / "run.db")
        await again.open()
        assert await again.notes() == {"a": "b"}
        await again.aclose()


async def test_storage_saves_while_all_default_threads_are_taken(tmp_path: Path) -> None:
    """More images at once than it has threads."""
    async with all_threads_taken(), asyncio.timeout(WITHIN_S):
        storage = FolderStorage(tmp_path)
        paths = await asyncio.gather(*(storage.save(f"{n}.jpg", JPEG) for n in range(20)))
    assert len(set(paths)) == 20


async def test_command_line_works_while_all_default_threads_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it does in threads, and its display."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    counts = dict.fromkeys(("saved", "ready", "failed", "moderated", "ambiguous"), 0)
    snapshot = Snapshot(counts, 3, 1, 2, 0.5, None, 1.0, note="still waiting")
    async with all_threads_taken(), asyncio.timeout(WITHIN_S):
        assert await in_thread(lambda: 7) == 7
        async with open_screen(lambda: snapshot):
            pass
    assert "still waiting" in terminal.getvalue()
