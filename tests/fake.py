"""A server in one object: the `Transport` protocol, scripted, on the loop's own clock.

It counts as a perfect server does: a task is active from acceptance to its end, and one more than `limit`
is answered 429. Under looptime hours of it pass at once.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from bfl_async import AsyncBFL, BFLError, Fixed, Limits, Timeouts
from bfl_async.types import JSON, Observer, Reply, Webhook

Answer = Reply | BFLError | None
"""What a script puts in place of the fake's own answer; None: its own."""


def reply(status_code: int, body: object = None, **headers: str) -> Reply:
    """A reply with a JSON body, or with the given text or bytes."""
    if isinstance(body, bytes):
        raw = body
    elif isinstance(body, str):
        raw = body.encode()
    else:
        raw = json.dumps(body).encode()
    return Reply(status_code, {name.replace("_", "-").lower(): text for name, text in headers.items()}, raw)


JPEG = b"\xff\xd8\xff\xe0" + b"image" * 100 + b"\xff\xd9"


@dataclass
class FakeTask:
    """One accepted task."""

    task_id: str
    path: str
    body: dict[str, JSON]
    accepted_at: float
    ready_at: float
    status: str = "Ready"
    polls: int = 0

    def active(self, now: float) -> bool:
        return now < self.ready_at


@dataclass
class FakeAPI:
    """See the module."""

    limit: int = 12
    service_s: float | Callable[[int], float] = 1.0
    submit_s: float = 0.1  # a submit's round trip; the server decides in its middle
    poll_s: float = 0.02
    cost: float | None = 4.0
    credits: float = 1_000.0
    submit_script: deque[Answer] = field(default_factory=deque)
    poll_script: deque[Answer] = field(default_factory=deque)
    download_script: deque[Answer] = field(default_factory=deque)
    tasks: dict[str, FakeTask] = field(default_factory=dict)
    posts: list[tuple[str, dict[str, JSON]]] = field(default_factory=list)  # every POST that arrived
    polled: list[tuple[float, str]] = field(default_factory=list)
    downloaded: list[tuple[str, float]] = field(default_factory=list)
    refused_429: int = 0
    peak_active: int = 0
    closed: bool = False
    before_submit: Callable[[], Awaitable[None]] | None = None  # the POST is on its way
    foreign_active: int = 0  # tasks of another program on the same account

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def active(self) -> int:
        """Tasks that the server counts now."""
        now = self.now()
        return self.foreign_active + sum(task.active(now) for task in self.tasks.values())

    def end(self, task_id: str, status: str = "Ready") -> None:
        """End a task now."""
        task = self.tasks[task_id]
        task.ready_at, task.status = self.now(), status

    def script_submits(self, *answers: Answer) -> None:
        self.submit_script.extend(answers)

    def script_polls(self, *answers: Answer) -> None:
        self.poll_script.extend(answers)

    async def submit(self, path: str, body: bytes) -> Reply:
        if self.before_submit is not None:
            await self.before_submit()
        await asyncio.sleep(self.submit_s / 2)
        self.posts.append((path, json.loads(body)))
        scripted = self.submit_script.popleft() if self.submit_script else None
        answer = scripted if scripted is not None else self._accept(path, json.loads(body))
        await asyncio.sleep(self.submit_s / 2)
        return _given(answer)

    def _accept(self, path: str, body: dict[str, JSON]) -> Reply:
        if self.active >= self.limit:
            self.refused_429 += 1
            return reply(429, {"detail": "Too many active tasks"})
        n = len(self.tasks)
        service_s = self.service_s(n) if callable(self.service_s) else self.service_s
        task_id = f"task-{n}"
        now = self.now()
        self.tasks[task_id] = FakeTask(task_id, path, body, now, now + service_s)
        self.peak_active = max(self.peak_active, self.active)
        if "webhook_url" in body:
            told = {"id": task_id, "status": "Pending", "webhook_url": body["webhook_url"]}
            return reply(200, {**told, "cost": self.cost})
        return reply(
            200, {"id": task_id, "polling_url": f"https://api.bfl.ai/poll/{task_id}", "cost": self.cost}
        )

    async def poll(self, url: str) -> Reply:
        if url == "/v1/credits":
            return reply(200, {"credits": self.credits})
        await asyncio.sleep(self.poll_s / 2)
        self.polled.append((self.now(), url))
        scripted = self.poll_script.popleft() if self.poll_script else None
        answer = scripted if scripted is not None else self._status(url.rpartition("/")[2].rpartition("=")[2])
        await asyncio.sleep(self.poll_s / 2)
        return _given(answer)

    def _status(self, task_id: str) -> Reply:
        task = self.tasks.get(task_id)
        if task is None:
            return reply(404, status("Task not found", task_id))
        task.polls += 1
        if task.active(self.now()):
            return reply(200, status("Pending", task_id))
        return reply(200, status(task.status, task_id))

    async def download(self, url: str, *, timeout: float) -> Reply:
        self.downloaded.append((url, timeout))
        await asyncio.sleep(0)
        answer = self.download_script.popleft() if self.download_script else None
        return _given(answer if answer is not None else reply(200, JPEG, content_type="image/jpeg"))

    async def aclose(self) -> None:
        self.closed = True

    def client(
        self,
        *,
        limits: int | Limits | None = None,
        interval: float = 0.25,
        timeouts: Timeouts | None = None,
        webhook: Webhook | None = None,
        observer: Observer | None = None,
    ) -> AsyncBFL:
        """A client on this server."""
        return AsyncBFL(
            limits=self.limit if limits is None else limits,
            polling=Fixed(interval),
            timeouts=timeouts,
            webhook=webhook,
            observer=observer,
            transport=self,
        )


def status(word: str, task_id: str = "task-0", **more: object) -> dict[str, object]:
    """A poll's body in the recorded shape."""
    result = {"sample": f"https://delivery.bfl.ai/{task_id}.jpeg?se=2099-01-01T00%3A00%3A00Z&sig=s%2Fx"}
    return {
        "id": task_id,
        "status": word,
        "result": result if word == "Ready" else None,
        "progress": None,
        "details": None,
        "preview": None,
        **more,
    }


def _given(answer: Reply | BFLError) -> Reply:
    if isinstance(answer, BFLError):
        raise answer.fresh()
    return answer


def seed(client: AsyncBFL, number: int) -> None:
    """Make an open client's back-off the same at each run, which replays and shrinks of random tests need."""
    assert client._life.scheduler is not None
    client._life.scheduler._steps._rng.seed(number)


def stall(seconds: float) -> None:
    """Let the process stand still: the loop's clock goes on by so much, and nothing runs meanwhile.

    For loops under looptime. What falls due in the meantime is run afterwards, in its order.
    """
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + seconds  # type: ignore[method-assign]  # of this one loop, for good


async def spin(turns: int = 20) -> None:
    """Let everything that is ready run, without any time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)


def prompts(bodies: Iterable[tuple[str, dict[str, JSON]]]) -> list[JSON]:
    """The prompts of the POSTs, in order."""
    return [body["prompt"] for _, body in bodies]
