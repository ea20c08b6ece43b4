"""Whether a process of this machine still lives."""

from __future__ import annotations

import os
import socket
import sys


def this_process() -> tuple[str, int, str]:
    """The machine as this process sees it, its number there, and when it was started."""
    pid = os.getpid()
    return _machine(), pid, _started(pid) or ""


def _machine() -> str:
    """Where a process number means the same process: not in another container that shares the file."""
    try:
        return os.readlink("/proc/self/ns/pid") + socket.gethostname()
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks; None: not known. A number may be given out again."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def is_alive(pid: int, started: str) -> bool:
    if started:
        return _started(pid) == started
    if sys.platform == "win32":
        return True  # there is no harmless question there: its leases run out
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
