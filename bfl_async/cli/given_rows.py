"""What a command line says of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bfl_async.cli.fields import GivenFields
    from bfl_async.cli.formats import Kind


@dataclass(frozen=True, slots=True)
class GivenRows:
    """The inputs, and the options that say how their rows become requests; see `Rows` for each.

    Attributes:
        files: Files, folders of files, and `-`, which is standard input.
        kind: The format of all. None: each by its name.
    """

    files: Sequence[str]
    kind: Kind | None
    model: str
    fields: GivenFields
    columns: Mapping[str, str]
    template: str | None
    paragraphs: bool
    repeat: int
    ignore: Sequence[str]
    allow_outside: bool
    allow_unknown_models: bool
    no_prompt: bool
