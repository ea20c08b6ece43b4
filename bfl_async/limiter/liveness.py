"""Whether a process of this machine still lives."""

from __future__ import annotations

import os
import socket
import sys


def this_process() -> tuple[str, int, str]:
    """Return the machine as this process sees it, its number there, and when it was started."""
    pid = os.getpid()
    return _machine(), pid, _started(pid) or ""


def _machine() -> str:
    """Return a name for where a process number means the same process. Another container has another name."""
    try:
        return os.readlink("/proc/self/ns/pid") + socket.gethostname()
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """Return when a process was started, in the kernel's ticks; None if that is not known, or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name of the program, in parentheses, may hold spaces and parentheses: the fields begin after the last.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    # A zombie has ended; its parent has not looked yet.
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def is_alive(pid: int, started: str) -> bool:
    """Return whether a process of this machine lives. Where that cannot be known, it does: its leases run out."""
    # A number may be given out again, but not with the same start.
    if started:
        return _started(pid) == started
    if sys.platform == "win32":
        # There is no harmless question there: os.kill(pid, 0) sends a Ctrl-C.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # It belongs to another user.
        return True
    return True
