"""Models, prices and every field from the command line: seen there as a user sees them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from bfl_async.models.catalog import CATALOG
from tests.integration.test_cli import Run, run

__all__ = ["run"]  # the fixture


def test_models_lists_the_catalog(run: Run) -> None:
    """Name, purpose, price and notes of each, retired ones apart; the same as JSON."""
    code, out, err = run("models")
    assert (code, err) == (0, "")
    current, retired, legend = out.split("\n\n")
    head, *rows = current.splitlines()
    assert head.split() == ["model", "for", "credits", "notes"]
    listed = json.loads(run("models", "--json")[1])
    assert [row["model"] for row in listed] == list(CATALOG)
    assert [row.split()[0] for row in rows] == [row["model"] for row in listed if row["state"] != "retired"]
    assert [line.split() for line in retired.splitlines()[1:]] == [
        [row["model"], row["replaced_by"]] for row in listed if row["state"] == "retired"
    ]
    (kontext,) = (row for row in rows if row.startswith("flux-kontext-max"))
    assert kontext.split() == [
        "flux-kontext-max",
        "images,",
        "edits",
        "8",
        "deprecated,",
        "6",
        "at",
        "a",
        "time",
    ]
    assert [row.split()[0] for row in rows if row.endswith("default")] == ["flux-pro-1.1"]
    assert [row["model"] for row in listed if row["default"]] == ["flux-pro-1.1"]
    assert all(row["purpose"] for row in listed)
    assert "1 credit = 0.01 USD" in legend


@pytest.mark.parametrize("columns", [20, 40, 80, 120])
@pytest.mark.parametrize("argv", [[], ["flux-2-pro"], ["flux-3-image"], ["flux-3-video"]])
def test_models_fit_their_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, columns: int, argv: list[str]
) -> None:
    """Nothing is cut off, and no line but that of a long name is broken by the terminal."""
    _, whole, _ = run("models", *argv)
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = run("models", *argv)
    assert code == 0
    assert all(len(line) <= columns for line in out.splitlines())
    heads = {"model", "field", "retired", "use", "instead"}
    words, shown = (set(re.findall(r"[\w./-]{3,}", text)) for text in (whole, out))
    # The narrowest has to break long names.
    assert words <= shown | heads or columns == 20


@pytest.mark.parametrize("name", CATALOG)
def test_models_shows_the_fields_of_each(run: Run, name: str) -> None:
    """With bounds and defaults; what JSON says is the same."""
    code, out, _ = run("models", name)
    assert code == 0
    fields = json.loads(run("models", name, "--json")[1])["fields"]
    assert len(out.splitlines()) == len(fields) + 2
    for field in fields:
        assert field["name"] in out


def test_unknown_model_is_told_with_what_to_do(run: Run) -> None:
    """Exit code 2 and where the names are."""
    code, out, err = run("models", "flux-nope")
    assert (code, out) == (2, "")
    assert "`bfl-async models` lists" in err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["a cat"], "4 credits (0.04 USD): flat price of an image"),
        (["-m", "flux-2-pro", "--width", "2048", "--height", "1024", "a cat"], "4.5 credits (0.045 USD): "),
        (["-m", "flux-3-video", "--set", "mode=t2v", "--set", "duration=10", "a cat"], "170 credits (1.7 USD): "),
        (["-m", "flux-dev", "a cat"], "unknown: no price of flux-dev is published"),
    ],
)  # fmt: skip
def test_estimate_says_the_price_without_sending(run: Run, argv: list[str], says: str) -> None:
    """No key is needed, for nobody is asked."""
    code, out, err = run("estimate", *argv)
    assert (code, err) == (0, "")
    assert out.startswith(says)
    facts = json.loads(run("estimate", *argv, "--json")[1])
    assert facts["known"] == (not says.startswith("unknown"))


def picture(path: str) -> None:
    Image.new("RGB", (320, 256), "teal").save(path)


@pytest.mark.parametrize(
    ("argv", "file"),
    [
        (["a cat", "-m", "flux-dev", "--set", "steps=20"], "made.jpg"),
        (["a cat", "-m", "flux-2-klein-4b", "--set", "input_image=in.png"], "made.jpg"),
        (["a cat", "-m", "flux-2-pro", "-o", "made.webp", "--set", "disable_pup=true"], "made.webp"),
        (["a cat", "-m", "flux-3-image", "--set", "images=in.png", "--set", "images=in.png"], "made.png"),
        (["a cat", "-m", "flux-3-video", "--set", "mode=t2v", "--set", "duration=5"], "made.mp4"),
        (["a cat", "-m", "flux-3-video", "--set", "mode=i2v", "--set", 'keyframes=[[0, "in.png"]]'], "made.mp4"),
        (["-m", "flux-tools/deblur-v1", "--set", "image=in.png"], "made.png"),
        (["-m", "flux-tools/erase-v1", "--set", "image=in.png", "--set", "mask=in.png"], "made.png"),
        (["1234", "-m", "flux-kontext-pro", "--set", "aspect_ratio=16:9"], "made.png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
@pytest.mark.slow
def test_generate_takes_every_field_of_every_family(run: Run, argv: list[str], file: str) -> None:
    """Numbers, words, true and false, lists, and images and videos from files."""
    picture("in.png")
    output = [] if "-o" in argv else ["-o", "made"]
    code, out, err = run("generate", *argv, *output, "--sandbox")
    assert (code, out, err) == (0, f"{file}\n", "")
    assert Path(file).stat().st_size > 1000


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (["steps"], "--set takes FIELD=VALUE, not 'steps'"),
        (["nope=1"], "no such field"),
        (["steps=many"], "steps: "),
        (["seed=1", "seed=2"], "the field 'seed' is given twice"),
        (["image_prompt=missing.png"], "'missing.png' cannot be read"),
        (["image_prompt=text.png"], "image_prompt: "),
    ],
)
def test_field_that_does_not_fit_is_told_before_anything_is_sent(
    run: Run, items: list[str], says: str
) -> None:
    """Exit code 2, what is wrong, and nothing is written."""
    Path("text.png").write_text("no picture")
    code, out, err = run(
        "generate", "a cat", "-m", "flux-dev", *(f"--set={item}" for item in items), "--sandbox"
    )
    assert (code, out) == (2, "")
    assert says in err


@pytest.mark.parametrize("command", ["generate", "estimate"])
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "no prompt: "),
        (["-m", "flux-2-pro"], "no prompt: "),
        (["--width", "512"], "no prompt: "),
        ([""], "the prompt is empty: "),
        ([" \u200b\n"], "the prompt is empty: "),
        (["--set", "prompt="], "the prompt is empty: "),
        (["-m", "flux-2-pro", "  "], "the prompt is empty: "),
        (["-m", "flux-unheard-of", "--allow-unknown-models"], "no prompt: "),
        (["-m", "flux-2-pro", "--no-prompt"], "flux-2-pro needs a prompt"),
        (["a cat", "--no-prompt"], "given together with a prompt"),
    ],
)
@pytest.mark.filterwarnings("ignore:the model")
def test_request_without_its_main_input_is_refused(
    run: Run, command: str, argv: list[str], says: str
) -> None:
    """It would cost as much as one with a prompt; exit code 2 and how to give one."""
    code, out, err = run(command, *argv, *(["--sandbox"] if command == "generate" else []))
    assert (code, out, list(Path().iterdir())) == (2, "", [])
    assert says in err


def test_image_without_a_prompt_is_made_when_asked_for(run: Run) -> None:
    """By a flag, or for a model whose main input is an image."""
    Image.new("RGB", (256, 256)).save("in.png")
    assert run("generate", "--no-prompt", "-o", "a", "--sandbox")[:2] == (0, "a.jpg\n")
    assert run("estimate", "--no-prompt")[1].startswith("4 credits")
    upscale = ("generate", "-m", "flux-tools/deblur-v1", "--set", "image=in.png", "-o", "b", "--sandbox")
    assert run(*upscale)[0] == 0
    redux = ("generate", "--set", "image_prompt=in.png", "-o", "c", "--sandbox")
    assert run(*redux)[0] == 0


def test_prompt_of_a_dash_is_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is one prompt."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a cat\nin the snow\n")))
    code, out, _ = run("generate", "-", "--sandbox", "--json")
    assert (code, json.loads(out)["prompt"]) == (0, "a cat\nin the snow")


def test_finetunes_are_listed_shown_and_deleted(run: Run) -> None:
    """Against the sandbox, which has some."""
    code, out, _ = run("finetunes", "--sandbox")
    assert code == 0
    name = out.splitlines()[0]
    assert json.loads(run("finetunes", "--sandbox", "--json")[1].splitlines()[0])["finetune_id"] == name
    code, out, _ = run("finetunes", "show", name, "--sandbox")
    assert code == 0
    assert isinstance(json.loads(out), dict)
    code, _, err = run("finetunes", "delete", name, "--yes", "--sandbox")
    assert code == 0
    assert err != ""
    assert run("finetunes", "show", "nope", "--sandbox")[0] == 1


@pytest.mark.parametrize("argv", [["--help"], ["models"], ["models", "flux-2-pro"]])
def test_commands_that_ask_nobody_start_lean(argv: list[str]) -> None:
    """They import neither the HTTP client nor the drawing library; help and completion not even asyncio."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bfl_async", *argv],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"aiohttp", "rich", "PIL"} & loaded == set()
    assert argv != ["--help"] or "asyncio" not in loaded


def test_model_names_are_completed_in_a_shell() -> None:
    """What the catalog knows, without a network."""
    done = subprocess.run(
        [sys.executable, "-m", "bfl_async"],
        env={
            "_BFL_ASYNC_COMPLETE": "bash_complete", "COMP_WORDS": "bfl-async generate -m flux-2-k", "COMP_CWORD": "3"
        },
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert "plain,flux-2-klein-4b" in done.stdout
