"""Where results go: the folder or the file that `-o` names. All of it is checked before anything is paid."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from bfl_async.cli.files import InputError, check_folder, result_name
from bfl_async.results import suffixes
from bfl_async.runtime.text import printable

if TYPE_CHECKING:
    from bfl_async.results.result import Result

# The suffixes of each format that the API makes; the first is written where a name has none.
SUFFIXES: dict[str, tuple[str, ...]] = {
    format: suffixes.SUFFIXES[format] for format in ("jpeg", "png", "webp", "mp4")
}
FORMAT_OF: dict[str, str] = {suffix: format for format, each in SUFFIXES.items() for suffix in each}
_NAMELESS = "it names neither a file nor a folder"


@dataclass(frozen=True, slots=True)
class Target:
    """Where results are written.

    Attributes:
        folder: The folder of the files.
        name: The file's name as it was given; "" makes one of the model and the task.
        force: An existing file is replaced.
        count: How many results there will be; of several, each gets a number.
    """

    folder: Path = Path()
    name: str = ""
    force: bool = False
    count: int = 1

    @property
    def is_given(self) -> bool:
        """True if an option says where the results go."""
        return bool(self.name) or self.folder != Path()

    @property
    def suffix(self) -> str:
        """The suffix that says the format, in small letters; "" if the name has none."""
        return suffixes.known_suffix(self.name)

    def path_of(self, result: Result, suffix: str, number: int = 1) -> Path:
        """Return the path for a result whose bytes have this suffix. `number` is from 1."""
        if not self.name:
            return self.folder / (result_name(result.model, result.task_id) + suffix)
        return self.folder / self._name(suffix, number)

    def _name(self, suffix: str, number: int) -> str:
        stem = self.name.removesuffix(Path(self.name).suffix) if self.suffix else self.name
        # The file's own suffix as it was typed, unless the bytes are something else.
        fits = suffixes.is_as_named(self.name, suffix)
        end = Path(self.name).suffix if self.suffix and fits else suffix
        return f"{stem}{f'-{number}' if self.count > 1 else ''}{end}"

    def option(self, number: int = 1) -> str:
        """Return the option that names this place in a shell; "" if none was given. `number` is from 1."""
        if not self.is_given:
            return ""
        path = str(self.folder / self._name(self.suffix, number)) if self.name else f"{self.folder}{os.sep}"
        return f" -o {quote(path)}"

    def taken(self, format: str | None) -> Iterator[Path]:
        """Yield the files that exist under the names that results of this format will get; None: of any format."""
        formats = SUFFIXES if format is None else {format: SUFFIXES[format]}
        if not self.name:
            return
        names = dict.fromkeys(
            self._name(each[0], number) for each in formats.values() for number in range(1, self.count + 1)
        )
        yield from (path for name in names if os.path.lexists(path := self.folder / name))

    def check(self, format: str | None = None) -> None:
        """Make sure that results can be written and replace no file.

        Args:
            format: The format of the results. None: not known.
        Raises:
            InputError: They cannot, or would.
        """
        check_folder(self.folder)
        if not self.force and (path := next(self.taken(format), None)) is not None:
            raise InputError(
                f"'{printable(str(path))}' exists already: choose another name with -o, or replace it with --force"
            )


def target_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that say where results go; the command gets them as `target`."""

    @wraps(command)
    def with_target(*, output: Target | None, force: bool, **others: object) -> int:
        return command(target=replace(output or Target(), force=force), **others)

    output = click.option(
        "-o", "--output", callback=_target, metavar="FILE|FOLDER/",
        help="File to write, whose suffix says the format; or a folder: one that exists, or a name that ends in a "
        "slash.",
    )  # fmt: skip
    force = click.option("--force", is_flag=True, help="Replace a file that exists.")
    return output(force(with_target))


def _target(context: click.Context, param: click.Parameter, text: str | None) -> Target | None:
    if text is None:
        return None
    if not text:
        raise click.BadParameter(_NAMELESS, context, param)
    ends = tuple(filter(None, (os.sep, os.altsep)))
    try:
        if text.endswith(ends) or text in (".", "..") or Path(text).is_dir():
            return Target(Path(text))
    except ValueError as exc:  # a NUL in the name
        raise click.BadParameter("it holds a character that no file name has", context, param) from exc
    path = Path(text)
    if not path.name or path.name == "..":
        raise click.BadParameter(_NAMELESS, context, param)
    return Target(path.parent, path.name)
