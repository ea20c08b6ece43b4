"""Names of image files: a template, and fields that cannot lead out of the folder. Pure functions."""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from collections.abc import Collection, Mapping

from bfl_async.errors import ConfigError
from bfl_async.results.suffixes import is_as_named

DEFAULT_TEMPLATE = "{index:05}-{slug}.{ext}"
_FIELDS = ("index", "slug", "model", "seed", "task_id", "key", "ext")
_SLUG_CHARS = 40
# Letters of most scripts take two or three bytes, and a file's name is measured in bytes.
_SLUG_BYTES = 120
# Characters of a prompt that are read for its slug.
_READ_CHARS = 400
# Bytes of a name's part: file systems take 255, and a number or `.part` may follow.
_NAME_BYTES = 200
# Names that Windows keeps for devices, with any suffix. Source: Microsoft, "Naming Files, Paths, and Namespaces".
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in "0123456789\u00b9\u00b2\u00b3"}
)
# Letters and marks that are drawn as nothing: Hangul fillers, the grapheme joiner, Khmer and Mongolian marks without
# a shape, and variation selectors.
_UNSEEN = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
# What a format may hold: a fill that is plain, a width and a precision of at most three digits, a type for whole
# numbers or for text. Nothing of it can write a slash, a dot of its own or a name of any length.
_SPEC = re.compile(r"(?:[A-Za-z0-9_-]?[<>=^])?0?\d{0,3}(?:\.\d{1,3})?[dxXs]?")
# Of a whole name with its folders: systems take paths of 1,024 bytes (macOS) to 4,096.
_MOST_BYTES = 700


def slug(text: str) -> str:
    """Return a short part of a file name: the letters and digits of a text, in any script, with hyphens between words.

    Letters are lower case and normalized (NFKC); other characters, marks of direction included, are left out. A
    longer text is cut at a word. What the system's encoding of file names cannot write is left out as well.
    """
    encoding = sys.getfilesystemencoding()
    words = _words(text[:_READ_CHARS].encode(encoding, "ignore").decode(encoding, "ignore"))
    return _cut_at_word(words) or "image"


def _words(text: str) -> str:
    """Return the words of a text, in lower case with hyphens between them."""
    # Lower case may decompose a letter, as that of the Turkish dotted I.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    kept: list[str] = []
    for char in text:
        kind = unicodedata.category(char)
        if char in _UNSEEN or kind == "Cf":
            continue
        # A mark belongs to the letter before it; alone it is no part of a word.
        is_kept = kind[0] in "LN" or (kind[0] == "M" and kept and kept[-1] != "-")
        if is_kept:
            kept.append(char)
        elif kept and kept[-1] != "-":
            kept.append("-")
    return "".join(kept).rstrip("-")


def _cut_at_word(words: str) -> str:
    """Return the beginning of some words that fits: whole words, unless that would leave little."""
    end = min(len(words), _SLUG_CHARS)
    while len(words[:end].encode()) > _SLUG_BYTES:
        end -= 1
    if end == len(words):
        return words
    hyphen = words.rfind("-", 0, end + 1)
    # A long text without spaces may follow one short word.
    if hyphen > end // 3:
        return words[:hyphen]
    # A letter keeps all of its marks, or goes with them; the first one is all that there is.
    whole = end
    while whole and unicodedata.category(words[whole]).startswith("M"):
        whole -= 1
    return words[: whole or end]


