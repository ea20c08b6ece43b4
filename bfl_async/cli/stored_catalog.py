"""The OpenAPI description that `models --update` keeps in the user's data folder, and the catalog that it makes.

The file is read as untrusted as on the day it came: one that cannot be used is a warning, and the release's own models
are known all the same.
"""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from bfl_async.cli.output import say
from bfl_async.errors import ConfigError
from bfl_async.runtime.files import flush_folder, flush_to_disk

if TYPE_CHECKING:
    from bfl_async.models.known import Catalog

_NAME = "openapi.json"


def stored_path() -> Path | None:
    """Return where the description is kept, whether or not there is one; None for a user without a home."""
    try:
        folder = platformdirs.user_data_path("bfl-async", appauthor=False)
    except RuntimeError:
        return None
    # Without a home it begins with a literal `~`.
    return folder / _NAME if folder.is_absolute() else None


def current_catalog(*, is_quiet: bool = False) -> Catalog:
    """Return the models of the release, and those of the stored description if there is one.

    Args:
        is_quiet: Do not warn of a description that cannot be used.
    """
    catalog, problem = _read(*_places())
    if problem and not is_quiet:
        _warn_once(problem)
    return catalog


def stored_problem() -> str:
    """Return what is wrong with the stored description; "" if it is sound, or none is stored."""
    return _read(*_places())[1]


def _places() -> tuple[str | None, str | None]:
    return os.environ.get("XDG_DATA_HOME"), os.environ.get("HOME")


@lru_cache(maxsize=1)
def _warn_once(problem: str) -> None:
    say(f"warning: {problem}; `bfl-async models --update` replaces it")


# Once for each place where it may be: each row of a batch asks for the catalog several times.
@lru_cache(maxsize=1)
def _read(_data_home: str | None, _home: str | None) -> tuple[Catalog, str]:
    from bfl_async.models.known import Catalog, load

    path = stored_path()
    if path is None or not path.exists():
        return Catalog(), ""
    try:
        return load(path), ""
    except ConfigError as exc:
        return Catalog(), str(exc)


def keep(data: bytes) -> Path:
    """Keep a description. The file is whole or the old one.

    Raises:
        ConfigError: The user has no home, or the file cannot be written.
    """
    path = stored_path()
    if path is None:
        raise ConfigError("this user has no home folder: set XDG_DATA_HOME")
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own, as another update may be running.
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f"{_NAME}.", suffix=".part", delete=False
        ) as file:
            part = Path(file.name)
            file.write(data)
            file.flush()
            flush_to_disk(file.fileno())
        part.replace(path)
        flush_folder(path.parent)
    except OSError as exc:
        if part is not None:
            part.unlink(missing_ok=True)
        raise ConfigError(f"cannot write '{path}': {exc.strerror or type(exc).__name__}") from exc
    _read.cache_clear()
    return path


def stored_age_s(now: float) -> float | None:
    """Return the age of the stored description in seconds; None if none is stored."""
    path = stored_path()
    try:
        return None if path is None else max(0.0, now - os.stat(path).st_mtime)
    except (OSError, ValueError):
        return None
