"""A stage of an async pipeline: prompts come out of a queue, images go into a folder.

`bfl-async sandbox` in another shell, its two variables exported, and `python -m examples.pipeline out < prompts`.
The stream reads the queue only as far as it can keep up, so that a slow store or a full account slows the
producer down instead of filling the memory.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from bfl_async import AsyncBFL, FluxPro11


async def taken_from(queue: asyncio.Queue[str | None]) -> AsyncIterator[FluxPro11]:
    """Make a request of each prompt, until None comes."""
    while (prompt := await queue.get()) is not None:
        yield FluxPro11(prompt=prompt)


async def draw_all(bfl: AsyncBFL, queue: asyncio.Queue[str | None], folder: Path) -> AsyncIterator[Path]:
    """Yield each image's path as it is stored; what fails is told on stderr and costs no other."""
    async with bfl.stream(taken_from(queue)) as outcomes:
        async for outcome in outcomes:
            if outcome.result is not None:
                yield await outcome.result.save(folder / f"{outcome.index:05}")
            else:
                sys.stderr.write(f"{outcome.index}: {outcome.error}\n")


async def main(folder: Path) -> None:
    """Draw each line of stdin."""
    queue: asyncio.Queue[str | None] = asyncio.Queue(maxsize=100)

    async def produce() -> None:
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line.strip():
                await queue.put(line.strip())
        await queue.put(None)

    async with AsyncBFL() as bfl, asyncio.TaskGroup() as group:
        group.create_task(produce())
        async for path in draw_all(bfl, queue, folder):
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "out")))
