"""What a random schedule runs in: a plan, a server with faults, and the record of what must hold.

The server counts tasks as the real one does. Everything that it does to a client is noted, so that each end of a call
can be judged: an error must have its cause in this record, and a result must be the one that was paid for.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from bfl_async import (
    Adaptive,
    AmbiguousSubmitError,
    AsyncBFL,
    BFLError,
    ClientClosedError,
    ConfigError,
    ConnectError,
    Fixed,
    InsufficientCreditsError,
    InvalidRequestError,
    LimiterError,
    Limits,
    QueueFullError,
    ReplyTimeoutError,
    Result,
    TaskError,
    TaskFailedError,
    TaskModeratedError,
    TaskTimeoutError,
    Timeouts,
    TransportError,
    UntrustedURLError,
)
from bfl_async.types import Reply
from tests.fake import JPEG, reply, stall, status

EPSILON_S = 0.01
NARROW = "flux-kontext-max"
LONGEST_SERVICE_S = 40.0
# What following a task may take beyond its deadline: the last polls, and Ready without a URL.
LAST_POLLS_S = 30.0
GRACE_S = 1.0
# Two stalls are at least so far apart, so that each call meets one at most.
BETWEEN_STALLS_S = 4.0
# Answers to a submit that are no task: how many of them may come within five seconds.
STORM_S, STORM_POSTS = 5.0, 20

SubmitFault: TypeAlias = Literal[
    "refused", "unconnected", "429", "429 with 0", "429 with 3", "503", "lost before", "lost after", "502",
    "cancelled before", "cancelled after", "silent", "402", "422",
]  # fmt: skip
PollFault: TypeAlias = Literal[
    "refused", "reset", "502", "garbage", "silent", "cancelled", "redirected", "429", "OSError", "error of a gateway",
]  # fmt: skip
UNSENT: list[SubmitFault] = ["refused", "unconnected"]
NO_TASK: list[SubmitFault] = ["429", "429 with 0", "429 with 3", "503", "402", "422"]
LOST: list[SubmitFault] = [
    "lost before", "lost after", "502", "cancelled before", "cancelled after", "silent"
]  # fmt: skip
POLL_FAULTS: list[PollFault] = [
    "refused", "reset", "502", "garbage", "silent", "cancelled", "redirected", "429", "OSError", "error of a gateway",
]  # fmt: skip


@dataclass
class Outage:
    """A time in which all submits meet the same fault."""

    begins: float
    ends: float
    fault: SubmitFault


class Plan:
    """What a seed decides before anything runs."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = random.Random(seed)
        # Nothing is lost and no request is refused: then the server may refuse none of its own either.
        self.lossless = rng.random() < 0.35
        self.account = rng.randint(1, 4)
        self.narrow = rng.randint(1, self.account)
        self.queue = rng.randint(1, 6) if rng.random() < 0.12 else None
        self.unknown_s: float | None = 100.0 if self.lossless else rng.choice([None, 2.0, 15.0, 60.0])
        self.overlap = None if self.lossless or rng.random() < 0.8 else 0.2
        self.timeouts = Timeouts(
            connect=rng.choice([0.5, 2.0, 4.0]),
            reply=rng.choice([1.0, 5.0]),
            # With overlap a client looks twenty times per second while a request waits, also for 600 s.
            task=rng.choice([8.0, 20.0] if self.overlap else [None, None, 3.0, 8.0, 20.0]),
            close=rng.choice([0.5, 3.0]),
        )
        self.polling = Adaptive() if rng.random() < 0.25 else Fixed(rng.choice([0.3, 0.7, 1.6]))
        self.requests = rng.randint(5, 25)
        self.clients = 2 if rng.random() < 0.25 else 1
        self.shared = self.clients == 2 or rng.random() < 0.5
        self.span_s = rng.choice([0.0, 3.0, 30.0])
        self.service_s = rng.choice([0.0, 2.0, 6.0, LONGEST_SERVICE_S])
        # Shares of calls that fail.
        self.submit_faults = rng.choice([0.0, 0.0, 0.1, 0.3])
        self.poll_faults = rng.choice([0.0, 0.0, 0.1, 0.4])
        self.download_faults = rng.choice([0.0, 0.3])
        self.without_url = rng.choice([0.0, 0.2])
        self.outages = [self._outage() for _ in range(rng.choice([0, 0, 0, 1, 2]))]
        self.stalls = [
            (rng.random() * (self.span_s + 15), rng.choice([1.0, 5.0, 60.0, 3_600.0]) * rng.uniform(1, 1.5))
            for _ in range(rng.choice([0, 0, 1, 3]))
        ]
        self.stall_in_call = rng.choice([0.0, 0.0, 0.03])
        self.leavers = rng.choice([0.0, 0.3, 0.6])
        endings: list[Literal["idle", "close", "shutdown", "limiter first"]]
        endings = ["idle", "close", "shutdown", "limiter first"]
        self.ending = rng.choices(endings, [55, 30, 10, 5])[0]
        openings: list[Literal["plain", "twice", "cancelled", "closed meanwhile"]]
        openings = ["plain", "twice", "cancelled", "closed meanwhile"]
        self.opening = rng.choices(openings, [85, 5, 5, 5])[0]
        self.eager = rng.random() < 0.3

    def _outage(self) -> Outage:
        rng = self.rng
        begins = rng.random() * (self.span_s + 5)
        kinds: list[SubmitFault] = [*UNSENT, *UNSENT, "503"]
        if not self.lossless:
            kinds += ["429", "429 with 0", "402"]
        fault = rng.choice(kinds)
        # A host that cannot be reached may stay away for ever. Other refusals bound no call without a timeout.
        away = fault in UNSENT and rng.random() < 0.4
        return Outage(begins, 1e9 if away else begins + rng.uniform(1, 50), fault)

    def limits(self) -> Limits:
        """Return the limits of all clients."""
        return Limits(
            account=self.account,
            pools={NARROW: self.narrow},
            queue=self.queue,
            unknown_s=self.unknown_s,
            overlap=self.overlap,
        )


