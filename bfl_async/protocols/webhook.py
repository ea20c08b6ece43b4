"""Webhooks and the relay: how deliveries reach the process that waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import (
    TYPE_CHECKING,
    Protocol,
)

from bfl_async.types.replies import Delivery

if TYPE_CHECKING:
    pass


class Expectation(Protocol):
    """One request's place with a `Webhook`, from before its submit to its end.

    `url` and `secret` go into the submit.
    """

    @property
    def url(self) -> str:
        """Where the task's deliveries are to come."""
        ...

    @property
    def secret(self) -> str:
        """What they are to prove."""
        ...

    def name(self, task_id: str) -> None:
        """Tell the task's id, once the submit is answered. From here on a delivery that names another is refused."""
        ...

    def end(self, *, missed: bool) -> None:
        """Expect nothing more.

        Args:
            missed: The task ended, and its delivery did not come.
        """
        ...


class Webhook(Protocol):
    """Where deliveries come in; `bfl_async.webhooks.WebhookReceiver` is one."""

    @property
    def poll_s(self) -> float:
        """Seconds between the polls of a task whose delivery is expected."""
        ...

    @property
    def comes_through(self) -> bool:
        """False while deliveries stay out: tasks are then polled as without a webhook."""
        ...

    def expect(
        self, on_delivery: Callable[[Delivery], None], *, attached_id: str | None = None
    ) -> Expectation:
        """Expect the deliveries of one request; `on_delivery` is called in the loop, with verified ones only.

        A delivery's proof belongs to the URL that it came to, and a submit's URL to one task: only what came to it is
        handed over.

        Args:
            attached_id: The id of a task that was submitted before, by this process or another. Deliveries that name
                it are handed over whichever URL they came to. The client polls the task then, and does not believe
                what they say.
        """
        ...

    async def open(self) -> None:
        """Make ready for the running loop. Idempotent.

        Raises:
            Exception: It cannot take deliveries; the client is then not opened.
        Cancellation: Call it again.
        """
        ...


class Relay(Protocol):
    """Carries verified deliveries from the process that received them to the one that waits.

    An implementation over a broker publishes to all processes that share the receiver's secret. Losing one
    costs latency and no result: tasks are polled as well.

    Cancellation: Ends the call; `aclose` ends what was begun.
    """

    async def open(self, on_delivery: Callable[[Delivery], None]) -> None:
        """Subscribe: `on_delivery` is called in this loop with what other processes publish.

        Raises:
            Exception: It can never be done; what may come back is waited for within.
        """
        ...

    async def publish(self, delivery: Delivery) -> None:
        """Hand a delivery over that nobody in this process waits for.

        Raises:
            Exception: It could not be handed over; the server is then asked to send it again.
        """
        ...

    async def aclose(self) -> None:
        """End the subscription."""
        ...
