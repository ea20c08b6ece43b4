"""The account: its tasks, the slots they hold and the credits they cost.

No timer runs per task. A task's end is fixed when it is accepted; whoever asks next (a submit, a poll,
`statistics()`) first ends what has become due, taken from a heap by its time. So the count of active tasks
is right at every decision, and costs the same with twelve slots and with a thousand.

Invariant: `accept`, `_end` and `_forget` alone write the tasks, the heap, the counts of slots and the bodies, each in
one step without an await. `accept` and `_charge_end` alone write the credits.
"""

import asyncio
import heapq
import math
import random
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

from bfl_async.sandbox.clock import Clock
from bfl_async.sandbox.models import Draw, Model, Order, draw
from bfl_async.sandbox.rules import Json
from bfl_async.sandbox.tasks import IN_FLIGHT, SandboxTask, TaskCounts
from bfl_async.sandbox.webhooks import webhook_of

ServiceTime: TypeAlias = float | Callable[[str, int], float] | None

# Ends that are not charged. Source: BFL help centre, "Why did my request fail?", 12 June 2026, for moderated tasks; for
# failed ones, a reseller's capture of August 2026.
_FREE = ("Request Moderated", "Content Moderated", "Error", "Failed")
_NOT_ENDS = ("Pending", "Reasoning", "Generating")
# Of bodies kept; the oldest are forgotten first.
_BODIES_MAX_BYTES = 64 * 1024 * 1024


class Account(Protocol):
    """What is read of a sandbox here, anew at each decision: it may be set at run time."""

    limit: int
    pools: dict[str, int]
    credits: float
    speed: float
    service_s: ServiceTime
    retain: int
    foreign_active: int


