"""The observer: who is told of each step of each request."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Protocol,
    runtime_checkable,
)

if TYPE_CHECKING:
    from bfl_async.events import Event


class Observer(Protocol):
    """Is told what happens to each request, see `bfl_async.events`. One may serve several clients of a loop."""

    def on_event(self, event: Event, /) -> None:
        """Take one event.

        Called in the loop, amid the client's own steps: nothing goes on before it returns, so what takes longer
        than some microseconds belongs into a queue, and that is yours to see to. It must not call the client, except
        for `statistics()`. What it raises is logged once for each client, and changes nothing.
        """
        ...


@runtime_checkable
class PromptObserver(Protocol):
    """What an observer has besides, if it wants prompts: no event holds one unless `prompts` is true."""

    @property
    def prompts(self) -> bool:
        """Whether `Queued.prompt` is to be set. Read when the client is opened."""
        ...
