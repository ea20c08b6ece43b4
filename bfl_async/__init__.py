"""The asyncio-native SDK for the Black Forest Labs FLUX image API, with concurrency control.

Names are resolved on first use (PEP 562), so that importing the package, and the command line's `--help`, cost
next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bfl_async._client import AsyncBFL as AsyncBFL
    from bfl_async._config import Limits as Limits
    from bfl_async._config import Timeouts as Timeouts
    from bfl_async._handle import TaskHandle as TaskHandle
    from bfl_async._polling import Fixed as Fixed
    from bfl_async._stream import OutcomeStream as OutcomeStream
    from bfl_async.errors import AmbiguousSubmitError as AmbiguousSubmitError
    from bfl_async.errors import APIStatusError as APIStatusError
    from bfl_async.errors import AuthenticationError as AuthenticationError
    from bfl_async.errors import BFLError as BFLError
    from bfl_async.errors import BudgetExceededError as BudgetExceededError
    from bfl_async.errors import ClientClosedError as ClientClosedError
    from bfl_async.errors import ConfigError as ConfigError
    from bfl_async.errors import ConnectError as ConnectError
    from bfl_async.errors import DownloadError as DownloadError
    from bfl_async.errors import InsufficientCreditsError as InsufficientCreditsError
    from bfl_async.errors import InvalidRequestError as InvalidRequestError
    from bfl_async.errors import LeaseLostError as LeaseLostError
    from bfl_async.errors import LedgerError as LedgerError
    from bfl_async.errors import LedgerLockedError as LedgerLockedError
    from bfl_async.errors import LedgerVersionError as LedgerVersionError
    from bfl_async.errors import LimiterError as LimiterError
    from bfl_async.errors import QueueFullError as QueueFullError
    from bfl_async.errors import RateLimitedError as RateLimitedError
    from bfl_async.errors import RefusedError as RefusedError
    from bfl_async.errors import ReplayError as ReplayError
    from bfl_async.errors import ReplyShapeError as ReplyShapeError
    from bfl_async.errors import ReplyTimeoutError as ReplyTimeoutError
    from bfl_async.errors import ResultExpiredError as ResultExpiredError
    from bfl_async.errors import SaveError as SaveError
    from bfl_async.errors import ServerError as ServerError
    from bfl_async.errors import SignatureError as SignatureError
    from bfl_async.errors import TaskError as TaskError
    from bfl_async.errors import TaskFailedError as TaskFailedError
    from bfl_async.errors import TaskModeratedError as TaskModeratedError
    from bfl_async.errors import TaskNotFoundError as TaskNotFoundError
    from bfl_async.errors import TaskTimeoutError as TaskTimeoutError
    from bfl_async.errors import TransportError as TransportError
    from bfl_async.errors import UntrustedURLError as UntrustedURLError
    from bfl_async.errors import WebhookError as WebhookError
    from bfl_async.models import Flux2Klein4B as Flux2Klein4B
    from bfl_async.models import Flux2Pro as Flux2Pro
    from bfl_async.models import FluxDev as FluxDev
    from bfl_async.models import FluxPro as FluxPro
    from bfl_async.models import FluxPro11 as FluxPro11
    from bfl_async.models import ImageRequest as ImageRequest
    from bfl_async.models import request as request
    from bfl_async.result import Result as Result
    from bfl_async.status import TaskStatus as TaskStatus
    from bfl_async.types import Outcome as Outcome
    from bfl_async.types import Statistics as Statistics
    from bfl_async.types import Update as Update

_HOMES: dict[str, tuple[str, ...]] = {
    "_client": ("AsyncBFL",),
    "_config": ("Limits", "Timeouts"),
    "_handle": ("TaskHandle",),
    "_polling": ("Fixed",),
    "_stream": ("OutcomeStream",),
    "errors": (
        "APIStatusError", "AmbiguousSubmitError", "AuthenticationError", "BFLError", "BudgetExceededError",
        "ClientClosedError", "ConfigError", "ConnectError", "DownloadError", "InsufficientCreditsError",
        "InvalidRequestError", "LeaseLostError", "LedgerError", "LedgerLockedError", "LedgerVersionError",
        "LimiterError", "QueueFullError", "RateLimitedError", "RefusedError", "ReplayError", "ReplyShapeError",
        "ReplyTimeoutError", "ResultExpiredError", "SaveError", "ServerError", "SignatureError", "TaskError",
        "TaskFailedError", "TaskModeratedError", "TaskNotFoundError", "TaskTimeoutError", "TransportError",
        "UntrustedURLError", "WebhookError",
    ),
    "models": ("Flux2Klein4B", "Flux2Pro", "FluxDev", "FluxPro", "FluxPro11", "ImageRequest", "request"),
    "result": ("Result",),
    "status": ("TaskStatus",),
    "types": ("Outcome", "Statistics", "Update"),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
