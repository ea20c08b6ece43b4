"""What people write without this package: BFL's guide's loop in threads, and an aiohttp loop by hand.

Both are the honest version: connections are kept alive, the interval is the guide's, and nothing is asked
after the task is Ready. Neither knows cancellation, lost answers or failing polls; that is not measured here.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import aiohttp
import requests

Body = dict[str, str | int]


class Job(NamedTuple):
    """One request: the model and the body of its submit."""

    model: str
    body: Body


_ENDS = ("Error", "Failed", "Request Moderated", "Content Moderated", "Task not found")


def run_guide(url: str, key: str, jobs: list[Job], *, slots: int, interval_s: float) -> float:
    """Run the guide's loop in one thread a slot; return the moment of the last Ready on the monotonic clock."""
    queue = iter(jobs)
    lock = threading.Lock()
    ready_at: list[float] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            # Without the environment's proxies and ~/.netrc: looking those up costs more than the call.
            with requests.Session() as session:
                session.trust_env = False
                session.headers["x-key"] = key
                for model, body in shared(queue, lock):
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


def shared(queue: Iterator[Job], lock: threading.Lock) -> Iterator[Job]:
    """Iterate one source from several threads."""
    while True:
        with lock:
            job = next(queue, None)
        if job is None:
            return
        yield job


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
        if is_ready(response.json()):
            return


def run_handwritten(url: str, key: str, jobs: list[Job], *, slots: int, interval_s: float) -> float:
    """Run an aiohttp loop under a semaphore; return the moment of the last Ready on the monotonic clock."""
    return asyncio.run(_run_handwritten(url, key, jobs, slots, interval_s))


async def _run_handwritten(url: str, key: str, jobs: list[Job], slots: int, interval_s: float) -> float:
    semaphore = asyncio.Semaphore(slots)
    async with aiohttp.ClientSession(headers={"x-key": key}) as session:

        async def generate(model: str, body: Body) -> float:
            async with semaphore:
                while True:
                    async with session.post(f"{url}/v1/{model}", json=body) as response:
                        if response.status != 429:
                            response.raise_for_status()
                            polling_url = (await response.json())["polling_url"]
                            break
                    await asyncio.sleep(interval_s)
                while True:
                    await asyncio.sleep(interval_s)
                    async with session.get(polling_url) as response:
                        response.raise_for_status()
                        if is_ready(await response.json()):
                            return time.monotonic()

        return max(await asyncio.gather(*(generate(*job) for job in jobs)))


def is_ready(answer: Any) -> bool:
    """Whether a poll found the task Ready.

    Raises:
        RuntimeError: It ended otherwise.
    """
    if answer["status"] in _ENDS:
        raise RuntimeError(f"a task ended as {answer['status']}")
    return bool(answer["status"] == "Ready")
