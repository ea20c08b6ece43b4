"""Which suffixes say what is in a file: a name must not say another format than its bytes have."""

from __future__ import annotations

from pathlib import Path

SUFFIXES: dict[str, tuple[str, ...]] = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "png": (".png",),
    "webp": (".webp",),
    "mp4": (".mp4", ".m4v"),
    "avif": (".avif",),
    "heif": (".heic", ".heif", ".hif"),
    "gif": (".gif",),
    "jxl": (".jxl",),
}
"""The suffixes of each format that a result can have; the first is the usual one."""

# Formats of pictures and videos that no result has.
_OTHERS = frozenset({
    ".bmp", ".dib", ".tif", ".tiff", ".svg", ".svgz", ".ico", ".jp2", ".psd", ".pdf", ".eps", ".tga", ".exr", ".apng",
    ".ppm", ".pgm", ".pbm", ".mov", ".webm", ".mkv", ".avi", ".wmv", ".mpg", ".mpeg",
})  # fmt: skip
_FORMAT_OF = {suffix: form for form, suffixes in SUFFIXES.items() for suffix in suffixes}
# What bytes of an unknown type are called: it promises nothing.
_ANYTHING = ".bin"


def known_suffix(name: str) -> str:
    """Return the suffix of a name that says a format of pictures or videos, in small letters; "" if it says none.

    Everything else behind a dot, as in `flux-pro-1.1`, is part of the name.
    """
    suffix = Path(name).suffix.lower()
    return suffix if suffix in _FORMAT_OF or suffix in _OTHERS else ""


def is_as_named(name: str, suffix: str) -> bool:
    """Return whether bytes whose usual suffix is this one may have the name: it says their format, or none."""
    said = known_suffix(name)
    return not said or _FORMAT_OF.get(said, said) == _FORMAT_OF.get(suffix, suffix)


def with_suffix_of(path: Path, suffix: str) -> Path:
    """Return the path with the suffix behind its name, unless it ends in that of a format already."""
    if not path.name or path.suffix.lower() in _FORMAT_OF or path.suffix.lower() == _ANYTHING:
        return path
    return path.with_name(path.name + suffix)
