"""What `doctor` finds out about the key by asking the server, which costs nothing."""

from __future__ import annotations

import asyncio
import time

from bfl_async._config import Timeouts
from bfl_async._version import __version__
from bfl_async.cli.findings import CHECK_S, Finding, Place
from bfl_async.cli.host_options import HostOptions
from bfl_async.errors import (
    AuthenticationError,
    BFLError,
    InvalidRequestError,
)
from bfl_async.transport.http import HTTPTransport, user_agent
from bfl_async.transport.options import check_headers, check_query
from bfl_async.types.replies import Reply
from bfl_async.wire.errors import status_error
from bfl_async.wire.json import json_object
from bfl_async.wire.replies import receipt_of

# A model whose prompt is required, so that an empty body makes no task. That of FLUX.1 may be left out: there the same
# probe would be an order. Source: BFL's OpenAPI description, read 2026-09-19.
_PROBED_MODEL = "flux-2-pro"
# A little less than the check itself, so that a slow answer is no finding about the key.
_PROBE_S = 0.8 * CHECK_S


async def examine_key(place: Place) -> Finding:
    """Return what is true of the key: its shape, and whether the server takes it.

    The free probe is a POST of `{}`: 422 means that key and route are good, 403 that the key has no access to the
    route. Source: a third party, 1 October 2026.
    """
    found = place.key_finding
    if place.key is None or place.base_url is None:
        return found
    try:
        async with asyncio.timeout(_PROBE_S):
            reply = await _probe(place.key, place.base_url, place.host)
    except (BFLError, TimeoutError):
        # A lost or late reply says nothing about the key. The host's own line names the network's trouble.
        return found
    if reply.status_code < 300:
        if receipt_of(json_object(reply.body)) is None:
            return found
        return Finding("key", "warn", "the server made a task of the empty request that tests the key")
    match status_error(reply, what="the probe", now=time.time()):
        case AuthenticationError(status_code=403):
            what = f"the server does not let it use {_PROBED_MODEL} (403)"
            return Finding("key", "FAIL", what, "check BFL_API_KEY and the permissions of the key")
        case AuthenticationError(status_code=code):
            return Finding("key", "FAIL", f"the server refuses it ({code})", "check BFL_API_KEY")
        case InvalidRequestError(errors=errors) if errors and found.level == "warn":
            # Its shape is unusual, and still it is right.
            return Finding("key", "ok", f"{found.what}; the server takes it")
    return found


async def _probe(key: str, base_url: str, host: HostOptions) -> Reply:
    """Send an empty request and return the answer."""
    transport = HTTPTransport(
        key=key,
        base_url=base_url,
        timeouts=Timeouts(connect=_PROBE_S, reply=_PROBE_S),
        connections=1,
        agent=user_agent(__version__),
        headers=None if host.headers is None else check_headers(host.headers),
        query="" if host.query is None else check_query(host.query),
    )
    await transport.open()
    try:
        return await transport.submit(f"/v1/{_PROBED_MODEL}", b"{}")
    finally:
        await transport.aclose()
