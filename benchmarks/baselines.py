"""What people write without this package: BFL's guide's loop in threads, and an aiohttp loop by hand.

Both are the honest version: connections are kept alive, the interval is the guide's, and nothing is asked
after the task is Ready. Neither knows cancellation, lost answers or failing polls; that is not measured here.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import requests

Body = dict[str, str | int]

_ENDS = ("Error", "Failed", "Request Moderated", "Content Moderated", "Task not found")


def run_guide(url: str, key: str, model: str, bodies: list[Body], *, slots: int, interval_s: float) -> float:
    """Run the guide's loop in one thread a slot; return the moment of the last Ready on the monotonic clock."""
    queue = iter(bodies)
    lock = threading.Lock()
    ready_at: list[float] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            # Without the environment's proxies and ~/.netrc: looking those up costs more than the call.
            with requests.Session() as session:
                session.trust_env = False
                session.headers["x-key"] = key
                for body in _shared(queue, lock):
                    _generate(session, f"{url}/v1/{model}", body, interval_s)
                    ready_at.append(time.monotonic())
        except BaseException as exc:
            errors.append(exc)  # raised below, by the thread that waits

    threads = [threading.Thread(target=work) for _ in range(slots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return max(ready_at)


def _shared(queue: Iterator[Body], lock: threading.Lock) -> Iterator[Body]:
    while True:
        with lock:
            body = next(queue, None)
        if body is None:
            return
        yield body


def _generate(session: requests.Session, endpoint: str, body: Body, interval_s: float) -> None:
    while True:
        response = session.post(endpoint, json=body)
        if response.status_code != 429:
            break
        time.sleep(interval_s)
    response.raise_for_status()
    polling_url = response.json()["polling_url"]
    while True:
        time.sleep(interval_s)
        response = session.get(polling_url)
        response.raise_for_status()
        if _is_ready(response.json()):
            return


def run_handwritten(
    url: str, key: str, model: str, bodies: list[Body], *, slots: int, interval_s: float
) -> float:
    """Run an aiohttp loop under a semaphore; return the moment of the last Ready on the monotonic clock."""
    return asyncio.run(_run_handwritten(f"{url}/v1/{model}", key, bodies, slots, interval_s))


async def _run_handwritten(
    endpoint: str, key: str, bodies: list[Body], slots: int, interval_s: float
) -> float:
    semaphore = asyncio.Semaphore(slots)
    async with aiohttp.ClientSession(headers={"x-key": key}) as session:

        async def generate(body: Body) -> float:
            async with semaphore:
                while True:
                    async with session.post(endpoint, json=body) as response:
                        if response.status != 429:
                            response.raise_for_status()
                            polling_url = (await response.json())["polling_url"]
                            break
                    await asyncio.sleep(interval_s)
                while True:
                    await asyncio.sleep(interval_s)
                    async with session.get(polling_url) as response:
                        response.raise_for_status()
                        if _is_ready(await response.json()):
                            return time.monotonic()

        return max(await asyncio.gather(*(generate(body) for body in bodies)))


def _is_ready(answer: Any) -> bool:
    if answer["status"] in _ENDS:
        raise RuntimeError(f"a task ended as {answer['status']}")
    return bool(answer["status"] == "Ready")
