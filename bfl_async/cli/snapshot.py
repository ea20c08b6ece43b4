"""A batch at one moment and the requests that have ended, as its progress shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bfl_async.errors import BFLError
from bfl_async.runtime.text import printable

_PROMPT_CHARS = 60
_NAME_CHARS = 40
_PROBLEM_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is shown, at one moment."""

    counts: Mapping[str, int]
    total: int | None  # of entries that will be; None: not known yet
    taken: int
    slots: int
    spent: float
    balance: float | None
    seconds: float
    note: str = ""  # what the run is waiting for
    # True once nothing is sent or followed any more.
    is_over: bool = False


def done_of(counts: Mapping[str, int]) -> int:
    """Return how many entries have come to an end."""
    return counts["saved"] + counts["failed"] + counts["moderated"] + counts["ambiguous"]


@dataclass(frozen=True, slots=True)
class Manner:
    """How a command writes what it has to say.

    Attributes:
        as_json: Data for programs on stdout, and not for a person.
        is_quiet: Only data and problems; no progress.
        ledger: The ledger's name, for commands that a message proposes.
    """

    as_json: bool = True
    is_quiet: bool = False
    ledger: str = "out"


@dataclass(frozen=True, slots=True)
class Ended:
    """What is shown of a request that has ended.

    Attributes:
        done: Requests that have ended in this run, this one included.
        problem: Why there is no image; None if there is one.
        index: The entry's number, by which `drop` knows it.
        name: The row's own id; None if it has none.
    """

    done: int
    state: str
    prompt: str
    file: str | None = None
    problem: str | None = None
    index: int | None = None
    name: str | None = None

    def __str__(self) -> str:
        """The state first, then the prompt and the advice; ids come last."""
        prompt = printable(self.prompt, _PROMPT_CHARS)
        if self.problem is None:
            return f"{self.done} done, {self.state}: {prompt}"
        shown = f"'{prompt}': " if prompt else ""
        entry = "" if self.index is None else f"entry {self.index} "
        if entry and self.name is not None:
            entry = f"{entry}('{printable(self.name, _NAME_CHARS)}') "
        return f"{self.done} done, {entry}{self.state}: {shown}{printable(self.problem, _PROBLEM_CHARS)}"


def problem_of(error: BFLError) -> str:
    """Return an error for a person: its task's id, which is long and helps last, stands at the end."""
    text, task_id = str(error), error.task_id
    if not task_id:
        return text
    text = text.replace(f" of task {task_id}", "").replace(f"task {task_id}", "the task")
    return text if task_id in text else f"{text} (task {task_id})"
