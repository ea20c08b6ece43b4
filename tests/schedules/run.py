"""Runs one schedule: a few clients, callers, faults, stalls and closings, from a seed, in virtual time.

Whatever happens: each call ends when promised, with a result or with an error of ours that has its cause; each request
has one end; nothing is accepted twice; nothing is sent after its caller's deadline, after its caller has left or after
closing began; slots come back; and in the end nothing of the client runs. `run_schedule` returns what did not hold.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from unittest import mock

from bfl_async import AsyncBFL, BFLError, ClientClosedError, Result
from bfl_async.client import opening
from bfl_async.limiter import LocalLimiter
from tests.machines import looptime_runner
from tests.schedules.callers import Caller
from tests.schedules.world import STORM_POSTS, STORM_S, Ask, Plan, Port, Side, World

LONG_S = 3_000.0


class SlowLimiter(LocalLimiter):
    """Takes a moment to open, as one of several processes does."""

    async def open(self) -> None:
        await asyncio.sleep(0.5)
        await super().open()


class Log(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.errors: list[str] = []
        self.unheard: set[object] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self.errors.append(f"{record.name} logged {record.getMessage()!r}")
            if record.exc_info and record.exc_info[1] is not None:
                self.errors[-1] += f": {record.exc_info[1]!r}"
        elif "is Ready after its caller has left" in record.msg:
            self.unheard.add(getattr(record, "bfl_task_id", None))


@contextmanager
def logged() -> Iterator[Log]:
    """Collect what the library and asyncio log."""
    log = Log()
    loggers = [logging.getLogger("bfl_async"), logging.getLogger("asyncio")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(log)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield log
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(log)
            logger.setLevel(level)
            logger.propagate = propagate


def run_schedule(seed: int) -> list[str]:
    """Run the schedule of a seed; return what did not hold."""
    plan = Plan(seed)
    schedule = Schedule(plan)
    seeded = SimpleNamespace(Random=lambda: random.Random(seed))
    with logged() as log, warnings.catch_warnings(), mock.patch.object(opening, "random", seeded):
        # A client that a program forgets to close says so.
        warnings.simplefilter("ignore", ResourceWarning)
        with looptime_runner() as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(schedule.unhandled)
            if plan.eager and sys.version_info >= (3, 12):
                loop.set_task_factory(asyncio.eager_task_factory)
            runner.run(schedule.main())
            # What still runs is cancelled now, and the clients with it.
            schedule.world.over = True
        schedule.check_end(log)
        violations = schedule.world.violations + log.errors
        if plan.ending == "shutdown":
            # Collected later, such a client would warn in the middle of another test.
            del schedule, runner, loop
            gc.collect()
    return [f"seed {seed}: {violation}" for violation in violations]


class Schedule:
    """One run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = plan.rng
        self.world: World
        self.callers: list[Caller] = []
        self.closers: list[asyncio.Task[None]] = []
        self.limiter: LocalLimiter | None = None
        # Of tests before this one, in the same process.
        self.threads_before = set(threading.enumerate())

    def unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Note what nobody handled."""
        del loop
        self.world.violations.append(f"unhandled: {context.get('message')}: {context.get('exception')!r}")

    async def main(self) -> None:
        """The program."""
        plan, rng = self.plan, self.rng
        world = self.world = World(plan)
        await self.open_clients()
        loop = world.loop
        timers = [loop.call_later(at, world.stall, seconds) for at, seconds in plan.stalls]
        self.callers = [
            Caller(world, rng.choice(world.sides), rng.random() * plan.span_s) for _ in range(plan.requests)
        ]
        for caller in self.callers:
            caller.start()
            if rng.random() < plan.leavers:
                timers.append(loop.call_later(rng.random() * (plan.span_s + 10), caller.leave))
        samples = [loop.create_task(self.sample(rng.random() * (plan.span_s + 30))) for _ in range(3)]
        if plan.ending == "shutdown":
            await asyncio.sleep(rng.random() * (plan.span_s + 8))
            return
        if plan.ending != "idle":
            for side in world.sides:
                at = rng.random() * (plan.span_s + 8)
                self.closers.append(loop.create_task(self.close(side, at)))
        await self.wait_callers()
        for timer in timers:
            timer.cancel()
        await asyncio.wait([*samples, *self.closers])
        await self.check_slots()
        for side in world.sides:
            self.closers.append(loop.create_task(self.close(side, 0.0, drain=0.0)))
        await asyncio.wait(self.closers)
        for closer in self.closers:
            closer.result()
        await self.check_closed()

    # --- opening and closing ---------------------------------------------------------------------------------

    async def open_clients(self) -> None:
        """Open the clients in one of the ways that a program has."""
        plan, world = self.plan, self.world
        slow = plan.opening != "plain"
        if plan.shared or slow or plan.ending == "limiter first":
            self.limiter = (SlowLimiter if slow else LocalLimiter)(plan.limits())
        for number in range(plan.clients):
            port = Port(world)
            client = AsyncBFL(
                limits=plan.limits(),
                limiter=self.limiter,
                polling=plan.polling,
                timeouts=plan.timeouts,
                transport=port,
            )
            port.side = side = Side(number, client)
            world.sides.append(side)
            await self.open(side)

    async def open(self, side: Side) -> None:
        """Open one client."""
        client, loop, world = side.client, self.world.loop, self.world
        match self.plan.opening:
            case "twice":
                opened = await asyncio.gather(client.open(), client.open())
                if any(each is not client for each in opened):
                    world.note(f"open() returned {opened}")
            case "cancelled":
                opening = loop.create_task(client.open())
                await asyncio.sleep(0.2)
                opening.cancel()
                await asyncio.wait([opening])
                if not opening.cancelled():
                    world.note(f"a cancelled open() ended with {opening}")
                await client.open()
            case "closed meanwhile":
                opening = loop.create_task(client.open())
                await asyncio.sleep(self.rng.choice([0.0, 0.2, 0.5]))
                if not opening.done():
                    self.begin_closing(side, 0.0)
                    await client.aclose()
                    side.closed = True
                    await asyncio.wait([opening])
                    if not isinstance(opening.exception(), ClientClosedError):
                        world.note(f"open() of a closed client ended with {opening}")
                    await self.check_refuses(side)
                await asyncio.wait([opening])
            case _:
                await client.open()

    def begin_closing(self, side: Side, drain: float | None) -> None:
        """Note that `aclose` is called in this step."""
        world = self.world
        if side.closing_at is None:
            side.closing_at, side.closing_step = world.now(), next(world.steps)
        if drain is not None:
            side.silent_from = min(side.silent_from, world.now() + max(0.0, drain))

    async def close(self, side: Side, at: float, *, drain: float | None = None) -> None:
        """Close a client, in one of the ways that a program has."""
        world, rng = self.world, self.rng
        await asyncio.sleep(at)
        if self.plan.ending == "limiter first" and self.limiter is not None:
            world.limiter_closed = True
            await self.limiter.aclose()
            await asyncio.sleep(rng.choice([0.0, 1.0, 10.0]))
        if drain is None:
            drain = rng.choice([0.0, 0.0, 2.0, 30.0, None])
        more = 1 + (rng.random() < 0.2)
        closings = [world.loop.create_task(self.call_aclose(side, drain)) for _ in range(more)]
        if rng.random() < 0.2 * (self.plan.leavers > 0):
            await asyncio.sleep(rng.choice([0.0, 0.1, 2.0]))
            if not closings[0].done():
                # A cancelled closing withdraws what is queued at once.
                closings[0].cancel()
        await asyncio.wait(closings)
        side.closed = True
        await self.check_refuses(side)

    async def call_aclose(self, side: Side, drain: float | None) -> None:
        """Call `aclose`, and check when it ends."""
        world, timeouts = self.world, self.plan.timeouts
        began_at = world.now()
        self.begin_closing(side, drain)
        try:
            await side.client.aclose(drain=drain)
        except BFLError as exc:
            world.note(f"aclose() raised {exc!r}")
        finally:
            # The coroutines and the threads have some seconds of their own.
            by = float("inf") if drain is None else world.end_of(began_at + drain) + timeouts.close + 5.0
            if world.now() > by + world.stalled_since(began_at):
                world.note(f"aclose(drain={drain}) took {world.now() - began_at:.3f} s")
            side.silent_from = min(side.silent_from, world.now())

    async def check_refuses(self, side: Side) -> None:
        """Check that a closed client takes nothing in."""
        ask = self.world.ask(side, None)
        with suppress(ClientClosedError):
            try:
                side.client.submit_nowait("flux-dev", prompt=ask.prompt)
            except ClientClosedError:
                await side.client.open()
            self.world.note("a closed client is open")

    # --- checks ----------------------------------------------------------------------------------------------

    async def wait_callers(self) -> None:
        """Wait for all callers; none may wait without an end."""
        world = self.world
        tasks = [caller.task for caller in self.callers if caller.task is not None]
        timeouts = self.plan.timeouts
        each_s = 4 * timeouts.connect + timeouts.reply + (timeouts.task or 600.0) + world.longest_hold_s + 90
        # As if all requests had one slot, one after the other.
        longest_s = self.plan.span_s + 200 + 8 * self.plan.requests * each_s / 4
        began_at = world.now()
        waiting = set(tasks)
        # Seconds in which the process stands still do not count.
        while waiting and (left_s := began_at + longest_s + world.stalled_since(began_at) - world.now()) > 0:
            _, waiting = await asyncio.wait(waiting, timeout=left_s)
        for caller in self.callers:
            if caller.task in waiting:
                world.note(f"a caller waits without an end for {caller.doing}")
                caller.leave()
        if waiting:
            await asyncio.wait(waiting)
        for caller in self.callers:
            task = caller.task
            if task is not None and not task.cancelled() and (error := task.exception()) is not None:
                world.note(f"a caller failed: {error!r}")

    def taken(self) -> int:
        """Return how many slots of the account are taken, by all clients."""
        if self.limiter is not None:
            return self.limiter.statistics()["account"].taken
        return self.world.sides[0].client.statistics().slots_taken

    async def sample(self, at: float) -> None:
        """Compare at some moment the slots that are taken with what can be on the server."""
        world = self.world
        await asyncio.sleep(at)
        await self.compare_slots()
        most = self.plan.queue
        if most is not None:
            for side in world.sides:
                with suppress(ClientClosedError):
                    waiting = side.client.statistics().queued
                    if waiting > most + 2 * self.plan.account:
                        world.note(f"{waiting} requests are queued, and Limits.queue is {most}")

    async def compare_slots(self) -> None:
        """Note slots that belong to nothing. A grant may be one or two turns ahead of its POST."""
        world = self.world
        if world.limiter_closed or any(side.closing_at is not None for side in world.sides):
            return
        for _ in range(30):
            taken, most = self.taken(), world.slots()
            if taken <= most:
                return
            await asyncio.sleep(0)
        world.note(f"{taken} slots are taken for at most {most} tasks and submits")

    async def check_slots(self) -> None:
        """Everything has ended: slots that are held for a while come back."""
        world = self.world
        for side in world.sides:
            if side.closing_at is None and not await side.client.drain(LONG_S + 4 * 5_400.0):
                world.note(f"the client still works: {side.client.statistics()}")
        await self.compare_slots()
        if world.limiter_closed or (self.limiter is None and world.sides[0].closing_at is not None):
            return
        await asyncio.sleep(world.longest_hold_s + 130.0)
        pools = self.limiter.statistics() if self.limiter else world.sides[0].client.statistics().pools
        if any(pool.taken or pool.queued for pool in pools.values()):
            world.note(f"all has ended, and slots are taken: {pools}")

    async def check_closed(self) -> None:
        """After closing nothing of ours runs."""
        world = self.world
        if self.limiter is not None:
            await self.limiter.aclose()
        for _ in range(5):
            await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            world.note(f"these coroutines still run: {others}")
        scheduled = world.loop._scheduled  # type: ignore[attr-defined]  # asyncio has no public list of timers
        timers = [timer for timer in scheduled if not timer.cancelled()]
        if timers:
            world.note(f"these timers still run: {timers}")
        threads = [
            thread.name
            for thread in set(threading.enumerate()) - self.threads_before
            if thread.name.startswith("bfl")
        ]
        if threads:
            world.note(f"these threads still run: {threads}")

    def check_end(self, log: Log) -> None:
        """Look at the whole of it, once the loop has ended."""
        world = self.world
        notes = world.violations
        if world.plan.lossless and world.own_refusals:
            notes.append(f"the server refused {world.own_refusals} submits that were one too many")
        for first in world.refusals:
            count = sum(first <= at <= first + STORM_S for at in world.refusals)
            if count > STORM_POSTS:
                notes.append(f"{count} submits in {STORM_S} s were sent into a 429")
                break
        for ask in world.asks.values():
            if ask.unsent and ask.tasks:
                notes.append(f"request {ask.prompt} ended as unsent, and was accepted")
            if sum(not isinstance(end, BFLError) for end in ask.ends) > 1 and not ask.tasks:
                notes.append(f"request {ask.prompt} has several ends: {ask.ends}")
            self.check_heard(ask, log)

    def check_heard(self, ask: Ask, log: Log) -> None:
        """A paid result reaches a caller, or the log names it."""
        world = self.world
        if (
            not ask.owned
            or world.plan.ending == "shutdown"
            or (ask.side.closing_at is not None and not self.ended_before_closing(ask))
        ):
            return
        for task in ask.tasks:
            if (
                ask.side not in task.ready_seen_by
                or task.withheld
                or task.attached
                or ask.lost_at is not None
            ):
                continue
            if not any(isinstance(end, Result) for end in ask.ends) and task.task_id not in log.unheard:
                world.violations.append(
                    f"task {task.task_id} was Ready, and neither a caller nor the log has it"
                )

    @staticmethod
    def ended_before_closing(ask: Ask) -> bool:
        """Return whether the end of a task was seen before its client began to close."""
        assert ask.side.closing_at is not None
        return all(task.seen_by.get(ask.side, 1e12) < ask.side.closing_at for task in ask.tasks)


__all__ = ["run_schedule"]
