"""The coroutine that makes the steps of one process, and what it does when the book does not answer.

One step is under way at a time. What is said meanwhile goes into the next one, so a busy process makes larger steps,
not more of them.
"""

from __future__ import annotations

import asyncio
import logging

from bfl_async.errors import LimiterError
from bfl_async.limiter.replies import apply
from bfl_async.limiter.session import Session, by_name, not_told_in_full, searched
from bfl_async.limiter.steps import Batch, StepReply, Store, StoreAwayError
from bfl_async.runtime.cancellation import is_cancelled

_log = logging.getLogger("bfl_async")

_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 1.0


async def make_steps(session: Session) -> None:
    """Make a step whenever the session wakes, until it is over."""
    try:
        # A store may swallow the cancellation that is to end this: wait_for does so in Python 3.11.
        while not session.is_over and not is_cancelled():
            await session.wake.wait()
            # Before the batch is made: whatever is said from here on calls for another step.
            session.wake.clear()
            batch = _next_batch(session)
            try:
                reply = await _step(session.store, batch)
            except StoreAwayError as exc:
                _not_heard(session, batch, exc)
                # A connection that was cut is no reason to wait: the second attempt comes at once.
                if session.failures > 1:
                    await asyncio.sleep(_backoff_s(session))
                session.wake.set()
            else:
                apply(session, batch, reply)
    except Exception as exc:
        # A bug. No step comes after this, so no request may go on waiting for one.
        _log.error("the limiter failed by a bug", exc_info=exc, extra={"bfl_limiter": session.where})
        session.away = LimiterError(f"the limiter failed by a bug ({type(exc).__name__})")
        session.away.__cause__ = exc
        session.terms.fails_away = True
        session.fail_waiting(session.away)
        if not session.opened.done():
            session.opened.set_exception(session.away)


async def _step(store: Store, batch: Batch) -> StepReply:
    try:
        return await store.step(batch)
    except asyncio.CancelledError as exc:
        if is_cancelled():
            raise
        # Something inside the store was cancelled, and the coroutine that makes the steps was not: the step has no
        # reply, and the next one may.
        raise StoreAwayError("the call was cancelled, and not by this limiter") from exc


def _next_batch(session: Session) -> Batch:
    """Take what was said, and add what this process must tell now."""
    claims = session.claims
    now = session.loop.time()
    ops, session.ops = session.ops, []
    session.sending = session.said
    if session.full:
        ops = not_told_in_full(ops)
    if session.full or now >= session.beat_at:
        ops.extend(["k", slot.name, list(slot.pools)] for slot in claims.followed())
        # Two steps may be lost before a lease runs out.
        session.beat_at = now + session.terms.lease_s / 3
    if session.full:
        # After the "k": by then the book has all of these, and drops every other lease of this process.
        ops.append(["o", [slot.name for slot in claims.followed()]])
        ops.extend(
            # Its time may be up while its timer has not fired yet; the book takes no time in the past.
            ["h", slot.name, max(0.001, slot.hold.when() - now), list(slot.pools)]
            for slot in claims.slots.values()
            if slot.hold is not None
        )
        ops.extend(
            ["w", name, lease.priority, lease.arrival or 0, list(lease.pools)]
            for name, lease in claims.waiting.items()
        )
    session.seq += 1
    if session.closer is not None:
        # Last, and once: a step that was lost had one too.
        ops = [op for op in ops if op[0] != "e"]
        ops.append(["e"])
    return Batch(
        session.name, session.seq, session.full, session.epoch, by_name(session.terms.limits), session.terms.lease_s,
        ops, waiting=len(claims.waiting), discovers=searched(session.terms.limits),
    )  # fmt: skip


def _not_heard(session: Session, batch: Batch, exc: StoreAwayError) -> None:
    """Note that a step had no reply: the book may have made it or not. The next batch tells everything."""
    session.failures += 1
    session.full = True
    session.say_again(batch.ops)
    if session.failures < 2 and not exc.hopeless:
        return
    error = LimiterError(f"{session.where} cannot be {'used' if exc.hopeless else 'reached'}: {exc}")
    error.__cause__ = exc.__cause__
    go_without(session, error, hopeless=exc.hopeless)


def go_without(session: Session, error: LimiterError, *, hopeless: bool = False) -> None:
    """Notify the requests and the callers of `open` that the book is away."""
    if session.away is None:
        session.ops = not_told_in_full(session.ops)
        # Logged once for each time that the book goes away, not for each step that fails.
        _log.warning(
            "%s; %s",
            error,
            "requests fail" if session.terms.fails_away else "requests wait until it is back",
            extra={"bfl_limiter": session.where, "bfl_queued": len(session.claims.waiting)},
        )
    session.away = error
    if not session.opened.done():
        if session.terms.fails_away or hopeless:
            session.opened.set_exception(error)
        else:
            session.opened.set_result(None)
    if session.terms.fails_away:
        session.fail_waiting(error)


def _backoff_s(session: Session) -> float:
    longest: float = min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** (min(session.failures, 10) - 2))
    # Not all processes at once: the book that comes back has them all to serve.
    return longest * session.rng.uniform(0.5, 1.0)
