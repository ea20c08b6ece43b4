"""Serve the studio: `python -m examples.studio --sandbox`, or with `BFL_API_KEY` set without it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from bfl_async import AsyncBFL, BFLError, Limits
from bfl_async.sandbox import Sandbox
from bfl_async.webhooks import WebhookReceiver
from examples.studio.app import HOSTS, create_app
from examples.studio.pictures import Studio


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m examples.studio", description=__doc__)
    parser.add_argument(
        "--sandbox", action="store_true", help="draw with the embedded sandbox: no key, no cost"
    )
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--host", default="127.0.0.1", help="whoever reaches it spends your credits")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        help="a host name under which browsers reach it; may be repeated",
    )
    parser.add_argument("--folder", type=Path, default=Path("studio-images"), help="where images are kept")
    parser.add_argument("--limit", type=int, default=12, help="active tasks of the account")
    parser.add_argument(
        "--webhook",
        metavar="URL",
        help="the public https address of this server, for deliveries; needs STUDIO_WEBHOOK_SECRET",
    )
    return parser.parse_args(argv)


async def serve(options: argparse.Namespace) -> None:
    """Serve until the process is told to end."""
    async with contextlib.AsyncExitStack() as stack:
        key: str | None = None
        base_url: str | None = None
        receiver: WebhookReceiver | None = None
        if options.sandbox:
            sandbox = await stack.enter_async_context(Sandbox(limit=options.limit))
            key, base_url = sandbox.key, sandbox.url
            receiver = WebhookReceiver(f"http://127.0.0.1:{options.port}/bfl", secrets.token_hex())
        elif options.webhook:
            receiver = WebhookReceiver(f"{options.webhook}/bfl", os.environ.get("STUDIO_WEBHOOK_SECRET", ""))
        limits = Limits(account=options.limit, queue=200)
        app = create_app(
            lambda: AsyncBFL(key, base_url=base_url, limits=limits, webhook=receiver),
            options.folder,
            receiver=receiver,
            hosts=[*HOSTS, options.host, *options.name],
        )
        # A page that is still being sent something is cut after two seconds.
        config = uvicorn.Config(
            app, options.host, options.port, log_level="warning", timeout_graceful_shutdown=2
        )
        sys.stdout.write(f"The studio is at http://{options.host}:{options.port}\n")
        sys.stdout.flush()
        await _Server(config, app).serve()


class _Server(uvicorn.Server):
    """Ends the streams that open pages have, instead of cutting them."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        studio: Studio = self._app.state.studio
        studio.end_streams()
        await super().shutdown(sockets)


if __name__ == "__main__":
    try:
        asyncio.run(serve(parse()))
    except KeyboardInterrupt:
        sys.exit(130)
    except BFLError as exc:
        sys.exit(str(exc))
