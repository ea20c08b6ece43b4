"""Lets griffe read this package's docstrings, whose sections stand without blank lines between them.

Griffe takes a section for one only after a blank line, and `Cancellation` is none that it knows: that becomes a box of
its own. Names of errors that share a description may go over two lines.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_SECTION = re.compile(r"^(Args|Attributes|Cancellation|Raises|Returns|Source|Yields):(.*)$")
_OPEN_NAMES = re.compile(r"^ {4}[A-Z]\w*(, [A-Z]\w*)*,$")


def with_blank_lines(text: str) -> str:
    """Return a docstring with its sections as griffe knows them."""
    lines: list[str] = []
    for line in text.split("\n"):
        section = _SECTION.match(line)
        if section is not None:
            name, rest = section.groups()
            lines += ["", f"{name}:", *([f"    {rest.strip()}"] if rest.strip() else [])]
        elif lines and _OPEN_NAMES.match(lines[-1]):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return "\n".join(lines)


class Sections(griffe.Extension):
    """The hook of griffe that is called for everything it has read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:  # noqa: ARG002 - griffe's signature
        """Put blank lines into the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = with_blank_lines(obj.docstring.value)
