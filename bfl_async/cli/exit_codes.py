"""What the command exits with: the one table, from which the help and the README's words are made."""

from __future__ import annotations

from enum import IntEnum

from bfl_async import errors
from bfl_async._config import UnusableKeyError


class ExitCode(IntEnum):
    """What a command says to whoever started it; `meaning` is its line of the table."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    DONE = 0, "done (of a batch: all is saved)"
    FAILED = 1, "failed"
    USAGE = 2, "wrong usage, or an invalid request or row"
    PARTIAL = 3, "a part of the batch is not saved"
    ACCOUNT = 4, "the key, the credits or the budget"
    MODERATED = 5, "moderated"
    INTERRUPTED = 130, "interrupted (Ctrl-C)"
    READER_GONE = 141, "the reader of the output has gone, as `head` does"
    TERMINATED = 143, "terminated (SIGTERM)"


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code of an error."""
    if isinstance(error, UnusableKeyError):
        return ExitCode.ACCOUNT
    if isinstance(error, errors.ConfigError | errors.InvalidRequestError):
        return ExitCode.USAGE
    if isinstance(
        error, errors.AuthenticationError | errors.InsufficientCreditsError | errors.BudgetExceededError
    ):
        return ExitCode.ACCOUNT
    if isinstance(error, errors.TaskModeratedError):
        return ExitCode.MODERATED
    return ExitCode.FAILED
