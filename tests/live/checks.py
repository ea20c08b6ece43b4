"""What is tried at the API: what is free first, then what pays, the cheapest first.

Each check answers open questions about the API's facts: the sources are in the docstrings of the request classes and
of the sandbox. What a check returns at the sandbox is in `expected.py`.
"""

from __future__ import annotations

from tests.live.free import FREE
from tests.live.paid import PAID
from tests.live.visit import Check

BUDGET_USD = 1.0
CHECKS: tuple[Check, ...] = (*FREE, *PAID)
