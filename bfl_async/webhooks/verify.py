"""Is a delivery genuine, and what does it say? Pure functions, no clock, no I/O.

BFL's own texts contradict each other about the proof (read 2026-09-25). The parameter tables say that the secret is
"sent in the `X-Webhook-Secret` header", and a handler written from real deliveries compares that header; one
page of skills says `X-BFL-Signature: sha256=<hex>`, the HMAC-SHA256 of the raw body. So either is accepted unless
one is pinned. In the same way the id is `id` or `task_id`, and success is `Ready` or, before 2026-02-17,
`SUCCESS`. A delivery is otherwise a poll's answer, and is read by the same function.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from bfl_async.errors import ReplayError, SignatureError, WebhookError
from bfl_async.runtime.secrets import Secret
from bfl_async.status import TaskStatus, status_from
from bfl_async.types import bounds as _bounds
from bfl_async.types.common import JSON
from bfl_async.types.replies import Delivery
from bfl_async.wire.json import number_of, read_body
from bfl_async.wire.replies import poll_of, task_id_of

Scheme: TypeAlias = Literal["secret", "signature"]
"""What vouches for a delivery: the header `X-Webhook-Secret`, or `X-BFL-Signature`."""

BODY_MAX_BYTES = _bounds.DELIVERY.max_bytes
_OLDEST_S = 600.0  # what a result's URL lasts: an older delivery brings nothing
_MILLISECONDS_FROM = 1e11  # a larger number of seconds is thousands of years away
_OLD_WORDS = {"SUCCESS": TaskStatus.READY, "FAILED": TaskStatus.FAILED, "ERROR": TaskStatus.ERROR}


def verify(
    body: bytes, headers: Mapping[str, str], secret: str, *, now: float | None, scheme: Scheme | None = None
) -> Delivery:
    """Return what a delivery says, if it is genuine.

    Args:
        body: As it came, byte for byte, before any JSON parsing.
        headers: In any case of letters.
        secret: The `webhook_secret` of the submit.
        now: Unix time, for deliveries that carry a `timestamp`. None skips that check: for a secret that one
            request alone has, such as `WebhookReceiver` makes, no older delivery can exist.
        scheme: The one proof that is accepted; None: either.
    Raises:
        SignatureError: No proof, or a wrong one.
        ReplayError: Its own timestamp is more than 10 minutes off.
        WebhookError: Too large, or no delivery that can be read.
    """
    # Neither the secret nor what is derived from it is in a frame that an error passes through.
    secret = Secret(secret)
    if len(body) > BODY_MAX_BYTES:
        raise WebhookError(f"the delivery has {len(body)} bytes: more than {BODY_MAX_BYTES} are not read")
    if not secret:
        # An empty header would match.
        raise SignatureError("there is no secret to check the delivery with")
    proof = _proof(body, headers, secret, scheme)
    if proof is None:
        raise SignatureError("the delivery's secret or signature is missing or wrong")
    return read_delivery(body, proof, now=now)


def read_delivery(body: bytes, proof: Scheme, *, now: float | None) -> Delivery:
    """Return what a delivery says whose proof was right; raises as `verify` does."""
    data = read_body(body, _bounds.DELIVERY).data
    reply = poll_of(data)
    found = None if data is None else task_id_of(data)
    task_id = None if found is None else found[0]
    if data is None or reply is None or task_id is None:
        raise WebhookError("the delivery holds no task and status that can be read", task_id=task_id)
    sent_at = _timestamp(data.get("timestamp"))
    if sent_at is not None and now is not None and abs(now - sent_at) > _OLDEST_S:
        raise ReplayError("the delivery's timestamp is more than 10 minutes off", task_id=task_id)
    status = _OLD_WORDS.get(reply.status, reply.status)
    return Delivery.of(task_id, reply._replace(status=status_from(status)), proof)


def _proof(body: bytes, headers: Mapping[str, str], secret: str, scheme: Scheme | None) -> Scheme | None:
    key = secret.encode("utf-8", "surrogatepass")
    given = {name.lower(): value for name, value in headers.items()}
    if scheme != "signature":
        told = given.get("x-webhook-secret")
        if told is not None and hmac.compare_digest(told.encode("utf-8", "surrogatepass"), key):
            return "secret"
    if scheme != "secret":
        kind, _, told_hex = given.get("x-bfl-signature", "").strip().partition("=")
        right = hmac.new(key, body, hashlib.sha256).hexdigest()
        told_bytes = told_hex.lower().encode("utf-8", "surrogatepass")
        if kind.lower() == "sha256" and hmac.compare_digest(told_bytes, right.encode()):
            return "signature"
    return None


def _timestamp(value: JSON) -> float | None:
    """Unix time of a timestamp in seconds, milliseconds or words; None where it is none."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            try:
                value = float(value)
            except ValueError:
                return None
    number = number_of(value)
    if number is None or not math.isfinite(number) or number <= 0:
        return None
    return number / 1000 if number >= _MILLISECONDS_FROM else number
