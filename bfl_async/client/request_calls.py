"""The calls of `AsyncBFL` that make or follow one task.

Cancelling one of them cancels a wait: the entry belongs to the scheduler, which withdraws it while it is queued and
drains its task afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar, cast

from bfl_async.client.base import ClientBase
from bfl_async.client.handle import TaskHandle
from bfl_async.engine.entry import Entry
from bfl_async.errors import InvalidRequestError
from bfl_async.models import ImageRequest, as_request, check_model_name, endpoint_request, request
from bfl_async.models.main_input import check_main_input
from bfl_async.results.result import Result
from bfl_async.types.common import JSON
from bfl_async.types.replies import Reply

if TYPE_CHECKING:
    from bfl_async.client._overloads import Calls, NowaitCalls

Answer = TypeVar("Answer")


# What type checkers and editors see of these calls: one overload per model, generated into _overloads.py.
def typed(method: Callable[..., Answer]) -> Calls[Answer]:
    """Give `generate` or `submit` its typed face."""
    return cast("Calls[Answer]", method)


def typed_nowait(method: Callable[..., Answer]) -> NowaitCalls[Answer]:
    """Give `submit_nowait` its typed face."""
    return cast("NowaitCalls[Answer]", method)


class RequestCalls(ClientBase):
    """The part of a client that sends one request or follows one task."""

    @typed_nowait
    def submit_nowait(
        self,
        request_or_model: ImageRequest | str,
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: object,
    ) -> TaskHandle:
        """Queue one request and return its handle at once; `.task_id` is None until it is accepted.

        Args:
            request_or_model: A request, or a model's name with the fields as keywords.
            priority: Lower goes first, strictly: a steady stream of urgent requests starves later ones. None: 0.
            extra_body: Fields that this release does not know or would refuse: sent unchecked and unchanged, merged
                last, so that one may replace a field. A file may stand where its base64 belongs.
            fields: The model's fields, where a name was given.
        Raises:
            InvalidRequestError: The request fails its local checks.
            QueueFullError: As many requests are waiting as `Limits.queue` allows.
            BudgetExceededError: The request could cost more than the budget has left.
            ClientClosedError, ConfigError: The client is not open here.
        """
        scheduler = self._life.check()
        return self._handle_of(
            scheduler.admit(
                self._request(request_or_model, fields, extra_body), priority=self._rank(priority)
            )
        )

    @typed
    async def submit(
        self,
        request_or_model: ImageRequest | str,
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: object,
    ) -> TaskHandle:
        """Send one request and return its handle once the server has accepted it.

        Args:
            request_or_model: A request, or a model's name with the fields as keywords.
            timeout: Seconds for the slot and the reply together; None: not bounded by the caller.
            priority: Lower goes first. None: 0.
            extra_body: See `submit_nowait`.
            fields: The model's fields, where a name was given.
        Raises:
            TaskTimeoutError: The timeout ended first; `.state` says whether anything was sent.
            RefusedError: The server refused: no task exists. `InvalidRequestError` also for local checks.
            AmbiguousSubmitError: The answer was lost: a task may exist and be paid.
            ConnectError: No connection could be made; nothing was sent.
            QueueFullError, BudgetExceededError, ClientClosedError, ConfigError: See `submit_nowait`.
        Cancellation: While queued, the request is withdrawn. Later, the POST ends and the task is drained:
            its slot stays taken until the server settles it.
        """
        self._life.check()
        request = self._request(request_or_model, fields, extra_body)
        return self._handle_of(await self._send(request, timeout, priority))

    def _request(
        self,
        request_or_model: ImageRequest | str,
        fields: dict[str, object],
        extra_body: Mapping[str, object] | None,
    ) -> ImageRequest:
        """Return the request that was given, or make it by its model's name, of the client's catalog if it has one.

        Raises:
            InvalidRequestError: It does not fit, or lacks its main input.
        """
        if isinstance(request_or_model, str):
            catalog = self._life.settings.catalog
            make = request if catalog is None else catalog.request
            made = make(request_or_model, extra_body=extra_body, **fields)
            check_main_input(made)
            return made
        if fields:
            names = ", ".join(fields)
            raise InvalidRequestError(
                f"fields go with a model's name, not with a request: {names}",
                errors=[(name, "given beside a request") for name in fields],
            )
        checked = as_request(request_or_model)
        wanted = checked if extra_body is None else checked.with_extra_body(extra_body)
        check_main_input(wanted)
        return wanted

    async def _send(
        self,
        request: ImageRequest,
        timeout: float | None,
        priority: int | None,
        *,
        any_endpoint: bool = False,
    ) -> Entry:
        """Admit a request and wait until the server has answered its submit; a refusal is raised."""
        scheduler = self._life.check()
        deadline = self._deadline(timeout)
        entry = scheduler.admit(
            request, priority=self._rank(priority), deadline=deadline, any_endpoint=any_endpoint
        )
        try:
            await entry.wait_changed(
                lambda: entry.task_id is not None or entry.settlement is not None, deadline
            )
        except BaseException:
            scheduler.leave(entry)
            raise
        if entry.task_id is None and (error := entry.error()) is not None:
            raise error
        return entry

    @typed
    async def generate(
        self,
        request_or_model: ImageRequest | str,
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: object,
    ) -> Result:
        """Send one request and return its result.

        Check a model's name that a user of your application supplies against `CATALOG` first: names of models that
        this release does not know are sent as they are. What makes no image or video is refused. Fields of a user are
        to be checked as well: `webhook_url` says where the result goes, and `user` in whose name it is made.

        Args:
            request_or_model: A request, or a model's name with the fields as keywords.
            timeout: Seconds for everything; None: not bounded by the caller. Following the task has a deadline
                of its own, `Timeouts.task`.
            priority: Lower goes first. None: 0.
            extra_body: See `submit_nowait`.
            fields: The model's fields, where a name was given.
        Raises:
            TaskModeratedError, TaskFailedError, TaskNotFoundError, UntrustedURLError: How the task ended.
            TaskTimeoutError: The timeout or the task's deadline ended first. A task goes on and can be attached.
            RefusedError, AmbiguousSubmitError, ConnectError, QueueFullError, BudgetExceededError,
            ClientClosedError, ConfigError: See `submit`.
        Cancellation: While queued, the request is withdrawn. Later, the POST ends and the task is drained.
        """
        scheduler = self._life.check()
        deadline = self._deadline(timeout)
        entry = scheduler.admit(
            self._request(request_or_model, fields, extra_body),
            priority=self._rank(priority),
            deadline=deadline,
        )
        try:
            await entry.wait_settled(deadline)
        except BaseException:
            scheduler.leave(entry)
            raise
        return entry.value()

    def attach(
        self,
        task_id: str,
        *,
        polling_url: str | None = None,
        model: str | None = None,
        cost: float | None = None,
    ) -> TaskHandle:
        """Follow a task of another process or an earlier run; `handle.to_dict()` has these parameters.

        It takes its slots at once, past the limit if need be: the server counts it already. The same id gives
        the same handle.

        Args:
            task_id: The server's id. One that begins with `immediate-` was made here, for a result that came with the
                answer to its submit: there is no task to follow.
            polling_url: As received with the receipt; None: the base URL's own `/v1/get_result?id=`. One that
                must not be sent the key ends the handle with `UntrustedURLError`.
            model: For its pools and deadline; None: the account's pool alone.
            cost: Credits stated in the receipt.
        Raises:
            InvalidRequestError: The id or the model's name is not valid, or the id belongs to a result without a task.
            ClientClosedError, ConfigError: The client is not open here.
        """
        scheduler = self._life.check()
        if not isinstance(task_id, str) or not task_id.strip():
            raise InvalidRequestError("attach needs a task id", errors=[("task_id", "is empty")])
        if model is not None:
            check_model_name(model)
        return self._handle_of(
            scheduler.attach(task_id, polling_url=polling_url or None, model=model, cost=cost)
        )

    async def post(
        self,
        path: str,
        *,
        json: Mapping[str, JSON] | None = None,
        timeout: float | None = None,
        priority: int | None = None,
    ) -> Reply:
        """POST to an endpoint that this release has no method or model for, by the rules of a submit.

        It waits for a slot, is repeated only where it is certain that nothing was sent or taken, and has the pools
        of the model that the path names. A reply with an id and a polling URL tells of a task: the slot stays taken
        until that task ends, and `attach(id)` gives its handle. Any other reply frees the slot.

        Args:
            path: Of the API, such as `/v1/flux-new-model`.
            json: The body; None: an empty object.
            timeout: Seconds for the slot and the reply together; None: not bounded by the caller.
            priority: Lower goes first. None: 0.
        Raises:
            InvalidRequestError: The path or the body is none; nothing was sent. Or the server said so.
            AmbiguousSubmitError: The answer was lost, or is no JSON: it may have been taken, a task may exist.
            BFLError: Else as `submit`.
        Cancellation: As `submit`.
        """
        self._life.check()
        request = endpoint_request(path, {} if json is None else json)
        entry = await self._send(request, timeout, priority, any_endpoint=True)
        assert entry.submit_reply is not None
        return entry.submit_reply
