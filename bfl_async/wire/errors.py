"""Refusals to errors of our tree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from bfl_async.errors import (
    APIStatusError,
    AuthenticationError,
    InsufficientCreditsError,
    InvalidRequestError,
    RateLimitedError,
    RefusedError,
    ServerError,
)
from bfl_async.types import bounds as _bounds
from bfl_async.types.replies import Reply
from bfl_async.wire.json import Content, read_body
from bfl_async.wire.key_refusals import refuses_key
from bfl_async.wire.redaction import HiddenTexts, body_text, detail_of, request_id_of

_MAX_RETRY_AFTER_S = 3_600.0  # a header beyond this is taken for a mistake


def http_date(text: str) -> float | None:
    """Return the Unix time of an HTTP date; None if it cannot be read.

    A date without a zone is in UTC, as the older forms of HTTP are. The library's own conversion would take it for
    this machine's local time.
    """
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def retry_after_s(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the seconds that `Retry-After` asks to wait; None if there is no such header that can be read.

    Args:
        now: Unix time on this machine. A `Retry-After` that is a date comes from the server's clock, so it is
            compared with the reply's own `Date`, and with `now` only if the reply has none.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        then = http_date(text)
        if then is None:
            return None
        sent_at = http_date(headers.get("date", ""))
        seconds = then - (now if sent_at is None else sent_at)
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, _MAX_RETRY_AFTER_S)


def status_error(
    reply: Reply,
    *,
    what: str,
    now: float,
    model: str | None = None,
    hidden: HiddenTexts | None = None,
    content: Content | None = None,
) -> APIStatusError:
    """Return the error of an HTTP status that is not 2xx.

    A 400 or 422 whose text is about the key is an `AuthenticationError`, see `refuses_key`.

    Args:
        what: What was asked, for the message: "the submit", "credits".
        now: Unix time, for a `Retry-After` that is a date.
        model: Named in the message of a 404 to a submit.
        hidden: Texts of the request, which the message must not show.
        content: What `read_body` found in the reply, where that was done.
    """
    code = reply.status_code
    if content is None:
        content = read_body(reply.body, _bounds.ERROR)
    said, errors = detail_of(content.data, hidden)
    says = f": {said}" if said else ""
    retry_after = retry_after_s(reply.headers, now=now)
    text = body_text(reply.body, content, hidden)
    about_key = code in (400, 422) and refuses_key(content.data, hidden)
    error: APIStatusError
    if code in (400, 422) and not about_key:
        error = InvalidRequestError(
            f"{what} was refused as invalid (HTTP {code}){says}",
            status_code=code, body=text, retry_after_s=retry_after, errors=errors,
        )  # fmt: skip
    else:
        cls, message = _class_and_message(code, what, says, model, about_key=about_key)
        error = cls(message, status_code=code, body=text, retry_after_s=retry_after)
    error.request_id = request_id_of(reply.headers, hidden)
    return error


def _class_and_message(
    code: int, what: str, says: str, model: str | None, *, about_key: bool
) -> tuple[type[APIStatusError], str]:
    refused = f"{what} was refused (HTTP {code}){says}"
    if code in (401, 403) or about_key:
        return AuthenticationError, f"{refused}: check BFL_API_KEY and the key's permissions"
    if code == 402:
        return (
            InsufficientCreditsError,
            f"{refused}: the account is out of credits; top it up and try again",
        )
    if code == 404 and model is not None:
        named = f"the server knows no model {model!r} (HTTP 404){says}"
        return RefusedError, f"{named}: check the name and the base URL"
    if code == 429:
        return RateLimitedError, f"{refused}: too many active tasks or calls; try again later"
    if code >= 500:
        return ServerError, f"{what} failed on the server (HTTP {code}){says}: try again later"
    return RefusedError, refused
