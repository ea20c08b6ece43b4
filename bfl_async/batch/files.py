"""The files of a batch: images that appear whole and overwrite nothing, and the manifest that lists them.

All functions block; they are called in worker threads.
"""

from __future__ import annotations

import contextlib
import errno as errors_of_the_system
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bfl_async.errors import SaveError
from bfl_async.runtime.files import flush_folder, flush_to_disk, open_private
from bfl_async.types.common import JSON

MANIFEST = "manifest.jsonl"
# The page that the gallery command writes beside the images.
GALLERY = "gallery.html"
# Numbered names that are tried before the key is used, or before it is given up where there is none.
_NUMBERED, _MOST_NAMES = 100, 10_000


class NewImage:
    """The `.part` file of an image that `name_new` will give a name.

    Args:
        parts: The folder of such files, in the output folder; made when it is missing.
    """

    def __init__(self, parts: Path, task_id: str) -> None:
        self._parts = parts
        self._task_id = task_id

    def new_part(self) -> Path:
        """See `Place.new_part`."""
        self._parts.mkdir(parents=True, exist_ok=True)
        return self._parts / f"{secrets.token_hex(8)}.part"

    def error(self, exc: Exception) -> SaveError:
        """See `Place.error`."""
        return _save_error(self._parts.parent, exc, self._task_id)


def name_new(
    folder: Path, part: Path, name: str, sha256: str, *, adopt: bool, task_id: str, key: str | None = None
) -> str:
    """Give an image that is whole and flushed a free name; return the name, relative to the folder.

    That is one step, which fails where a file has the name already: then the next free one is taken, with a number.

    Args:
        part: The image. It is gone afterwards, also after an error.
        adopt: A file of that name with these very bytes is the one: an earlier run was killed before it could
            say that it had written it.
        key: What no other image has; it becomes part of the name once a hundred names are taken.
    Raises:
        SaveError: The operating system refused.
    """
    target = folder / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            raise OSError(errors_of_the_system.EPERM, "its folder leads out of the output folder")
        size = part.stat().st_size
        for chosen in _names(target, key):
            if _take_name(part, chosen):
                break
            if adopt and _is_file_of(chosen, size, sha256):
                part.unlink()
                break
        else:
            raise OSError(errors_of_the_system.EEXIST, "too many files have such names")
        flush_folder(chosen.parent)
    except (OSError, ValueError) as exc:
        with contextlib.suppress(OSError, ValueError):
            part.unlink(missing_ok=True)
        raise _save_error(target, exc, task_id) from exc
    return chosen.relative_to(folder).as_posix()


def save_new(
    folder: Path,
    parts: Path,
    name: str,
    data: bytes,
    sha256: str,
    *,
    adopt: bool,
    task_id: str,
    key: str | None = None,
) -> str:
    """Write an image whole, under a free name; return the name. See `name_new`.

    Raises:
        SaveError: The operating system refused.
    """
    part = parts / f"{secrets.token_hex(8)}.part"
    try:
        parts.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            flush_to_disk(file.fileno())
    except (OSError, ValueError) as exc:
        with contextlib.suppress(OSError, ValueError):
            part.unlink(missing_ok=True)
        raise _save_error(folder / name, exc, task_id) from exc
    return name_new(folder, part, name, sha256, adopt=adopt, task_id=task_id, key=key)


def _names(target: Path, key: str | None) -> Iterator[Path]:
    """Yield the names that an image may take, in the same order each time."""
    yield target
    for number in range(2, _NUMBERED if key else _MOST_NAMES):
        yield target.with_stem(f"{target.stem}-{number}")
    if key:
        yield target.with_stem(f"{target.stem}-{key}")
        for number in range(2, _MOST_NAMES):
            yield target.with_stem(f"{target.stem}-{key}-{number}")


def _take_name(part: Path, target: Path) -> bool:
    """Give the file its name; False if there is a file of that name."""
    try:
        os.link(part, target)
    except FileExistsError:
        return False
    except OSError:
        # A file system without hard links: the check and the move are two steps there.
        if os.path.lexists(target):
            return False
        part.replace(target)
        return True
    part.unlink()
    return True


def _is_file_of(path: Path, size: int, sha256: str) -> bool:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def remove_parts(parts: Path) -> None:
    """Remove what a killed run left half-written."""
    shutil.rmtree(parts, ignore_errors=True)


