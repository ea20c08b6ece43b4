"""Since when the server gives no answer, for the commands that wait for it: what they show would look like work."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from bfl_async.errors import APIStatusError
from bfl_async.events import Polled, Refused, Retried, Submitted
from bfl_async.runtime.text import printable

if TYPE_CHECKING:
    from bfl_async.errors import BFLError
    from bfl_async.events import Event

# One failed call among others is no news: the next one is a second away.
_MOMENT_S = 2.0
_REASON_CHARS = 200


class Reaching:
    """An observer of a client: any answer to a submit or a poll ends an outage, and a failed one begins it."""

    def __init__(self) -> None:
        # Since when no call was answered, and why the newest was not; None: the newest was answered.
        self._since: float | None = None
        self._error: BFLError | None = None

    def on_event(self, event: Event) -> None:
        """See `Observer.on_event`."""
        match event:
            case Submitted(attached=False) | Polled(error=None):
                self._since = self._error = None
            case Refused(status_code=int(code)) if code < HTTPStatus.INTERNAL_SERVER_ERROR:
                self._since = self._error = None
            # After a 429 or 402 as well, which is an answer.
            case Retried(error=APIStatusError(status_code=int(code))) if (
                code < HTTPStatus.INTERNAL_SERVER_ERROR
            ):
                pass
            case Polled(error=error) | Retried(error=error):
                self._error = error
                if self._since is None:
                    self._since = event.at

    @property
    def is_lost(self) -> bool:
        """True if no call was answered for a while. Read in the client's loop."""
        return self._since is not None and asyncio.get_running_loop().time() - self._since >= _MOMENT_S

    def reason(self) -> str:
        """Return why the newest call was not answered."""
        # What follows is about the one call: "nothing was sent".
        return printable(str(self._error or "").partition(";")[0], _REASON_CHARS)
