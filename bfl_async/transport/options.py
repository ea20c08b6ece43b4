"""What a user adds to calls: headers, parameters of the URL, a session. All of it is checked before any I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from bfl_async.errors import ConfigError
from bfl_async.runtime.secrets import Secret
from bfl_async.runtime.text import printable

# These make the exchange itself. Changed, a reply could not be read, or a submit would not be what the table of
# errors takes it for.
_OUR_HEADERS = frozenset(
    [
        "x-key", "host", "accept", "accept-encoding", "connection", "expect", "keep-alive", "range", "trailer",
        "transfer-encoding", "upgrade",
        "te",  # codespell:ignore te
    ]
)  # fmt: skip
_HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"


# Every request of a session carries its headers, downloads from other hosts too.
_SESSION_SECRETS = frozenset(
    ["x-key", "authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"]
)


def check_session(session: object) -> None:
    """Check that a caller's session adds no secret of its own to the calls that it makes for us.

    Raises:
        ConfigError: It has `auth=`, or a header that is one. No value is shown.
    """
    if getattr(session, "auth", None) is not None:
        raise ConfigError("session has auth=, which would be sent to the image host as well: leave it out")
    for name in getattr(session, "headers", None) or ():
        if str(name).lower() in _SESSION_SECRETS:
            raise ConfigError(
                f"session has a header {printable(str(name), 40)} of its own, which would be sent to the image host as "
                "well: pass api_key= or default_headers= instead"
            )


def check_headers(headers: Mapping[str, str], *, source: str = "default_headers") -> dict[str, str]:
    """Return headers that a caller wants to be sent with each call.

    Args:
        source: Where they come from, for the message.
    Raises:
        ConfigError: A name or a value is none, or the header is not the caller's to set. No value is shown.
    """
    if not isinstance(headers, Mapping):
        raise ConfigError(f"{source} takes a mapping of texts, not {type(headers).__name__}")
    for number, (name, value) in enumerate(headers.items(), 1):
        if not isinstance(name, str) or not re.fullmatch(_HEADER_NAME, name):
            # Not shown: it may be a secret in the wrong place.
            raise ConfigError(f"{source}: the name of number {number} is not a header's name")
        if name.lower() in _OUR_HEADERS or name.lower().startswith(("content-", "proxy-")):
            raise ConfigError(f"{source}: {name} is set by the client itself")
        if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
            raise ConfigError(f"{source}: the value of {name} is not printable ASCII")
    return {name: Secret(value) for name, value in headers.items()}


_MAX_QUERY = 2_000


def check_query(query: Mapping[str, str]) -> Secret:
    """Return the parameters that a caller wants in the URL of each call to the base URL, encoded.

    Raises:
        ConfigError: A name or a value is not a text, or they are too long together. No value is shown.
    """
    if not isinstance(query, Mapping):
        raise ConfigError(f"query takes a mapping of texts, not {type(query).__name__}")
    for name, value in query.items():
        if not isinstance(name, str) or not name:
            raise ConfigError("query: each name is a text that is not empty")
        if not (name.isascii() and name.isprintable()) or name == "id":
            # "id" names the task of a poll.
            raise ConfigError(f"query: {printable(name, 40)!r} cannot be the name of a parameter")
        if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
            raise ConfigError(f"query: the value of {name} is not printable ASCII")
    encoded = Secret(urlencode(query, quote_via=quote))
    if len(encoded) > _MAX_QUERY:
        raise ConfigError(f"query: more than {_MAX_QUERY} characters")
    return encoded
