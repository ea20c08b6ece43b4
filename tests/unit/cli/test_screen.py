"""The batch's display: what it says at any width, with and without colours."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from bfl_async.cli.batch_summary import advice, summary_line
from bfl_async.cli.display import render
from bfl_async.cli.screen import open_screen
from bfl_async.cli.snapshot import Ended, Manner, Snapshot, problem_of
from bfl_async.errors import TaskFailedError, TaskModeratedError
from bfl_async.types import EntryState

NONE: dict[str, int] = {state.value: 0 for state in EntryState}


def shown(width: int, *, no_color: bool = False, **counts: int) -> str:
    """The display as a terminal of that width has it."""
    snapshot = Snapshot(
        counts={**NONE, **counts}, total=1632, taken=9, slots=12, spent=152.6,
        balance=9847.4, seconds=125.0, note="stopping",
    )  # fmt: skip
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, no_color=no_color, color_system="standard")
    errors = ("first", "[bold]a prompt[/bold] " + "x" * 300, "[red]last")
    console.print(render(snapshot, 142.0, errors, width))
    return file.getvalue()


def test_display_tells_counts_slots_money_time_and_the_last_errors() -> None:
    """Prompts are text, never markup."""
    text = shown(100, no_color=True, saved=800, failed=2, moderated=8, ambiguous=1, queued=812)
    for part in (
        "811/1,632", "49 %", "9/12", "800 saved", "9 running", "812 waiting", "2 failed", "8 moderated",
        "1 ambiguous", "152.6 credits spent", "9,847.4 left", "142 per minute", "2:05 so far", "about 5:46 to go",
        "stopping", "[bold]a prompt[/bold]", "[red]last",
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_display_fits_its_terminal(width: int) -> None:
    """No line is longer than the terminal is wide; a narrow one has one error."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown(width, saved=800).splitlines()]
    assert all(len(line) <= width for line in lines)
    assert sum(line.startswith("! ") for line in lines) == (1 if width < 60 else 3)


def test_no_color_means_no_color() -> None:
    """NO_COLOR leaves bold at the most."""
    assert "\x1b[31m" in shown(80, failed=1)
    assert "\x1b[3" not in shown(80, no_color=True, failed=1)


def drawn(width: int, snapshot: Snapshot, *errors: str) -> str:
    """The text of the display, without colours or spaces at the ends of lines."""
    console = Console(file=io.StringIO(), width=width, no_color=True)
    with console.capture() as captured:
        console.print(render(snapshot, 142.0, errors, width))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


RUNNING = Snapshot(
    counts={**NONE, "saved": 800, "moderated": 8, "submitted": 9}, total=1632, taken=9,
    slots=12, spent=152.6, balance=9847.4, seconds=125.0,
)  # fmt: skip
MODERATED = Ended(
    809, "moderated", "a dog", problem=problem_of(
        TaskModeratedError(
            "moderation refused the prompt of task 12-34 (Violence): change it", task_id="12-34", stage="prompt"
        )
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (
            40,
            """done  ━━━━━━━━╸          808/1,632  49 %
slots ■■■■■■■■■□□□       9/12
800 saved · 9 running · 815 waiting
8 moderated
152.6 credits spent · 9,847.4 left
142 per minute · 2:05 so far
about 5:48 to go
! 809 done, moderated: 'a dog':
moderation refused the prompt
(Violence): change it (task 12-34)""",
        ),
        (
            80,
            """done  ━━━━━━━━━━━━━━━━━━━╸                     808/1,632  49 %
slots ■■■■■■■■■□□□                             9/12
800 saved · 9 running · 815 waiting · 8 moderated
152.6 credits spent · 9,847.4 left · 142 per minute · 2:05 so far
about 5:48 to go
! 809 done, moderated: 'a dog': moderation refused the prompt (Violence): change
it (task 12-34)""",
        ),
        (
            120,
            """done  ━━━━━━━━━━━━━━━━━━━╸                     808/1,632  49 %
slots ■■■■■■■■■□□□                             9/12
800 saved · 9 running · 815 waiting · 8 moderated
152.6 credits spent · 9,847.4 left · 142 per minute · 2:05 so far · about 5:48 to go
! 809 done, moderated: 'a dog': moderation refused the prompt (Violence): change it (task 12-34)""",
        ),
    ],
)
def test_display_at_usual_widths(width: int, text: str) -> None:
    """No zeros, no line broken within a figure, no advice cut off."""
    assert drawn(width, RUNNING, str(MODERATED)) == text


