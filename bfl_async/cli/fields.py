"""A request from what a command line says: options for common fields, `--set` for all.

A field for an image, mask or video takes a file's name here, or an http(s) or data URL. The library itself never
takes a `str` for a path; who types a command names files of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TypeAlias, TypeVar

import click
from click.shell_completion import CompletionItem

from bfl_async.cli.field_values import ALLOW_UNKNOWN, fields_by_name, value_of_text
from bfl_async.cli.stored_catalog import current_catalog

_Command = TypeVar("_Command", bound=Callable[..., object])
Option: TypeAlias = Callable[[Callable[..., int]], Callable[..., int]]

DEFAULT_MODEL = "flux-pro-1.1"


class _ModelName(click.ParamType[str]):
    """Any name, for the API gets new models; completed from the catalog."""

    name = "model"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        param: click.Parameter,  # noqa: ARG002 - click's signature
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        known = current_catalog(is_quiet=True)
        return [CompletionItem(name) for name in known if name.startswith(incomplete)]


MODEL_NAME = _ModelName()


def model_option(command: _Command) -> _Command:
    """Add the option for the model."""
    return click.option(
        "-m", "--model", default=DEFAULT_MODEL, show_default=True, type=MODEL_NAME, metavar="MODEL"
    )(command)


def field_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that are fields of a request; the command gets all of them as `fields`."""

    @wraps(command)
    def with_fields(
        *,
        set_fields: Sequence[str],
        allow_unknown_fields: bool,
        aspect_ratio: str | None,
        megapixels: float | None,
        **arguments: object,
    ) -> int:
        options = {name: arguments.pop(name) for name in _FIELD_OPTIONS}
        fields = GivenFields(set_fields, options, aspect_ratio, megapixels, allow_unknown_fields)
        return command(fields=fields, **arguments)

    return with_options(with_fields, *_FIELD_OPTIONS.values(), *_SIZE_OPTIONS, *_SET_OPTIONS)


def with_options(command: Callable[..., int], *options: Option) -> Callable[..., int]:
    """Add options; the first stands first in the help."""
    for option in reversed(options):  # the last that is added stands first in the help
        command = option(command)
    return command


_FIELD_OPTIONS: dict[str, Option] = {
    "width": click.option("--width", type=int, help="px"),
    "height": click.option("--height", type=int, help="px"),
    "seed": click.option("--seed", type=int),
    "steps": click.option("--steps", type=int),
    "guidance": click.option("--guidance", type=float),
    "safety_tolerance": click.option("--safety-tolerance", type=int, help="0 is the strictest"),
    "output_format": click.option("--output-format", type=click.Choice(["jpeg", "png", "webp"])),
}
_SIZE_OPTIONS: tuple[Option, ...] = (
    click.option("--aspect-ratio", metavar="W:H",
                 help="Such as 16:9; a model without ratios is sent the width and height for it."),
    click.option("--megapixels", type=click.FloatRange(min=0, min_open=True), metavar="MP",
                 help="At most so many, for models that take a width and a height."),
)  # fmt: skip
_SET_OPTIONS: tuple[Option, ...] = (
    click.option("--set", "set_fields", multiple=True, metavar="FIELD=VALUE",
                 help="Any field of the model, see `models NAME`; a file's name where it takes an image or a video."),
    click.option(ALLOW_UNKNOWN, is_flag=True,
                 help="Send fields and values that this release does not know or would refuse as they are."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GivenFields:
    """What the options say of a request's fields.

    Attributes:
        set_fields: FIELD=VALUE, of any field.
        options: Fields that have an option of their own; None: not given.
        aspect_ratio: Such as `16:9`, in the model's own form; see `size_fields`.
        megapixels: At most so many.
        allow_unknown: Send what this release does not know, or would refuse, as it is.
    """

    set_fields: Sequence[str]
    options: Mapping[str, object]
    aspect_ratio: str | None
    megapixels: float | None
    allow_unknown: bool

    def of(self, model: str) -> dict[str, object]:
        """Return the fields that the options set, for a model; what is left out is not sent. Without those of a size.

        Raises:
            click.UsageError: `--set` is no FIELD=VALUE, or a field is given twice.
        """
        known = fields_by_name(model)
        fields = {name: value for name, value in self.options.items() if value is not None}
        for item in self.set_fields:
            name, equals, text = item.partition("=")
            if not equals or not name:
                raise click.UsageError(f"--set takes FIELD=VALUE, not {item!r}")
            value = value_of_text(name, text, known.get(name))
            if name in known and "Sequence[" in known[name].type and not isinstance(value, list):
                earlier = fields.setdefault(name, [])
                assert isinstance(earlier, list)
                earlier.append(value)
            elif name in fields:
                raise click.UsageError(f"the field {name!r} is given twice")
            else:
                fields[name] = value
        if twice := _SIZES & fields.keys() if self.has_size else None:
            raise click.UsageError(
                f"the size is given twice: by {', '.join(sorted(twice))}, and by --aspect-ratio or --megapixels"
            )
        return fields

    @property
    def has_size(self) -> bool:
        """True if a ratio or megapixels were given."""
        return self.aspect_ratio is not None or self.megapixels is not None

    def size(self, model: str) -> Mapping[str, object]:
        """Return the fields of a size, for a model.

        Raises:
            InvalidRequestError: The model cannot be asked for it.
        """
        return current_catalog().size_fields(model, self.aspect_ratio, self.megapixels)


_SIZES = frozenset({"width", "height", "aspect_ratio"})


_UNKNOWN_MODELS = "bfl_async.allow_unknown_models"


def _keep_unknown_models(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.meta[_UNKNOWN_MODELS] = value


def allows_unknown_models() -> bool:
    """Return whether the command that runs was told to send names that this release does not know."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_UNKNOWN_MODELS))


def unknown_models_option(command: _Command) -> _Command:
    """Add the option for models that are newer than this release."""
    return click.option(
        "--allow-unknown-models", is_flag=True, expose_value=False, callback=_keep_unknown_models,
        help="Send the request although this release does not know the model; its fields are sent unchecked.",
    )(command)  # fmt: skip


def no_prompt_option(command: _Command) -> _Command:
    """Add the option for a request without a prompt, which costs as much as one with a prompt."""
    return click.option(
        "--no-prompt", is_flag=True, help="Send the request without a prompt, where the model allows it."
    )(command)