@dataclass(eq=False)
class Side:
    """One client, and what was asked of it."""

    number: int
    client: AsyncBFL
    closing_at: float | None = None
    closing_step: int = 0
    # From then on nothing may be sent.
    silent_from: float = float("inf")
    closed: bool = False
    in_flight: int = 0
    refused_402: int = 0


@dataclass(eq=False)
class Task:
    """One accepted task of the server."""

    task_id: str
    ask: Ask
    pools: tuple[str, ...]
    ready_at: float
    word: str
    # So many times it is Ready without the URL of its result, and how often it was.
    without_url: int
    withheld: int = 0
    # By client: when it was told of the task, and when it saw its end.
    followed_since: dict[Side, float] = field(default_factory=dict)
    seen_by: dict[Side, float] = field(default_factory=dict)
    # By client: that it was Ready, with the URL or without.
    ready_seen_by: set[Side] = field(default_factory=set)
    attached: bool = False
    # When polls and downloads began that met a fault.
    faulty_polls: list[float] = field(default_factory=list)
    redirects: int = 0
    faulty_downloads: int = 0


@dataclass(eq=False)
class Ask:
    """One request as its caller made it."""

    prompt: str
    side: Side
    made_step: int
    # Nothing may be sent at this moment or later.
    deadline: float
    model: str = "flux-pro-1.1"
    posts: int = 0
    unconnected: int = 0
    refused_422: bool = False
    # When its answer was lost, or its POST was cut off by the client.
    lost_at: float | None = None
    tasks: list[Task] = field(default_factory=list)
    # Its caller has left, or took it back: from then on nothing may be sent.
    gone: bool = False
    withdrawn: bool = False
    # Whether its result is lost to the program if no caller gets it.
    owned: bool = True
    ends: list[Result | BFLError | Reply] = field(default_factory=list)
    # Ends that say that nothing was sent.
    unsent: bool = False
    # At the moment in which it is seen to be Ready its caller is cancelled, so many turns of the loop later.
    cancel_at_end: int | None = None
    cancel: object = None


