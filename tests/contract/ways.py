"""Ways to a server that a test may lengthen or lead elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Way:
    """A way to a server, which a test may lengthen or lead elsewhere."""

    target: int
    delay_s: float = 0.0
    port: int = 0
    running: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            pipes = [
                asyncio.create_task(self.pipe(reader, back)),
                asyncio.create_task(self.pipe(there, writer)),
            ]
            self.running.update(pipes)
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            for end in (writer, back):
                end.close()

    async def pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await reader.read(65_536):
                # Later data waits no longer than earlier data: this is a delay and not a throughput.
                loop.call_later(self.delay_s, writer.write, data)
            await asyncio.sleep(self.delay_s)


@asynccontextmanager
async def way_to(port: int, *, delay_s: float = 0.0) -> AsyncIterator[Way]:
    way = Way(port, delay_s)
    server = await asyncio.start_server(way.serve, "127.0.0.1", 0)
    way.port = server.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        server.close()
        for task in way.running:
            task.cancel()
        await asyncio.gather(*way.running, return_exceptions=True)
