"""What one process does with an answer of the book: grants, lost leases, numbers, and when to look again."""

from __future__ import annotations

import asyncio
import logging

from bfl_async.errors import LeaseLostError
from bfl_async.limiter.claims import Pool
from bfl_async.limiter.session import Session
from bfl_async.limiter.steps import Batch, StepReply

_log = logging.getLogger("bfl_async")

# A process that waits looks at least so often, should a wake-up be lost.
_NET_S = 2.0


def apply(session: Session, batch: Batch, reply: StepReply) -> None:
    """Take over the book's answer to a batch. Synchronous: no owner sees half of it."""
    session.failures = 0
    if session.away is not None:
        session.away = None
        _log.warning("%s is back", session.where, extra={"bfl_limiter": session.where})
    if reply.resync:
        # The book did nothing. It has forgotten this process, or missed one of its batches.
        session.full = True
        session.say_again(batch.ops)
        session.wake.set()
        return
    same_book = session.epoch == reply.epoch
    session.full = False
    session.epoch = reply.epoch
    _report_lost(session, reply.lost, same_book=same_book)
    for name in reply.ended:
        _end_elsewhere(session, name)
    # Before the grants, whose owners may read the statistics.
    session.claims.pools = {
        name: Pool(pool.limit, pool.working, pool.taken, pool.queued) for name, pool in reply.pools.items()
    }
    for name, arrival in reply.arrivals:
        if (lease := session.claims.waiting.get(name)) is not None:
            lease.arrival = arrival
    for name, arrival in reply.grants:
        _hand_out(session, name, arrival)
    # Last: a flush also promises that the grants were handed out.
    session.heard = max(session.heard, session.sending)
    if not session.opened.done():
        session.opened.set_result(None)
    _end_flushes(session)
    _set_timer(session, reply.next_s)


def _hand_out(session: Session, name: str, arrival: int) -> None:
    lease = session.claims.grant(name, arrival)
    if lease is not None:
        lease.on_granted()
    # Withdrawn in this very moment, and then the next batch says so. Or the grant is from a step that was thought to be
    # lost, no lease here wants it, and the book must hear that.
    elif not any(op[0] == "x" and op[1] == name for op in session.ops):
        session.say(["x", name])


def _end_flushes(session: Session) -> None:
    still: list[tuple[int, asyncio.Future[None]]] = []
    for number, waiter in session.flushes:
        if number > session.heard:
            still.append((number, waiter))
        elif not waiter.done():
            waiter.set_result(None)
    session.flushes = still


def _report_lost(session: Session, lost: list[str], *, same_book: bool) -> None:
    """Log which leases the book had lost. The same step has taken them again."""
    # One that ended here while the step was under way is not missed.
    lost = [name for name in lost if name in session.claims.slots]
    if not lost:
        return
    facts = {"bfl_limiter": session.where, "bfl_leases": len(lost)}
    if same_book:
        _log.warning(
            "%s",
            LeaseLostError(
                f"{len(lost)} leases ran out while their tasks went on: was the process paused for more "
                f"than {session.terms.lease_s:g} s? Their slots are taken again, past the limit if need be"
            ),
            extra=facts,
        )
    else:
        _log.warning(
            "%s had lost its data: %d leases stand there again", session.where, len(lost), extra=facts
        )


def _end_elsewhere(session: Session, name: str) -> None:
    """Free a slot of this process whose task another one has seen end."""
    slot = session.claims.slots.get(name)
    # A slot on hold ends by its own timer.
    if slot is None or slot.hold is not None:
        return
    # What was said since the step may follow the task again.
    if not any(op[0] in ("t", "c") and name in op[1:3] for op in session.ops):
        session.claims.end_slot(slot)


def _set_timer(session: Session, next_s: float | None) -> None:
    """Look again by time: to keep what is held, and while something waits also for what time may bring."""
    now = session.loop.time()
    at = session.beat_at
    if session.claims.waiting:
        at = min(at, now + _NET_S * session.rng.uniform(0.75, 1.0))
        if next_s is not None:
            # A little late, and not all processes at once.
            at = min(at, now + max(0.001, next_s) + session.rng.uniform(0.001, 0.01))
    if session.timer is not None:
        session.timer.cancel()
    session.timer = session.loop.call_at(at, session.wake.set)
