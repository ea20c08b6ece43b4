"""What a reply means for money, and when a call may be repeated. Pure functions, no clock, no I/O.

A submit costs credits, so it is repeated only when no task can exist: never after its first byte left and
the answer was lost. Polls and downloads cost nothing and are repeated with back-off.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from bfl_async.errors import AmbiguousSubmitError, BFLError, ConfigError, ConnectError
from bfl_async.types import bounds as _bounds
from bfl_async.types.replies import Accepted, Answered, Busy, NotSent, Refused, Reply, SubmitAnswer, Unknown
from bfl_async.wire.errors import status_error
from bfl_async.wire.immediate import immediate_of
from bfl_async.wire.json import Content, read_body
from bfl_async.wire.redaction import HiddenTexts, body_text, request_id_of
from bfl_async.wire.replies import makes_task, receipt_of

_FIRST_BACKOFF_S = 0.5
_MAX_POLL_BACKOFF_S = 10.0
_MAX_SUBMIT_BACKOFF_S = 10.0
# A longer wait on a safe, free call would only risk the result's expiry.
_MAX_POLL_RETRY_AFTER_S = 60.0
_FIRST_DOWNLOAD_BACKOFF_S = 0.1
_MAX_DOWNLOAD_BACKOFF_S = 5.0


def judge_submit(
    reply: Reply,
    *,
    model: str,
    now: float,
    texts: Mapping[str, object] | None = None,
    any_endpoint: bool = False,
) -> SubmitAnswer:
    """Return what a submit's reply means: the table of invariant 2.

    A reply of more than `types.bounds.RECEIPT` should be judged in a thread: it may hold images.

    Args:
        now: Unix time, for a `Retry-After` that is a date.
        texts: Of the request, by field: what no message may show.
        any_endpoint: The endpoint may be one that makes no task. A reply that cannot be read leaves that unknown.
    """
    code = reply.status_code
    if 200 <= code < 300:
        content = read_body(reply.body, _bounds.ACCOUNT if any_endpoint else _bounds.RECEIPT)
        if any_endpoint and (not reply.body or (content.is_json and not makes_task(content.data))):
            return Answered(reply)
        receipt = receipt_of(content.data)
        immediate = immediate_of(reply, receipt)
        if immediate is not None:
            return Answered(reply) if any_endpoint else immediate
        if receipt is not None:
            return Accepted(receipt)
        why = "its answer names no task that can be read"
        return Unknown(_ambiguous(reply, why, content, _hidden(texts)))
    hidden = _hidden(texts)
    content = read_body(reply.body, _bounds.ERROR)
    if (code >= 500 or code < 200) and not (code == 503 and content.is_json):
        return Unknown(_ambiguous(reply, "the server failed after it had the request", content, hidden))
    named = None if any_endpoint else model
    error = status_error(reply, what="the submit", now=now, model=named, hidden=hidden, content=content)
    if code in (429, 503):
        return Busy(error, error.retry_after_s, no_slot=code == 429)
    return Refused(error)


def _hidden(texts: Mapping[str, object] | None) -> HiddenTexts | None:
    return None if texts is None else HiddenTexts(texts)


def judge_submit_error(error: BFLError) -> SubmitAnswer:
    """Return what a submit without a reply means; where it is not certain, a task may exist."""
    if isinstance(error, ConnectError):
        return NotSent(error)
    if isinstance(error, ConfigError):
        # Found before anything was sent.
        return Refused(error)
    if isinstance(error, AmbiguousSubmitError):
        return Unknown(error)
    lost = AmbiguousSubmitError(f"{_AMBIGUOUS}: {error}")
    lost.__cause__ = error
    return Unknown(lost)


_AMBIGUOUS = "the submit left and its answer is lost, so a task may exist and be paid; it is not sent again"


def _ambiguous(reply: Reply, why: str, content: Content, hidden: HiddenTexts | None) -> AmbiguousSubmitError:
    error = AmbiguousSubmitError(
        f"{_AMBIGUOUS}: HTTP {reply.status_code}, {why}",
        status_code=reply.status_code,
        body=body_text(reply.body, content, hidden),
    )
    error.request_id = request_id_of(reply.headers, hidden)
    return error


def submit_backoff_s(attempt: int, retry_after_s: float | None, rng: random.Random) -> float:
    """Return the seconds before submit number `attempt` + 1, where number `attempt` (from 1) was not taken."""
    return _backoff(attempt, retry_after_s, _FIRST_BACKOFF_S, _MAX_SUBMIT_BACKOFF_S, rng)


def poll_backoff_s(failures: int, retry_after_s: float | None, rng: random.Random) -> float:
    """Return the seconds before the next poll after so many failed ones in a row (from 1)."""
    if retry_after_s is not None:
        retry_after_s = min(retry_after_s, _MAX_POLL_RETRY_AFTER_S)
    return _backoff(failures, retry_after_s, _FIRST_BACKOFF_S, _MAX_POLL_BACKOFF_S, rng)


def download_backoff_s(attempt: int, retry_after_s: float | None, rng: random.Random) -> float:
    """Return the seconds before download number `attempt` + 1, where number `attempt` (from 1) failed."""
    return _backoff(attempt, retry_after_s, _FIRST_DOWNLOAD_BACKOFF_S, _MAX_DOWNLOAD_BACKOFF_S, rng)


def _backoff(
    attempt: int, retry_after_s: float | None, first: float, most: float, rng: random.Random
) -> float:
    # Half fixed, half random: spread out, and never so short that a sick server is hammered.
    ceiling = min(most, first * 2.0 ** min(attempt - 1, 20))
    wait = ceiling * (0.5 + 0.5 * rng.random())
    return wait if retry_after_s is None else max(wait, retry_after_s)


def repeats_download(status_code: int) -> bool:
    """Return whether a download may succeed later under the same URL.

    Everything but a plain "no" (most 4xx) is worth another try: a download costs nothing.
    """
    return not 400 <= status_code < 500 or status_code in (408, 425, 429)
