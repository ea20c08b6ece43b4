"""What may be repeated and when: the table of invariant 2, row by row, and the back-offs."""

from __future__ import annotations

import random

import pytest

from bfl_async import (
    AmbiguousSubmitError,
    BFLError,
    ConfigError,
    ConnectError,
    RateLimitedError,
    ReplyTimeoutError,
    ServerError,
    TransportError,
)
from bfl_async.types import Accepted, Busy, NotSent, Receipt, Refused, Reply, Unknown
from bfl_async.wire.submit_verdicts import (
    download_backoff_s,
    judge_submit,
    judge_submit_error,
    poll_backoff_s,
    repeats_download,
    submit_backoff_s,
)
from tests.fake import reply

ACCEPTED = {"id": "t", "polling_url": "https://api.bfl.ai/x"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply(200, ACCEPTED), Accepted),
        (reply(202, ACCEPTED), Accepted),
        (reply(200, {"status": "ok"}), Unknown),
        (reply(204, b""), Unknown),
        (reply(200, "<html>login</html>"), Unknown),
        (reply(101, b""), Unknown),
        (reply(301, b""), Refused),
        (reply(307, b"", location="https://evil.example"), Refused),
        (reply(400, {"detail": "x"}), Refused),
        (reply(401, b""), Refused),
        (reply(402, b""), Refused),
        (reply(403, "<html>"), Refused),
        (reply(404, b""), Refused),
        (reply(408, b""), Refused),
        (reply(413, b""), Refused),
        (reply(422, ACCEPTED), Refused),
        (reply(429, b""), Busy),
        (reply(429, "<html>"), Busy),
        (reply(500, {"detail": "x"}), Unknown),
        (reply(501, b""), Unknown),
        (reply(502, {"detail": "x"}), Unknown),
        (reply(503, {"detail": "x"}), Busy),
        (reply(503, "<html>"), Unknown),
        (reply(503, b""), Unknown),
        (reply(503, b"[]"), Busy),
        (reply(503, b'{"detail": "caf\xe9"}'), Unknown),
        (reply(503, b'{"detail": "x"}<hr>'), Unknown),
        (reply(503, b'{"detail": "x\n"}'), Unknown),
        (reply(200, b'{"id": "t", "note": "caf\xe9\n"}<hr>'), Accepted),
        (reply(504, {"detail": "x"}), Unknown),
        (reply(520, b""), Unknown),
    ],
    ids=lambda value: (
        f"{value.status_code} {value.body[:20]!r}" if isinstance(value, Reply) else value.__name__
    ),
)
def test_submit_table(answer: Reply, expected: type) -> None:
    """Invariant 2: this table and nothing else."""
    assert type(judge_submit(answer, model="flux-dev", now=0.0)) is expected


def test_submit_answers_carry_their_facts() -> None:
    """Receipt, waiting time and body reach whoever decides."""
    assert judge_submit(reply(200, ACCEPTED), model="m", now=0) == Accepted(
        Receipt("t", "https://api.bfl.ai/x", None)
    )
    busy = judge_submit(reply(429, b"", retry_after="7"), model="m", now=0)
    assert isinstance(busy, Busy)
    assert (busy.retry_after_s, busy.no_slot, type(busy.error)) == (7.0, True, RateLimitedError)
    maintenance = judge_submit(reply(503, {}), model="m", now=0)
    assert isinstance(maintenance, Busy)
    assert (maintenance.retry_after_s, maintenance.no_slot, type(maintenance.error)) == (
        None,
        False,
        ServerError,
    )
    unknown = judge_submit(reply(502, "<b>bad</b>"), model="m", now=0)
    assert isinstance(unknown, Unknown)
    assert isinstance(unknown.error, AmbiguousSubmitError)
    assert (unknown.error.status_code, unknown.error.body) == (502, "<b>bad</b>")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectError("x"), NotSent),
        (TransportError("x"), Unknown),
        (ReplyTimeoutError("x"), Unknown),
        (ConfigError("x"), Refused),
    ],
)
def test_submit_without_a_reply(error: BFLError, expected: type) -> None:
    """Invariant 2: only a connection that was never made lets a submit be repeated."""
    answer = judge_submit_error(error)
    assert type(answer) is expected
    if isinstance(answer, Unknown):
        assert isinstance(answer.error, AmbiguousSubmitError)
        assert answer.error.__cause__ is error


@pytest.mark.parametrize("backoff", [submit_backoff_s, poll_backoff_s, download_backoff_s])
def test_backoffs_grow_to_a_bound_and_honour_retry_after(backoff) -> None:  # type: ignore[no-untyped-def]  # three alike
    """Invariant 3: at most 10 s by itself; `Retry-After` can only lengthen it."""
    rng = random.Random(1)
    waits = [backoff(attempt, None, rng) for attempt in range(1, 60)]
    assert 0.05 <= waits[0] <= 0.5
    assert max(waits) <= 10.0
    assert min(waits[10:]) >= max(waits) / 2
    assert backoff(1, 30.0, rng) == 30.0
    assert backoff(10**6, None, rng) <= 10.0


def test_poll_does_not_wait_past_a_minute_for_retry_after() -> None:
    """A poll is free and a result expires: a mistaken header must not lose a paid image."""
    assert poll_backoff_s(1, 3_600.0, random.Random(1)) == 60.0


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (500, True),
        (503, True),
        (302, True),
        (408, True),
        (425, True),
        (429, True),
        (403, False),
        (404, False),
    ],
)
def test_downloads_are_repeated_unless_the_answer_is_no(code: int, expected: bool) -> None:
    """A download costs nothing."""
    assert repeats_download(code) is expected
