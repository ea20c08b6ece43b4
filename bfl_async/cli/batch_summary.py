"""What a batch says at its end: what happened, and what to do about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from bfl_async.cli.words import counted, them, they, were


def summary_line(counts: Mapping[str, int], *, outcomes: int, spent_credits: float, seconds: float) -> str:
    """Return what this run did, and how far the batch is."""
    parts = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    return (
        f"{counted(outcomes, 'prompt')} in {seconds:.1f} s; in all: {parts or 'nothing'}; "
        f"{counted(spent_credits, 'credit')}"
    )


def advice(counts: Mapping[str, int], *, left: int | None, ledger: str, elsewhere: int = 0) -> Iterator[str]:
    """Yield one sentence for each thing that is left to do.

    Args:
        counts: Entries by state.
        left: Queued entries that the command does not ask for; None: not known.
        ledger: The ledger's name, for a command line.
        elsewhere: Tasks that the key may not ask for, since another host polls them.
    """
    drop = f"`bfl-async drop {shlex.quote(ledger)}"
    if ambiguous := counts["ambiguous"]:
        yield (
            f"{ambiguous:,} ambiguous: the answer was lost, so {'an image' if ambiguous == 1 else 'images'} may have "
            f"been made and paid; --retry-ambiguous sends {them(ambiguous)} again, and may pay a second time"
        )
    if failed := counts["failed"]:
        yield f"{failed:,} failed: --retry-failed sends {them(failed)} again"
    if moderated := counts["moderated"]:
        prompts = "its prompt" if moderated == 1 else "their prompts"
        entries = "the old entry" if moderated == 1 else "the old entries"
        yield (
            f"{moderated:,} moderated: correct {prompts} and run the command again, then remove {entries} with "
            f"{drop} --moderated`, and the exit code can be 0; --retry-moderated sends {them(moderated)} as before"
        )
    if elsewhere:
        yield (
            f"{elsewhere:,} still at another host: set BFL_BASE_URL as it was when {they(elsewhere)} "
            f"{were(elsewhere)} sent, and run the command again"
        )
    if running := max(0, counts["submitted"] + counts["ready"] - elsewhere):
        yield (
            f"{running:,} still at the server: the same command again fetches {them(running)}, within 10 minutes of "
            f"{'its' if running == 1 else 'their'} end"
        )
    if unsent := counts["queued"] - (left or 0):
        which = them(unsent) if left is not None else "those that it asks for"
        yield f"{unsent:,} {were(unsent)} not sent: the same command again sends {which}"
    if left:
        yield (
            f"{left:,} of an earlier input {were(left)} not sent: --and-earlier sends {them(left)}, "
            f"{drop} --queued` removes {them(left)}"
        )
