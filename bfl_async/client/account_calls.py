"""The calls of `AsyncBFL` that concern the account and make no task; `account.py` carries them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bfl_async import client
from bfl_async._config import check_timeout
from bfl_async.client.base import ClientBase

if TYPE_CHECKING:
    from bfl_async.client.account import Account, DeletedFinetune, Finetune, UsageReport
    from bfl_async.types.replies import Reply


class AccountCalls(ClientBase):
    """The part of a client that asks about the account, or anything else that makes no task."""

    def _account(self) -> Account:
        return client.Account(self._opened_transport())

    async def credits(self) -> float:
        """Ask for the account's balance, in credits (1 credit = 0.01 USD).

        Raises:
            AuthenticationError, RateLimitedError, RefusedError, ServerError: The server's answer.
            ConnectError, ReplyTimeoutError, TransportError: No answer, three times in a row.
            ReplyShapeError: An answer that cannot be read.
            ClientClosedError, ConfigError: The client is not open here.
        Cancellation: Ends the call.
        """
        return await self._account().credits()

    async def finetunes(self) -> list[Finetune]:
        """Ask for the account's finetunes.

        Raises:
            BFLError: As `credits`.
        Cancellation: Ends the call.
        """
        return await self._account().finetunes()

    async def finetune_details(self, finetune_id: str) -> Finetune:
        """Ask what is known of one finetune.

        Raises:
            InvalidRequestError: The id is empty.
            BFLError: As `credits`.
        Cancellation: Ends the call.
        """
        return await self._account().finetune_details(finetune_id)

    async def delete_finetune(self, finetune_id: str) -> DeletedFinetune:
        """Delete a finetune. It is asked for once: when the answer is lost, look at `finetunes()`.

        Raises:
            InvalidRequestError: The id is empty.
            ConnectError: No connection could be made, three times in a row; nothing was sent.
            ReplyTimeoutError, TransportError: The answer was lost: it may be deleted.
            BFLError: Else as `credits`.
        Cancellation: Ends the call; whether it was deleted is then unknown.
        """
        return await self._account().delete_finetune(finetune_id)

    async def report_usage(self, model_slug: str, generations: int = 1) -> UsageReport:
        """Report the use of a licensed model that runs on your own machines. It is sent once.

        Args:
            model_slug: The license's name for the model, such as `flux-1-dev`.
            generations: How many images were made, from 1.
        Raises:
            InvalidRequestError: A value is wrong, or the server supports no such model.
            AuthenticationError: The account has not licensed the model.
            ConnectError: No connection could be made, three times in a row; nothing was sent.
            ReplyTimeoutError, TransportError: The answer was lost: it may be counted.
            BFLError: Else as `credits`.
        Cancellation: Ends the call; whether it was counted is then unknown.
        """
        return await self._account().report_usage(model_slug, generations)

    async def get(self, path: str, *, timeout: float | None = None) -> Reply:
        """Ask the API a question that this release has no method for. It changes nothing, so it is repeated.

        Args:
            path: Of the API, such as `/v1/credits`; a query is quoted by the caller.
            timeout: Seconds for all attempts together; None: not bounded by the caller.
        Raises:
            InvalidRequestError: The path is none of the API's; nothing was sent.
            BFLError: As `credits`, where the answer is not 2xx or none came.
        Cancellation: Ends the call.
        """
        return await self._account().get(path, check_timeout(self._bound(timeout)))
