"""Input files of `batch` and `enqueue`, and the options that say how their rows become requests."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Literal

import click

from bfl_async.cli.fields import GivenFields, Option, field_options, model_option, with_options
from bfl_async.cli.given_rows import GivenRows


def _columns(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, sign, column in pairs:
        if not (name and sign and column):
            raise click.BadParameter("write FIELD=COLUMN, such as prompt=Caption")
    return {name: column for name, _, column in pairs}


def row_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add inputs, and the options that say how their rows become requests; the command gets all as `rows`."""

    @wraps(command)
    def with_rows(
        *,
        files: tuple[str, ...],
        model: str,
        kind: Literal["text", "json", "jsonl", "csv", "tsv"] | None,
        columns: dict[str, str],
        template: str | None,
        paragraphs: bool,
        repeat: int,
        ignore: tuple[str, ...],
        allow_outside: bool,
        allow_unknown_models: bool,
        no_prompt: bool,
        fields: GivenFields,
        **others: object,
    ) -> int:
        from bfl_async.cli.inputs import inputs_of

        given = GivenRows(
            files=files,
            kind=kind,
            model=model,
            fields=fields,
            columns=columns,
            template=template,
            paragraphs=paragraphs,
            repeat=repeat,
            ignore=ignore,
            allow_outside=allow_outside,
            allow_unknown_models=allow_unknown_models,
            no_prompt=no_prompt,
        )
        return command(rows=inputs_of(given), **others)

    return with_options(field_options(with_rows), _FILE_ARGUMENT, model_option, *_ROW_OPTIONS)


_FILE_ARGUMENT: Option = click.argument(
    "files", metavar="FILE|FOLDER|-...", type=click.Path(allow_dash=True), nargs=-1, required=True
)
_ROW_OPTIONS: tuple[Option, ...] = (
    click.option("--format", "kind", type=click.Choice(["text", "json", "jsonl", "csv", "tsv"]),
                 help="The format of the input.  [default: by its suffix; text if it has none]"),
    click.option("--paragraphs", is_flag=True,
                 help="Prompts of text are separated by blank lines, and may have several lines."),
    click.option("--column", "columns", multiple=True, callback=_columns, metavar="FIELD=COLUMN",
                 help="Which column of CSV or TSV is which field; columns named like a field need no option."),
    click.option("--ignore-column", "ignore", multiple=True, metavar="COLUMN",
                 help="A column that is not used, although its name is, or is almost, that of a field."),
    click.option("--prompt", "template", help="A prompt made of columns: '{animal} in {style}'."),
    click.option("--no-prompt", is_flag=True, help="Send rows without a prompt as well, where the model allows it."),
    click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
                 help="Images per row; with a seed, each image has the next one."),
    click.option("--allow-outside", is_flag=True, help="Let rows name images outside the folder of their file."),
    click.option("--allow-unknown-models", is_flag=True,
                 help="Let rows name models that this release does not know; their fields are sent unchecked."),
)  # fmt: skip