class World:
    """See the module."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = plan.rng
        self.loop = asyncio.get_running_loop()
        self.violations: list[str] = []
        self.sides: list[Side] = []
        self.asks: dict[str, Ask] = {}
        self.tasks: dict[str, Task] = {}
        self.stalls: list[tuple[float, float]] = []
        # Times of submits that were answered 429.
        self.refusals: list[float] = []
        self.own_refusals = 0
        self.limiter_closed = False
        # The loop is being shut down, with clients that nobody closed.
        self.over = False
        self.steps = itertools.count(1)

    # --- time ------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the loop's time."""
        return self.loop.time()

    def note(self, text: str) -> None:
        """Note what must not be."""
        self.violations.append(f"at {self.now():.3f} s: {text}")

    def end_of(self, moment: float) -> float:
        """Return when a timer of that moment fires at the latest: a stall may lie upon it."""
        for begins, ends in self.stalls:
            if begins <= moment < ends:
                moment = ends
        return moment + EPSILON_S

    def stalled_since(self, moment: float) -> float:
        """Return for how long the process stood still since then."""
        return sum(ends - max(begins, moment) for begins, ends in self.stalls if ends > moment)

    def grace_s(self, since: float | None) -> float:
        """Return what a call may take besides after a stall, so that what arrived meanwhile is read."""
        return GRACE_S if since is not None and self.stalled_since(since) else 0.0

    def stall(self, seconds: float) -> None:
        """Let the process stand still, unless it just did."""
        now = self.now()
        if self.stalls and now - self.stalls[-1][1] < BETWEEN_STALLS_S:
            return
        stall(seconds)
        self.stalls.append((now, self.now()))

    def maybe_stall(self) -> None:
        """Let the process stand still in the middle of a call, rarely."""
        if len(self.stalls) < 4 and self.plan.stall_in_call and self.rng.random() < self.plan.stall_in_call:
            self.stall(self.rng.choice([1.2, 8.0, 400.0, 3_600.0]))

    # --- requests --------------------------------------------------------------------------------------------

    def ask(self, side: Side, timeout: float | None, *, owned: bool = True) -> Ask:
        """Note a new request; it is made in this very step."""
        deadline = float("inf") if timeout is None else self.now() + max(0.0, timeout)
        prompt = f"{len(self.asks)}"
        ask = Ask(prompt, side, next(self.steps), deadline, owned=owned)
        if self.rng.random() < 0.25:
            ask.model = NARROW
        self.asks[prompt] = ask
        return ask

    def follow(self, side: Side, task: Task) -> None:
        """Note that a task is attached in this step."""
        task.followed_since.setdefault(side, self.now())
        task.attached = True
        # It takes a slot until its end is seen again.
        task.seen_by.pop(side, None)

    def gone(self, *asks: Ask) -> None:
        """Note that nothing may be sent for these from here on."""
        for ask in asks:
            ask.gone = True

    def judge(self, ask: Ask, end: object, *, handle: bool = False, attached: bool = False) -> None:
        """Check that the end of a request has its cause in what happened to it.

        Args:
            end: What its caller got.
            handle: It was awaited by way of a handle, whose caller may have set a timeout of the wait alone.
            attached: The task was attached by its id.
        """
        if isinstance(end, Result | BFLError | Reply):
            ask.ends.append(end)
        problem = self._problem(ask, end, attached=attached)
        if problem:
            self.note(f"request {ask.prompt} ended with {end!r}: {problem}")

    def _problem(self, ask: Ask, end: object, *, attached: bool) -> str:
        side, task = ask.side, ask.tasks[0] if ask.tasks else None
        match end:
            case Reply():
                return "" if task is not None else "there is no task"
            case Result():
                return self._problem_of_result(end)
            case AmbiguousSubmitError():
                if ask.lost_at is not None or side.closing_at is not None:
                    return ""
                return "no answer to its submit was lost"
            case ConnectError():
                ask.unsent = True
                if not ask.unconnected:
                    return "no connection failed"
                if ask.deadline == float("inf") and ask.posts < 2:
                    return "there was no second attempt"
                return ""
            case ClientClosedError():
                ask.unsent = end.task_id is None
                return "" if side.closing_at is not None else "the client is not closed"
            case InsufficientCreditsError():
                ask.unsent = True
                return "" if side.refused_402 else "the account is not empty"
            case InvalidRequestError():
                ask.unsent = True
                return "" if ask.refused_422 else "the server did not say so"
            case QueueFullError():
                ask.unsent = True
                return "" if self.plan.queue is not None else "there is no bound"
            case LimiterError() | ConfigError():
                ask.unsent = True
                return "" if self.limiter_closed else "the limiter is open"
            case TaskTimeoutError():
                return self._problem_of_timeout(ask, end, attached=attached)
            case TaskModeratedError() | TaskFailedError():
                return "" if self.tasks[end.task_id or ""].word == end.status else "the task ended otherwise"
            case UntrustedURLError():
                return "" if self.tasks[end.task_id or ""].redirects else "nothing redirected it"
            case TaskError() if type(end) is TaskError:
                ask.unsent = True
                return "" if ask.withdrawn else "nobody withdrew it"
        return "no call ends like this"

    def _problem_of_result(self, result: Result) -> str:
        task = self.tasks[result.task_id]
        if task.word != "Ready" or self.now() < task.ready_at:
            return "its task is not Ready"
        if not result.url and task.without_url <= 4 and not task.faulty_polls:
            return "the URL that came later was not waited for"
        return ""

    def _problem_of_timeout(self, ask: Ask, end: TaskTimeoutError, *, attached: bool) -> str:
        now = self.now()
        if end.state == "queued":
            ask.unsent = ask.gone = True
        if not attached and now >= ask.deadline - EPSILON_S:
            return ""
        if end.state != "submitted" or end.task_id is None:
            return "its caller had set no timeout that has passed"
        task = self.tasks[end.task_id]
        since = task.followed_since.get(ask.side)
        task_s = self.plan.timeouts.task or 600.0
        deadline = (since if since is not None else now) + task_s
        if since is not None and now < deadline:
            return "the task's deadline has not passed"
        if ask.side in task.ready_seen_by and not task.attached:
            return "it was seen to be Ready"
        finished = task.ready_at <= deadline - EPSILON_S
        if (
            finished
            and task.without_url == 0
            and not any(at >= deadline - EPSILON_S for at in task.faulty_polls)
        ):
            return "its task was finished in time, and polls worked"
        return ""

    # --- the server ------------------------------------------------------------------------------------------

    def active(self, pool: str | None = None) -> int:
        """Return how many tasks the server counts."""
        now = self.now()
        return sum(
            now < task.ready_at and (pool is None or pool in task.pools) for task in self.tasks.values()
        )

    def accept(self, ask: Ask) -> Reply:
        """Take a request in, or refuse it for want of a slot."""
        pools = (NARROW,) if ask.model == NARROW else ()
        full = self.active() >= self.plan.account or (pools and self.active(NARROW) >= self.plan.narrow)
        if full:
            self.own_refusals += 1
            self.refusals.append(self.now())
            return reply(429, {"detail": "Too many active tasks"})
        rng = self.rng
        task_id = f"task-{len(self.tasks)}"
        task = Task(
            task_id,
            ask,
            pools,
            self.now() + rng.random() * self.plan.service_s,
            rng.choices(["Ready", "Error", "Content Moderated"], [90, 5, 5])[0],
            rng.choice([1, 3, 4, 50]) if rng.random() < self.plan.without_url else 0,
        )
        self.tasks[task_id] = task
        ask.tasks.append(task)
        if len(ask.tasks) > 1:
            self.note(f"request {ask.prompt} was accepted twice")
        return reply(200, {"id": task_id, "polling_url": f"https://api.bfl.ai/poll/{task_id}", "cost": 4.0})

    def check_post(self, side: Side, ask: Ask) -> None:
        """Check that this request may be sent now."""
        now = self.now()
        if self.over and len(self.sides) == 1:
            # Of two clients with one limiter, the other one cannot know yet that the loop shuts down.
            self.note(f"request {ask.prompt} was sent while the loop shuts down")
        elif now >= ask.deadline:
            self.note(f"request {ask.prompt} was sent at its deadline or after it")
        elif ask.gone:
            self.note(f"request {ask.prompt} was sent after its caller had left")
        elif now > self.end_of(side.silent_from) + self.grace_s(side.closing_at):
            self.note(f"request {ask.prompt} was sent after its client was closed")
        elif side.closing_at is not None and ask.made_step > side.closing_step:
            self.note(f"request {ask.prompt} was made and sent after closing had begun")

    def submit_fault(self, ask: Ask) -> SubmitFault | None:
        """Choose what happens to a submit."""
        now, plan = self.now(), self.plan
        for outage in plan.outages:
            if outage.begins <= now < outage.ends:
                return outage.fault
        if self.rng.random() >= plan.submit_faults:
            return None
        if plan.lossless:
            return self.rng.choice([*UNSENT, "503", "422"])
        return self.rng.choice([*UNSENT, *NO_TASK, *LOST])

    def held_until(self, ask: Ask) -> float:
        """Return when the slot of a lost submit is back at the latest."""
        return 0.0 if ask.lost_at is None else ask.lost_at + self.longest_hold_s

    @property
    def longest_hold_s(self) -> float:
        """How long a slot may be held for a task that is no longer followed."""
        unknown_s = self.plan.unknown_s
        return (600.0 if unknown_s is None else unknown_s) + EPSILON_S

    def slots(self) -> int:
        """Return how many slots can be taken now at most: one for each task or submit that may count."""
        now = self.now()
        count = sum(side.in_flight for side in self.sides)
        for ask in self.asks.values():
            if now <= self.end_of(self.held_until(ask)):
                count += 1
        for task in self.tasks.values():
            for side in task.followed_since:
                count += side not in task.seen_by
        return count


