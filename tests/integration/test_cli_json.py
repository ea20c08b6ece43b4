"""The commands' JSON is what docs/reference/json.md says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bfl_async.cli.app import cli
from bfl_async.cli.output import SCHEMA
from tests.integration.test_cli import Run, run
from tests.json_page import PAGE, check, sections

__all__ = ["run"]  # the fixture

KLEIN = ("-m", "flux-2-klein-4b")  # the quickest


def test_page_has_a_section_for_each_kind_of_object() -> None:
    """Those of jobs are checked by the tests of the cluster, with a database."""
    assert f'"schema": {SCHEMA}`' in PAGE.read_text("utf-8")
    assert list(sections()) == [
        "generate, again, result", "submit", "batch: outcome", "batch: summary", "batch: plan", "status", "models",
        "estimate", "credits", "finetunes", "doctor", "enqueue", "jobs", "jobs: job",
    ]  # fmt: skip


def test_every_command_that_prints_json_has_a_section() -> None:
    """Also one that is added later."""
    described = {name for title in sections() for name in title.partition(":")[0].split(", ")}
    printing = {
        name
        for name, command in cli.commands.items()
        if any("--json" in option.opts for option in command.params)
    }
    assert printing - described == set()


@pytest.mark.parametrize(
    ("section", "argv"),
    [
        ("generate, again, result", ["generate", "a cat", *KLEIN, "--json", "--sandbox"]),
        ("generate, again, result", ["generate", *KLEIN, "a", "--set", "input_image=in.png", "--json", "--sandbox"]),
        ("batch: plan", ["batch", "prompts.txt", "--dry-run"]),
        ("models", ["models", "flux-2-pro", "--json"]),
        ("models", ["models", "flux-3-video", "--json"]),
        ("estimate", ["estimate", "a cat", "--json"]),
        ("estimate", ["estimate", "a cat", "-m", "flux-dev", "--json"]),
        ("credits", ["credits", "--json", "--sandbox"]),
        ("finetunes", ["finetunes", "--json", "--sandbox"]),
        ("doctor", ["doctor", "--json", "--sandbox"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_object_follows_its_schema(run: Run, section: str, argv: list[str]) -> None:
    """Every field of the page is there, with its type, and no other."""
    from PIL import Image

    Image.new("RGB", (320, 256)).save("in.png")
    Path("prompts.txt").write_text("a cat\n")
    code, out, _ = run(*argv)
    assert code == 0
    check(section, out.splitlines())


def test_list_of_models_is_one_of_objects_that_follow_their_schema(run: Run) -> None:
    """The one list; `fields` is left out in it."""
    listed = json.loads(run("models", "--json")[1])
    check("models", map(json.dumps, listed))
    assert all("fields" not in each for each in listed)


def test_lines_of_a_batch_and_its_status_follow_their_schemas(run: Run) -> None:
    """Saved, moderated and failed ones, with and without ids; the summary is the last line."""
    rows = [{"prompt": "a cat", "id": "one"}, {"prompt": "[moderate-prompt] x"}, {"prompt": "[fail] y"}]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = run("batch", "rows.jsonl", *KLEIN, "-o", "out", "--sandbox")
    assert code == 3
    *outcomes, summary = out.splitlines()
    assert len(outcomes) == 3
    check("batch: outcome", outcomes)
    check("batch: summary", [summary])
    code, out, _ = run("status", "out", "--json")
    assert code == 0
    assert len(json.loads(out)["errors"]) == 2
    check("status", [out])
