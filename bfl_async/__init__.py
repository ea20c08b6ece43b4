"""The asyncio-native SDK for the Black Forest Labs FLUX image API, with concurrency control.

Names are resolved on first use (PEP 562), so that importing the package, and the command line's `--help`, cost
next to nothing.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

from bfl_async._version import __version__ as __version__

# Whether and where records are shown is the program's choice, which it makes by configuring logging.
logging.getLogger("bfl_async").addHandler(logging.NullHandler())

# Written by `python -m bfl_async.models._generate`, up to the next comment.
if TYPE_CHECKING:
    from bfl_async._config import Budget as Budget
    from bfl_async._config import Limits as Limits
    from bfl_async._config import Timeouts as Timeouts
    from bfl_async.batch.batch import Batch as Batch
    from bfl_async.batch.outcome import BatchOutcome as BatchOutcome
    from bfl_async.client.account import DeletedFinetune as DeletedFinetune
    from bfl_async.client.account import Finetune as Finetune
    from bfl_async.client.account import UsageReport as UsageReport
    from bfl_async.client.client import AsyncBFL as AsyncBFL
    from bfl_async.client.handle import TaskHandle as TaskHandle
    from bfl_async.client.stream import OutcomeStream as OutcomeStream
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
    from bfl_async.models import DeblurV1 as DeblurV1
    from bfl_async.models import EraseV1 as EraseV1
    from bfl_async.models import Flux2Flex as Flux2Flex
    from bfl_async.models import Flux2Klein4B as Flux2Klein4B
    from bfl_async.models import Flux2Klein4BFinetuned as Flux2Klein4BFinetuned
    from bfl_async.models import Flux2Klein9B as Flux2Klein9B
    from bfl_async.models import Flux2Klein9BFinetuned as Flux2Klein9BFinetuned
    from bfl_async.models import Flux2Klein9BKVBF16Finetuned as Flux2Klein9BKVBF16Finetuned
    from bfl_async.models import Flux2Klein9BKVFinetuned as Flux2Klein9BKVFinetuned
    from bfl_async.models import Flux2Klein9BPreview as Flux2Klein9BPreview
    from bfl_async.models import Flux2KleinBase4BFinetuned as Flux2KleinBase4BFinetuned
    from bfl_async.models import Flux2KleinBase9BFinetuned as Flux2KleinBase9BFinetuned
    from bfl_async.models import Flux2Max as Flux2Max
    from bfl_async.models import Flux2Pro as Flux2Pro
    from bfl_async.models import Flux2ProPreview as Flux2ProPreview
    from bfl_async.models import Flux3Image as Flux3Image
    from bfl_async.models import Flux3ImageKlein as Flux3ImageKlein
    from bfl_async.models import Flux3Video as Flux3Video
    from bfl_async.models import Flux3VideoDraftEnhance as Flux3VideoDraftEnhance
    from bfl_async.models import Flux3VideoI2V as Flux3VideoI2V
    from bfl_async.models import Flux3VideoT2V as Flux3VideoT2V
    from bfl_async.models import Flux3VideoV2V as Flux3VideoV2V
    from bfl_async.models import FluxDev as FluxDev
    from bfl_async.models import FluxKontextMax as FluxKontextMax
    from bfl_async.models import FluxKontextPro as FluxKontextPro
    from bfl_async.models import FluxPro as FluxPro
    from bfl_async.models import FluxPro11 as FluxPro11
    from bfl_async.models import FluxPro11Ultra as FluxPro11Ultra
    from bfl_async.models import FluxPro11UltraFinetuned as FluxPro11UltraFinetuned
    from bfl_async.models import FluxProCanny as FluxProCanny
    from bfl_async.models import FluxProCannyFinetuned as FluxProCannyFinetuned
    from bfl_async.models import FluxProDepth as FluxProDepth
    from bfl_async.models import FluxProDepthFinetuned as FluxProDepthFinetuned
    from bfl_async.models import FluxProExpand as FluxProExpand
    from bfl_async.models import FluxProFill as FluxProFill
    from bfl_async.models import FluxProFillFinetuned as FluxProFillFinetuned
    from bfl_async.models import FluxProFinetuned as FluxProFinetuned
    from bfl_async.models import ImageRequest as ImageRequest
    from bfl_async.models import OutpaintingV1 as OutpaintingV1
    from bfl_async.models import VideoEditV1 as VideoEditV1
    from bfl_async.models import VideoUpscaleV1 as VideoUpscaleV1
    from bfl_async.models import VirtualTryOnV1 as VirtualTryOnV1
    from bfl_async.models import VirtualTryOnV2 as VirtualTryOnV2
    from bfl_async.models import request as request
    from bfl_async.models.media import MediaSource as MediaSource
    from bfl_async.models.sizes import Size as Size
    from bfl_async.models.sizes import size_for as size_for
    from bfl_async.polling.fixed import Fixed as Fixed
    from bfl_async.polling.policies import Adaptive as Adaptive
    from bfl_async.results.result import Result as Result
    from bfl_async.results.sheet import show as show
    from bfl_async.status import TaskStatus as TaskStatus
    from bfl_async.types import Estimate as Estimate
    from bfl_async.types import Outcome as Outcome
    from bfl_async.types import Reply as Reply
    from bfl_async.types import Statistics as Statistics
    from bfl_async.types import Update as Update

_HOMES: dict[str, tuple[str, ...]] = {
    "_config": ("Budget", "Limits", "Timeouts"),
    "batch.batch": ("Batch",),
    "batch.outcome": ("BatchOutcome",),
    "client.account": ("DeletedFinetune", "Finetune", "UsageReport"),
    "client.client": ("AsyncBFL",),
    "client.handle": ("TaskHandle",),
    "client.stream": ("OutcomeStream",),
    "errors": (
        "APIStatusError", "AmbiguousSubmitError", "AuthenticationError", "BFLError", "BudgetExceededError",
        "ClientClosedError", "ConfigError", "ConnectError", "DownloadError", "InsufficientCreditsError",
        "InvalidRequestError", "LeaseLostError", "LedgerError", "LedgerLockedError", "LedgerVersionError",
        "LimiterError", "QueueFullError", "RateLimitedError", "RefusedError", "ReplayError",
        "ReplyShapeError", "ReplyTimeoutError", "ResultExpiredError", "SaveError", "ServerError",
        "SignatureError", "TaskError", "TaskFailedError", "TaskModeratedError", "TaskNotFoundError",
        "TaskTimeoutError", "TransportError", "UntrustedURLError", "WebhookError",
    ),
    "models": (
        "DeblurV1", "EraseV1", "Flux2Flex", "Flux2Klein4B", "Flux2Klein4BFinetuned", "Flux2Klein9B",
        "Flux2Klein9BFinetuned", "Flux2Klein9BKVBF16Finetuned", "Flux2Klein9BKVFinetuned",
        "Flux2Klein9BPreview", "Flux2KleinBase4BFinetuned", "Flux2KleinBase9BFinetuned", "Flux2Max",
        "Flux2Pro", "Flux2ProPreview", "Flux3Image", "Flux3ImageKlein", "Flux3Video",
        "Flux3VideoDraftEnhance", "Flux3VideoI2V", "Flux3VideoT2V", "Flux3VideoV2V", "FluxDev",
        "FluxKontextMax", "FluxKontextPro", "FluxPro", "FluxPro11", "FluxPro11Ultra",
        "FluxPro11UltraFinetuned", "FluxProCanny", "FluxProCannyFinetuned", "FluxProDepth",
        "FluxProDepthFinetuned", "FluxProExpand", "FluxProFill", "FluxProFillFinetuned", "FluxProFinetuned",
        "ImageRequest", "OutpaintingV1", "VideoEditV1", "VideoUpscaleV1", "VirtualTryOnV1", "VirtualTryOnV2",
        "request",
    ),
    "models.media": ("MediaSource",),
    "models.sizes": ("Size", "size_for"),
    "polling.fixed": ("Fixed",),
    "polling.policies": ("Adaptive",),
    "results.result": ("Result",),
    "results.sheet": ("show",),
    "status": ("TaskStatus",),
    "types": ("Estimate", "Outcome", "Reply", "Statistics", "Update"),
}  # fmt: skip
# End of what is generated.
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
