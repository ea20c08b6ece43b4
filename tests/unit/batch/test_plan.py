"""The plan is the truth: what it says is what the server accepts, whatever happened to the ledger before."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Batch, BFLError, Budget, Fixed, LedgerError
from bfl_async.batch import Plan
from bfl_async.cli.files import InputError
from bfl_async.cli.planning import PlanOptions, check_cost, make_plan
from bfl_async.cli.rows import Rows
from bfl_async.ledger import SQLiteLedger
from bfl_async.types import EntryState
from tests.fake import FakeAPI, FakeTask, reply

AMBIGUOUS, FAILED, MODERATED = EntryState.AMBIGUOUS, EntryState.FAILED, EntryState.MODERATED

# Models with a published price, in credits, and one without.
PRICES: dict[str, float | None] = {
    "flux-2-pro": 3.0, "flux-pro-1.1": 4.0, "flux-2-klein-4b": 1.4, "flux-dev": None
}  # fmt: skip


class Shop(FakeAPI):
    """A server with the true prices; a prompt says how its task ends, and of some submits the answer is lost."""

    def _accept(self, path: str, body: dict[str, object]) -> object:  # type: ignore[override]  # the same shape
        self.cost = PRICES[path.rpartition("/")[2]] or 2.5
        answer = super()._accept(path, body)  # type: ignore[arg-type]  # JSON
        if answer.status_code == 200:
            task: FakeTask = list(self.tasks.values())[-1]
            word = str(body["prompt"]).split()[0]
            task.status = {"bad": "Content Moderated", "broken": "Error"}.get(word, "Ready")
            if word == "lost":
                return reply(502, "gone")
        return answer

    def spent(self, since: int) -> float:
        """What the tasks from this one on cost, in credits."""
        return sum(PRICES[task.path.rpartition("/")[2]] or 2.5 for task in list(self.tasks.values())[since:])


def shop() -> Shop:
    return Shop(service_s=0.01, submit_s=0.002, poll_s=0.001, limit=6)


def rows_of(path: Path, model: str) -> Rows:
    return Rows(
        str(path), "text", model=model, fields={"width": 512, "height": 512} if model != "flux-pro-1.1" else {},
        folder=path.parent, allow_outside=False, columns={}, prompt=None, repeat=1,
    )  # fmt: skip


@dataclass
class Command:
    """One command over a file, as the batch command runs it."""

    model: str
    prompts: Sequence[str]
    options: PlanOptions
    max_usd: float | None = None
    budget_usd: float | None = None
    stop_after: int | None = None
    is_killed: bool = False


async def give(folder: Path, api: Shop, command: Command) -> tuple[Plan, Plan | None, int, float]:
    """Plan and run a command.

    Returns: The plan without the lock, the plan with it, and what the server accepted: how many, for what credits.
    """
    path = folder / "prompts.txt"
    path.write_text("".join(f"{prompt}\n" for prompt in command.prompts))
    rows = rows_of(path, command.model)
    planned = make_plan(rows, folder / "run.db", command.options)
    since = len(api.tasks)
    caps = [] if command.budget_usd is None else [command.budget_usd]
    if command.max_usd is not None:
        try:
            check_cost(planned.plan, command.max_usd)
        except InputError:
            return planned.plan, None, 0, 0.0
        caps.append(command.max_usd)
    budget = Budget(usd=min(caps)) if caps else None
    retry = command.options.retry
    ledger = SQLiteLedger(folder / "run.db")
    held: Plan | None = None
    async with AsyncBFL(transport=api, limits=6, polling=Fixed(0.01), budget=budget) as bfl:
        batch = Batch.open(
            ledger, bfl, save_to=folder / "out", and_earlier=command.options.and_earlier,
            retry_ambiguous=AMBIGUOUS in retry, retry_failed=FAILED in retry, retry_moderated=MODERATED in retry,
        )  # fmt: skip
        # A kill is a ledger that ends at once: what happens afterwards is written by nobody.
        with contextlib.suppress(*[LedgerError] if command.is_killed else []):
            async with batch:
                planned.check(batch.counts())
                held = await batch.plan(rows.check())
                adding = asyncio.ensure_future(batch.add(rows.check()))
                run = batch.run()
                seen = 0
                with contextlib.suppress(BFLError):
                    async for _ in run:
                        seen += 1
                        if seen == command.stop_after:
                            if command.is_killed:
                                await ledger.aclose()
                                break
                            run.stop()
                await adding
    return planned.plan, held, len(api.tasks) - since, api.spent(since)


@pytest.mark.parametrize(
    "start", [0, 20, *(pytest.param(start, marks=pytest.mark.slow) for start in range(40, 300, 20))]
)
@pytest.mark.timeout(240)
async def test_plan_is_what_the_server_accepts_over_random_histories(tmp_path: Path, start: int) -> None:
    """A run that goes to its end sends its plan, no more and no less; `--max-cost` is never passed."""
    for number in range(start, start + 20):
        rng = random.Random(number)
        folder = tmp_path / str(number)
        folder.mkdir()
        api = shop()
        prompts = _prompts(rng)
        for _ in range(rng.randint(2, 4)):
            if rng.random() < 0.5:
                prompts = _edited(rng, prompts)
            command = _command(rng, prompts)
            plan, held, accepted, credits = await give(folder, api, command)
            assert held in (None, plan), f"history {number}: two plans of one ledger"
            if command.max_usd is not None:
                assert credits <= command.max_usd * 100 + 1e-6, f"history {number}: more than --max-cost"
            if held is None:
                continue
            whole = command.stop_after is None and command.budget_usd is None
            assert accepted == plan.total.count or (not whole and accepted < plan.total.count), (
                f"history {number}: {command} accepted {accepted}, planned {plan}"
            )
            if whole and not plan.total.unpriced:
                assert credits == pytest.approx(plan.total.credits), f"history {number}: cost"


def _prompts(rng: random.Random) -> list[str]:
    words = ["good", "good", "good", "bad", "broken", "lost"]
    return [f"{rng.choice(words)} {rng.randint(0, 6)}" for _ in range(rng.randint(1, 12))]


def _edited(rng: random.Random, prompts: list[str]) -> list[str]:
    kept = [prompt for prompt in prompts if rng.random() < 0.7]
    return kept + _prompts(rng)[: rng.randint(0 if kept else 1, 4)]


def _command(rng: random.Random, prompts: list[str]) -> Command:
    states = [AMBIGUOUS, FAILED, MODERATED]
    command = Command(
        rng.choice(list(PRICES)),
        prompts,
        PlanOptions(tuple(state for state in states if rng.random() < 0.3), rng.random() < 0.3),
    )
    if rng.random() < 0.4:
        command.max_usd = rng.choice([0.0, 0.03, 0.1, 0.3, 1.0])
    if rng.random() < 0.3:
        command.budget_usd = rng.choice([0.05, 0.12, 0.3])
    if rng.random() < 0.4:
        command.stop_after = rng.randint(1, 4)
        command.is_killed = rng.random() < 0.5
    return command
