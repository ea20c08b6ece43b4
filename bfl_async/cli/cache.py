"""What the command line keeps between runs: what was learnt of the models' times, a file for each host.

It only saves the first polls of the next run, so nothing that goes wrong here is an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from bfl_async.types.common import JSON

_MAX_BYTES = 4 * 2**20


def cache_folder() -> Path | None:
    """Return the user's cache folder for this program, which may not exist; None for a user without a home."""
    try:
        folder = platformdirs.user_cache_path("bfl-async", appauthor=False)
    except RuntimeError:
        return None
    # Without a home it begins with a literal `~`.
    return folder if folder.is_absolute() else None


def _file_of(base_url: str) -> Path | None:
    folder = cache_folder()
    # Times are a server's; a sandbox's must not be taken for the API's.
    if folder is None:
        return None
    return folder / f"timings-{hashlib.sha256(base_url.encode()).hexdigest()[:16]}.json"


def load_timings(base_url: str) -> Mapping[str, JSON] | None:
    """Return what an earlier run has learnt of a host's models; None where nothing usable is kept."""
    path = _file_of(base_url)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            kept = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return kept if isinstance(kept, dict) else None


def save_timings(base_url: str, timings: Mapping[str, JSON]) -> None:
    """Keep what was learnt. The file is whole or the old one; of two runs that end together the later one's counts."""
    path = _file_of(base_url)
    if path is None:
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(timings))
        part.replace(path)
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
