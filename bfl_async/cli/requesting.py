"""The request of a command for one image, and the format that its file's name asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from bfl_async.batch.requests import given_to
from bfl_async.cli.field_values import fields_by_name, make
from bfl_async.cli.fields import GivenFields, allows_unknown_models
from bfl_async.cli.input_images import with_images
from bfl_async.cli.output import say
from bfl_async.cli.size_notes import size_note
from bfl_async.cli.stored_catalog import current_catalog
from bfl_async.cli.target import FORMAT_OF, SUFFIXES, Target
from bfl_async.models import ImageRequest, check_model_name
from bfl_async.models._base import field_of
from bfl_async.models.main_input import is_blank, missing_input
from bfl_async.runtime.near import suggestion
from bfl_async.runtime.text import printable

_VIDEO_POOL = "video"


def check_model(model: str) -> None:
    """Refuse a model's name that neither this release nor the stored description knows.

    Raises:
        InvalidRequestError: It cannot be the name of a model.
        click.UsageError: It is not known.
    """
    known = current_catalog()
    if model in known:
        return
    near = suggestion(model, known)
    if not near:
        check_model_name(model)
    if allows_unknown_models():
        return
    raise click.UsageError(
        f"no model '{printable(model)}' is known{near or '.'} `bfl-async models` lists the models; "
        "--allow-unknown-models sends the name as it is"
    )


def make_request(
    model: str,
    prompt: str | None,
    given: GivenFields,
    *,
    target: Target | None = None,
    images: Sequence[str] = (),
    no_prompt: bool = False,
) -> ImageRequest:
    """Return the request that the options describe.

    Args:
        target: Where the result will be written; the suffix of its name asks for the format. None: nowhere.
        images: What `--image` names.
        no_prompt: The request is meant to have no prompt.
    Raises:
        InvalidRequestError: A field does not fit.
        click.UsageError: The prompt is missing or blank, and was not left out on purpose; or the model does not make
            the format that the target's name says. See also `GivenFields.of`.
    """
    fields = with_images(model, given.of(model), images)
    if no_prompt and (prompt is not None or "prompt" in fields):
        raise click.UsageError("--no-prompt is given together with a prompt: leave one of them out")
    if prompt is not None and is_blank(prompt):
        raise click.UsageError(_BLANK)
    if given.has_size:
        fields.update(given.size(model))
    if prompt is not None:
        if "prompt" in fields:
            raise click.UsageError("the prompt is given twice: leave one of the two out")
        fields["prompt"] = prompt
    if target is not None and (wanted := format_for(model, target, fields)) is not None:
        fields["output_format"] = wanted
    known = fields_by_name(model).get("prompt")
    if known is not None and known.required and not known.mode and "prompt" not in fields:
        raise click.UsageError(f"{model} needs a prompt, even a short one" if no_prompt else _MISSING)
    if not no_prompt:
        return make_with_input(model, fields, allow_unknown=given.allow_unknown)
    made = make(model, fields, allow_unknown=given.allow_unknown)
    if missing_input(made) is None:
        return made
    # The API takes a missing prompt for an empty one. Sent as such, the client does not refuse it.
    return made.with_extra_body({"prompt": ""})


def make_with_input(model: str, fields: Mapping[str, object], *, allow_unknown: bool) -> ImageRequest:
    """Make a request that says what it wants; see `make`.

    Raises:
        InvalidRequestError: A field does not fit.
        click.UsageError: It lacks its main input.
    """
    made = make(model, fields, allow_unknown=allow_unknown)
    problem = missing_input(made)
    if problem is not None:
        raise click.UsageError(_MISSING if problem == "is missing" else _BLANK)
    return made


def say_size(request: ImageRequest) -> None:
    """Say that the server may change the size that is asked for, if it may."""
    if (note := size_note(request)) is not None:
        say(note)


def variations_of(request: ImageRequest, count: int) -> list[ImageRequest]:
    """Return requests for several images; with a seed, each has the next one."""
    seed = field_of(request, "seed")
    if count == 1 or not isinstance(seed, int):
        return [request] * count
    return [_with_seed(request, seed + number) for number in range(count)]


def _with_seed(request: ImageRequest, seed: int) -> ImageRequest:
    if request.extra_body is not None and "seed" in request.extra_body:
        return request.with_extra_body({"seed": seed})
    fields = {**given_to(request), "seed": seed}
    return make(request.model, fields, allow_unknown=False)


_HOW = "write it in quotes, or - to read it from standard input; --no-prompt makes an image without one"
_MISSING = f"no prompt: {_HOW}"
_BLANK = f"the prompt is empty: {_HOW}"


def format_for(model: str, target: Target, fields: Mapping[str, object]) -> str | None:
    """Return the format that a request must ask for, so that its file is what its name says; None asks for nothing.

    Raises:
        click.UsageError: The model does not make what the suffix says, or the fields ask for something else.
    """
    suffix = target.suffix
    made = formats_of(model)
    if not suffix or made is None:
        return None
    shown = f"'{printable(target.name)}'"
    wanted = FORMAT_OF.get(suffix)
    if wanted not in made:
        names = " or ".join(SUFFIXES[each][0] for each in made)
        raise click.UsageError(
            f"{shown}: {printable(model)} makes no {suffix} files; end the name in {names}"
        )
    asked = fields.get("output_format")
    if asked is None:
        return wanted if len(made) > 1 and wanted != _default_format(model) else None
    if asked != wanted and asked in SUFFIXES:
        raise click.UsageError(
            f"{shown} is the name of a {wanted} file, but the request asks for {asked}: change one of the two"
        )
    return None


def formats_of(model: str) -> tuple[str, ...] | None:
    """Return the formats that a model can make; None if that is not known."""
    field = fields_by_name(model).get("output_format")
    if field is not None:
        return tuple(each for each in SUFFIXES if f'"{each}"' in field.type) or None
    return ("mp4",) if _VIDEO_POOL in current_catalog().info(model).pools else None


def _default_format(model: str) -> str | None:
    field = fields_by_name(model).get("output_format")
    default = None if field is None else field.default
    return default if isinstance(default, str) else None


def format_of(model: str, asked: object) -> str | None:
    """Return the format in which the result of a request will come; None if that is not known.

    Args:
        asked: The request's `output_format`; None if it has none.
    """
    made = formats_of(model)
    if made is None:
        return None
    if len(made) == 1:
        return made[0]
    found = asked if isinstance(asked, str) else _default_format(model)
    return found if found in made else None
