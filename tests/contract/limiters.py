"""What the limiter suites share: a limiter of each kind, a Redis of one's own, and processes that hold leases."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import pytest

from bfl_async import Limits
from bfl_async.limiter import FileLimiter, LocalLimiter, RedisLimiter
from bfl_async.limiter._shared import SharedLimiter
from bfl_async.types import Lease, Limiter
from tests.redis import redis_or_skip

ROOT = Path(__file__).parents[2]


redis_server = pytest.fixture(scope="session")(redis_or_skip)  # each test has an account of its own


@dataclass
class Book:
    """Where the limiters of a test meet."""

    kind: str  # "file" or "redis"
    where: str  # a folder, or a URL
    account: str = field(default_factory=lambda: uuid.uuid4().hex)
    peers: list[Peer] = field(default_factory=list)
    limiters: list[SharedLimiter] = field(default_factory=list)

    async def limiter(
        self,
        limits: int | Limits | None = 12,
        *,
        lease_s: float = 60.0,
        away: Literal["wait", "fail"] = "wait",
        opened: bool = True,
    ) -> SharedLimiter:
        """One more limiter of this process."""
        made: SharedLimiter
        if self.kind == "file":
            made = FileLimiter(self.where, limits, lease_s=lease_s)
        else:
            made = RedisLimiter(self.where, limits, lease_s=lease_s, away=away)
        made.use_account(self.account)
        self.limiters.append(made)
        if opened:
            await made.open()
        return made

    async def peer(self, limit: int = 12, *, lease_s: float = 60.0, skew_s: float = 0.0) -> Peer:
        """One more process."""
        process = await create_subprocess_exec(
            *(sys.executable, "-m", "tests.contract.limiter_process", self.kind, self.where, self.account),
            *(str(limit), str(lease_s), str(skew_s)),
            stdin=PIPE,
            stdout=PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            limit=2**24,
        )
        peer = Peer(process)
        self.peers.append(peer)
        await peer.wait_for("open")
        return peer

    async def aclose(self) -> None:
        for peer in self.peers:
            peer.kill()
            await peer.process.communicate()
        for limiter in self.limiters:
            await limiter.aclose()


class Peer:
    """Another process with a limiter; it does what it is told and tells what happens."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def do(self, action: str, **arguments: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": action, **arguments}).encode() + b"\n")

    async def wait_for(self, event: str, *, timeout: float = 20.0) -> dict[str, object]:
        """Read what it tells until that happens."""
        assert self.process.stdout is not None
        async with asyncio.timeout(timeout):
            while line := await self.process.stdout.readline():
                told: dict[str, object] = json.loads(line)
                if told["event"] == event:
                    return told
        raise EOFError(f"the process ended before {event!r}")

    async def hold(self, task_id: str) -> None:
        """Take a slot in the usual way, and have the task accepted."""
        self.do("enqueue", name=task_id)
        await self.wait_for("granted")
        self.do("confirm", name=task_id)
        self.do("flush")
        await self.wait_for("flushed")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()


LIMITERS = {"local": LocalLimiter, "file": FileLimiter, "redis": RedisLimiter}
"""Each kind by the name of its parameter. A test holds that none is missing."""


@asynccontextmanager
async def book_of(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Book]:
    """The book of a test, and all that uses it."""
    where = request.getfixturevalue("redis_server").url if kind == "redis" else str(tmp_path / "slots")
    book = Book(kind, where)
    try:
        yield book
    finally:
        await book.aclose()


@pytest.fixture(params=[kind for kind in LIMITERS if kind != "local"])
async def book(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Book]:
    """Each kind of shared limiter."""
    async with book_of(request.param, request, tmp_path) as made:
        yield made


MakeLimiter = Callable[[Limits], Awaitable[Limiter]]


@cache
def _limiter_of_the_page() -> Callable[[Limiter], Limiter]:
    """Return the class that `docs/howto/own-limiter.md` shows: what readers copy keeps the contract."""
    page = (ROOT / "docs" / "howto" / "own-limiter.md").read_text("utf-8")
    names: dict[str, Callable[[Limiter], Limiter]] = {}
    exec(page.partition("```python\n")[2].partition("\n\n\nlimiter = ")[0], names)
    return names["Pausable"]


_IN_PROCESS: dict[str, Callable[[Limits], Limiter]] = {
    "local": LocalLimiter,
    # Without a class of ours.
    "own": lambda limits: _limiter_of_the_page()(LocalLimiter(limits)),
}


@pytest.fixture(
    params=[
        *(pytest.param(kind, marks=pytest.mark.looptime(start=0)) for kind in _IN_PROCESS),
        *(kind for kind in LIMITERS if kind not in _IN_PROCESS),
    ]
)
async def make_limiter(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MakeLimiter]:
    """Each kind of limiter. Those of one process live on looptime's clock, the others on the true one."""
    if (in_process := _IN_PROCESS.get(request.param)) is not None:

        async def make(limits: Limits) -> Limiter:
            return in_process(limits)

        yield make
    else:
        async with book_of(request.param, request, tmp_path) as made:
            yield made.limiter


async def settled(limiter: Limiter) -> None:
    """Wait until all that was said has had its effect: at once in a local limiter, after a step in a shared one."""
    if isinstance(limiter, SharedLimiter):
        await limiter.flush()


def say_all_of(limiter: Limiter, held: Lease, waiting: Lease) -> None:
    """Say what a client may still say of leases that the limiter has forgotten."""
    assert (held.taken, waiting.place) == (False, None)
    limiter.refuse(held, retry_after_s=None)
    limiter.confirm(held)
    limiter.release(held)
    limiter.withdraw(waiting)
    assert limiter.position(waiting) is None


class Owner:
    """Asks for a lease and notes its grants."""

    def __init__(
        self, name: str, grants: list[str], *pools: str, priority: int = 0, task_id: str | None = None
    ) -> None:
        self.failed: BaseException | None = None
        self.lease = Lease(
            ("account", *pools),
            priority=priority,
            on_granted=lambda: grants.append(name),
            on_failed=self.fail,
        )
        self.lease.task_id = task_id

    def has_slot(self) -> bool:
        return self.lease.taken

    def has_failed(self) -> bool:
        return self.failed is not None

    def fail(self, error: BaseException) -> None:
        self.failed = error
