"""File names that a prompt cannot lead astray."""

from __future__ import annotations

import pytest

from bfl_async.batch.naming import NameTemplate, slug
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


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("Кот в сапогах", "кот-в-сапогах"), ("naïve façade ñ", "naïve-façade-ñ"), ("猫と犬、月", "猫と犬-月"),
        ("हिन्दी में बिल्ली", "हिन्दी-में-बिल्ली"), ("قطة على السطح", "قطة-على-السطح"),
        ("แมวสองตัว", "แมวสองตัว"), ("고양이 둘", "고양이-둘"),
        ("nai\u0308ve", "na\u00efve"), ("Straße №5", "straße-no5"), ("\uff26\uff35\uff2c\uff2c width", "full-width"),
        ("a \u2764\ufe0f b", "a-b"), ("\u0301x", "x"), ("a\u202egnp\u200bz", "agnpz"), ("\u3164\u3164", "image"),
        ("👩‍🚀", "image"), ("...", "image"), ("-rf /", "rf"), ("a/b\\c:d", "a-b-c-d"),
    ],
)  # fmt: skip
def test_names_keep_letters_of_every_script(prompt: str, part: str) -> None:
    """In one normal form, with their marks; nothing that is not seen, or that turns the order of a name."""
    assert slug(prompt) == part
    assert name(prompt=prompt) == f"00007-{part}.jpg"


def test_names_are_cut_at_a_word() -> None:
    """As far as there are words; a letter is not cut from its marks."""
    assert slug("a lighthouse in the rain on a foggy morning light") == "a-lighthouse-in-the-rain-on-a-foggy"
    assert slug("a lighthouse in the rain on a foggy morn now") == "a-lighthouse-in-the-rain-on-a-foggy-morn"
    assert slug("x" * 50) == "x" * 40
    assert slug("a " + "猫" * 50) == "a-" + "猫" * 38
    assert slug("猫" * 50) == "猫" * 40
    assert slug("\U00020000" * 50) == "\U00020000" * 30
    assert slug("ก" * 39 + "\u0e34" * 9) == "ก" * 38
    assert slug("ก" * 40 + "\u0e34") == "ก" * 39
    assert slug("ก" + "\u0e34" * 99) == "ก" + "\u0e34" * 39


@pytest.mark.parametrize(
    "letter", ["x", "я", "猫", "\U00020000", "ก\u0e34", "\ufdfa", "x\u0301\u0302\u0303\u0304"]
)
@pytest.mark.parametrize(
    "template", ["{index:05}-{slug}.{ext}", "{slug}-{seed}-{task_id}.{ext}", "{slug}{slug}.{ext}"]
)
def test_names_fit_a_file_system_in_every_script(letter: str, template: str) -> None:
    """File systems count bytes; the suffix stays."""
    made = name(template, prompt=letter * 5000, seed=2**63, task_id="t" * 36)
    assert len(made.encode()) <= 200
    assert made.endswith(".jpg")


@pytest.mark.parametrize("prompt", ["con", "NUL", "aux!", "COM1", "lpt9", "com¹"])
def test_no_prompt_makes_the_name_of_a_device(prompt: str) -> None:
    """Windows opens its devices under these names, with any suffix and in any folder."""
    assert name("{slug}.{ext}", prompt=prompt) == f"{slug(prompt)}-image.jpg"
    assert name("{slug}/{index}.{ext}", prompt=prompt) == f"{slug(prompt)}-image/7.jpg"


def test_names_have_only_what_the_system_can_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    """A paid image must not be lost because its prompt has letters that file names cannot have here."""
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "latin-1")
    assert slug("кот Zoë 猫") == "zoë"
    assert slug("кот") == "image"
