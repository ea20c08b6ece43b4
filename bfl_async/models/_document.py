"""What editors show of a field: its meaning, its bounds, its default, and whether the price depends on it.

The meanings stand here once. `python -m bfl_async.models._generate` writes them below the fields of the request classes
and of the typed mappings, where pyright, Pylance and PyCharm find them. Python drops such texts when it compiles.

Meanings are ours, from BFL's OpenAPI and pages (read 2026-09-19 to 2026-10-16), which describe few fields.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bfl_async.models._base import ImageRequest
from bfl_async.models.catalog import (
    CATALOG,
    Flat,
    ModelInfo,
    PerInputSecond,
    PerMegapixel,
    PerMegapixelSecond,
    PerSecond,
)
from bfl_async.models.describe import FieldInfo, fields_of

MEANINGS: Mapping[str, str] = {
    "aspect_ratio": "Width to height, such as `16:9`.",
    "auto_crop": "Whether the server crops the input image.",
    "bottom": "Pixels to add at the bottom.",
    "canny_high_threshold": "Upper threshold of the edge detection.",
    "canny_low_threshold": "Lower threshold of the edge detection.",
    "control_image": "The image whose structure is followed; its edges or depths are found by the server.",
    "creativity": "How freely details are added: 0 is precise, 1 is creative.",
    "dilate_pixels": "By how many pixels the mask is widened.",
    "disable_pup": "Whether the prompt is used as it is. By default the server rewrites it.",
    "draft": "Whether to make a draft: cheaper, and the base of a full video.",
    "draft_cache": "The draft's `Result.draft_cache`.",
    "duration": "Seconds of the video. `auto` leaves them to the server.",
    "finetune_id": "The id of a finetune of your account, or of a public LoRA.",
    "finetune_strength": "How strongly the finetune works.",
    "garment": "The image of the garment.",
    "generate_audio": "Whether the video gets a sound track.",
    "grounding": "Whether the model may look up what the prompt names.",
    "guidance": "How closely the image follows the prompt. High values look less natural.",
    "height": "Height of the result in px.",
    "image": "The image to work on.",
    "image_prompt": "An image to take after.",
    "image_prompt_strength": "Weight of the image prompt against the text.",
    "images": "One image or several to edit, or to take after.",
    "input_image": "The image to edit, or to take after.",
    "input_image_blob_path": "Where an input image is stored at BFL. Not described in BFL's pages.",
    "input_video": "The video to enlarge.",
    "interval": "Trades how closely the prompt is followed for variety.",
    "keyframes": "One image of the video, or several, all or none with their second.",
    "left": "Pixels to add at the left.",
    "mask": "White where the image is changed, black where it stays. It has the size of the image.",
    "mode": "Which kind of request it is.",
    "output_format": "File format of the result.",
    "person": "The image of the person.",
    "preprocessed_image": "The edge or depth image itself, instead of `control_image`.",
    "prompt": "What to make, in words.",
    "prompt_upsampling": "Whether the server rewrites the prompt into a richer one.",
    "raw": "Whether the image looks less processed.",
    "reference_offset_x": "Where the input image lies in the new one, from the left, in px.",
    "reference_offset_y": "Where the input image lies in the new one, from the top, in px.",
    "resolution": "Size class of the result.",
    "right": "Pixels to add at the right.",
    "safety_tolerance": "How much the moderation lets pass: 0 is the strictest.",
    "seed": "Start of the random numbers: the same seed and fields give the same image. None: the server chooses.",
    "start_video": "The video to continue.",
    "steps": "Number of denoising steps. More are slower, and may be finer.",
    "top": "Pixels to add at the top.",
    "upscale_factor": "By how much each side grows.",
    "user": "An opaque id of your end user, for BFL's abuse reports.",
    "version": "Version of the model.",
    "video": "The video to edit.",
    "webhook_secret": "Secret that the server sends with, or signs, the webhook's call.",
    "webhook_url": "http(s) URL that the server calls when the task ends.",
    "width": "Width of the result in px.",
}

_PRICED_BY: Mapping[type, frozenset[str]] = {
    Flat: frozenset({"resolution", "width", "height"}),
    PerInputSecond: frozenset({"video"}),
    PerMegapixel: frozenset({"width", "height", "input_image"}),
    PerMegapixelSecond: frozenset({"upscale_factor", "creativity", "input_video"}),
    PerSecond: frozenset({"mode", "duration", "resolution", "draft"}),
}
_PRICE_WORDS = ("Price: ", "Price in credits", "Its price is not")
_WIDTH = 106


def family_of(name: str) -> str:
    """Return the name of a field without its number: `input_image` of `input_image_2`."""
    base = name.rstrip("0123456789")
    return base[:-1] if base != name and base.endswith("_") else name


def price_text(info: ModelInfo) -> str:
    """Return a model's price in words; 1 credit is 0.01 USD."""
    match info.price:
        case None | Flat(None, None):
            return "Its price is not published."
        case Flat(credits, None):
            return f"Price: {credits:g} credits."
        case Flat(_, by_resolution):
            assert by_resolution is not None
            listed = ", ".join(f"{name} {credits:g}" for name, credits in by_resolution.items())
            return f"Price in credits by resolution: {listed}."
        case PerMegapixel(first, further, highest):
            least = "at least " if highest is not None else ""
            return (
                f"Price: {least}{first:g} credits for the first megapixel, {further:g} for each further one and for "
                "each of the input."
            )
        case PerSecond(by_mode):
            rates = [rate for rates in by_mode.values() for rate in rates.values()]
            return f"Price: {min(rates):g} to {max(rates):g} credits per second, by mode and resolution."
        case PerInputSecond(credits):
            return f"Price: {credits:g} credits per second of the input."
        case PerMegapixelSecond(by_creativity, captured):
            least = "at least " if captured is not None else ""
            listed = " or ".join(f"{rate:g}" for rate in by_creativity.values())
            return f"Price: {least}{listed} credits per megapixel and second, by creativity."


