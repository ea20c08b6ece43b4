"""Pictures of results. Small ones for the sandbox's page are drawn small, in threads, and count as no download."""

import importlib.util
from collections.abc import Mapping
from functools import lru_cache

import anyio.to_thread
from aiohttp import web

from bfl_async.sandbox.tasks import SandboxTask

_LONGER_SIDE_PX = 192
_NARROWEST_PX = 24
_THREADS = 2
_HEADERS = {
    "Cache-Control": "private, max-age=3600",
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}


def has_picture(task: SandboxTask) -> bool:
    """Whether there is a picture of a task's result: it is ready, and Pillow is installed to draw it."""
    return task.status == "Ready" and _can_draw()


@lru_cache(maxsize=1)
def _can_draw() -> bool:
    return importlib.util.find_spec("PIL") is not None


class Thumbnails:
    """Answers with the pictures of a sandbox's tasks."""

    def __init__(self) -> None:
        self._threads = anyio.CapacityLimiter(_THREADS)

    async def answer(self, tasks: Mapping[str, SandboxTask], task_id: str) -> web.Response:
        """Return the picture, or 404 where there is none."""
        task = tasks.get(task_id)
        if task is None or not has_picture(task):
            return web.Response(status=404, headers=_HEADERS)
        content = await anyio.to_thread.run_sync(_draw_small, task, limiter=self._threads)
        return web.Response(body=content, content_type="image/webp", headers=_HEADERS)


def _draw_small(task: SandboxTask) -> bytes:
    scale = _LONGER_SIDE_PX / max(task.width, task.height)
    width, height = (max(_NARROWEST_PX, round(side * scale)) for side in (task.width, task.height))
    return draw(task, width=width, height=height, output_format="webp")


def draw(task: SandboxTask, *, width: int, height: int, output_format: str) -> bytes:
    """Draw a task's result and encode it. Takes a while: call it in a thread.

    Args:
        width: Pixels.
        height: Pixels.
        output_format: `jpeg`, `png` or `webp`.
    Raises:
        ImportError: Pillow is not installed.
    """
    from bfl_async.sandbox import drawing

    return drawing.draw_card(
        task.prompt, model=task.model, seed=task.seed, width=width, height=height, output_format=output_format
    )
