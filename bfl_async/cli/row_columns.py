"""Which columns of a table's rows are used, and what is wrong with its header."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence

from bfl_async.cli.files import InputError
from bfl_async.cli.formats import Kind
from bfl_async.cli.row_names import (
    OPERATORS,
    RowError,
    argument,
    field_of,
    ignoring,
    is_operators,
    known_fields,
    listed,
    near,
    quoted,
)
from bfl_async.cli.table import Delimiter, RecordError, TableReader

_MAX_COLUMNS = 1_000


class Template:
    """A prompt with columns in braces."""

    def __init__(self, text: str) -> None:
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as exc:
            raise InputError(f"--prompt {text!r} cannot be read: {exc}") from exc
        if any(spec or conversion or name == "" for _, name, spec, conversion in parts):
            raise InputError(
                f"--prompt {text!r} may hold columns in braces, such as {{animal}}, and nothing else"
            )
        self._parts = [(literal, name) for literal, name, _, _ in parts]
        self.names: set[str] = {name for _, name in self._parts if name is not None}
        if not self.names:
            raise InputError(
                f"--prompt {text!r} holds no column: it is a template, such as '{{animal}} in {{style}}'"
            )

    def fill(self, row: Mapping[str, object], where: str) -> str:
        missing = sorted(self.names - row.keys())
        if missing:
            raise RowError(f"{where}: --prompt wants {listed(missing)}, and it has {listed(row)}")
        return "".join(
            literal + (str(row[name]) if name is not None else "") for literal, name in self._parts
        )


class Columns:
    """What a command line says of columns, held against the header of a table.

    Args:
        by_field: Names of columns by field; other columns are known by the name of a field that they have.
        prompt: A template over the columns; None: the column "prompt".
        ignore: Columns that are not used on purpose.
        on_ignored: Called once with the names of the columns that no request is made of.
    Raises:
        InputError: `by_field` or `prompt` cannot be used.
    """

    def __init__(
        self,
        by_field: Mapping[str, str],
        prompt: str | None,
        ignore: Sequence[str],
        on_ignored: Callable[[Sequence[str]], None] | None,
    ) -> None:
        for field in filter(is_operators, by_field):
            raise InputError(f"--column cannot choose a column for {quoted(field)}: {OPERATORS}")
        self.by_field = by_field
        self.prompt: Template | None = None if prompt is None else Template(prompt)
        self.ignore: frozenset[str] = frozenset(ignore)
        # Columns of the header that no request is made of, in order. Written when the header is read.
        self.ignored: list[str] = []
        self._on_ignored = on_ignored

    def _chosen(self) -> set[str]:
        return {*self.by_field.values(), *(self.prompt.names if self.prompt is not None else ())}

    def delimiter_of(self, header: str) -> Delimiter:
        """Return what separates the columns of CSV: a semicolon only where it makes them known ones."""
        wanted = self._chosen()
        delimiters: tuple[Delimiter, ...] = (",", ";")
        for delimiter in delimiters:
            try:
                record = TableReader(delimiter).take(header, 1)
            except RecordError:
                continue
            names = [] if record is None else [name.strip() for name in record.cells[:_MAX_COLUMNS]]
            if any(name in wanted or field_of(name) in known_fields() for name in names):
                return delimiter
        return ","

    def check(self, header: Sequence[str], kind: Kind, where: str) -> None:
        """Check a header, and tell once of the columns that are not used.

        Raises:
            RowError: No rows can be read with it.
        """
        if len(header) > _MAX_COLUMNS:
            raise RowError(f"{where}: it has more than {_MAX_COLUMNS} columns")
        if len(set(header)) < len(header):
            raise RowError(f"{where}: two columns have the same name")
        chosen = self._chosen()
        missing = sorted((chosen | self.ignore) - set(header))
        if missing:
            raise RowError(f"{where}: no column {listed(missing)}; it has {listed(header)}")
        ignored = self._ignored_columns(header, chosen, where)
        fields = known_fields() - {"id", "model"}
        if not chosen and not any(field_of(name) in fields for name in header if name not in self.ignore):
            raise RowError(f"{where}: {_no_field_in(header, kind)}")
        if ignored and not self.ignored:
            self.ignored = ignored
            if self._on_ignored is not None:
                self._on_ignored(ignored)

    def _ignored_columns(self, header: Sequence[str], chosen: set[str], where: str) -> list[str]:
        """Return the columns that no request is made of.

        Raises:
            RowError: One has almost the name of a field, or two are the same field.
        """
        set_otherwise = {*self.by_field, *(["prompt"] if self.prompt is not None else [])}
        ignored: list[str] = []
        columns: dict[str, str] = {}
        for name in header:
            if name in chosen:
                continue
            field = field_of(name)
            if name in self.ignore or field in set_otherwise:
                ignored.append(name)
            elif is_operators(name):
                raise RowError(
                    f"{where}: the column {quoted(name)} is not a field of rows: {OPERATORS}{ignoring(name)}"
                )
            elif field not in known_fields():
                if meant := near(field):
                    raise RowError(
                        f"{where}: the column {quoted(name)} is not a field: did you mean {meant!r}? Rename it or add "
                        f"--column {argument(f'{meant}={name}')}; --ignore-column {argument(name)} leaves it out"
                    )
                # A column without a name, as a comma at the end of each line makes it, is not worth a word.
                ignored += [name] if name else []
            elif field in columns:
                raise RowError(
                    f"{where}: the columns {quoted(columns[field])} and {quoted(name)} are both the field {field!r}; "
                    f"add --ignore-column for one of them"
                )
            else:
                columns[field] = name
        return ignored


def _no_field_in(header: Sequence[str], kind: Kind) -> str:
    """Return what is wrong with a header of which no column is a field."""
    only = header[0]
    if len(header) == 1:
        for mark, name, advice in (
            (";", "semicolons", "say which is the prompt"),
            ("\t", "tabs", "add --format tsv"),
            (",", "commas", "add --format csv"),
            ("|", "bars", "separate them by commas"),
        ):
            if mark in only:
                first = only.partition(mark)[0].strip() or "COLUMN"
                option = (
                    f" with --column {argument(f'prompt={first}')}" if mark == ";" and kind == "csv" else ""
                )
                return f"it is one column, {quoted(only)}: if {name} separate its columns, {advice}{option}"
    return (
        f"none of the columns {listed(header)} is a field: say which is the prompt with "
        f"--column {argument(f'prompt={only}')}; if this line is a prompt itself, put a line 'prompt' above it"
    )
