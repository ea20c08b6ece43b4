"""The file of a result: where its bytes go first, its name, and what can go wrong with both."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

from bfl_async.errors import SaveError, TaskRecord
from bfl_async.results.incoming import ANYTHING, Download
from bfl_async.results.suffixes import is_as_named, with_suffix_of
from bfl_async.runtime.text import printable

_log = logging.getLogger("bfl_async")


class Beside:
    """A `.part` file beside its target."""

    def __init__(self, target: Path, task_id: str) -> None:
        self._target = target
        self._task_id = task_id

    def new_part(self) -> Path:
        """See `Place.new_part`."""
        self._target.parent.mkdir(parents=True, exist_ok=True)
        # File systems count bytes.
        stem = self._target.name.encode("utf-8", "surrogateescape")[:200].decode("utf-8", "ignore")
        return self._target.with_name(f"{stem}.{secrets.token_hex(4)}.part")

    def error(self, exc: Exception) -> SaveError:
        """See `Place.error`."""
        return save_error(self._target, exc, self._task_id)


def move_to(path: Path, download: Download, task_id: str) -> Path:
    """Give the file its name, whole and flushed; return its path. Blocks.

    Raises:
        SaveError: The operating system refused.
    """
    target = with_suffix_of(path, download.suffix)
    download.move(target)
    if download.media_type != ANYTHING and not is_as_named(target.name, download.suffix):
        _log.warning(
            "%s holds %s, which its name does not say: end the name in %s, leave the suffix out, or ask for another "
            "output_format",
            printable(str(target)),
            download.media_type,
            download.suffix,
            extra={"bfl_task_id": task_id},
        )
    return target


def too_slow_error(path: Path, task: TaskRecord) -> SaveError:
    """Return the error of a disk that took too long."""
    return SaveError(
        f"cannot write {str(path)!r}: the disk did not finish in time; choose another folder",
        task_id=task["task_id"],
        filename=str(path),
    )


def save_error(path: Path, exc: Exception, task_id: str) -> SaveError:
    """Return the error of a file that could not be written."""
    reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    return SaveError(
        f"cannot write {str(path)!r}: {reason}; choose another folder",
        task_id=task_id,
        errno=getattr(exc, "errno", None),
        filename=str(path),
    )
