"""A process with a limiter, for the suite of shared limiters: commands on stdin, what happens on stdout, in JSON lines.

python -m tests.contract.limiter_process KIND WHERE ACCOUNT LIMIT LEASE_S SKEW_S
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import time
from collections.abc import Callable

from bfl_async.limiter import FileLimiter, RedisLimiter
from bfl_async.limiter._shared import SharedLimiter
from bfl_async.types import Lease


def tell(event: str, **facts: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


class _Telling(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell("logged", level=record.levelname, message=record.getMessage())


class Holder:
    """Does what it is told."""

    def __init__(self, limiter: SharedLimiter) -> None:
        self.limiter = limiter
        self.leases: dict[str, Lease] = {}

    def lease(self, name: str, task_id: str | None = None, priority: int = 0) -> Lease:
        lease = Lease(("account",), priority=priority, on_granted=lambda: tell("granted", name=name))
        lease.task_id = task_id
        self.leases[name] = lease
        return lease

    async def do(self, action: str, **arguments: object) -> None:
        name = str(arguments.get("name", ""))
        match action:
            case "enqueue":
                self.limiter.enqueue(self.lease(name))
            case "take":
                self.limiter.take(self.lease(name, task_id=name))
            case "confirm":
                self.leases[name].task_id = name
                self.limiter.confirm(self.leases[name])
            case "release":
                self.limiter.release(self.leases[name], after_s=float(str(arguments.get("after_s", 0))))
            case "resize":
                self.limiter.resize(int(str(arguments["limit"])))
            case "flush":
                await self.limiter.flush()
                tell("flushed", held=sum(lease.taken for lease in self.leases.values()))
            case "churn":
                await self.churn(
                    int(str(arguments["tasks"])),
                    int(str(arguments["window"])),
                    float(str(arguments["task_s"])),
                )
            case "close":
                await self.limiter.aclose()
                tell("closed")

    async def churn(self, tasks: int, window: int, task_s: float) -> None:
        """Take and free slots, so many requests waiting or running at a time; tell when each was held."""
        loop = asyncio.get_running_loop()
        rng = random.Random(0)
        spans: list[tuple[float, float]] = []
        left, begun, done = tasks, 0, loop.create_future()

        def begin() -> None:
            nonlocal begun
            begun += 1
            lease = Lease(("account",), priority=10, on_granted=lambda: granted(lease))
            self.limiter.enqueue(lease)

        def granted(lease: Lease) -> None:
            at = time.monotonic()
            loop.call_later(task_s * rng.uniform(0.5, 1.5), end, lease, at)

        def end(lease: Lease, at: float) -> None:
            nonlocal left
            spans.append((at, time.monotonic()))
            self.limiter.release(lease)
            left -= 1
            if begun < tasks:
                begin()
            if left == 0:
                done.set_result(None)

        for _ in range(min(window, tasks)):
            begin()
        await done
        await self.limiter.flush()
        tell("churned", spans=spans)


async def main(kind: str, where: str, account: str, limit: str, lease_s: str, skew_s: str) -> None:
    if float(skew_s):
        true_time: Callable[[], float] = time.time
        time.time = lambda: true_time() + float(skew_s)
    logging.getLogger("bfl_async").addHandler(_Telling(logging.WARNING))
    limiter: SharedLimiter
    if kind == "file":
        limiter = FileLimiter(where, int(limit), lease_s=float(lease_s))
    else:
        limiter = RedisLimiter(where, int(limit), lease_s=float(lease_s))
    limiter.use_account(account)
    await limiter.open()
    tell("open")
    holder = Holder(limiter)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer
    )
    while line := await lines.readline():
        arguments = json.loads(line)
        await holder.do(arguments.pop("do"), **arguments)
    await limiter.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
