"""`--limit discover`, and what a run says of its slots."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bfl_async import Limits
from bfl_async._config import account_hash
from bfl_async.cli import main
from bfl_async.cli.doctor import slots_of
from bfl_async.cli.findings import Finding, Place
from bfl_async.limiter import FileLimiter
from bfl_async.limiter.file import found_limit
from bfl_async.types import Lease
from tests.waiting import wait_until


@pytest.mark.parametrize("word", ["0", "-1", "all", "1.5", ""])
def test_other_words_for_a_limit_are_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", "-", "--limit", word]) == 2
    assert "discover" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"), [([], "--limit discover"), (["--limit", "discover"], "as far as")]
)
def test_a_run_that_slots_have_limited_says_so(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And how to find out whether the account may have more."""
    rows = tmp_path / "rows.txt"
    rows.write_text("".join(f"a cat {number}\n" for number in range(60)))
    command = ["batch", str(rows), "-m", "flux-2-klein-4b", "-o", str(tmp_path / "out"), "--sandbox"]
    assert main([*command, *options]) == 0
    captured = capsys.readouterr()
    assert says in captured.err
    assert "slots were taken for" in captured.err
    assert "summary" in json.loads(captured.out.splitlines()[-1])


@pytest.mark.parametrize(
    ("shared", "own", "says"),
    [
        (None, None, ["runs take 12", "--limit discover"]),
        (24, None, ["a run with --limit discover found that 24 tasks may be active"]),
        (None, 17, ["a program that searched in one process found that 17 tasks may be active"]),
        (24, 17, ["24 tasks", "17 tasks"]),
        (24, 24, ["a run with --limit discover found that 24 tasks may be active"]),
    ],
)
async def test_doctor_says_what_is_known_of_the_limit(
    shared: int | None, own: int | None, says: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever limiter has found it: that of all runs on this machine, or that of one process."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = Place("https://api.bfl.ai", "key", Finding("key", "ok", ""), None)
    account = account_hash("key", "https://api.bfl.ai")
    if own is not None:
        path = tmp_path / "cache" / "bfl-async" / f"limit-{account}.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"limit": own, "wait_s": 600, "try_at": 0}))
    if shared is not None:
        limiter = FileLimiter(limits=Limits(account="discover"))
        limiter.use_account(account)
        async with limiter:
            lease = Lease(("account",))
            limiter.enqueue(lease)
            await wait_until(lambda: lease.taken)
        with closing(sqlite3.connect(next((tmp_path / "state").rglob("*.db")))) as db, db:
            db.execute("UPDATE searches SET found = ?", (shared,))
    slots = await slots_of(place)
    assert all(each in slots for each in says)
    assert slots.count("tasks may be active") == len({shared, own} - {None})


async def test_doctor_reads_what_a_run_has_found(tmp_path: Path) -> None:
    account = account_hash("key", "https://api.bfl.ai")
    assert found_limit(tmp_path, account) is None
    assert not list(tmp_path.iterdir())
    limiter = FileLimiter(tmp_path)
    limiter.use_account(account)
    async with limiter:
        lease = Lease(("account",))
        limiter.enqueue(lease)
        await wait_until(lambda: lease.taken)
        assert found_limit(tmp_path, account) is None