class Port:
    """One client's way to the server: its `Transport`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.side: Side | None = None

    async def submit(self, path: str, body: bytes) -> Reply:
        """Answer a POST, or break."""
        del path
        world, side = self.world, self.side
        assert side is not None
        fields = json.loads(body)
        ask = world.asks[fields["prompt"]]
        world.check_post(side, ask)
        ask.posts += 1
        side.in_flight += 1
        try:
            answer = await self._answer(side, ask)
        except asyncio.CancelledError:
            ask.lost_at = world.now()
            raise
        finally:
            side.in_flight -= 1
        return answer

    async def _answer(self, side: Side, ask: Ask) -> Reply:
        world, plan = self.world, self.world.plan
        half_s = world.rng.uniform(0.005, 0.2)
        fault = world.submit_fault(ask)
        if fault in UNSENT:
            ask.unconnected += 1
            await asyncio.sleep(0.01 if fault == "refused" else plan.timeouts.connect)
            world.maybe_stall()
            raise ConnectError("no connection")
        await asyncio.sleep(half_s)
        world.maybe_stall()
        answer: Reply | None = None
        match fault:
            case "429" | "429 with 0" | "429 with 3":
                world.refusals.append(world.now())
                after = {} if fault == "429" else {"retry_after": fault[-1]}
                answer = reply(429, {"detail": "no"}, **after)
            case "503":
                answer = reply(503, {"detail": "busy"})
            case "402":
                side.refused_402 += 1
                answer = reply(402, {"detail": "no credits"})
            case "422":
                ask.refused_422 = True
                answer = reply(422, {"detail": "no"})
            case "lost before":
                return self._lose(ask)
            case "cancelled before":
                await cancelled_by_others(half_s)
            case "silent":
                await asyncio.Event().wait()
        if answer is None:
            answer = world.accept(ask)
        await asyncio.sleep(half_s)
        world.maybe_stall()
        if answer.status_code != 200:
            return answer
        match fault:
            case "lost after":
                return self._lose(ask)
            case "502":
                ask.lost_at = world.now()
                return reply(502, "<html>")
            case "cancelled after":
                await cancelled_by_others(half_s)
        ask.tasks[-1].followed_since[side] = world.now()
        return answer

    def _lose(self, ask: Ask) -> Reply:
        ask.lost_at = self.world.now()
        raise TransportError("the connection broke")

    async def poll(self, url: str) -> Reply:
        """Answer a GET, or break."""
        world, side = self.world, self.side
        assert side is not None
        latency_s = world.rng.uniform(0.002, 0.06)
        began_at = world.now()
        task = world.tasks.get(url.rpartition("/")[2].rpartition("=")[2])
        fault = None
        if world.rng.random() < world.plan.poll_faults:
            fault = world.rng.choice(POLL_FAULTS)
            if task is not None:
                task.faulty_polls.append(began_at)
        await asyncio.sleep(latency_s)
        world.maybe_stall()
        if fault is not None:
            return await self._broken_poll(fault, task)
        await asyncio.sleep(latency_s)
        if task is None:
            return reply(200, {"credits": 100.0}) if url == "/v1/credits" else reply(404, {"detail": "no"})
        return self._status(side, task)

    async def _broken_poll(self, fault: PollFault, task: Task | None) -> Reply:
        match fault:
            case "refused":
                raise ConnectError("no connection")
            case "reset":
                raise TransportError("reset")
            case "502":
                return reply(502, "<html>")
            case "garbage":
                return reply(200, b'{"id": "task-0", "status": "Rea')
            case "silent" if task is not None:
                await asyncio.Event().wait()
            case "cancelled":
                await cancelled_by_others(0.05)
            case "redirected":
                if task is not None:
                    task.redirects += 1
                raise UntrustedURLError("a redirect to another host")
            case "OSError":
                raise OSError("out of file descriptors")
            case "error of a gateway":
                return reply(504, {"status": "Error"})
        return reply(429, {"detail": "slowly"}, retry_after="2")

    def _status(self, side: Side, task: Task) -> Reply:
        world = self.world
        now = world.now()
        if now < task.ready_at:
            return reply(200, status("Pending" if world.rng.random() < 0.8 else "Dreaming", task.task_id))
        body = status(task.word, task.task_id)
        if task.word == "Ready" and side in task.followed_since:
            task.ready_seen_by.add(side)
        if task.word == "Ready" and task.withheld < task.without_url:
            task.withheld += 1
            return reply(200, body | {"result": {"seed": 1}})
        if side in task.followed_since:
            task.seen_by.setdefault(side, now)
        self._cancel_caller(task.ask)
        answer = reply(200, body)
        if world.rng.random() < 0.1:
            # A byte that is not UTF-8, in a field that is not needed.
            return Reply(200, answer.headers, answer.body[:-1] + b', "note": "caf\xe9\n"}')
        return answer

    def _cancel_caller(self, ask: Ask) -> None:
        """Cancel the caller in the turn of the loop in which its task is seen to be Ready, or soon after."""
        turns, cancel = ask.cancel_at_end, ask.cancel
        if turns is None or not callable(cancel):
            return
        ask.cancel_at_end = None

        def step(left: int) -> None:
            if left:
                self.world.loop.call_soon(step, left - 1)
            else:
                cancel()

        step(turns)

    async def download(self, url: str, *, timeout: float) -> Reply:
        """Send an image, or break."""
        world = self.world
        task = world.tasks[url.partition("?")[0].rpartition("/")[2].partition(".")[0]]
        await asyncio.sleep(0.01)
        world.maybe_stall()
        if world.rng.random() < world.plan.download_faults:
            task.faulty_downloads += 1
            match world.rng.choice(["silent", "timeout", "reset", "500", "half", "cancelled"]):
                case "silent":
                    await asyncio.Event().wait()
                case "timeout":
                    await asyncio.sleep(min(timeout, 5.0))
                    raise ReplyTimeoutError("the host fell silent")
                case "reset":
                    raise TransportError("reset")
                case "500":
                    return reply(500, "<html>")
                case "cancelled":
                    await cancelled_by_others(0.05)
            return reply(200, JPEG[:-2], content_type="image/jpeg")
        return reply(200, JPEG, content_type="image/jpeg")

    async def aclose(self) -> None:
        """Nothing is held."""


async def cancelled_by_others(seconds: float) -> None:
    """Wait for something that is shared with other code, and that this code cancels."""
    loop = asyncio.get_running_loop()
    shared: asyncio.Future[None] = loop.create_future()
    loop.call_later(seconds, shared.cancel)
    await shared
