"""One process that keeps an account busy while its limit is found out: `python -m tests.integration.discovering`.

It takes the sandbox's URL and key, the kind of limiter with its place, how many requests it keeps open, and the seconds
to run; it prints its counts as one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack

from bfl_async import AsyncBFL, Limits
from bfl_async.limiter import FileLimiter, RedisLimiter

SEARCH = Limits(account="discover", pools={})


def limiter_of(kind: str, place: str) -> FileLimiter | RedisLimiter | None:
    """Return a limiter that searches; None for the client's own."""
    if kind == "file":
        return FileLimiter(place, SEARCH)
    return RedisLimiter(place, SEARCH) if kind == "redis" else None


async def work(url: str, key: str, kind: str, place: str, width: int, seconds: float) -> dict[str, float]:
    """Keep so many requests open, waiting or active."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    async with AsyncExitStack() as stack:
        limiter = limiter_of(kind, place)
        if limiter is not None:
            await stack.enter_async_context(limiter)
        bfl = await stack.enter_async_context(AsyncBFL(key, base_url=url, limits=SEARCH, limiter=limiter))

        async def follow() -> int:
            count = 0
            while loop.time() < end:
                await bfl.submit_nowait("flux-pro-1.1", prompt="a cat")
                count += 1
            return count

        counts = await asyncio.gather(*(follow() for _ in range(width)))
        return {
            "ended": sum(counts),
            "refused": bfl.statistics().refused_429,
            "limit": bfl.statistics().pools["account"].limit,
        }


def main(argv: list[str]) -> int:
    """Run and print."""
    url, key, kind, place, width, seconds = argv
    counts = asyncio.run(work(url, key, kind, place, int(width), float(seconds)))
    sys.stdout.write(json.dumps(counts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