class Manifest:
    """`manifest.jsonl`: one line an image, only ever appended to.

    The ledger knows which entries stand in it, and the size that it had then. What is behind that size was
    written and not noted, perhaps half a line, or is of another run in the same folder. A file that is shorter
    has lost something, and is made anew.
    """

    def __init__(self, folder: Path) -> None:
        self.path: Path = folder / MANIFEST

    def size(self) -> int:
        """The file's size in bytes, 0 where there is none."""
        return self.path.stat().st_size if self.path.exists() else 0

    def mend(self, size: int) -> set[str] | None:
        """Cut off half a line at the end; return the keys that stand behind the known size.

        None: the file is shorter than that, and is to be made anew.

        Raises:
            SaveError: The operating system refused.
        """
        try:
            if self.size() < size:
                return None
            if self.size() == 0:
                return set()
            keys: set[str] = set()
            with self.path.open("r+b") as file:
                file.seek(size)
                whole = size
                for line in file:
                    if not line.endswith(b"\n"):
                        file.truncate(whole)
                        break
                    whole += len(line)
                    key = _key_of(line)
                    if key is not None:
                        keys.add(key)
        except OSError as exc:
            raise _save_error(self.path, exc, None) from exc
        return keys

    def append(self, lines: Iterable[bytes]) -> int:
        """Append lines, flushed to the disk; return the size that the file then has.

        Raises:
            SaveError: The operating system refused.
        """
        try:
            with open(self.path, "ab", opener=open_private) as file:
                file.write(b"".join(lines))
                file.flush()
                flush_to_disk(file.fileno())
                return file.tell()
        except OSError as exc:
            raise _save_error(self.path, exc, None) from exc

    def begin_anew(self) -> None:
        """Begin with an empty file; the old one stays beside it as `.old`.

        Raises:
            SaveError: The operating system refused.
        """
        try:
            if self.path.exists():
                self.path.replace(self.path.with_name(self.path.name + ".old"))
            self.path.touch(mode=0o600)
        except OSError as exc:
            raise _save_error(self.path, exc, None) from exc


class ListedImages:
    """The images that a manifest listed before a ledger began: evidence of what was paid, if that ledger was lost.

    Only the place of each line is held in memory.

    Attributes:
        size: How many bytes of the manifest it covers.
    """

    def __init__(self, folder: Path, size: int, places: Mapping[str, int]) -> None:
        self.size: int = size
        self._folder = folder
        self._places = places

    @classmethod
    def read(cls, folder: Path, size: int | None = None) -> ListedImages:
        """Read the keys of a folder's manifest; none if there is no manifest.

        Args:
            size: Read only so many bytes. None reads all.
        Raises:
            SaveError: The manifest cannot be read.
        """
        path = folder / MANIFEST
        places: dict[str, int] = {}
        at = 0
        try:
            with path.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n") or (size is not None and at + len(line) > size):
                        break
                    key = _key_of(line)
                    if key is not None:
                        places[key] = at
                    at += len(line)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as exc:
            raise _save_error(path, exc, None) from exc
        return cls(folder, at, places)

    def __len__(self) -> int:
        return len(self._places)

    def find(self, keys: Iterable[str]) -> dict[str, Mapping[str, JSON]]:
        """Return the lines of those keys whose image is still in the folder, whole.

        Raises:
            SaveError: The manifest cannot be read.
        """
        wanted = [key for key in keys if key in self._places]
        if not wanted:
            return {}
        path = self._folder / MANIFEST
        found: dict[str, Mapping[str, JSON]] = {}
        try:
            with path.open("rb") as file:
                for key in wanted:
                    file.seek(self._places[key])
                    line = file.readline()
                    if _key_of(line) == key and self._has_image(row := json.loads(line)):
                        found[key] = row
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as exc:
            raise _save_error(path, exc, None) from exc
        return found

    def _has_image(self, row: Mapping[str, JSON]) -> bool:
        name, size = row.get("file"), row.get("bytes")
        if not isinstance(name, str) or not isinstance(size, int):
            return False
        try:
            image = (self._folder / name).resolve()
            return (
                image.is_relative_to(self._folder.resolve())
                and image.is_file()
                and image.stat().st_size == size
            )
        except (OSError, ValueError):
            return False


def _key_of(line: bytes) -> str | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    key = row.get("key") if isinstance(row, dict) else None
    return key if isinstance(key, str) else None


def _save_error(path: Path, exc: Exception, task_id: str | None) -> SaveError:
    reason = getattr(exc, "strerror", None) or type(exc).__name__
    error = SaveError(
        f"cannot write {str(path)!r}: {reason}; fix that and run the same command again: nothing is paid twice",
        task_id=task_id,
        errno=getattr(exc, "errno", None),
        filename=str(path),
    )
    error.__cause__ = exc
    return error
