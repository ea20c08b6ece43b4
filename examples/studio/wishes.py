"""What a page may ask for, the request that is made of it, and what is said when that fails."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from bfl_async import (
    AmbiguousSubmitError,
    AuthenticationError,
    BFLError,
    DownloadError,
    ImageRequest,
    InsufficientCreditsError,
    InvalidRequestError,
    SaveError,
    TaskFailedError,
    TaskModeratedError,
    TaskTimeoutError,
    request,
    size_for,
)
from examples.studio.models import Entry, Slot

# Returns the file, or the draft, that an id names, or None; by id and kind of slot.
FindMedia: TypeAlias = Callable[[str, str], Path | str | None]

Text = Annotated[str, Field(max_length=300)]
Word = Annotated[str, Field(max_length=64)]


class Wish(BaseModel):
    """What a page asks for. `model` is the id of an entry; `images` has ids of inputs and pictures, by slot."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: Text
    prompt: Annotated[str, Field(max_length=4_000)] = ""
    # Pages send it as a text: their numbers have 53 bits.
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    ratio: Word | None = None
    megapixels: Annotated[float, Field(gt=0)] | None = None
    width: Annotated[int, Field(gt=0)] | None = None
    height: Annotated[int, Field(gt=0)] | None = None
    settings: Annotated[dict[Word, bool | int | float | Text], Field(max_length=40)] = {}
    images: Annotated[dict[Word, Annotated[list[Word], Field(max_length=10)]], Field(max_length=12)] = {}


class WishError(Exception):
    """A wish that cannot be drawn, in words for its page."""


def request_of(wish: Wish, models: Mapping[str, Entry], find: FindMedia) -> ImageRequest:
    """Return the request of a wish.

    Raises:
        WishError: It lacks something, or has what the model does not take.
        InvalidRequestError: A field is out of its bounds.
    """
    entry = models.get(wish.model)
    if entry is None:
        raise WishError("There is no such model.")
    # Separators, controls and invisible marks alone say nothing, and would be paid for.
    is_blank = all(unicodedata.category(char)[0] in "ZC" for char in wish.prompt)
    has_images = any(wish.images.values())
    if is_blank and (entry.prompt == "required" or (entry.prompt == "optional" and not has_images)):
        raise WishError("Describe what you want to see.")
    _refuse_unknown(entry, wish)
    fields: dict[str, object] = {"mode": entry.mode} if entry.mode else {}
    fields |= wish.settings
    if not is_blank:
        fields["prompt"] = wish.prompt
    if wish.seed is not None:
        fields["seed"] = wish.seed
    fields |= _size(entry, wish)
    for slot in entry.slots:
        fields |= _filled(slot, wish.images.get(slot.fields[0], []), find)
    return request(entry.model, **fields)


def _refuse_unknown(entry: Entry, wish: Wish) -> None:
    """Refuse what the model does not take: left out, something else would be made and paid for."""
    has_shape, has_sides = bool(entry.ratios), wish.width is not None or wish.height is not None
    refused = {
        "a prompt": bool(wish.prompt.strip()) and not entry.prompt,
        "a seed": wish.seed is not None and not entry.has_seed,
        "a ratio": wish.ratio is not None and not has_shape,
        "megapixels": wish.megapixels is not None and not entry.megapixels,
        "a width and a height": has_sides and not entry.has_sides,
        "a ratio together with a width or a height": has_sides and bool(wish.ratio or wish.megapixels),
    }
    slots = {slot.fields[0] for slot in entry.slots}
    settings = {setting.name for setting in entry.settings}
    for name in [*(wish.settings.keys() - settings), *(wish.images.keys() - slots)]:
        refused[name] = True
    for name, is_refused in refused.items():
        if is_refused:
            raise WishError(f"{entry.id} does not take {name}.")


def _filled(slot: Slot, ids: list[str], find: FindMedia) -> dict[str, object]:
    """Return the fields of a slot."""
    name = slot.fields[0]
    words = name.replace("_", " ")
    if slot.required and not ids:
        raise WishError(f"Add {'an image' if slot.kind == 'image' else 'a video'}: {words}.")
    if len(ids) > slot.most:
        raise WishError(f"This model takes at most {slot.most} here: {words}.")
    found = [find(each, slot.kind) for each in ids]
    if None in found:
        raise WishError("A file that you added is no longer here. Add it again.")
    if slot.is_list:
        return {name: found} if found else {}
    return dict(zip(slot.fields, found, strict=False))


def _size(entry: Entry, wish: Wish) -> dict[str, object]:
    """Return the fields of a wish's size."""
    sides = {"width": wish.width, "height": wish.height}
    if any(sides.values()):
        return {name: side for name, side in sides.items() if side is not None}
    if entry.has_ratio:
        return {} if wish.ratio is None else {"aspect_ratio": wish.ratio}
    if wish.ratio is None and wish.megapixels is None:
        return {}
    width, height = size_for(entry.model, wish.ratio or "1:1", wish.megapixels)
    return {"width": width, "height": height}


def problem_of(error: BFLError) -> str:
    """Return what went wrong, and what to do, for the user of a page."""
    match error:
        case TaskModeratedError():
            why = f" ({', '.join(error.reasons)})" if error.reasons else ""
            return f"Moderation refused this{why}. Change the prompt or the images and try again."
        case InvalidRequestError():
            return str(error)
        case InsufficientCreditsError():
            return "The account has no credits left. Nothing was paid."
        case AuthenticationError():
            return "BFL refused the API key of this server. Nothing was paid."
        case AmbiguousSubmitError():
            return "The connection broke while this was sent. It may have been made and paid for."
        case TaskFailedError():
            return "BFL could not make this. Try again."
        case TaskTimeoutError():
            return "This took too long, and is no longer followed. It may have been paid for."
        case DownloadError():
            return "This was made and paid for, but could not be downloaded."
        case SaveError():
            return "This was made and paid for, but could not be written to the disk of this server."
    return "This could not be made. Try again."
