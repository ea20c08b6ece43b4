"""Names of image files: a template, and fields that cannot lead out of the folder. Pure functions."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

from bfl_async.errors import ConfigError

DEFAULT_TEMPLATE = "{index:05}-{slug}.{ext}"
_FIELDS = ("index", "slug", "model", "seed", "task_id", "key", "ext")
_SLUG_CHARS = 40
_NAME_BYTES = 200  # of a name's part: file systems take 255, and a number or `.part` may follow


def slug(text: str) -> str:
    """Return a short file name part of a text: lower case letters, digits and hyphens, nothing else."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:_SLUG_CHARS].strip("-") or "image"


class NameTemplate:
    """Makes file names, such as `{index:05}-{slug}.{ext}`.

    The fields are `index` (from 0), `slug` (of the prompt), `model`, `seed`, `task_id`, `key` and `ext`. What
    they hold is not trusted: nothing but letters, digits, `-` and `_` of it comes into a name. A slash that the
    template itself has makes a folder.

    Args:
        text: The template.
    Raises:
        ConfigError: It has unknown fields, or leads out of the folder.
    """

    def __init__(self, text: str = DEFAULT_TEMPLATE) -> None:
        self.text = text
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as exc:
            raise ConfigError(f"the name template {text!r} cannot be read: {exc}") from exc
        for _, name, spec, conversion in parts:
            if name is not None and (name not in _FIELDS or conversion or "{" in (spec or "")):
                raise ConfigError(
                    f"the name template {text!r} has the field {{{name}}}: it may have {', '.join(_FIELDS)}"
                )
        self._parts = [(literal, name, spec or "") for literal, name, spec, _ in parts]
        literal = "".join(part[0] for part in self._parts)
        if "\0" in literal or "\\" in literal or ":" in literal:
            raise ConfigError(f"the name template {text!r} has a character that no file name has")
        sample = self.render(index=0, prompt="a", model="m", seed=0, task_id="t", key="k", suffix=".jpg")
        for part in sample.split("/"):
            if part in ("", ".", "..") or part.startswith("."):
                raise ConfigError(f"the name template {text!r} must name a file within the output folder")

    def render(
        self,
        *,
        index: int,
        prompt: str,
        model: str,
        seed: int | None,
        task_id: str,
        key: str,
        suffix: str,
    ) -> str:
        """Return a relative path with `/` between its parts.

        Raises:
            ConfigError: A format, such as `:05`, does not fit its field.
        """
        values: Mapping[str, object] = {
            "index": index,
            "slug": slug(prompt),
            "model": _plain(model),
            "seed": seed if seed is not None else "none",
            "task_id": _plain(task_id),
            "key": _plain(key),
            "ext": _plain(suffix.lstrip(".")),
        }
        try:
            text = "".join(
                literal
                + (format(values[name], spec if name != "seed" or seed is not None else "") if name else "")
                for literal, name, spec in self._parts
            )
        except (ValueError, TypeError) as exc:
            raise ConfigError(f"the name template {self.text!r} does not fit: {exc}") from exc
        return "/".join(_cut(part) for part in text.split("/"))


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", text)[:80].strip("-") or "none"


def _cut(part: str) -> str:
    """A name that the file system takes, its suffix kept."""
    raw = part.encode("utf-8", "replace")
    if len(raw) <= _NAME_BYTES:
        return part
    stem, dot, suffix = part.rpartition(".")
    kept = _NAME_BYTES - len(dot + suffix) if dot and len(suffix) < 10 else _NAME_BYTES
    text = (stem if dot and len(suffix) < 10 else part).encode("utf-8", "replace")[:kept]
    return text.decode("utf-8", "ignore") + (dot + suffix if dot and len(suffix) < 10 else "")
