"""Callers: each uses a client in one way, and may leave at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from bfl_async import (
    BFLError,
    ClientClosedError,
    DownloadError,
    FluxKontextMax,
    FluxPro11,
    Result,
    TaskHandle,
    TaskTimeoutError,
    TransportError,
)
from bfl_async.types import State
from tests.fake import JPEG
from tests.schedules.world import EPSILON_S, GRACE_S, LAST_POLLS_S, NARROW, Ask, Side, World

T = TypeVar("T")


def made_of(ask: Ask) -> FluxPro11 | FluxKontextMax:
    """Return the request that a caller passes."""
    return FluxKontextMax(prompt=ask.prompt) if ask.model == NARROW else FluxPro11(prompt=ask.prompt)


class Caller:
    """One coroutine of a program.

    Args:
        starts_at: Seconds before it begins.
    """

    def __init__(self, world: World, side: Side, starts_at: float) -> None:
        self.world = world
        self.rng = world.rng
        self.side = side
        self.client = side.client
        self.starts_at = starts_at
        self.task: asyncio.Task[None] | None = None
        # True once the schedule has cancelled it: no other cancellation may reach it.
        self.left = False
        self.doing = "nothing yet"
        ways: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.generate, 8), (self.submit, 4), (self.withdraw, 3), (self.gather, 3), (self.post, 1),
            (self.leave_at_once, 2), (self.attach, 2), (self.read_updates, 2), (self.drain, 1), (self.credits, 1),
        ]  # fmt: skip
        if world.plan.queue is None:
            # The bound on the queue does not hold for a stream.
            ways.append((self.stream, 5))
        names, weights = zip(*ways, strict=True)
        self.way = self.rng.choices(names, weights)[0]

    def start(self) -> None:
        """Begin in a task of its own."""
        self.task = asyncio.get_running_loop().create_task(self.live())

    def leave(self) -> None:
        """Cancel it."""
        if self.task is not None and not self.task.done():
            self.left = True
            self.task.cancel()

    async def live(self) -> None:
        """Do what it does, once."""
        await asyncio.sleep(self.starts_at)
        self.doing = self.way.__name__
        with suppress(BFLError):
            await self.way()
        self.doing = "nothing more"

    def timeout(self) -> float | None:
        """Choose a timeout for a call."""
        if self.rng.random() < 0.5:
            return None
        return self.rng.choice([0, -1.5, 0.05, 0.5, 3.0, 12.0, 90.0])

    def ask(self, timeout: float | None = None, *, owned: bool = True) -> Ask:
        """Make one request."""
        ask = self.world.ask(self.side, timeout, owned=owned)
        if self.rng.random() < 0.15 * (self.world.plan.leavers > 0):
            ask.cancel_at_end, ask.cancel = self.rng.randint(0, 4), self.leave
        return ask

    async def bounded(
        self, what: str, call: Awaitable[T], *asks: Ask, timeout: float | None = None, more_s: float = 0.0
    ) -> T:
        """Await a call, and check when and how it ends.

        Args:
            timeout: That the call was given.
            more_s: Seconds that it may take besides after a stall.
        """
        world = self.world
        began_at = world.now()
        self.doing = f"{what}({', '.join(ask.prompt for ask in asks)}, timeout={timeout})"
        try:
            return await call
        except asyncio.CancelledError:
            if not (self.left or world.over):
                world.note(f"{what} raised a cancellation that is not its caller's")
            if what not in ("result", "updates"):
                # To leave a wait for a handle is to leave that wait alone.
                world.gone(*asks)
            raise
        except BFLError:
            raise
        except Exception as exc:
            world.note(f"{what} raised {exc!r}, which is not an error of ours")
            raise ClientClosedError("the schedule goes on without this caller") from exc
        finally:
            more_s *= world.stalled_since(began_at) > 0
            if timeout is not None and world.now() > world.end_of(began_at + max(0, timeout)) + more_s:
                world.note(f"{what} with timeout={timeout} took {world.now() - began_at:.3f} s")
            if len(asks) == 1:
                self.check_task_ends(what, began_at, asks[0])

    def check_task_ends(self, what: str, began_at: float, ask: Ask) -> None:
        """Check that following a task ended with its deadline."""
        world = self.world
        task_s = world.plan.timeouts.task or 600.0
        for task in ask.tasks:
            since = task.followed_since.get(self.side)
            if since is None or self.left or world.over:
                continue
            since = max(since, began_at)
            if world.now() > since + task_s + LAST_POLLS_S + world.stalled_since(since):
                world.note(f"{what} ended {world.now() - since:.3f} s after task {task.task_id} was accepted")

    async def settle(self, what: str, call: Awaitable[object], ask: Ask, **bounds: float | None) -> object:
        """Await one request to its end, and judge that."""
        try:
            end = await self.bounded(what, call, ask, **bounds)  # type: ignore[arg-type] # names of its parameters
        except BFLError as exc:
            self.world.judge(ask, exc)
            raise
        self.world.judge(ask, end)
        if isinstance(end, Result) and self.rng.random() < 0.3:
            await self.read(end)
        return end

    # --- one request -----------------------------------------------------------------------------------------

    async def generate(self) -> None:
        """The usual call, perhaps by way of a view with another timeout."""
        timeout = self.timeout()
        ask = self.ask(timeout)
        if timeout is not None and self.rng.random() < 0.3:
            call = self.client.with_options(timeout=timeout).generate(made_of(ask))
        else:
            call = self.client.generate(made_of(ask), timeout=timeout, priority=self.rng.randint(0, 2))
        try:
            await self.settle("generate", call, ask, timeout=timeout)
        except TaskTimeoutError as exc:
            if exc.task_id is not None and self.rng.random() < 0.7:
                await self.attach_again(ask, exc)

    async def attach_again(self, ask: Ask, error: TaskTimeoutError) -> None:
        """Follow the message's advice."""
        await asyncio.sleep(self.rng.choice([0.0, 1.0]))
        assert error.task_id is not None
        await self.follow(error.task_id, error.polling_url)

    async def submit(self) -> None:
        """Wait for the acceptance, then for the result."""
        timeout = self.timeout()
        ask = self.ask(timeout, owned=False)
        try:
            handle = await self.bounded(
                "submit", self.client.submit(made_of(ask), timeout=timeout), ask, timeout=timeout
            )
        except BFLError as exc:
            self.world.judge(ask, exc)
            raise
        ask.deadline = float("inf")
        if handle.task_id not in self.world.tasks:
            self.world.note(f"submit returned with task id {handle.task_id}")
        await self.await_handle(handle, ask)

    async def await_handle(self, handle: TaskHandle, ask: Ask) -> None:
        """Wait with a timeout of the wait alone, then without."""
        if self.rng.random() < 0.3:
            timeout = self.rng.choice([0, 0.2, 3.0])
            began_at = self.world.now()
            try:
                await self.bounded("result", handle.result(timeout=timeout), timeout=timeout)
            except TaskTimeoutError:
                if self.world.now() < began_at + timeout - EPSILON_S:
                    self.world.note("result() timed out before its timeout")
            except BFLError:
                pass
        await self.settle("result", handle.result(), ask)

    async def withdraw(self) -> None:
        """Take a request back, or find that it is too late."""
        ask = self.ask(owned=False)
        try:
            handle = self.client.submit_nowait(made_of(ask))
        except BFLError as exc:
            self.world.judge(ask, exc)
            raise
        try:
            await asyncio.sleep(self.rng.choice([0.0, 0.1, 2.0]))
        finally:
            # Nobody waits for it any more if this caller was cancelled: the request goes on.
            pass
        if not handle.done() and handle.withdraw():
            ask.withdrawn = ask.gone = True
        await self.settle("result", handle.result(), ask)

    async def leave_at_once(self) -> None:
        """A call whose own scope has no time left, or whose task is cancelled before its first wait is over."""
        ask = self.ask()
        if self.rng.random() < 0.5:
            with suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await self.client.generate(made_of(ask))
        else:
            call = asyncio.get_running_loop().create_task(self.client.generate(made_of(ask)))
            if self.rng.random() < 0.5:
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            if not call.cancelled():
                call.exception()
        # Under eager tasks a call is admitted within create_task, a turn of the loop before it can be cancelled.
        if ask.posts and not self.world.plan.eager:
            self.world.note(f"request {ask.prompt} was sent, and its caller had left at once")
        self.world.gone(ask)

    async def post(self) -> None:
        """A POST to an endpoint by its path."""
        timeout = self.timeout()
        ask = self.ask(timeout, owned=False)
        call = self.client.post("/v1/flux-pro-1.1", json={"prompt": ask.prompt}, timeout=timeout)
        ask.model = "flux-pro-1.1"
        await self.settle("post", call, ask, timeout=timeout)

    # --- tasks -----------------------------------------------------------------------------------------------

    async def attach(self) -> None:
        """Follow any task of the account."""
        # Those whose id a program can know.
        known = [task for task in self.world.tasks.values() if task.followed_since or task.ask.lost_at]
        if known:
            await self.follow(self.rng.choice(known).task_id, None)

    async def follow(self, task_id: str, polling_url: str | None) -> None:
        """Attach a task and wait for its end."""
        task = self.world.tasks[task_id]
        handle = self.client.attach(task_id, polling_url=polling_url, model=task.ask.model)
        self.world.follow(self.side, task)
        attached = Ask(task.ask.prompt, self.side, 0, float("inf"), owned=False)
        attached.tasks.append(task)
        try:
            end: object = await self.bounded("attach", handle.result(), attached)
        except BFLError as exc:
            end = exc
        self.world.judge(attached, end, attached=True)
        if isinstance(end, Result):
            task.ask.ends.append(end)

    async def read_updates(self) -> None:
        """Two coroutines read one iterator of updates; both end, and one of them is given the end."""
        ask = self.ask(owned=False)
        handle = self.client.submit_nowait(made_of(ask))
        updates = handle.updates()
        ends = 0

        async def read() -> None:
            nonlocal ends
            async for update in updates:
                ends += update.state is State.SETTLED
                if self.rng.random() < 0.3:
                    await asyncio.sleep(0.5)

        await self.bounded("updates", asyncio.gather(read(), read()), ask)
        if ends != 1:
            self.world.note(f"{ends} terminal updates of one request")
        await self.settle("result", handle.result(), ask)

    async def read(self, result: Result) -> None:
        """Download a result."""
        timeout = self.rng.choice([0, 0.5, 4.0, 30.0])
        task = self.world.tasks[result.task_id]
        try:
            data = await self.bounded("read", result.read(timeout=timeout), timeout=timeout, more_s=GRACE_S)
        except DownloadError as exc:
            if timeout > 0.02 and not (task.faulty_downloads or task.without_url or self.world.stalls):
                self.world.note(f"read() raised {exc!r} and nothing was wrong")
        except ClientClosedError:
            if self.side.closing_at is None:
                self.world.note("read() says that the client is closed")
        except BFLError as exc:
            self.world.note(f"read() raised {exc!r}")
        else:
            if data != JPEG:
                self.world.note("read() returned other bytes")

    # --- many requests ---------------------------------------------------------------------------------------

    async def gather(self) -> None:
        """Some requests together."""
        timeout, world = self.timeout(), self.world
        asks = [self.ask(timeout) for _ in range(self.rng.randint(1, 5))]
        collect = self.rng.random() < 0.5
        requests = [made_of(ask) for ask in asks]
        call = self.client.gather(requests, timeout=timeout, return_exceptions=collect)
        try:
            ends = await self.bounded("gather", call, *asks, timeout=timeout)
        except BFLError as exc:
            world.gone(*asks)
            # Whose error it is cannot be seen; one of them has a cause for it.
            noted = len(world.violations)
            for ask in asks:
                world.judge(ask, exc)
                ask.ends.pop()
                ask.unsent = False
                if len(world.violations) == noted:
                    return
                del world.violations[noted:]
            world.note(f"gather raised {exc!r}, and no request has a cause for it")
            raise
        if len(ends) != len(asks):
            world.note(f"gather returned {len(ends)} ends of {len(asks)} requests")
        for ask, end in zip(asks, ends, strict=False):
            world.judge(ask, end)
            if isinstance(end, Result) and end.task_id not in {task.task_id for task in ask.tasks}:
                world.note(f"gather returned the result of another request in place {ask.prompt}")

    async def stream(self) -> None:
        """A stream, read to its end or left or stopped, by its consumer or by its own source."""
        rng, world = self.rng, self.world
        timeout, ordered = self.timeout(), rng.random() < 0.4
        size, window = rng.randint(1, 9), rng.choice([None, 1, 3])
        stop_at = rng.randint(0, size) if rng.random() < 0.25 else None
        leave_at = rng.randint(0, size) if rng.random() < 0.2 else None
        most = 2 * world.plan.account if window is None else window
        asks: list[Ask] = []
        stopped = False
        given = 0

        def following() -> FluxPro11 | FluxKontextMax:
            nonlocal stopped
            if len(asks) == stop_at:
                outcomes.stop()
                stopped = True
                for ask in asks:
                    # What waits is withdrawn, also what waits for another attempt.
                    ask.withdrawn = ask.gone = True
            ask = self.ask(timeout)
            ask.gone = ask.withdrawn = stopped
            asks.append(ask)
            if len(asks) - given > most:
                world.note(f"a stream with a window of {most} has read {len(asks) - given} requests ahead")
            return made_of(ask)

        def source() -> Iterator[FluxPro11 | FluxKontextMax]:
            for _ in range(size):
                yield following()

        async def trickle() -> AsyncIterator[FluxPro11 | FluxKontextMax]:
            for _ in range(size):
                await asyncio.sleep(rng.choice([0.0, 0.0, 0.3, 2.0]))
                yield following()

        outcomes = self.client.stream(
            source() if rng.random() < 0.6 else trickle(), ordered=ordered, window=window, timeout=timeout
        )
        seen: list[int] = []

        async def consume() -> None:
            nonlocal given
            async with outcomes:
                async for outcome in outcomes:
                    given += 1
                    seen.append(outcome.index)
                    world.judge(asks[outcome.index], outcome.result or outcome.error)
                    if len(seen) == leave_at:
                        return
                    if rng.random() < 0.1:
                        await asyncio.sleep(1.5)

        try:
            await self.bounded("stream", consume(), *asks)
        except ClientClosedError:
            if self.side.closing_at is None:
                world.note("a stream says that the client is closed")
        except BFLError as exc:
            world.note(f"a stream raised {exc!r}")
        finally:
            world.gone(*asks)
            if len(set(seen)) != len(seen) or (ordered and seen != sorted(seen)):
                world.note(f"a stream gave the outcomes {seen}")
        if self.side.closing_at is None and len(seen) != leave_at and not (self.left or world.over):
            # What the source yields after it has stopped its stream is not taken.
            expected = stop_at if stopped else size
            if len(seen) != expected:
                world.note(f"a stream of {expected} requests gave {len(seen)} outcomes")

    # --- the client ------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Wait until nothing is left, or for a while."""
        timeout = self.rng.choice([0, 1.0, 20.0])
        done = await self.bounded("drain", self.client.drain(timeout), timeout=timeout, more_s=GRACE_S)
        now = self.client.statistics()
        if done and self.side.closing_at is None and (now.queued or now.submitting or now.active):
            self.world.note(f"drain() returned True with {now}")

    async def credits(self) -> None:
        """Ask for the balance."""
        began_at = self.world.now()
        try:
            await self.bounded("credits", self.client.credits())
        except TransportError:
            if not self.world.plan.poll_faults:
                self.world.note("credits() failed and nothing was wrong")
        except ClientClosedError:
            if self.side.closing_at is None:
                self.world.note("credits() says that the client is closed")
        if self.world.now() - began_at > 5 + EPSILON_S + self.world.stalled_since(began_at):
            self.world.note("credits() took too long")
