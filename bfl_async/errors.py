"""Every error that bfl-async raises.

```text
BFLError
├─ ConfigError
├─ ClientClosedError
├─ TransportError
│  ├─ ConnectError
│  └─ ReplyTimeoutError            also TimeoutError
├─ APIStatusError
│  ├─ RefusedError
│  │  ├─ AuthenticationError
│  │  ├─ InsufficientCreditsError
│  │  ├─ InvalidRequestError
│  │  └─ RateLimitedError
│  └─ ServerError
├─ AmbiguousSubmitError
├─ ReplyShapeError
├─ TaskError
│  ├─ TaskModeratedError
│  ├─ TaskFailedError
│  ├─ TaskNotFoundError
│  ├─ UntrustedURLError
│  └─ TaskTimeoutError             also TimeoutError
├─ DownloadError
│  └─ ResultExpiredError
├─ SaveError                       also OSError
├─ BudgetExceededError
├─ WebhookError
│  ├─ SignatureError
│  └─ ReplayError
├─ LimiterError
│  ├─ QueueFullError
│  └─ LeaseLostError
└─ LedgerError
   ├─ LedgerLockedError
   └─ LedgerVersionError
```

The tree is whole from the first release on, so that an `except` written today stays right.

The message says what happened and what to do; the facts stand beside it as attributes. No message and no
repr holds the API key, the query of a URL, a prompt or an image. Instances pickle and copy with their facts.
`task_id` is None when the server accepted nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Self, TypedDict


class TaskRecord(TypedDict):
    """What it takes to follow a task from another process: exactly the parameters of `AsyncBFL.attach`."""

    task_id: str
    polling_url: str | None
    model: str | None
    cost: float | None


class BFLError(Exception):
    """The root: `except BFLError` catches whatever this package raises by itself.

    `request_id` is the server's own name for the exchange that the error is about, from a header such as
    `X-Request-Id` or `X-Azure-Ref`; None where no reply had one. The repr shows it, and support will ask for it.
    """

    task_id: str | None
    # On the class, for errors that an earlier release has pickled: they have none.
    request_id: str | None = None

    def __init__(self, message: str, *, task_id: str | None = None) -> None:
        super().__init__(message)
        self.task_id = task_id

    def __reduce__(self) -> tuple[object, ...]:
        # By class, message and attributes: keyword-only facts survive pickling and copying.
        return _rebuild, (type(self), self.args, self.__dict__)

    def __repr__(self) -> str:
        shown = super().__repr__()
        return shown if self.request_id is None else f"{shown[:-1]}, request_id={self.request_id!r})"

    def fresh(self) -> Self:
        """Return a copy to raise: the same facts and cause, and a traceback of its own."""
        twin = copy.copy(self)
        twin.__cause__ = self.__cause__
        twin.__suppress_context__ = self.__suppress_context__
        return twin


def _rebuild(cls: type[BFLError], args: tuple[object, ...], facts: dict[str, object]) -> BFLError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class ConfigError(BFLError):
    """Wrong set-up, found before any I/O; or the client used from another loop, thread or process."""


class ClientClosedError(BFLError):
    """The client is not open.

    `tasks` names all that the client was still following, whoever is raised this; each is ready for
    `attach(**task)`.
    """

    tasks: tuple[TaskRecord, ...]

    def __init__(self, message: str, *, task_id: str | None = None, tasks: Sequence[TaskRecord] = ()) -> None:
        super().__init__(message, task_id=task_id)
        self.tasks = tuple(tasks)


class TransportError(BFLError):
    """No complete HTTP reply arrived."""


class ConnectError(TransportError):
    """No connection was made (name lookup, refused, TLS, proxy): nothing was sent."""


class ReplyTimeoutError(TransportError, TimeoutError):
    """The request left and no complete reply came in time."""


class APIStatusError(BFLError):
    """The server answered with an HTTP error that holds no task status.

    `status_code` is None for checks made on this side. `body` is the reply's text, cut to 2,000 characters.
    """

    status_code: int | None
    body: str | None
    retry_after_s: float | None

    def __init__(
        self,
        message: str,
        *,
        task_id: str | None = None,
        status_code: int | None = None,
        body: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, task_id=task_id)
        self.status_code = status_code
        self.body = body
        self.retry_after_s = retry_after_s


class RefusedError(APIStatusError):
    """The server said no (3xx or 4xx). To a submit: no task exists and nothing is paid."""


class AuthenticationError(RefusedError):
    """The key is missing, wrong, or lacks the permission: 401, 403, or a 400 or 422 whose text is about the key.

    Source of the last: a capture of August 2026, where a malformed key gets a 422 with "Invalid API key format".
    """


class InsufficientCreditsError(RefusedError):
    """402: the account has no credits left."""


class InvalidRequestError(RefusedError):
    """400 or 422 from the server about the request, or a request that failed the local checks (`status_code` None).

    `errors` lists (path, message) pairs, such as `("width", "Input should be a multiple of 32")`.
    """

    errors: tuple[tuple[str, str], ...]

    def __init__(
        self,
        message: str,
        *,
        task_id: str | None = None,
        status_code: int | None = None,
        body: str | None = None,
        retry_after_s: float | None = None,
        errors: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(
            message, task_id=task_id, status_code=status_code, body=body, retry_after_s=retry_after_s
        )
        self.errors = tuple(errors)


class RateLimitedError(RefusedError):
    """429: no active-task slot was left, or too many calls. Raised only by calls that do not wait.

    A submit waits instead; this is then the cause of the `TaskTimeoutError` that ends its wait.
    """


class ServerError(APIStatusError):
    """5xx."""


class AmbiguousSubmitError(BFLError):
    """The POST left and its answer was lost or unreadable: a task may exist and cost credits.

    It is never sent again by this package. `status_code` and `body` are None when there was no reply.
    """

    status_code: int | None
    body: str | None

    def __init__(
        self,
        message: str,
        *,
        task_id: str | None = None,
        status_code: int | None = None,
        body: str | None = None,
    ) -> None:
        super().__init__(message, task_id=task_id)
        self.status_code = status_code
        self.body = body


class ReplyShapeError(BFLError):
    """A 2xx reply that cannot be read, where no task is at stake."""

    body: str | None

    def __init__(self, message: str, *, task_id: str | None = None, body: str | None = None) -> None:
        super().__init__(message, task_id=task_id)
        self.body = body


class TaskError(BFLError):
    """A task ended without a result, or we stopped following it. `status` is the server's last word."""

    status: str | None

    def __init__(self, message: str, *, task_id: str | None = None, status: str | None = None) -> None:
        super().__init__(message, task_id=task_id)
        self.status = status


