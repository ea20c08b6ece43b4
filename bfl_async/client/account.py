"""Calls that concern the account and make no task: credits, finetunes, reports of use, and any other question.

Questions are repeated, as they change nothing. What changes something is sent once: only where no connection was
made is it tried again, as then nothing was sent.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from bfl_async.errors import (
    BFLError,
    ConnectError,
    InvalidRequestError,
    ReplyShapeError,
    ReplyTimeoutError,
    TransportError,
)
from bfl_async.protocols.transport import Transport
from bfl_async.runtime.cancellation import is_cancelled
from bfl_async.runtime.text import printable
from bfl_async.runtime.time import TimeLimit
from bfl_async.types import bounds as _bounds
from bfl_async.types.bounds import Bounds
from bfl_async.types.common import JSON
from bfl_async.types.replies import Reply
from bfl_async.wire.encoding import encode_body
from bfl_async.wire.errors import status_error
from bfl_async.wire.json import number_of, read_body
from bfl_async.wire.redaction import body_text, request_id_of

_ATTEMPTS = 3
_PAUSE_S = 0.5
# What a URL may hold (RFC 3986), without a way up and without a fragment.
_CHARS = r"A-Za-z0-9._~!$&'()*+,;=:@%-"
_PATH = re.compile(rf"/v1(/(?!\.\.?(/|\?|$))[{_CHARS}]+)+(\?[{_CHARS}/?]*)?")


@dataclass(frozen=True, slots=True)
class Finetune:
    """A finetune of the account; `details` is all that the server says about it."""

    finetune_id: str
    details: Mapping[str, JSON] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeletedFinetune:
    """The server's answer to a deletion; `raw` is all of it."""

    finetune_id: str
    status: str
    message: str
    timestamp: str | None
    raw: Mapping[str, JSON] = field(repr=False)


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The server's answer to a report of a licensed model's use; `raw` is all of it."""

    message: str
    raw: Mapping[str, JSON] = field(repr=False)


class Account:
    """The account's calls over one transport; see the methods of `AsyncBFL` with these names."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def credits(self) -> float:
        """Return the balance; see `AsyncBFL.credits`."""
        what = "the credits request"
        reply = await _ask(self._transport, "/v1/credits")
        balance = number_of(_object(reply, what, _bounds.CREDITS).get("credits"))
        if balance is None:
            raise _unreadable(reply, what)
        return balance

    async def finetunes(self) -> list[Finetune]:
        """Return the account's finetunes; see `AsyncBFL.finetunes`."""
        what = "the request for finetunes"
        reply = await _ask(self._transport, "/v1/my_finetunes")
        found = _object(reply, what).get("finetunes")
        if not isinstance(found, list):
            raise _unreadable(reply, what)
        return [_finetune(item) for item in found]

    async def finetune_details(self, finetune_id: str) -> Finetune:
        """Return what is known of one finetune; see `AsyncBFL.finetune_details`."""
        what = "the request for a finetune's details"
        _check_text("finetune_id", finetune_id)
        reply = await _ask(self._transport, f"/v1/finetune_details?finetune_id={quote(finetune_id, safe='')}")
        found = _object(reply, what).get("finetune_details")
        if not isinstance(found, Mapping):
            raise _unreadable(reply, what)
        return Finetune(finetune_id, found)

    async def delete_finetune(self, finetune_id: str) -> DeletedFinetune:
        """Delete a finetune; see `AsyncBFL.delete_finetune`."""
        what = "the deletion of a finetune"
        _check_text("finetune_id", finetune_id)
        said = _object(
            await _tell(self._transport, "/v1/delete_finetune", {"finetune_id": finetune_id}), what
        )
        moment = said.get("timestamp")
        return DeletedFinetune(
            finetune_id=_text(said, "deleted_finetune_id") or finetune_id,
            status=_text(said, "status"),
            message=_text(said, "message"),
            timestamp=None if moment is None else printable(str(moment)),
            raw=said,
        )

    async def report_usage(self, model_slug: str, generations: int) -> UsageReport:
        """Report the use of a licensed model; see `AsyncBFL.report_usage`."""
        _check_text("model_slug", model_slug)
        if isinstance(generations, bool) or not isinstance(generations, int) or generations < 1:
            problem = f"must be a whole number from 1 up, not {generations!r}"
            raise InvalidRequestError(f"generations {problem}", errors=[("generations", problem)])
        path = f"/v1/licenses/models/{quote(model_slug, safe='')}/usage"
        said = _object(
            await _tell(self._transport, path, {"number_of_generations": generations}), "the report of use"
        )
        return UsageReport(_text(said, "message"), said)

    async def get(self, path: str, timeout: float | None) -> Reply:
        """Ask any question; see `AsyncBFL.get`."""
        if not isinstance(path, str) or len(path) > 4_096 or not _PATH.fullmatch(path):
            raise InvalidRequestError(
                "get takes a path of the API such as '/v1/credits', with a quoted query at most",
                errors=[("path", "is no path of the API")],
            )
        what = f"GET {path.partition('?')[0]}"
        if timeout is not None and timeout <= 0:
            raise ReplyTimeoutError(f"{what} was not sent: its timeout has run out already")
        limit = TimeLimit(timeout)
        try:
            async with limit:
                # A third of the time for each attempt, so that one without an answer leaves time for another.
                return _good(
                    await _ask(self._transport, path, None if timeout is None else timeout / _ATTEMPTS), what
                )
        except TimeoutError as exc:
            if not limit.expired:
                raise
            raise ReplyTimeoutError(f"{what} was not answered within {timeout:g} s") from exc


