"""What a client may still spend: one number, changed in synchronous steps by the scheduler.

Everything that may have to be paid is reserved with its estimate before it is queued. A cost that the server
states takes the estimate's place, also when it is higher and passes the cap: what is spent is spent, and only
the next request is refused.
"""

from __future__ import annotations

from bfl_async._config import Budget
from bfl_async.errors import BudgetExceededError
from bfl_async.models.pricing import quote_of
from bfl_async.protocols.transport import Request

# Decimal places of a credit that count: sums of floats stay clean, so that a budget can be used to its last cent.
_PLACES = 6


class Purse:
    """The state of a budget. `taken_credits` is what was spent or may yet have to be paid."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._cap_credits = budget.usd * 100
        # Written by `replace` only.
        self.taken_credits: float = 0.0

    def reserve(self, request: Request) -> float:
        """Set a request's price aside; return the credits that were.

        Raises:
            BudgetExceededError: It could pass the cap, or its price is not known and must be.
        """
        quote = quote_of(request)
        if quote.credits is None and self._budget.on_unknown == "refuse":
            raise BudgetExceededError(
                f"the price of the request is not known ({quote.basis}): it was not sent; Budget(on_unknown='count') "
                "counts such a request with unknown_credits"
            )
        credits = quote.credits
        if credits is None:
            # The caller chose to count what is not known. A bound that is known is never undercut by that.
            credits = max(quote.most or 0.0, self._budget.unknown_credits)
        elif quote.most is not None:
            # Two sources contradict each other: the higher price is set aside until the server states the cost.
            credits = max(credits, quote.most)
        # All that is in flight counts with its estimate: many requests at once must not pass the cap together.
        if round(self.taken_credits + credits, _PLACES) > round(self._cap_credits, _PLACES):
            raise BudgetExceededError(
                f"the request could cost {credits / 100:.4g} USD ({quote.basis}), and of the budget of "
                f"{self._budget.usd:g} USD {self.left_usd:.4g} USD remain: it was not sent"
            )
        self.replace(0.0, credits)
        return credits

    def replace(self, reserved: float, credits: float) -> None:
        """Put what is now known in the place of what was set aside; 0 gives it back."""
        self.taken_credits = round(self.taken_credits - reserved + credits, _PLACES)

    @property
    def left_usd(self) -> float:
        """What may still be asked for; never below 0."""
        return round(max(0.0, self._cap_credits - self.taken_credits) / 100, _PLACES + 2)
