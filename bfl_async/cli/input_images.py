"""`--image`: which of a model's fields takes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import click
from click.core import ParameterSource

from bfl_async.cli.field_values import fields_by_name, is_media, value_of_text
from bfl_async.cli.output import say
from bfl_async.runtime.text import printable

_Command = TypeVar("_Command", bound=Callable[..., object])

# The field for the main image, by what a model calls it. Further images are `input_image_2` and so on.
_MAIN = ("input_image", "images", "image", "image_prompt", "control_image")

# How a model is chosen that edits images.
EDITING = "-m flux-2-pro"


def image_option(command: _Command) -> _Command:
    """Add the option; the command gets the names as `images`."""
    return click.option(
        "--image", "images", multiple=True, metavar="FILE|URL",
        help="An image to edit or to start from. Repeatable, for models that take several.",
    )(command)  # fmt: skip


def image_fields(model: str, images: Sequence[str]) -> dict[str, object]:
    """Return the fields that a model takes these images in.

    Raises:
        click.UsageError: The model takes none, or not so many.
    """
    if not images:
        return {}
    known = fields_by_name(model)
    shown = printable(model)
    if not known:
        raise click.UsageError(
            f"this release does not know which field of {shown} takes an image: use --set FIELD=FILE"
        )
    main = _main_field(model)
    if main is None:
        others = [name for name, field in known.items() if is_media(field)]
        if others:
            raise click.UsageError(
                f"{shown} takes no --image: use " + " or ".join(f"--set {name}=FILE" for name in others)
            )
        raise click.UsageError(f"{shown} takes no images: choose another model, such as {EDITING}")
    if "Sequence" in known[main].type:
        return {main: [value_of_text(main, text, known[main]) for text in images]}
    names = [main, *(name for name in known if re.fullmatch(rf"{main}_\d+", name))]
    if len(images) > len(names):
        most = "one image" if len(names) == 1 else f"at most {len(names)} images"
        raise click.UsageError(f"{shown} takes {most}, and --image is given {len(images)} times")
    return {name: value_of_text(name, text, known[name]) for name, text in zip(names, images, strict=False)}


def say_what_images_are_for(model: str, images: Sequence[str]) -> None:
    """Say what a model that nobody chose does with images: who gives one mostly wants it edited."""
    context = click.get_current_context(silent=True)
    is_chosen = context is None or context.get_parameter_source("model") is not ParameterSource.DEFAULT
    if not images or is_chosen:
        return
    say(
        f"{printable(model)}, the default, takes an image as {_main_field(model)}: a hint for a new image, and not an "
        f"image to edit; {EDITING} edits it"
    )


def _main_field(model: str) -> str | None:
    known = fields_by_name(model)
    return next((name for name in _MAIN if name in known), None)


def with_images(model: str, fields: Mapping[str, object], images: Sequence[str]) -> dict[str, object]:
    """Return the fields with those of the images.

    Raises:
        click.UsageError: See `image_fields`; or a field is given by `--set` as well.
    """
    added = image_fields(model, images)
    if twice := added.keys() & fields.keys():
        raise click.UsageError(f"the image is given twice: by --image, and by --set {min(twice)}")
    return {**fields, **added}