class TaskModeratedError(TaskError):
    """Moderation refused the task. `stage` is "request" (the prompt or an input) or "content" (the output).

    Sending the same request again does not help; other words might.
    """

    stage: str
    reasons: tuple[str, ...]

    def __init__(
        self,
        message: str,
        *,
        task_id: str | None = None,
        status: str | None = None,
        stage: str,
        reasons: Sequence[str] = (),
    ) -> None:
        super().__init__(message, task_id=task_id, status=status)
        self.stage = stage
        self.reasons = tuple(reasons)


class TaskFailedError(TaskError):
    """The server reports that the task failed. `details` is what it says about it."""

    details: Mapping[str, object] | None

    def __init__(
        self,
        message: str,
        *,
        task_id: str | None = None,
        status: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message, task_id=task_id, status=status)
        self.details = details


class TaskNotFoundError(TaskError):
    """Three polls in a row, over at least 5 s, said that the task does not exist (any more)."""


class UntrustedURLError(TaskError):
    """A URL from an answer points where the API key, or this client, must not go."""


class TaskTimeoutError(TaskError, TimeoutError):
    """We stopped waiting; the task may go on and can be attached by its `task_id`.

    `state` says where the request stood: "queued" (nothing was sent), "submitting" or "submitted".
    The last refusal or failed poll is the cause. The message names it where nothing better came after it.
    """

    state: str
    polling_url: str | None

    def __init__(
        self,
        message: str,
        *,
        task_id: str | None = None,
        status: str | None = None,
        state: str,
        polling_url: str | None = None,
    ) -> None:
        super().__init__(message, task_id=task_id, status=status)
        self.state = state
        self.polling_url = polling_url


class DownloadError(BFLError):
    """The result's bytes would not come, or failed their checks. The result itself may still be there."""


class ResultExpiredError(DownloadError):
    """The signed URL is past its end (10 minutes for images) and the server signs no new one."""


class SaveError(BFLError, OSError):
    """The file could not be written. `errno` and `filename` are those of the operating system's error."""

    def __init__(
        self,
        message: str,
        *,
        task_id: str | None = None,
        errno: int | None = None,
        filename: str | None = None,
    ) -> None:
        super().__init__(message, task_id=task_id)
        self.errno = errno
        self.filename = filename

    def __reduce__(self) -> tuple[object, ...]:
        facts = dict(self.__dict__)
        return _rebuild_save, (type(self), self.args, facts, self.errno, self.filename)

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def _rebuild_save(
    cls: type[SaveError],
    args: tuple[object, ...],
    facts: dict[str, object],
    errno: int | None,
    filename: str | None,
) -> BFLError:
    error = _rebuild(cls, args, facts)
    assert isinstance(error, SaveError)
    error.errno, error.filename = errno, filename
    return error


class BudgetExceededError(BFLError):
    """The request could cost more than the budget has left: it was not sent."""


class WebhookError(BFLError):
    """A webhook delivery was not accepted."""


class SignatureError(WebhookError):
    """The delivery's secret or signature does not match."""


class ReplayError(WebhookError):
    """The delivery is too old, or was received before."""


class LimiterError(BFLError):
    """The limiter could not do what was asked."""


class QueueFullError(LimiterError):
    """As many requests are waiting as `Limits.queue` allows: try later, or raise the bound."""


class LeaseLostError(LimiterError):
    """The lease of a slot ran out or was taken away while its task was being followed."""


class LedgerError(BFLError):
    """The ledger could not be read or written."""


class LedgerLockedError(LedgerError):
    """Another run holds the ledger."""


class LedgerVersionError(LedgerError):
    """The ledger was written by a newer release."""
