"""What a process has used: CPU seconds, and memory at its peak. Linux; nothing but the standard library."""

import time
from pathlib import Path

MB = 1024 * 1024


class Meter:
    """Measures from its making on; make it when everything that is used has been imported."""

    def __init__(self) -> None:
        _reset_peak()
        self._memory_before = _status("VmRSS")
        self.restart()

    def restart(self) -> None:
        """Count CPU and time from now on; memory goes on to be counted from the making."""
        self.started_at = time.monotonic()
        self._cpu_before_s = time.process_time()

    def cpu_s(self) -> float:
        """CPU seconds, user and system, of all threads."""
        return time.process_time() - self._cpu_before_s

    def peak_mb(self) -> float:
        """The most memory that was resident, in MB over what was at the beginning."""
        return (_status("VmHWM") - self._memory_before) / MB


def _reset_peak() -> None:
    # Imports leave a peak of their own behind. `ru_maxrss` would be of no use: it survives an exec.
    Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(field)
