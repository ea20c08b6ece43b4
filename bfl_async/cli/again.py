"""The request of an image that was made before, with changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from bfl_async.batch.records import omitted_in
from bfl_async.batch.requests import files_of, given_of, replaced_file
from bfl_async.cli.field_values import fields_by_name, is_media
from bfl_async.cli.fields import GivenFields
from bfl_async.cli.files import InputError
from bfl_async.cli.input_images import with_images
from bfl_async.cli.records import Recorded
from bfl_async.runtime.files import Digests
from bfl_async.runtime.text import printable
from bfl_async.types.common import JSON

_SIZE = frozenset({"width", "height", "aspect_ratio"})


def fields_again(
    recorded: Recorded,
    model: str,
    prompt: str | None,
    given: GivenFields,
    *,
    images: Sequence[str] = (),
    new_seed: bool,
) -> dict[str, object]:
    """Return the fields of a request that makes the recorded image again, with what the options change.

    Args:
        model: That of the new request; the recorded one unless it was changed.
        images: What `--image` names; they take the place of all that the image had.
        new_seed: The seed is not taken over.
    Raises:
        InputError: The record does not have all that the request had, or an input file is no longer the same.
        click.UsageError: See `GivenFields.of`.
    """
    changed = with_images(model, given.of(model), images)
    if given.has_size:
        changed.update(given.size(model))
    if prompt is not None:
        if "prompt" in changed:
            raise click.UsageError("the prompt is given twice: by --set, and after the file")
        changed["prompt"] = prompt
    kept = {name: value for name, value in recorded.fields.items() if name not in changed}
    if _SIZE & changed.keys() and given.has_size:
        kept = {name: value for name, value in kept.items() if name not in _SIZE}
    if images:
        known = fields_by_name(model)
        kept = {name: value for name, value in kept.items() if not is_media(known.get(name))}
    _check_whole(kept)
    _check_files(kept)
    seeded = "seed" in fields_by_name(model) or not fields_by_name(model)
    if new_seed:
        kept.pop("seed", None)
    elif recorded.seed is not None and "seed" not in changed and seeded:
        kept["seed"] = recorded.seed
    if recorded.used_prompt is not None and "prompt" not in changed and kept.get("prompt_upsampling") is True:
        # Rewritten once more, the prompt might become another one.
        kept |= {"prompt": recorded.used_prompt, "prompt_upsampling": False}
    return {**{name: given_of(value) for name, value in kept.items()}, **changed}


def _check_whole(fields: Mapping[str, JSON]) -> None:
    missing = [name for name, value in fields.items() if omitted_in(value)]
    if missing:
        names = ", ".join(map(printable, missing))
        raise InputError(
            f"the record does not hold {names}: the file was given as bytes. Give it again with --image or --set"
        )


def _check_files(fields: Mapping[str, JSON]) -> None:
    files = list(files_of(fields))
    for path, _ in files:
        if not path.is_file():
            raise InputError(
                f"the input '{printable(str(path))}' is no longer there: give another with --image or --set"
            )
    replaced = replaced_file(files, Digests())
    if replaced is not None:
        raise InputError(
            f"the input '{printable(replaced)}' was changed since: give the file that is meant with --image or --set"
        )


def free_name(path: Path, *, keeps_format: bool) -> str:
    """Return a name beside an image that no file has yet, such as `cat-again.jpg`."""
    end = path.suffix if keeps_format else ""
    taken = {each.stem for each in path.parent.iterdir()}
    number = 1
    while (stem := f"{path.stem}-again{'' if number == 1 else f'-{number}'}") in taken:
        number += 1
    return stem + end
