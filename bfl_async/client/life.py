"""The life of a client: opened once, bound to one loop, closed once.

Opening and closing are coroutines of the client's own, whoever waits for them: a caller that is cancelled ends the
opening only if it was the last one waiting, and never ends the closing.

    new -> open -> closing -> closed
    new -> closed

Views of a client share its life.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from typing import TYPE_CHECKING, Literal

from bfl_async._config import check_timeout
from bfl_async.client.opening import (
    Settings,
    name_account,
    new_limiter,
    new_memory,
    new_scheduler,
    new_transport,
)
from bfl_async.engine.scheduler import Scheduler
from bfl_async.errors import BFLError, ClientClosedError, ConfigError, TransportError
from bfl_async.protocols.limiter import Limiter
from bfl_async.protocols.transport import Transport
from bfl_async.runtime.cancellation import shielded
from bfl_async.runtime.tasks import check_loop, new_task

if TYPE_CHECKING:
    from bfl_async.limiter.memory import Memory
    from bfl_async.transport.http import HTTPTransport


class Life:
    """Opens and closes the parts of one client, and says whether it can be used here.

    Args:
        settings: Of the client; checked.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings: Settings = settings
        # Replaced by the client without asyncio, before it is opened.
        self.how_to_open: str = "use `async with`, or await open()"
        # Written by _start(), aclose() and _close().
        self.state: Literal["new", "open", "closing", "closed"] = "new"
        self.limiter: Limiter = new_limiter(settings)
        # Set while the client is opened, if its limiter finds out a limit.
        self._memory: Memory | None = None
        # All of these are set together, by _start().
        self.transport: Transport | None = None
        self.scheduler: Scheduler | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread = self._pid = 0
        # The coroutines that open and close the client. Written by open() and _wait_closed().
        self._opener: asyncio.Task[None] | None = None
        self._opening_callers = 0
        self._closer: asyncio.Task[None] | None = None

    # --- opening ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the client; see `AsyncBFL.open`."""
        while self.state != "open":
            if self.state != "new":
                raise ClientClosedError("the client is closed: make a new one")
            opener = self._opener
            if opener is None or opener.done():
                opener = self._opener = new_task(self._open())
            elif opener.get_loop() is not asyncio.get_running_loop():
                raise ConfigError("the client is being opened in another event loop")
            elif opener.cancelling():
                # Its callers have left. It cleans up before another one may begin.
                await asyncio.wait([opener])
                continue
            await self._wait_opened(opener)
        self.check()

    async def _wait_opened(self, opener: asyncio.Task[None]) -> None:
        """Wait for an opening that several callers may share; the last one that leaves ends it."""
        self._opening_callers += 1
        try:
            await asyncio.wait([opener])
        finally:
            self._opening_callers -= 1
            if not self._opening_callers:
                # Without effect on one that has ended.
                opener.cancel()
        if self.state == "closed":
            raise ClientClosedError("the client was closed while it was being opened: make a new one")
        if opener.cancelled():
            raise TransportError("the client could not be opened: something that it waited for was cancelled")
        error = opener.exception()
        if error is not None:
            raise error.fresh() if isinstance(error, BFLError) else error

    async def _open(self) -> None:
        """Open all parts; where one fails, those that are this client's own are closed again."""
        settings = self.settings
        transport: HTTPTransport | None = None
        try:
            name_account(settings, self.limiter)
            await self.limiter.open()
            self._memory = new_memory(settings, self.limiter)
            if self._memory is not None:
                # Before the transport, which has as many connections as the limit needs.
                await self._memory.recall()
            if settings.webhook is not None:
                await settings.webhook.open()
            if settings.transport is None:
                transport = new_transport(settings, self.limiter)
                await transport.open()
            self._start(transport)
        except BaseException:
            if transport is not None:
                await transport.aclose()
            if settings.limiter is None:
                await self.limiter.aclose()
            if self._memory is not None:
                await self._memory.aclose()
            raise

    def _start(self, made: HTTPTransport | None) -> None:
        """Bind to the running loop and begin to take requests. Synchronous: nothing can come between."""
        transport = self.settings.transport if made is None else made
        assert transport is not None
        longest_poll_s = None if made is None else made.longest_poll_s
        self.scheduler = new_scheduler(self.settings, self.limiter, transport, longest_poll_s)
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self._thread, self._pid = threading.get_ident(), os.getpid()
        self.state = "open"

    # --- in use -----------------------------------------------------------------------------------------

    def check(self) -> Scheduler:
        """Return the scheduler of a client that is open in this loop, thread and process.

        Raises:
            ClientClosedError, ConfigError: The client is not open here.
        """
        if self.state == "new":
            raise self._not_open()
        if self.state != "open":
            raise ClientClosedError("the client is closed: make a new one")
        self._check_place()
        assert self.scheduler is not None
        return self.scheduler

    def opened(self) -> Scheduler:
        """Return the scheduler of a client that was opened, and may be closed by now.

        Raises:
            ClientClosedError: The client was never opened.
        """
        if self.scheduler is None:
            raise self._not_open()
        return self.scheduler

    def _not_open(self) -> ClientClosedError:
        return ClientClosedError(f"the client is not open: {self.how_to_open}")

    def _check_place(self) -> None:
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if os.getpid() != self._pid:
            raise ConfigError("the client was opened before a fork: each process needs a client of its own")
        if loop is not self.loop or threading.get_ident() != self._thread:
            raise ConfigError("the client belongs to the event loop and thread in which it was opened")

    # --- closing ----------------------------------------------------------------------------------------

    async def aclose(self, drain: float | None) -> None:
        """Close the client; see `AsyncBFL.aclose`."""
        if self.scheduler is None:
            await self._close_unopened()
            return
        if self.state == "closed" and (self._closer is None or self._closer.done()):
            return
        self._check_place()
        if self._closer is None:
            self.state = "closing"
            try:
                # From here on nothing new is admitted, by whatever way: the drain must come to an end.
                self.scheduler.stop_admission()
                drain = check_timeout(drain)
                if drain is None or drain > 0:
                    self.scheduler.rely_on_polls()
                    await self.scheduler.drain(drain)
            finally:
                await self._wait_closed()
        else:
            await self._wait_closed()

    async def _close_unopened(self) -> None:
        opener = self._opener
        if opener is not None and not opener.done():
            check_loop(opener.get_loop(), "the client")
        self.state = "closed"
        if opener is not None and not opener.done():
            opener.cancel()
            with shielded():
                await asyncio.wait([opener])

    async def _wait_closed(self) -> None:
        """Carry the closing through, then raise the cancellation that came meanwhile."""
        assert self.scheduler is not None
        if self._closer is None:
            self.scheduler.begin_close()
            self._closer = new_task(self._close())
        if self.scheduler.owns(asyncio.current_task()):
            # Called by a stream's source. The closing waits for that coroutine, and not the reverse.
            return
        cancelled: asyncio.CancelledError | None = None
        with shielded():
            while not self._closer.done():
                try:
                    await asyncio.wait([self._closer])
                except asyncio.CancelledError as exc:
                    cancelled = exc
        if cancelled is not None:
            raise cancelled
        if not self._closer.cancelled():
            self._closer.result()

    async def _close(self) -> None:
        """Close all parts that are this client's own, the scheduler first: it uses the others."""
        assert self.scheduler is not None
        assert self.transport is not None
        try:
            await self.scheduler.aclose()
        finally:
            self.state = "closed"
            try:
                if self.settings.transport is None:
                    await self.transport.aclose()
            finally:
                if self.settings.limiter is None:
                    await self.limiter.aclose()
                if self._memory is not None:
                    await self._memory.aclose()

    # Here and not in the client: the coroutine of a closing holds this object, and not the client.
    def __del__(self) -> None:
        # Without one, the constructor failed.
        if self.__dict__.get("state") in ("open", "closing"):
            message = f"{self!r} was not closed: use `async with`, or await aclose()"
            # Python hides a ResourceWarning by default. This is what asyncio shows of a forgotten exception as well.
            if self.loop is not None:
                self.loop.call_exception_handler({"message": message})
            warnings.warn(message, ResourceWarning, stacklevel=2)

    def __repr__(self) -> str:
        if self.scheduler is None:
            return f"<AsyncBFL {self.settings.base_url} {self.state}>"
        now = self.scheduler.statistics()
        return (
            f"<AsyncBFL {self.settings.base_url} {self.state}: {now.queued} queued, {now.submitting} submitting, "
            f"{now.active} active, {now.slots_taken} slots taken>"
        )
