"""What every call of a client starts from: the client's life, and the usual timeout and priority."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bfl_async._config import check_timeout
from bfl_async.client.handle import TaskHandle

if TYPE_CHECKING:
    from bfl_async.client.life import Life
    from bfl_async.engine.entry import Entry
    from bfl_async.engine.entry_point import Engine
    from bfl_async.protocols.transport import Transport


class ClientBase:
    """The state of a client and of its views. Written by the constructors only."""

    _life: Life
    # Of calls that state none; see with_options().
    _usual_timeout: float | None = None
    _usual_priority: int | None = None

    @property
    def _engine(self) -> Engine:
        """The entry point for batches and jobs.

        Raises:
            ClientClosedError, ConfigError: The client is not open in this loop, thread and process.
        """
        return self._life.check()

    def _opened_transport(self) -> Transport:
        self._life.check()
        assert self._life.transport is not None
        return self._life.transport

    def _handle_of(self, entry: Entry) -> TaskHandle:
        known = entry.handle() if entry.handle is not None else None
        return known if isinstance(known, TaskHandle) else TaskHandle(entry, self._life.opened())

    def _deadline(self, timeout: float | None) -> float | None:
        loop = self._life.loop
        assert loop is not None
        checked = check_timeout(self._bound(timeout))
        return None if checked is None else loop.time() + checked

    def _bound(self, timeout: float | None) -> float | None:
        return self._usual_timeout if timeout is None else timeout

    def _rank(self, priority: int | None, usual: int = 0) -> int:
        if priority is not None:
            return priority
        return usual if self._usual_priority is None else self._usual_priority
