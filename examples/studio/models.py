"""The models as the page shows them: what each does, what can be set, and which images it takes.

All of it comes from the catalog, so that a model of the next release needs no line here.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import bfl_async
from bfl_async import InvalidRequestError, size_for
from bfl_async.catalog import CATALOG, FieldInfo, ModelInfo, describe

GROUPS = (
    "Make and edit images", "Make images", "Edit images", "Repair and retouch", "Videos", "Finetuned models", "Retired",
)  # fmt: skip

# Not the page's business, or set in a way of their own.
_NOT_SETTINGS = {
    "user", "webhook_url", "webhook_secret", "version", "input_image_blob_path", "prompt", "seed", "aspect_ratio",
    "width", "height",
}  # fmt: skip
_RATIOS = ("21:9", "16:9", "3:2", "4:3", "1:1", "3:4", "2:3", "9:16", "9:21")
_MEGAPIXELS = (0.25, 0.5, 1.0, 2.0, 4.0)
_MOST_KEYFRAMES = 10


@dataclass(frozen=True)
class Setting:
    """One field that can be set. `kind` is a way to enter it; numbers have bounds where the catalog knows them."""

    name: str
    kind: Literal["number", "whole", "choice", "switch", "text"]
    required: bool
    default: object = None
    least: float | None = None
    most: float | None = None
    step: float | None = None
    choices: Sequence[object] = ()


@dataclass(frozen=True)
class Slot:
    """Where images or videos go: one field or several, which are filled one after the other.

    `is_list`: The one field takes several. `kind` "draft": a video that was made as a draft.
    """

    fields: Sequence[str]
    kind: Literal["image", "video", "draft"]
    required: bool
    most: int
    is_list: bool = False


@dataclass(frozen=True)
class Entry:
    """One line of the list of models: a model, or one of its modes.

    `id` is the model's name, with the mode behind a `#`. `ratios` are sent as `aspect_ratio` where `has_ratio` is set,
    and become a width and a height otherwise, of so many `megapixels`.
    """

    id: str
    model: str
    mode: str
    group: str
    about: str
    note: str
    prompt: Literal["", "optional", "required"]
    has_seed: bool
    has_ratio: bool
    has_sides: bool
    needs_sides: bool
    ratios: Sequence[str]
    megapixels: Sequence[float]
    settings: Sequence[Setting]
    slots: Sequence[Slot]


def entries() -> dict[str, Entry]:
    """Return the entries by their ids, group by group."""
    made = [_entry(info, class_name) for info in CATALOG.values() for class_name in info.classes]
    made.sort(key=lambda entry: GROUPS.index(entry.group))
    return {entry.id: entry for entry in made}


def as_json(models: Mapping[str, Entry]) -> str:
    """Return the entries for a data block of the page: no text in it can end the block."""
    text = json.dumps([asdict(entry) for entry in models.values()])
    return text.replace("<", "\\u003c")


def _entry(info: ModelInfo, class_name: str) -> Entry:
    cls = getattr(bfl_async, class_name)
    mode = str(cls.model_fields["mode"].default) if len(info.classes) > 1 else ""
    fields = {field.name: field for field in describe(info.name) if field.mode == mode}
    if mode:
        del fields["mode"]
    slots = tuple(_slots(fields))
    has_sides = {"width", "height"} <= fields.keys()
    has_ratio = "aspect_ratio" in fields
    ratios = _choices(fields["aspect_ratio"].type) if has_ratio else ()
    taken = {name for slot in slots for name in slot.fields} | _NOT_SETTINGS
    prompt = fields.get("prompt")
    return Entry(
        id=f"{info.name}#{mode}" if mode else info.name,
        model=info.name,
        mode=mode,
        group=_group(info, fields, slots),
        about=_about(cls),
        note=_note(info),
        prompt="" if prompt is None else "required" if prompt.required or not slots else "optional",
        has_seed="seed" in fields,
        has_ratio=has_ratio,
        has_sides=has_sides,
        needs_sides=has_sides and fields["width"].required,
        ratios=[str(ratio) for ratio in ratios] or (_RATIOS if has_ratio or has_sides else ()),
        megapixels=list(_sizes(info.name)) if has_sides and not has_ratio else (),
        settings=[_setting(field) for name, field in fields.items() if name not in taken],
        slots=slots,
    )


def _group(info: ModelInfo, fields: Mapping[str, FieldInfo], slots: Sequence[Slot]) -> str:
    if info.state == "retired":
        return "Retired"
    if "finetune_id" in fields:
        return "Finetuned models"
    if "video" in info.name:
        return "Videos"
    if any(slot.required for slot in slots):
        return "Repair and retouch"
    if "kontext" in info.name:
        return "Edit images"
    # One picture to be guided by makes no editor.
    return "Make and edit images" if any(slot.most > 1 for slot in slots) else "Make images"


def _about(cls: type) -> str:
    """Return what a request class is for: its docstring to the end of the first clause."""
    first = " ".join((inspect.getdoc(cls) or "").split()).replace("`", "")
    return re.split(r"[.;:](?: |$)", first)[0] + "."


def _note(info: ModelInfo) -> str:
    if info.state == "retired":
        return f"BFL no longer lists this model. Use {info.replaced_by} instead."
    if info.state == "deprecated":
        return "BFL advises against this model for new work."
    return "This model is in beta." if info.state == "beta" else ""


def _sizes(model: str) -> Iterator[float]:
    for megapixels in _MEGAPIXELS:
        try:
            size_for(model, "1:1", megapixels)
        except InvalidRequestError:
            continue
        yield megapixels


def _slots(fields: Mapping[str, FieldInfo]) -> Iterator[Slot]:
    for name, field in fields.items():
        if "Media" in field.type or field.type == "Keyframes":
            if re.search(r"_[0-9]+$", name):
                continue
            several = [name, *(other for other in fields if re.fullmatch(rf"{name}_[0-9]+", other))]
            is_list = "Sequence" in field.type or field.type == "Keyframes"
            longest = re.search(r"([0-9]+) long$", field.bounds)
            most = int(longest[1]) if longest else _MOST_KEYFRAMES if is_list else len(several)
            yield Slot(several, "video" if "video" in name else "image", field.required, most, is_list)
        elif name == "draft_cache":
            yield Slot([name], "draft", field.required, 1)


def _setting(field: FieldInfo) -> Setting:
    least, most, step = _bounds(field.bounds)
    choices = _choices(field.type)
    kind: Literal["number", "whole", "choice", "switch", "text"] = "text"
    if choices and "int |" not in field.type:
        kind = "choice"
    elif "bool" in field.type:
        kind = "switch"
    elif "int" in field.type:
        kind, choices = "whole", []
    elif "float" in field.type:
        kind = "number"
    return Setting(field.name, kind, field.required, field.default, least, most, step, choices)


def _choices(kind: str) -> list[object]:
    found = re.search(r"Literal(\[.*?\])", kind)
    return json.loads(found[1]) if found else []


def _bounds(text: str) -> tuple[float | None, float | None, float | None]:
    both = re.search(r"(\S+) to ([0-9.]+)(?:,|$)", text)
    least = both or re.search(r"from (\S+)", text)
    step = re.search(r"multiple of ([0-9.]+)", text)
    return (
        float(least[1].rstrip(",")) if least else None,
        float(both[2]) if both else None,
        float(step[1]) if step else None,
    )
