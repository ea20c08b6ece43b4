"""How a command runs: its loop, its signals, its errors as one line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING

import click
import click.shell_completion

from bfl_async._config import key_source
from bfl_async.cli.exit_codes import ExitCode, exit_code_of
from bfl_async.cli.keys import key_of_this_user
from bfl_async.cli.output import (
    discard,
    log_in_words,
    open_missing_streams,
    say,
    say_error,
    wants_color,
)
from bfl_async.cli.root import NAME
from bfl_async.errors import BFLError

if TYPE_CHECKING:
    from bfl_async.cli.interrupts import Interrupts

COMPLETE_VARIABLE = "_BFL_ASYNC_COMPLETE"  # what a shell asks with


def invoke(cli: click.Group, argv: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    open_missing_streams()
    try:
        with log_in_words(), key_source(key_of_this_user), warnings.catch_warnings():
            warnings.filterwarnings("default", category=UserWarning)
            warnings.showwarning = lambda message, *_: say(f"warning: {message}")
            if instruction := os.environ.get(COMPLETE_VARIABLE):
                return click.shell_completion.shell_complete(cli, {}, NAME, COMPLETE_VARIABLE, instruction)
            # In place of `cli.main`, which has an exit code of its own for a reader that has gone.
            with cli.make_context(NAME, list(argv), color=wants_color()) as context:
                code = cli.invoke(context)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        say_error(exc)
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        discard(sys.stdout)
        return ExitCode.READER_GONE
    except OSError as exc:
        discard(sys.stdout)
        say(f"error: cannot write the output: {exc.strerror or type(exc).__name__}")
        return ExitCode.FAILED
    return code if isinstance(code, int) else ExitCode.DONE


def run_command(work: Callable[[Interrupts], Coroutine[object, object, int]]) -> int:
    """Run a coroutine; turn its error, or the signal that ended it, into one line and an exit code."""
    # Help and completion do without asyncio.
    from bfl_async.cli.interrupts import run_interruptible

    try:
        return run_interruptible(work)
    except BFLError as exc:
        say_failure(exc)
        return exit_code_of(exc)


def say_failure(error: BFLError, of: str = "") -> None:
    """Write the error of the library to stderr, with the server's name for the exchange; `of` stands before it."""
    named = "" if error.request_id is None else f" (request id {error.request_id})"
    say(f"error: {of}{error}{named}")
