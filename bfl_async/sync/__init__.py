"""The client without asyncio: `BFL`."""

from __future__ import annotations

from bfl_async.sync.client import BFL as BFL
from bfl_async.sync.stream import OutcomeStream as OutcomeStream
from bfl_async.sync.values import Outcome as Outcome
from bfl_async.sync.values import Result as Result
from bfl_async.sync.values import TaskHandle as TaskHandle
