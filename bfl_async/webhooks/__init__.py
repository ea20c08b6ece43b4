"""Webhooks: the server tells of a finished task instead of being asked. Free of web frameworks.

`verify` checks one delivery. `WebhookReceiver` goes into `AsyncBFL(webhook=...)` and ends a handle the moment its
delivery comes; `bfl_async.integrations` has its routes for aiohttp and for FastAPI or Starlette. With several
processes, `RedisRelay` carries a delivery from the one that got it to the one that waits.
"""

from bfl_async.protocols.webhook import Relay
from bfl_async.types.replies import Delivery
from bfl_async.webhooks.receiver import WebhookReceiver, WebhookStatistics
from bfl_async.webhooks.relay import RedisRelay
from bfl_async.webhooks.verify import BODY_MAX_BYTES, Scheme, verify

__all__ = [
    "BODY_MAX_BYTES",
    "Delivery",
    "RedisRelay",
    "Relay",
    "Scheme",
    "WebhookReceiver",
    "WebhookStatistics",
    "verify",
]