def _finetune(item: JSON) -> Finetune:
    """One entry of the list, whose shape is not documented: an id, or an object that has one."""
    if not isinstance(item, Mapping):
        return Finetune("" if item is None else printable(str(item)), {})
    named = (item.get(key) for key in ("finetune_id", "id", "name"))
    return Finetune(next((printable(word) for word in named if isinstance(word, str)), ""), item)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip() or value.strip(".") == "":
        raise InvalidRequestError(f"{name} must be a text that is not empty", errors=[(name, "is empty")])
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(
            f"{name} is not Unicode text", errors=[(name, "is not Unicode text")]
        ) from None


def _text(said: Mapping[str, JSON], name: str) -> str:
    value = said.get(name)
    return printable(value) if isinstance(value, str) else ""


async def _ask(transport: Transport, path: str, attempt_s: float | None = None) -> Reply:
    """GET, up to three times."""
    for attempt in range(1, _ATTEMPTS + 1):
        last = attempt == _ATTEMPTS
        try:
            reply = await _attempt(transport.poll(path), attempt_s)
        except TransportError:
            if last:
                raise
        else:
            if reply.status_code < 500 or last:
                return reply
        await asyncio.sleep(_PAUSE_S * attempt)
    raise AssertionError("unreachable")  # pragma: no cover


async def _tell(transport: Transport, path: str, body: Mapping[str, JSON]) -> Reply:
    """POST, once; again only where nothing was sent."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await _attempt(transport.submit(path, encode_body(body)), None)
        except ConnectError:
            if attempt == _ATTEMPTS:
                raise
        await asyncio.sleep(_PAUSE_S * attempt)
    raise AssertionError("unreachable")  # pragma: no cover


async def _attempt(call: Awaitable[Reply], seconds: float | None) -> Reply:
    """Make one call, whose failures are errors of ours.

    Raises:
        TransportError: No complete reply.
    """
    limit = TimeLimit(seconds)
    try:
        async with limit:
            return await call
    except asyncio.CancelledError as exc:
        if is_cancelled():
            raise
        raise TransportError("the call was cancelled, and not by its caller") from exc
    except OSError as exc:  # of a transport from outside; TimeoutError is one
        if isinstance(exc, BFLError):
            raise
        if limit.expired:
            raise ReplyTimeoutError("no answer in time") from exc
        raise TransportError(f"the call failed: {type(exc).__name__}") from exc


def _good(reply: Reply, what: str) -> Reply:
    if not 200 <= reply.status_code < 300:
        raise status_error(reply, what=what, now=time.time())
    return reply


def _object(reply: Reply, what: str, bounds: Bounds = _bounds.ACCOUNT) -> Mapping[str, JSON]:
    said = read_body(_good(reply, what).body, bounds).data
    if said is None:
        raise _unreadable(reply, what)
    return said


def _unreadable(reply: Reply, what: str) -> ReplyShapeError:
    error = ReplyShapeError(f"the answer to {what} cannot be read", body=body_text(reply.body))
    error.request_id = request_id_of(reply.headers)
    return error
