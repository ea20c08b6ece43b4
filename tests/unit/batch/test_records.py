"""What a manifest keeps of a request."""

from __future__ import annotations

from bfl_async.batch.records import OMITTED, omitted_in, recorded_fields
from bfl_async.types.common import JSON


def test_record_has_no_secret_and_no_embedded_file() -> None:
    """At any depth; a file is named by its path and digest, an embedded one by its digest alone."""
    file: dict[str, JSON] = {"$path": "/a.png", "$sha256": "0" * 64}
    fields: dict[str, JSON] = {
        "prompt": "a cat",
        "seed": 3,
        "input_image": "A" * 30_000,
        "images": [file, "B" * 30_000],
        "webhook_url": "https://example.com",
        "webhook_secret": "hush",
        "extra_body": {"api_key": "hush", "glow": 1},
    }
    kept = recorded_fields(fields)
    assert kept["extra_body"] == {"glow": 1}
    assert {"prompt": "a cat", "seed": 3}.items() <= kept.items()
    assert kept.keys() == fields.keys() - {"webhook_url", "webhook_secret"}
    assert [name for name in kept if omitted_in(kept[name])] == ["input_image", "images"]
    match kept:
        case {"input_image": {"$omitted": str(digest), "chars": 30_000}, "images": [kept_file, _]}:
            assert len(digest) == 64
            assert kept_file == file
        case _:
            raise AssertionError(kept)
    assert OMITTED == "$omitted"
