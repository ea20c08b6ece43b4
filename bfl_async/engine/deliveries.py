"""What webhooks bring: a delivery that is proved counts like a poll's answer, and ends its task in the same step.

Which submits get a webhook, and what a delivery may be believed, is decided here. That deliveries come at all is
never relied on: polls go on, further apart.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping

from bfl_async.engine.entry import Entry
from bfl_async.engine.open_entries import OpenEntries
from bfl_async.engine.poller import Poller
from bfl_async.engine.task_verdicts import has_result, settlement_of
from bfl_async.models import takes_webhook
from bfl_async.types.common import JSON
from bfl_async.types.replies import Delivery, Moderated, Ready, Settlement

_log = logging.getLogger("bfl_async")


class Deliveries:
    """The webhook of one client. Writes an entry's `expectation` and `delivery`.

    Args:
        poller: Holds the webhook, and judges a delivery as it does a poll's answer.
        entries: Read only.
        finish: Ends a followed task.
        broken: Ends an entry whose end raised.
    """

    def __init__(
        self,
        poller: Poller,
        entries: OpenEntries,
        *,
        finish: Callable[[Entry, Settlement], None],
        broken: Callable[[Entry, BaseException], None],
    ) -> None:
        self._poller = poller
        self._entries = entries
        self._finish = finish
        self._broken = broken

    def fields_for(self, entry: Entry) -> Mapping[str, JSON]:
        """Return a webhook's fields for a submit, where the model has them and the caller set none."""
        webhook, request = self._poller.webhook, entry.request
        # A URL of the caller's own goes to a server of the caller's: nothing of it comes through here.
        if webhook is None or request is None or not takes_webhook(request):
            return {}
        if getattr(request, "webhook_url", None) is not None:
            return {}
        # Also an explicit null: it is sent as it is.
        if not {"webhook_url", "webhook_secret"}.isdisjoint(getattr(request, "extra_body", None) or ()):
            return {}
        if entry.journal is not None:
            # Its records have an order of their own, which a delivery would overtake.
            return {}
        if entry.expectation is None:
            # Else it is that of an attempt which made no task.
            entry.expectation = webhook.expect(functools.partial(self.take, entry))
        expected = entry.expectation
        return {"webhook_url": expected.url, "webhook_secret": expected.secret}

    def expect_attached(self, entry: Entry) -> None:
        """Listen for an attached task: who submitted it may have had the same webhook."""
        webhook = self._poller.webhook
        if webhook is not None:
            hear = functools.partial(self._take_attached, entry)
            entry.expectation = webhook.expect(hear, attached_id=entry.task_id)

    def accepted(self, entry: Entry, task_id: str) -> None:
        """Note the task of a submit. A delivery that overtook the submit's own answer counts from now on."""
        if entry.expectation is not None:
            # From here on a delivery that names another task is refused.
            entry.expectation.name(task_id)
        if entry.delivery is not None:
            self.take(entry, entry.delivery)

    def take(self, entry: Entry, delivery: Delivery) -> None:
        """Take a proved delivery; what ends the task ends it in this very step."""
        if entry.settlement is not None:
            return
        if entry.task_id is None:
            # It overtook the submit's own answer.
            entry.delivery = delivery
            return
        entry.delivery = None
        if delivery.task_id != entry.task_id:
            _log.warning(
                "a delivery for task %s names another task: it is left out",
                entry.task_id,
                extra=entry.facts(),
            )
            return
        # As a poll's answer is judged: the same words must have the same meaning, whichever way they come.
        settlement = self._poller.judge_delivery(entry, delivery, asyncio.get_running_loop().time())
        if settlement is None:
            return
        if not has_result(settlement):
            # Ready without a URL. The poll brings it, or waits for it.
            entry.poll_soon()
            return
        # Before the end, which reads it: its result came by delivery, and its runner is cancelled for that reason.
        entry.delivery = delivery
        try:
            self._finish(entry, settlement)
        except Exception as exc:
            self._broken(entry, exc)
        runner = entry.runner
        if runner is not None and runner is not asyncio.current_task():
            # It sleeps, or polls for what is known now.
            runner.cancel()

    def _take_attached(self, entry: Entry, delivery: Delivery) -> None:
        """Poll at once when a delivery says that an attached task has ended.

        Its proof may belong to any submit, so nothing that it says is believed.
        """
        if entry.settlement is None and settlement_of(delivery.reply, delivery.task_id) is not None:
            entry.poll_soon()

    def end(self, entry: Entry, settlement: Settlement) -> None:
        """Expect nothing more for a request that has ended, and learn whether deliveries come through."""
        expectation, webhook = entry.expectation, self._poller.webhook
        if expectation is None:
            return
        entry.expectation = None
        # Only an end that the server would have delivered says something of deliveries, and only for a submit of ours.
        came_through = webhook is None or webhook.comes_through
        seen = isinstance(settlement, Ready | Moderated) and not entry.attached
        if isinstance(settlement, Ready) and settlement.images:
            # The answer to the submit was the end, and no task exists that could report one.
            seen = False
        expectation.end(missed=seen and entry.delivery is None)
        if came_through and webhook is not None and not webhook.comes_through:
            self._replan_polls()

    def close(self) -> None:
        """Poll as without a webhook from here on: the web server that takes deliveries may listen no more."""
        if self._poller.webhook is not None:
            self._poller.webhook = None
            self._replan_polls()

    def _replan_polls(self) -> None:
        for entry in self._entries.submitted:
            entry.nudge_poller()
