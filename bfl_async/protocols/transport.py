"""The transport: how requests reach a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import (
    TYPE_CHECKING,
    Protocol,
    runtime_checkable,
)

from bfl_async.types.common import JSON
from bfl_async.types.replies import Reply

if TYPE_CHECKING:
    pass


class Request(Protocol):
    """What the scheduler needs of a request. The classes of `bfl_async.models` are the usual ones."""

    @property
    def model(self) -> str:
        """The model's name: its path after `/v1/`."""
        ...

    @property
    def has_files(self) -> bool:
        """True when `body` reads or encodes files: it is then called in a worker thread."""
        ...

    def media(self) -> Mapping[str, object]:
        """The images and videos that were given, by field: what a price may hang on."""
        ...

    def body(self) -> Mapping[str, JSON]:
        """The JSON body of the submit, made anew for each attempt.

        Raises:
            InvalidRequestError: A file cannot be read or does not fit.
        """
        ...


class Transport(Protocol):
    """Carries HTTP calls. It judges nothing: replies of any status are returned as they came.

    Cancellation: A cancelled call ends at once; whether its request had left is then unknown.
    """

    async def submit(self, path: str, body: bytes) -> Reply:
        """POST a JSON body to `path` of the base URL, once, following no redirect.

        Raises:
            ConnectError: Nothing was sent.
            TransportError: The request may have been sent.
        """
        ...

    async def poll(self, url: str) -> Reply:
        """GET a URL of the API, exactly as given; a path starting with `/v1/` is one of the base URL's.

        Raises:
            UntrustedURLError: The URL, or one it redirects to, must not be sent the key.
            TransportError: No complete reply.
        """
        ...

    async def download(self, url: str, *, timeout: float) -> Reply:
        """GET a result, without the key.

        Raises:
            UntrustedURLError: The URL, or one it redirects to, is none that a result can have.
            TransportError: No complete reply within `timeout` seconds.
        """
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


class Sink(Protocol):
    """Takes the bytes of a result as they come."""

    def begin(self, headers: Mapping[str, str]) -> None:
        """Take the headers of a reply of 2xx; called once, before the first bytes. They are looked up as a `Reply`'s.

        Raises:
            BFLError: The reply is not wanted. It passes through the transport.
        """
        ...

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes. The transport reads no further before this returns.

        Raises:
            BFLError: No more are wanted. It passes through the transport.
        Cancellation: Ends the wait; the sink is used no more.
        """
        ...


@runtime_checkable
class StreamingTransport(Protocol):
    """What a transport has besides, if results are not to be held in memory whole."""

    async def download_to(self, url: str, sink: Sink, *, timeout: float) -> Reply:
        """As `Transport.download`, but the body of a reply of 2xx goes to the sink, as it is on the wire.

        No encoding is asked for, and none is undone. The reply that is returned has no body.

        Raises:
            UntrustedURLError, TransportError: As `Transport.download`.
            BFLError: Of the sink.
        Cancellation: Ends the call, and that of the sink.
        """
        ...
