"""One submit: the request becomes bytes, the bytes become a POST, and the reply becomes a `SubmitAnswer`.

A reply that is larger than any receipt may hold images, and is judged in a worker thread.

Nothing here knows of slots or states. What an answer means for money is decided by `wire.submit_verdicts`.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from bfl_async.engine.entry import Entry
from bfl_async.errors import (
    BFLError,
    ConnectError,
    InvalidRequestError,
    ReplyTimeoutError,
    TransportError,
)
from bfl_async.protocols.transport import Request, Transport
from bfl_async.runtime.cancellation import is_cancelled
from bfl_async.runtime.text import printable
from bfl_async.runtime.threads import Threads
from bfl_async.runtime.time import TimeLimit
from bfl_async.types import bounds as _bounds
from bfl_async.types.common import JSON
from bfl_async.types.replies import Answered, Immediate, NotSent, Refused, Reply, SubmitAnswer
from bfl_async.wire.encoding import chars_of, dump_json, encode_body
from bfl_async.wire.redaction import texts_in
from bfl_async.wire.submit_verdicts import judge_submit, judge_submit_error

# From here on a body is encoded in a worker thread, so that it does not hold up the loop.
_LARGE_BODY_CHARS = 256 * 1024
# Bodies that are encoded at a time: each holds a few times its files' size.
_ENCODERS = 4


class Encoded(NamedTuple):
    """A body as it is sent, and the texts of it that no error may show."""

    body: bytes
    texts: Mapping[str, object]


class Submitter:
    """Encodes and sends for one client.

    Args:
        submit_s: Seconds that a submit may take; None: the transport itself sees to it.
    """

    def __init__(self, transport: Transport, submit_s: float | None) -> None:
        self._transport = transport
        self._submit_s = submit_s
        self._encoders = Threads("bfl-encoding", _ENCODERS)

    async def encode(self, request: Request, more: Mapping[str, JSON]) -> Encoded | Refused | NotSent:
        """Return the JSON text of a submit with `more` fields, or why there is none.

        All that can fail without the network fails here, while the request still counts as queued.
        """
        try:
            return await self._encode(request, more)
        except InvalidRequestError as exc:
            # A file cannot be read, or does not fit.
            return Refused(exc)
        except (ValueError, TypeError) as exc:
            unfit = InvalidRequestError(f"the request for {request.model} cannot be written as JSON: {exc}")
            return Refused(_caused(unfit, exc))
        except OSError as exc:
            # No thread could be started.
            unsent = ConnectError(f"the request could not be encoded: {exc}; nothing was sent")
            return NotSent(_caused(unsent, exc))

    async def _encode(self, request: Request, more: Mapping[str, JSON]) -> Encoded:
        # Reading a file blocks, and so does writing megabytes as JSON.
        if request.has_files:
            return await self._encoders.run(read_and_encode, request, more)
        body = {**request.body(), **more} if more else request.body()
        if chars_of(body) < _LARGE_BODY_CHARS:
            return Encoded(dump_json(body), body)
        return Encoded(await self._encoders.run(encode_body, body), texts_in(body))

    async def post(self, entry: Entry, encoded: Encoded) -> SubmitAnswer:
        """Send once, and judge what came; writes `entry.submit_reply`.

        Cancellation: The POST may have been taken; the caller must count it as unknown.
        """
        # Of an earlier attempt: what is shown must belong to this one.
        entry.submit_reply = None
        endpoint = entry.info.endpoint
        try:
            if self._submit_s is None:
                reply = await self._transport.submit(endpoint, encoded.body)
            else:
                async with TimeLimit(self._submit_s):
                    reply = await self._transport.submit(endpoint, encoded.body)
        except BFLError as exc:
            return judge_submit_error(exc)
        except TimeoutError as exc:
            # The body may have left, so the answer is unknown; a transport that knows better raises `ConnectError`.
            within = "in time" if self._submit_s is None else f"within {self._submit_s:g} s"
            return judge_submit_error(_caused(ReplyTimeoutError(f"no reply {within}"), exc))
        except asyncio.CancelledError as exc:
            if is_cancelled():
                raise
            # A transport from outside: whether anything was sent is for it to say, and it does not.
            return judge_submit_error(_caused(TransportError("the call was cancelled, and not by us"), exc))
        judge = functools.partial(
            judge_submit,
            model=entry.info.name,
            now=time.time(),
            texts=encoded.texts,
            any_endpoint=entry.any_endpoint,
        )
        if len(reply.body) <= _bounds.RECEIPT.max_bytes:
            answer = judge(reply)
        else:
            answer = await self._judge_large(judge, reply)
            if not isinstance(answer, Answered):
                # What is not read is not kept either.
                reply = reply._replace(body=reply.body[: _bounds.ACCOUNT.max_bytes])
        # Without the base64: it is in the result.
        entry.submit_reply = answer.reply if isinstance(answer, Immediate) else reply
        return _naming_extra(answer, entry.request)

    async def _judge_large(self, judge: Callable[[Reply], SubmitAnswer], reply: Reply) -> SubmitAnswer:
        """Judge a reply that may hold images, in a thread."""
        try:
            return await self._encoders.run(judge, reply)
        except OSError as exc:
            # No thread could be started.
            return judge_submit_error(_caused(TransportError(f"the reply could not be read: {exc}"), exc))

    async def aclose(self, timeout: float) -> None:
        """End the threads, once what they encode is done."""
        await self._encoders.aclose(timeout)


def read_and_encode(request: Request, more: Mapping[str, JSON]) -> Encoded:
    """Return the JSON text of a request with files. Blocks.

    At no moment more than one copy of the files is held beside the text: the body is given away to the encoder.

    Raises:
        InvalidRequestError: A file cannot be read, or does not fit.
    """
    body = {**request.body(), **more}
    # Copied out now: the encoder lets go of each field as soon as it is written.
    texts = texts_in(body)
    encoding = [body]
    del body
    return Encoded(encode_body(encoding.pop()), texts)


# Names of `extra_body` that a message lists.
_NAMES_SHOWN = 10


def _naming_extra(answer: SubmitAnswer, request: Request | None) -> SubmitAnswer:
    """Let the server's refusal of a body name what was sent without our checks. Values stay out of it."""
    extra: Mapping[str, object] | None = getattr(request, "extra_body", None)
    if extra and isinstance(answer, Refused) and isinstance(answer.error, InvalidRequestError):
        names = ", ".join(printable(name, 60) for name in list(extra)[:_NAMES_SHOWN])
        more = f" and {len(extra) - _NAMES_SHOWN} more" if len(extra) > _NAMES_SHOWN else ""
        answer.error.args = (f"{answer.error}; unchecked, from extra_body: {names}{more}",)
    return answer


def _caused(error: BFLError, cause: BaseException) -> BFLError:
    error.__cause__ = cause
    return error