class NameTemplate:
    """Makes file names, such as `{index:05}-{slug}.{ext}`.

    The fields are `index` (from 0), `slug` (of the prompt), `model`, `seed`, `task_id`, `key` and `ext`. What
    they hold is not trusted: of a prompt, letters and digits of any script come into a name, and of the others ASCII
    letters, digits, `-` and `_`. A slash that the template itself has makes a folder. Names that Windows keeps for
    devices, such as `con`, get `-image` after them. A suffix that says another format than that of the image, such as
    `.gif`, gives way to the image's own.

    Args:
        text: The template.
        reserved: Names in the folder that an image must not take, with `/` between their parts. An image whose
            fields lead to one gets `-image` after its name.
    Raises:
        ConfigError: It has unknown fields, leads out of the folder, or is a reserved name.
    """

    def __init__(self, text: str = DEFAULT_TEMPLATE, *, reserved: Collection[str] = ()) -> None:
        self.text = text
        # As a file system that does not tell cases apart compares them.
        self._reserved = frozenset(map(_folded, reserved))
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as exc:
            raise ConfigError(f"the name template {text!r} cannot be read: {exc}") from exc
        for _, name, spec, conversion in parts:
            if name is not None and (name not in _FIELDS or conversion or "{" in (spec or "")):
                raise ConfigError(
                    f"the name template {text!r} has the field {{{name}}}: it may have {', '.join(_FIELDS)}"
                )
            if spec and not _SPEC.fullmatch(spec):
                raise ConfigError(
                    f"the name template {text!r} has the format {spec!r}: it may have a width and a type, as in "
                    "{index:05} or {slug:.20}"
                )
        self._parts = [(literal, name, spec or "") for literal, name, spec, _ in parts]
        literal = "".join(part[0] for part in self._parts)
        if any(char in '\\:<>"|?*' or ord(char) < 32 or ord(char) == 127 for char in literal):
            raise ConfigError(f"the name template {text!r} has a character that no file name has")
        short = self._render(index=0, prompt="a", model="m", seed=0, task_id="t", key="k", suffix=".jpg")
        long = self._render(
            index=10**9,
            prompt="\u4e00" * 99,
            model="n" * 99,
            seed=10**18,
            task_id="u" * 99,
            key="l" * 99,
            suffix=".webp",
        )
        for part in (*short.split("/"), *long.split("/")):
            if part.startswith(".") or part.strip(" .") == "":
                raise ConfigError(f"the name template {text!r} must name a file within the output folder")
        if len(long.encode("utf-8", "replace")) > _MOST_BYTES:
            raise ConfigError(f"the name template {text!r} makes names that are too long")
        if taken := self._taken(short) or self._taken(long):
            raise ConfigError(
                f"the name template {text!r} makes the name {taken!r}, which the run needs for itself: choose another"
            )

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
        """Return a relative path with `/` between its parts; it is never a reserved name.

        Raises:
            ConfigError: A format, such as `:05`, does not fit its field.
        """
        name = self._render(
            index=index, prompt=prompt, model=model, seed=seed, task_id=task_id, key=key, suffix=suffix
        )
        while (taken := self._taken(name)) is not None:
            folder, slash, last = taken.rpartition("/")
            stem, dot, end = last.partition(".")
            name = f"{folder}{slash}{stem}-image{dot}{end}{name[len(taken) :]}"
        return name

    def _taken(self, name: str) -> str | None:
        """Return the part of a name, from its beginning, that is reserved."""
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            if _folded(start := "/".join(parts[:count])) in self._reserved:
                return start
        return None

    def _render(
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
        return "/".join(_without_device(_cut(part)) for part in _as_named(text, suffix).split("/"))


def _as_named(name: str, suffix: str) -> str:
    """Return the name with the suffix of its bytes in place of one that says another format."""
    return name if is_as_named(name, suffix) else name.rpartition(".")[0] + suffix


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", text)[:80].strip("-") or "none"


def _folded(name: str) -> str:
    """Return a name as file systems compare it that tell neither cases nor forms of one letter apart."""
    return unicodedata.normalize("NFC", name).casefold()


def _without_device(part: str) -> str:
    """Return a part of a name that Windows does not take for a device."""
    stem, dot, rest = part.partition(".")
    return f"{stem}-image{dot}{rest}" if stem.rstrip(" ").casefold() in _DEVICES else part


def _cut(part: str) -> str:
    """A name that the file system takes, its suffix kept."""
    raw = part.encode("utf-8", "replace")
    if len(raw) <= _NAME_BYTES:
        return part
    stem, dot, suffix = part.rpartition(".")
    kept = _NAME_BYTES - len(dot + suffix) if dot and len(suffix) < 10 else _NAME_BYTES
    text = (stem if dot and len(suffix) < 10 else part).encode("utf-8", "replace")[:kept]
    return text.decode("utf-8", "ignore") + (dot + suffix if dot and len(suffix) < 10 else "")