def field_text(row: FieldInfo, models: list[ModelInfo]) -> str:
    """Return what editors show of a field.

    Args:
        row: The field.
        models: Those that have it so; their prices may depend on it.
    """
    parts = [MEANINGS[family_of(row.name)]]
    if row.bounds:
        is_file = "MediaSource" in row.type or "Keyframes" in row.type
        parts.append(f"{'Files' if is_file else 'Range'}: {row.bounds}.")
    if row.required:
        parts.append("Required.")
    elif row.default not in (None, ""):
        parts.append(f"Default: {row.default}.")
    priced = [info for info in models if _is_priced_by(info, row.name)]
    texts = list(dict.fromkeys(price_text(info) for info in priced))
    if len(texts) == 1:
        parts.append(f"The price depends on it. {texts[0]}")
    elif texts:
        parts.append("The price depends on it.")
    return " ".join(parts)


def _is_priced_by(info: ModelInfo, name: str) -> bool:
    if info.price is None or (isinstance(info.price, Flat) and info.price.by_resolution is None):
        return False
    return family_of(name) in _PRICED_BY[type(info.price)]


def docstring(text: str, indent: str = "    ") -> str:
    """Return a text as the lines of a docstring."""
    lines = textwrap.wrap(text, _WIDTH - len(indent), break_long_words=False)
    if len(lines) == 1:
        return f'{indent}"""{text}"""\n'
    return f'{indent}"""{lines[0]}\n' + "".join(f"{indent}{line}\n" for line in lines[1:]) + f'{indent}"""\n'


def documented_source(path: Path, classes: Mapping[str, object]) -> str:
    """Return the source of a family's module with a text below each field.

    Args:
        path: The module's file.
        classes: The module's names.
    """
    lines = path.read_text().splitlines(keepends=True)
    for node in reversed(ast.parse("".join(lines)).body):
        cls = classes.get(node.name) if isinstance(node, ast.ClassDef) else None
        if (
            not isinstance(node, ast.ClassDef)
            or not isinstance(cls, type)
            or not issubclass(cls, ImageRequest)
        ):
            continue
        # A class states its mode itself.
        rows = {
            row.name: replace(row, required=cls.model_fields[row.name].is_required())
            for row in fields_of(cls)
        }
        for at, field in reversed(list(enumerate(node.body))):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            row = rows.get(field.target.id)
            if row is None:
                continue
            after = node.body[at + 1] if at + 1 < len(node.body) else None
            end = field.end_lineno or 0
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                del lines[after.lineno - 1 : after.end_lineno]
            lines[end:end] = docstring(field_text(row, _models_of(cls))).splitlines(keepends=True)
        if any(node.name in info.classes for info in CATALOG.values()):
            _write_price(lines, node.body[0], price_text(_models_of(cls)[0]))
    return "".join(lines)


def _write_price(lines: list[str], doc: ast.stmt, text: str) -> None:
    """Make the price the last line of a class's docstring."""
    begin, end = doc.lineno - 1, doc.end_lineno or doc.lineno
    old = "".join(lines[begin:end]).rstrip()
    body = old[: -len('"""')].rstrip()
    kept = [line for line in body.split("\n") if not line.strip().startswith(_PRICE_WORDS)]
    if len(kept) == 1:
        kept.append("")
    price = textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")
    assert len(price) == 1, text
    lines[begin:end] = [f"{line}\n" for line in [*kept, *price, '    """']]


def _models_of(cls: type[ImageRequest]) -> list[ModelInfo]:
    """Return the models whose classes are this one or derive from it."""
    found = [cls, *_subclasses(cls)]
    names = {each.__name__ for each in found}
    return [info for info in CATALOG.values() if names & set(info.classes)]


def _subclasses(cls: type[ImageRequest]) -> list[type[ImageRequest]]:
    return [each for sub in cls.__subclasses__() for each in (sub, *_subclasses(sub))]
