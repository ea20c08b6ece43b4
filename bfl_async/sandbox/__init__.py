"""The embedded fake of the FLUX image API: a real server on a loopback socket, for tests and benchmarks.

It shares no code with the client and writes its JSON by hand, so that one mistake cannot hide in both.
"""

from bfl_async.sandbox.faults import DIALS, Faults
from bfl_async.sandbox.foreign import ForeignHost, ForeignRequest
from bfl_async.sandbox.server import Sandbox
from bfl_async.sandbox.tasks import SandboxStatistics, SandboxTask

__all__ = [
    "DIALS",
    "Faults",
    "ForeignHost",
    "ForeignRequest",
    "Sandbox",
    "SandboxStatistics",
    "SandboxTask",
]
