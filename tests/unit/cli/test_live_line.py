"""The line of a terminal that waits for images."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bfl_async.cli.live_line import line_of
from bfl_async.cli.output import draw_line, say
from bfl_async.status import TaskStatus
from bfl_async.types.lifecycle import State


@dataclass
class Task:
    """What a handle knows."""

    state: State = State.SUBMITTED
    status: TaskStatus | str | None = None
    progress: float | None = None
    queue_position: int | None = None
    task_id: str | None = None


@pytest.mark.parametrize(
    ("tasks", "shown"),
    [
        ([Task(State.QUEUED, queue_position=0)], "waiting for a free slot · 12 s"),
        ([Task(State.QUEUED, queue_position=3)], "waiting for a free slot · 12 s · 3 before it in the queue"),
        ([Task(State.QUEUED)], "trying to reach the server · 12 s"),
        ([Task(State.SUBMITTING)], "sending · 12 s"),
        ([Task(status=TaskStatus.PENDING, progress=0.5, task_id="t")], "generating · 12 s · 50 %"),
        ([Task(status=TaskStatus.REASONING)], "reasoning · 12 s"),
        ([Task(status="Warming up")], "warming up · 12 s"),
        ([Task(status="\x1b[2J")], "(not shown) · 12 s"),
        ([Task(State.SETTLED, progress=1.0), Task(), Task()], "1 finished, 2 generating · 12 s"),
    ],
)  # fmt: skip
def test_line_says_state_time_progress_and_place(tasks: list[Task], shown: str) -> None:
    """In plain words; several tasks are counted."""
    assert line_of(tasks, 12.3, verbose=False) == shown


def test_id_is_shown_on_demand() -> None:
    """A task that has none yet shows none."""
    assert line_of([Task(task_id="t-1")], 1, verbose=True) == "generating · 1 s · t-1"
    assert line_of([Task(State.QUEUED)], 0, verbose=True) == "waiting for a free slot · 0 s"


def test_words_take_the_place_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A message is never appended to it, and the line acts on nothing."""
    draw_line("generating \x1b[2J")
    say("a message")
    say("another")
    assert capsys.readouterr().err == "\r\x1b[Kgenerating \\x1b[2J\r\x1b[Ka message\nanother\n"