class Accounting:
    """Accepts tasks and ends them.

    Args:
        account: The sandbox.
        seed: Of the times, the ids and the made-up seeds.
        deliver: Called at the end of a task that has a webhook.
    """

    def __init__(
        self, account: Account, clock: Clock, *, seed: int, deliver: Callable[[SandboxTask], None]
    ) -> None:
        self._account = account
        self._clock = clock
        self._deliver = deliver
        # Two generators: the times then stay what they are when something else needs chance.
        self._time_rng = random.Random(seed)
        self._name_rng = random.Random(f"names {seed}")

        # The remembered ones by id, in the order of acceptance. Ask `end_due()` first.
        self.tasks: dict[str, SandboxTask] = {}
        self.active: int = 0
        self.counts: TaskCounts = TaskCounts()
        # A heap; an entry outlives its task when settle() ended it.
        self._due: list[tuple[float, str]] = []
        self._active_by_pool: Counter[str] = Counter()
        # In the order of their ends.
        self._ended: deque[str] = deque()
        # Bytes by task, of those not forgotten.
        self._bodies: OrderedDict[str, int] = OrderedDict()
        self._bodies_bytes = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def has_slot(self, pool: str) -> bool:
        """Whether the account and a pool have room for one more task."""
        self.end_due()
        pool_limit = self._account.pools.get(pool)
        free = self.active + self._account.foreign_active < self._account.limit
        return free and (pool_limit is None or self._active_by_pool[pool] < pool_limit)

    def accept(
        self, model: Model, body: dict[str, Json], fields: Mapping[str, Json], order: Order, raw_bytes: int
    ) -> SandboxTask:
        """Take a task on: it holds a slot from here to its end, and is paid, see `_charge_end`."""
        task = self._make(model, body, fields, order)
        self.tasks[task.id] = task
        if task.ready_at < math.inf:
            heapq.heappush(self._due, (task.ready_at, task.id))
            if task.webhook is not None:
                # Nobody else may come to look.
                self._clock.call_at(task.ready_at, self.end_due)
        self.active += 1
        self._active_by_pool[model.pool] += 1
        self._bodies[task.id] = raw_bytes
        self._bodies_bytes += raw_bytes
        while self._bodies_bytes > _BODIES_MAX_BYTES and len(self._bodies) > 1:
            oldest, oldest_bytes = self._bodies.popitem(last=False)
            self._bodies_bytes -= oldest_bytes
            self.tasks[oldest].body = {}

        self._account.credits -= task.cost
        counts = self.counts
        counts.credits_spent += task.cost
        counts.accepted += 1
        counts.peak_active = max(counts.peak_active, self.active)
        for count, waiter in self._waiters:
            if counts.accepted >= count and not waiter.done():
                waiter.set_result(None)
        return task

    def _make(
        self, model: Model, body: dict[str, Json], fields: Mapping[str, Json], order: Order
    ) -> SandboxTask:
        seed = fields.get("seed")
        # A made-up seed exceeds 32 bits: the API's are often the time in milliseconds.
        made_up_seed = self._name_rng.randrange(10**12, 2 * 10**12)
        task = SandboxTask(
            id=str(uuid.UUID(int=self._name_rng.getrandbits(128), version=4)),
            model=model.name,
            body=body,
            accepted_at=self._clock.now(),
            ready_at=math.inf,
            status=IN_FLIGHT,
            cost=model.cost(order),
            cost_told=model.cost_at_submit and order.length_known,
            order=order,
            facts=model,
            prompt=order.prompt,
            seed=seed if isinstance(seed, int) else made_up_seed,
        )
        task.webhook = webhook_of(fields)
        self._plan_end(task, model, draw(model, self._time_rng))
        return task

    def _plan_end(self, task: SandboxTask, model: Model, drawn: Draw) -> None:
        asked, speed = self._account.service_s, self._account.speed
        if asked is None:
            service_s = drawn.service_s
        elif callable(asked):
            service_s = asked(model.name, self.counts.accepted)
        else:
            service_s = asked
        upload_s = min(drawn.upload_s, service_s / 2) if model.flux1 and service_s < math.inf else 0.0

        if "[moderate-prompt]" in task.prompt:
            task.ends_as = "Request Moderated"
            task.details = {"Moderation Reasons": ["Violence", "Self Harm"]}
            if asked is None:
                service_s = drawn.moderation_s
            elif service_s < math.inf:
                # With inf the test itself ends every task.
                service_s = min(service_s, drawn.moderation_s)
        elif "[moderate-output]" in task.prompt:
            task.ends_as = "Content Moderated"
            task.details = {"Moderation Reasons": ["Derivative Works Filter"]}
        elif "[fail]" in task.prompt:
            task.ends_as = "Error"
            task.details = {"error": "the prompt asked for a failure"}
        task.ready_at = task.accepted_at + service_s / speed
        task.computed_at = task.ready_at - upload_s / speed

    def end_due(self, at: float = 0.0) -> None:
        """End what has become due; by `at`, where a timer says so, which may fire a tick early."""
        now = max(self._clock.now(), at)
        while self._due and self._due[0][0] <= now:
            _, task_id = heapq.heappop(self._due)
            if self._is_active(task_id):
                self._end(self.tasks[task_id])

    def settle(self, task_id: str, status: str, reasons: Iterable[str], detail: str | None) -> None:
        """End a task now, as `Sandbox.settle` says."""
        self.end_due()
        task = self.tasks[task_id]
        if task.settled or task.seen_at is not None:
            raise ValueError(f"the task has ended already: {task.status}")
        if status in _NOT_ENDS:
            raise ValueError(f"{status!r} does not end a task")
        details: dict[str, Json] = {}
        if listed := list(reasons):
            details["Moderation Reasons"] = [*listed]
        if detail is not None:
            details["error"] = detail
        task.settled = True
        task.ends_as, task.details = status, details or None
        if task.ended:
            task.status = status
            self._charge_end(task)
            return
        now = self._clock.now()
        task.ready_at = now
        task.computed_at = min(task.computed_at, now)
        self._end(task)
        # By then most entries are those of settled tasks.
        if len(self._due) > 2 * self.active + 64:
            self._due = [entry for entry in self._due if self._is_active(entry[1])]
            heapq.heapify(self._due)

    def _is_active(self, task_id: str) -> bool:
        task = self.tasks.get(task_id)
        return task is not None and not task.ended

    def _end(self, task: SandboxTask) -> None:
        task.status = task.ends_as
        self._charge_end(task)
        self.active -= 1
        self._active_by_pool[task.facts.pool] -= 1
        self._ended.append(task.id)
        if task.webhook is not None:
            self._deliver(task)
        while len(self._ended) > self._account.retain:
            self._forget(self._ended.popleft())

    def _charge_end(self, task: SandboxTask) -> None:
        """Give the credits of a free end back, or take them again where `settle` has changed that end."""
        price = task.cost + task.given_back
        task.given_back = price if task.status in _FREE else 0.0
        refund = task.given_back - (price - task.cost)
        task.cost = price - task.given_back
        self._account.credits += refund
        self.counts.credits_spent -= refund

    def _forget(self, task_id: str) -> None:
        del self.tasks[task_id]
        self._bodies_bytes -= self._bodies.pop(task_id, 0)

    async def wait_accepted(self, n: int) -> None:
        """Wait until `n` tasks in all have been accepted.

        Raises:
            RuntimeError: `close()` was called before.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((n, waiter))
        try:
            await waiter
        finally:
            self._waiters = [entry for entry in self._waiters if entry[1] is not waiter]

    def close(self) -> None:
        """Wake who waits for acceptances that cannot come any more."""
        for count, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(
                    RuntimeError(f"the sandbox was closed before it had accepted {count} tasks")
                )
