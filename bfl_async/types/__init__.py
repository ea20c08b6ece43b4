"""The values that pass between the layers, and the protocols that can be implemented outside.

What the server may add is data: statuses are open, unknown fields of a reply are kept in `raw`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bfl_async.runtime.lazy import lazy_names
from bfl_async.types.common import JSON as JSON
from bfl_async.types.held import HeldImage as HeldImage
from bfl_async.types.lifecycle import End as End
from bfl_async.types.lifecycle import Estimate as Estimate
from bfl_async.types.lifecycle import State as State
from bfl_async.types.lifecycle import Update as Update
from bfl_async.types.replies import Accepted as Accepted
from bfl_async.types.replies import Answered as Answered
from bfl_async.types.replies import Busy as Busy
from bfl_async.types.replies import Delivery as Delivery
from bfl_async.types.replies import Failed as Failed
from bfl_async.types.replies import Immediate as Immediate
from bfl_async.types.replies import Lost as Lost
from bfl_async.types.replies import Moderated as Moderated
from bfl_async.types.replies import NotSent as NotSent
from bfl_async.types.replies import PollReply as PollReply
from bfl_async.types.replies import Ready as Ready
from bfl_async.types.replies import Receipt as Receipt
from bfl_async.types.replies import Refused as Refused
from bfl_async.types.replies import Reply as Reply
from bfl_async.types.replies import Settlement as Settlement
from bfl_async.types.replies import SubmitAnswer as SubmitAnswer
from bfl_async.types.replies import Unknown as Unknown
from bfl_async.types.replies import Unsent as Unsent
from bfl_async.types.statistics import LatencyStatistics as LatencyStatistics
from bfl_async.types.statistics import PoolStatistics as PoolStatistics
from bfl_async.types.statistics import Statistics as Statistics

if TYPE_CHECKING:
    from bfl_async.polling.law import Law as Law
    from bfl_async.polling.protocol import Polling as Polling
    from bfl_async.polling.protocol import PollingTraits as PollingTraits
    from bfl_async.polling.readings import Reading as Reading
    from bfl_async.polling.readings import RoundTrips as RoundTrips
    from bfl_async.polling.timings import Timings as Timings
    from bfl_async.protocols.ledger import Journal as Journal
    from bfl_async.protocols.ledger import Ledger as Ledger
    from bfl_async.protocols.limiter import AccountLimiter as AccountLimiter
    from bfl_async.protocols.limiter import EarlyGrants as EarlyGrants
    from bfl_async.protocols.limiter import Lease as Lease
    from bfl_async.protocols.limiter import Limiter as Limiter
    from bfl_async.protocols.observer import Observer as Observer
    from bfl_async.protocols.observer import PromptObserver as PromptObserver
    from bfl_async.protocols.transport import Request as Request
    from bfl_async.protocols.transport import Sink as Sink
    from bfl_async.protocols.transport import StreamingTransport as StreamingTransport
    from bfl_async.protocols.transport import Transport as Transport
    from bfl_async.protocols.webhook import Expectation as Expectation
    from bfl_async.protocols.webhook import Relay as Relay
    from bfl_async.protocols.webhook import Webhook as Webhook
    from bfl_async.results.outcome import Outcome as Outcome
    from bfl_async.results.outcome import ResultOrError as ResultOrError
    from bfl_async.results.outcome import ResultT as ResultT
    from bfl_async.types.entries import EntryState as EntryState
    from bfl_async.types.entries import Fact as Fact
    from bfl_async.types.entries import LedgerEntry as LedgerEntry
    from bfl_async.types.entries import NewEntry as NewEntry

# Names of modules above this one, and those that many programs never use, are resolved on first use (PEP 562).
_HOMES = {
    "ResultT": "results.outcome",
    "ResultOrError": "results.outcome",
    "Outcome": "results.outcome",
    "Polling": "polling.protocol",
    "PollingTraits": "polling.protocol",
    "Reading": "polling.readings",
    "RoundTrips": "polling.readings",
    "Timings": "polling.timings",
    "Law": "polling.law",
    "Request": "protocols.transport",
    "Transport": "protocols.transport",
    "StreamingTransport": "protocols.transport",
    "Sink": "protocols.transport",
    "Lease": "protocols.limiter",
    "AccountLimiter": "protocols.limiter",
    "EarlyGrants": "protocols.limiter",
    "Limiter": "protocols.limiter",
    "Journal": "protocols.ledger",
    "Ledger": "protocols.ledger",
    "Expectation": "protocols.webhook",
    "Webhook": "protocols.webhook",
    "Relay": "protocols.webhook",
    "Observer": "protocols.observer",
    "PromptObserver": "protocols.observer",
    "EntryState": "types.entries",
    "Fact": "types.entries",
    "LedgerEntry": "types.entries",
    "NewEntry": "types.entries",
}
__getattr__: Callable[[str], object] = lazy_names(__name__, _HOMES)

__all__ = [
    "JSON",
    "Accepted",
    "AccountLimiter",
    "Answered",
    "Busy",
    "Delivery",
    "EarlyGrants",
    "End",
    "EntryState",
    "Estimate",
    "Expectation",
    "Fact",
    "Failed",
    "HeldImage",
    "Immediate",
    "Journal",
    "LatencyStatistics",
    "Law",
    "Lease",
    "Ledger",
    "LedgerEntry",
    "Limiter",
    "Lost",
    "Moderated",
    "NewEntry",
    "NotSent",
    "Observer",
    "Outcome",
    "PollReply",
    "Polling",
    "PollingTraits",
    "PoolStatistics",
    "PromptObserver",
    "Reading",
    "Ready",
    "Receipt",
    "Refused",
    "Relay",
    "Reply",
    "Request",
    "ResultOrError",
    "ResultT",
    "RoundTrips",
    "Settlement",
    "Sink",
    "State",
    "Statistics",
    "StreamingTransport",
    "SubmitAnswer",
    "Timings",
    "Transport",
    "Unknown",
    "Unsent",
    "Update",
    "Webhook",
]
