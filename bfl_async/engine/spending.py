"""What the requests of a client cost: set aside, charged, given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bfl_async.engine.entry import Entry

if TYPE_CHECKING:
    from bfl_async.engine.budget import Purse
    from bfl_async.protocols.transport import Request


class Spending:
    """The credits of a client. Writes an entry's `reserved` and `charged`, in the scheduler's steps.

    Args:
        purse: The state of a budget; None where there is none.
    """

    def __init__(self, purse: Purse | None) -> None:
        # The only place that knows whether there is a budget: the steps charge and give back in any case.
        self._purse = purse
        # What all tasks of this client cost, as far as the server has said.
        self.credits: float = 0.0

    @property
    def left_usd(self) -> float | None:
        """What may still be asked for; None without a budget."""
        return None if self._purse is None else self._purse.left_usd

    def reserve(self, entry: Entry, request: Request) -> None:
        """Set a request's price aside.

        Raises:
            BudgetExceededError: It could pass the cap, or its price is not known and must be.
        """
        if self._purse is not None:
            entry.reserved = self._purse.reserve(request)

    def charge(self, entry: Entry) -> None:
        """Count what a task costs. A settled cost takes the place of the receipt's. Others paid for attached ones."""
        if entry.cost is None or entry.attached:
            return
        # The difference, so that a cost that is stated twice, by the receipt and by a poll, counts once.
        self.credits += entry.cost - entry.charged
        entry.charged = entry.cost
        # What is charged also takes the estimate's place in the budget, which stays taken for good.
        self._set_aside(entry, entry.cost)

    def give_back(self, entry: Entry) -> None:
        """Note that nothing has to be paid: no task exists, or its end is free.

        `credits` keeps what the server has stated, that of a receipt included.
        """
        self._set_aside(entry, 0.0)

    def _set_aside(self, entry: Entry, credits: float) -> None:
        if self._purse is not None:
            self._purse.replace(entry.reserved, credits)
            entry.reserved = credits
