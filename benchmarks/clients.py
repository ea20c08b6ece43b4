"""The clients of the benchmark. Each has a process of its own, in which it runs a warm-up and then the work."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple

from benchmarks import official
from benchmarks.baselines import Job, run_guide, run_handwritten
from benchmarks.process import Meter
from benchmarks.server import KEY, PROCESSES, START_S, Scenario, allow_sockets
from bfl_async import Adaptive, AsyncBFL, Fixed, Limits, request

INTERVAL_S = 0.5  # of the guide, and of all that poll at a fixed interval
OVERLAP = 0.02  # the share of submits that may be refused for leaving early
# Of the 1,200 polls a second that the API allows: what was delayed on the way arrives closer together than it left.
MANY_SLOTS, MANY_POLLS_PER_S = 500, 1_000.0


class Measured(NamedTuple):
    """What a client's process found out about itself."""

    span_s: float
    cpu_s: float
    peak_mb: float  # over what it had after its imports
    refused_overlap: int  # 429s to submits that left early, as the client counts them


class Ran(NamedTuple):
    """What a client returns: the moment at which it saw the last Ready, on the monotonic clock."""

    last_at: float
    refused_overlap: int = 0


Run = Callable[[str, list[Job], int], Ran]  # the server's URL, what to send, slots


@dataclass(frozen=True, slots=True)
class Client:
    """One way to generate images."""

    name: str
    title: str
    run: Run | None  # None: it runs in an environment of its own
    most_slots: int = 1_000
    kinds_known: frozenset[str] | None = None  # models; None: all

    def skipped(self, scenario: Scenario) -> str | None:
        """Why the client cannot run a scenario; None where it can."""
        if scenario.slots > self.most_slots:
            return "it would be refused polls: more than 1,200 a second at its interval"
        unknown = [
            kind.model
            for kind in scenario.kinds
            if self.kinds_known is not None and kind.model not in self.kinds_known
        ]
        if unknown:
            return f"it knows no {unknown[0]}"
        if self.run is None:
            return official.why_not()
        return None


def _run_guide(url: str, jobs: list[Job], slots: int) -> Ran:
    return Ran(run_guide(url, KEY, jobs, slots=slots, interval_s=INTERVAL_S))


def _run_handwritten(url: str, jobs: list[Job], slots: int) -> Ran:
    return Ran(run_handwritten(url, KEY, jobs, slots=slots, interval_s=INTERVAL_S))


def _run_fixed(url: str, jobs: list[Job], slots: int) -> Ran:
    return asyncio.run(_run_ours(jobs, AsyncBFL(KEY, base_url=url, limits=slots, polling=Fixed(INTERVAL_S))))


def _run_default(url: str, jobs: list[Job], slots: int) -> Ran:
    return asyncio.run(_run_ours(jobs, AsyncBFL(KEY, base_url=url, limits=slots, polling=_adaptive(slots))))


def _run_overlap(url: str, jobs: list[Job], slots: int) -> Ran:
    limits = Limits(account=slots, overlap=OVERLAP)
    return asyncio.run(_run_ours(jobs, AsyncBFL(KEY, base_url=url, limits=limits, polling=_adaptive(slots))))


def _adaptive(slots: int) -> Adaptive:
    """The default policy. A thousand slots want more polls a second than its default, and the API allows them."""
    return Adaptive() if slots < MANY_SLOTS else Adaptive(max_polls_per_s=MANY_POLLS_PER_S)


async def _run_ours(jobs: list[Job], client: AsyncBFL) -> Ran:
    last_at = 0.0
    requests = (request(model, **body) for model, body in jobs)
    async with client as bfl, bfl.stream(requests) as outcomes:
        async for outcome in outcomes:
            outcome.unwrap()
            last_at = time.monotonic()
        return Ran(last_at, bfl.statistics().refused_overlap)


CLIENTS = {
    client.name: client
    for client in (
        Client("guide", "the guide's loop, 12 threads", _run_guide, most_slots=12),
        Client(
            "official", "blackforest, 12 threads", None, most_slots=12,
            kinds_known=frozenset({"flux-pro-1.1", "flux-pro", "flux-dev"}),
        ),
        Client("handwritten", "aiohttp by hand", _run_handwritten, most_slots=500),
        Client("fixed", "ours, Fixed(0.5)", _run_fixed, most_slots=500),
        Client("ours", "ours", _run_default),
        Client("overlap", f"ours, overlap={OVERLAP}", _run_overlap),
    )
}  # fmt: skip


def run_client(client: Client, url: str, jobs: list[Job], slots: int, *, worst_s: float) -> Measured:
    """Run a client in a process of its own; the first of the jobs is the warm-up.

    Raises:
        RuntimeError: It failed, or was not through after `worst_s` seconds.
    """
    if client.run is None:
        return Measured(*official.run(url, jobs, slots, worst_s=worst_s))
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(
        target=_client_process, args=(there, client, url, jobs, slots), name=client.name, daemon=True
    )
    process.start()
    there.close()
    try:
        if not here.poll(START_S + worst_s):
            raise RuntimeError(f"{client.name} was not through after {START_S + worst_s:.0f} s")
        return Measured(*here.recv())
    except EOFError:
        raise RuntimeError(f"{client.name} failed; its own message stands above") from None
    finally:
        process.join(5.0)
        if process.is_alive():
            process.kill()


def _client_process(pipe: Connection, client: Client, url: str, jobs: list[Job], slots: int) -> None:
    assert client.run is not None
    allow_sockets()
    _import_all()
    meter = Meter()
    client.run(url, jobs[:1], slots)
    meter.restart()
    ran = client.run(url, jobs[1:], slots)
    pipe.send(Measured(ran.last_at - meter.started_at, meter.cpu_s(), meter.peak_mb(), ran.refused_overlap))


def _import_all() -> None:
    """Import what is imported on first use, so that it is not counted as the client's memory."""
    AsyncBFL(KEY)
    import bfl_async.transport.http  # noqa: F401 - imported for its own sake
