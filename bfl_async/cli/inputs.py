"""The inputs of one command: files, folders of files, and standard input, one after the other."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import click

from bfl_async.batch.requests import Given
from bfl_async.cli.files import InputError, folder_of_input, is_pipe
from bfl_async.cli.formats import format_of_suffix, kind_of
from bfl_async.cli.given_rows import GivenRows
from bfl_async.cli.output import say
from bfl_async.cli.row_names import IdCheck, RowsError, listed, quoted
from bfl_async.cli.rows import Rows

_BAD_ROWS_SHOWN = 20
# Files that the commands themselves write next to images.
_OWN = frozenset({"manifest.jsonl"})
_MEDIA = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".mp4")


class Inputs:
    """Rows of several inputs, in order.

    Args:
        parts: The inputs, which share `ids`.
        ids: Finds ids that rows of all inputs repeat.
        on_repeated_ids: Called once, when all was read, with these ids.
    """

    def __init__(
        self, parts: Sequence[Rows], ids: IdCheck, on_repeated_ids: Callable[[Sequence[str]], None]
    ) -> None:
        self._parts = parts
        self._ids = ids
        self._on_repeated_ids: Callable[[Sequence[str]], None] | None = on_repeated_ids

    @property
    def is_pipe(self) -> bool:
        """True if an input can be read only once."""
        return any(is_pipe(part.name) for part in self._parts)

    @property
    def ignored(self) -> Sequence[str]:
        """See `Rows.ignored`."""
        return list(dict.fromkeys(name for part in self._parts for name in part.ignored))

    @property
    def repeated_ids(self) -> Sequence[str]:
        """See `Rows.repeated_ids`."""
        return self._ids.repeated

    @property
    def warnings(self) -> Sequence[str]:
        """See `Rows.warnings`."""
        return [warning for part in self._parts for warning in part.warnings]

    @property
    def hints(self) -> Sequence[str]:
        """See `Rows.hints`."""
        return [hint for part in self._parts for hint in part.hints]

    def read(self) -> Iterator[Given] | AsyncIterator[Given]:
        """Read the requests of all inputs; see `Rows.read`."""
        self._ids.clear()
        return self._read_pipes() if self.is_pipe else self._read_files()

    def _read_files(self) -> Iterator[Given]:
        for part in self._parts:
            found = part.read()
            assert isinstance(found, Iterator)
            yield from found
        self._report_ids()

    async def _read_pipes(self) -> AsyncIterator[Given]:
        for part in self._parts:
            found = part.read()
            if isinstance(found, Iterator):
                for one in found:
                    yield one
            else:
                async for one in found:
                    yield one
        self._report_ids()

    def check(self) -> Iterator[Given]:
        """Read the requests of all inputs to their ends, whatever is wrong with a row; see `Rows.check`.

        Raises:
            InputError: At the end: what was wrong, in all of them.
        """
        self._ids.clear()
        errors: list[InputError] = []
        for part in self._parts:
            try:
                yield from part.check()
            except InputError as exc:
                errors.append(exc)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            problems: list[str] = []
            more = 0
            for error in errors:
                problems += error.problems if isinstance(error, RowsError) else [error.message]
                more += error.more if isinstance(error, RowsError) else 0
            raise RowsError(
                problems[:_BAD_ROWS_SHOWN], more + len(problems) - len(problems[:_BAD_ROWS_SHOWN])
            )
        self._report_ids()

    def _report_ids(self) -> None:
        if self._ids.repeated and self._on_repeated_ids is not None:
            self._on_repeated_ids(self._ids.repeated)
            # A file is checked before it is read.
            self._on_repeated_ids = None


def inputs_of(given: GivenRows) -> Inputs:
    """Return the inputs that a command line names.

    Raises:
        InputError: One cannot be used, or is given twice.
        click.UsageError: The options do not fit them, or a field is given twice.
    """
    files = files_of(given.files, say)
    kinds = [given.kind if given.kind is not None else kind_of(file) for file in files]
    if given.paragraphs and "text" not in kinds:
        raise click.UsageError("--paragraphs is for text, and no input is text")
    fields, ids = given.fields.of(given.model), IdCheck()
    parts = [
        Rows(
            file,
            kind,
            model=given.model,
            fields=fields,
            folder=folder_of_input(file),
            allow_outside=given.allow_outside,
            columns=given.columns,
            prompt=given.template,
            repeat=given.repeat,
            ignore=given.ignore,
            on_ignored=partial(_say_ignored, file),
            ids=ids,
            paragraphs=given.paragraphs,
            is_guessed=given.kind is None,
            allow_unknown_models=given.allow_unknown_models,
            allow_unknown_fields=given.fields.allow_unknown,
            no_prompt=given.no_prompt,
            size=given.fields.size if given.fields.has_size else None,
        )
        for file, kind in zip(files, kinds, strict=True)
    ]
    return Inputs(parts, ids, _say_repeated)


def _say_ignored(file: str, names: Sequence[str]) -> None:
    say(f"columns of {quoted(file)} that are not used: {listed(names)}")


def _say_repeated(ids: Sequence[str]) -> None:
    say(f"ids that several rows have: {listed(ids)}; each of these rows is an image of its own")


def files_of(names: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """Return the files that are meant by names of files and folders.

    Args:
        say: Called with which files of a folder are read.
    Raises:
        InputError: A folder has no file of rows, or a file is given twice.
    """
    files: list[str] = []
    for name in names:
        files += _files_in(name, say) if name != "-" and Path(name).is_dir() else [name]
    seen: set[str] = set()
    for file in files:
        # The same rows again would be paid as further images.
        known_as = file if file == "-" else os.path.realpath(file)
        if known_as in seen:
            what = "standard input" if file == "-" else quoted(file)
            raise InputError(f"{what} is given twice: --repeat makes several images for each row")
        seen.add(known_as)
    return files


def _files_in(folder: str, say: Callable[[str], None]) -> list[str]:
    try:
        entries = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    except OSError as exc:
        raise InputError(f"cannot read the folder {quoted(folder)}: {exc.strerror}") from exc
    read = [path for path in entries if path.is_file() and _is_of_rows(path, entries)]
    if not read:
        raise InputError(
            f"the folder {quoted(folder)} has no file with prompts: names of such files end in .txt, .jsonl, .json, "
            ".csv or .tsv"
        )
    others = [path.name + "/" * path.is_dir() for path in entries if path not in read]
    unread = f"; not read: {listed(others)}" if others else ""
    say(f"of the folder {quoted(folder)}: {listed(path.name for path in read)}{unread}")
    return [str(path) for path in read]


def _is_of_rows(path: Path, entries: Sequence[Path]) -> bool:
    """Return whether a file of a folder has rows: by its suffix, and not if it describes an image or a run."""
    kind = format_of_suffix(path.suffix) if path.suffix else None
    if kind is None or path.name.casefold() in _OWN:
        return False
    described = {path.with_suffix(suffix) for suffix in _MEDIA}
    return kind != "json" or described.isdisjoint(entries)
