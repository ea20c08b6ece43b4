"""A Redis of one's own: a free port, a temporary folder, nothing kept on disk."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

MISSING = "redis-server is missing: apt-get update && apt-get install -y redis-server"
NEW_S = 4.0
"""For so long after its start a Redis may have lost leases, and a new book on it grants nothing."""


class RedisServer:
    """One server process, which can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_there() -> bool:
        """Tell whether the program is installed."""
        return shutil.which("redis-server") is not None

    def start(self) -> None:
        """Start it, empty, and wait until it listens."""
        self._process = subprocess.Popen(
            [
                *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                *("--appendonly", "no", "--dir", str(self.folder)),
            ],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.01)
        raise TimeoutError("redis-server did not start")

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def command(self, *words: str) -> list[str]:
        """Run a command of Redis; return the lines of its answer."""
        done = subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, check=True)
        return done.stdout.decode().splitlines()


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Run one that is old enough to grant at once."""
    with TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            time.sleep(NEW_S)
            yield server
        finally:
            server.kill()
