"""File names that a prompt cannot lead astray."""

from __future__ import annotations

import pytest

from bfl_async.batch.naming import NameTemplate
from bfl_async.errors import ConfigError


def name(template: str = "{index:05}-{slug}.{ext}", **values: object) -> str:
    """A name of some values."""
    given: dict[str, object] = {
        "index": 7, "prompt": "A cat!", "model": "flux-dev", "seed": 1, "task_id": "t", "key": "k", "suffix": ".jpg"
    }  # fmt: skip
    return NameTemplate(template).render(**{**given, **values})  # type: ignore[arg-type] # a table's row


def test_the_usual_name() -> None:
    """Index and words."""
    assert name() == "00007-a-cat.jpg"
    assert name("{model}/{seed:03}-{task_id}-{key}.{ext}") == "flux-dev/001-t-k.jpg"
    assert name("{seed:03}.{ext}", seed=None) == "none.jpg"


@pytest.mark.parametrize(
    "evil",
    ["../../etc/passwd", "/etc/passwd", "a\0b", "..", "C:\\x", "\u202egnp", "x" * 5000, "", "con", "~/.ssh"],
)
def test_no_field_leads_out_of_the_folder(evil: str) -> None:
    """Prompts, ids and models come from outside."""
    template = "{slug}-{model}-{task_id}-{key}.{ext}"
    made = name(template, prompt=evil, model=evil, task_id=evil, key=evil, suffix="." + evil)
    assert "/" not in made
    assert "\\" not in made
    assert "\0" not in made
    assert not made.startswith(".")
    assert len(made.encode()) <= 255


@pytest.mark.parametrize(
    "template",
    [
        "/abs/{index}", "../{index}", "a/../{index}", "{index}/", "", ".hidden-{index}", "{nope}", "{index.real}",
        "{index!r}", "{index:{key}}", "{", "a\0{index}", "c:\\{index}", "{slug:05d}",
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_used_is_refused_at_once(template: str) -> None:
    """Before anything is paid."""
    with pytest.raises(ConfigError):
        NameTemplate(template)