def test_last_frame_has_no_slots_and_nothing_that_runs() -> None:
    """After a stop: what was not sent, and what goes on at the server."""
    counts = {**NONE, "saved": 1, "submitted": 1, "queued": 28}
    over = Snapshot(counts, 30, 1, 12, 1.0, None, 61.0, is_over=True)
    assert drawn(80, over) == (
        "done  ━                                        1/30  3 %\n"
        "1 saved · 1 still at the server · 28 not sent\n1 credit spent · 1:01 in all"
    )


def test_line_of_an_outcome_counts_it_and_has_its_advice_before_its_id() -> None:
    """Whatever the state; the longest prompt leaves room for it."""
    assert str(Ended(3, "saved", "a cat", "out/1.jpg")) == "3 done, saved: a cat"
    assert str(MODERATED) == (
        "809 done, moderated: 'a dog': moderation refused the prompt (Violence): change it (task 12-34)"
    )
    entry = Ended(3, "failed", "a cat", problem="why", index=7)
    assert str(entry) == "3 done, entry 7 failed: 'a cat': why"
    named = Ended(3, "failed", "a cat", problem="why", index=7, name="x\n" * 90)
    assert str(named).startswith("3 done, entry 7 ('x x ")
    assert len(str(named)) < 100
    failed = TaskFailedError("task 7 failed on the server: another try may succeed", task_id="7")
    line = str(Ended(1, "failed", "x " * 500, problem=problem_of(failed)))
    assert line.endswith(": the task failed on the server: another try may succeed (task 7)")
    assert len(line) < 160
    needed = TaskFailedError("`bfl-async result 7` fetches it", task_id="7")
    assert problem_of(needed) == "`bfl-async result 7` fetches it"


@pytest.mark.parametrize(
    ("manner", "out", "err"),
    [
        (Manner(as_json=True), "{}\n{}\n", "1 done, saved: a\n2 done, failed: 'b': why\nwaiting\n"),
        (Manner(as_json=False), "1.jpg\n", "2 done, failed: 'b': why\nwaiting\n"),
        (Manner(as_json=True, is_quiet=True), "{}\n{}\n", "2 done, failed: 'b': why\n"),
        (Manner(as_json=False, is_quiet=True), "", "2 done, failed: 'b': why\n"),
    ],
)
async def test_lines_of_each_manner(
    manner: Manner, out: str, err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON for programs, files for a person, problems in any case."""
    async with open_screen(lambda: RUNNING, manner) as screen:
        screen.report("{}", Ended(1, "saved", "a", "1.jpg"))
        screen.report("{}", Ended(2, "failed", "b", problem="why"))
        screen.say("waiting")
    assert capsys.readouterr() == (out, err)


def test_advice_speaks_of_one_as_of_one() -> None:
    """Singular and plural of every sentence, and of the summary."""
    one = dict.fromkeys(NONE, 1)
    sentences = "\n".join(advice(one, left=0, ledger="my out"))
    for part in (
        "an image may have been made and paid; --retry-ambiguous sends it again",
        "1 failed: --retry-failed sends it again",
        "1 moderated: correct its prompt and run the command again",
        "then remove the old entry with `bfl-async drop 'my out' --moderated`, and the exit code can be 0",
        "1 was not sent: the same command again sends it",
    ):
        assert part in sentences
    many = "\n".join(advice(dict.fromkeys(NONE, 4000), left=None, ledger="out"))
    assert "4,000 were not sent: the same command again sends those that it asks for" in many
    assert "correct their prompts" in many
    assert "8,000 still at the server: the same command again fetches them" in many
    (left,) = advice({**NONE, "queued": 1}, left=1, ledger="out")
    assert left.startswith("1 of an earlier input was not sent: --and-earlier sends it, ")
    assert left.endswith("`bfl-async drop out --queued` removes it")
    (there,) = advice({**NONE, "submitted": 2}, left=0, ledger="out", elsewhere=2)
    assert there == (
        "2 still at another host: set BFL_BASE_URL as it was when they were sent, and run the command again"
    )
    counts = {**NONE, "saved": 1}
    assert summary_line(counts, outcomes=1, spent_credits=1.0, seconds=1.26) == (
        "1 prompt in 1.3 s; in all: 1 saved; 1 credit"
    )
