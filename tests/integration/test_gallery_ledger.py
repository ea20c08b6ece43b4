"""What the gallery shows of a run: every row that was sent, and the cost that the run itself reports."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Batch, FluxDev
from bfl_async.cli import main
from bfl_async.cli.gallery_rows import Holdings, Row, read_folder
from bfl_async.ledger import inspect_ledger
from bfl_async.models import ImageRequest
from bfl_async.sandbox import Sandbox


async def run_batch(
    folder: Path,
    *prompts: str,
    script: tuple[str | int, ...] = (),
    ledger: Path | None = None,
    retry: bool = False,
) -> None:
    """Run a batch of small images; `script` says how its tasks end."""
    requests: list[ImageRequest] = [
        FluxDev(prompt=prompt, width=512, height=256, seed=number) for number, prompt in enumerate(prompts)
    ]
    async with (
        Sandbox(service_s=0.0) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, limits=1) as bfl,
        Batch.open(
            ledger or folder / "run.db", bfl, save_to=folder, retry_failed=retry, retry_moderated=retry
        ) as batch,
    ):
        sandbox.script(script)
        await batch.add(requests)
        async for _ in batch.run():
            pass


def states_of(holdings: Holdings) -> list[object]:
    return [row["state"] for row in holdings.rows]


def cost_of(rows: list[Row]) -> float:
    return sum(cost for row in rows if isinstance(cost := row.get("cost"), int | float))


async def test_rows_that_came_to_nothing_are_shown_with_their_reason(tmp_path: Path) -> None:
    """In the order of the input, each with all of its fields, and no key of the ledger is in the page."""
    await run_batch(tmp_path, "a", "b", "c", "d", script=("Ready", "Content Moderated", "Error", "Ready"))
    holdings = read_folder(tmp_path)
    assert states_of(holdings) == ["saved", "moderated", "failed", "saved"]
    assert [row["prompt"] for row in holdings.rows] == ["a", "b", "c", "d"]
    assert [row.get("fields") for row in holdings.rows] == [
        {"height": 256, "width": 512, **({} if "seed" in row else {"seed": number})}
        for number, row in enumerate(holdings.rows)
    ]
    assert all(row.get("error") for row in holdings.rows[1:3])
    assert main(["gallery", str(tmp_path)]) == 0
    page = (tmp_path / "gallery.html").read_text("utf-8")
    assert not [key for row in holdings.rows if str(key := row["key"]) in page]


async def test_totals_agree_with_the_run(tmp_path: Path) -> None:
    """Also after tries that were repeated: the ledger counts each, and a row shows its last."""
    await run_batch(tmp_path, "a", "b", "c", script=("Ready", "Error", "Content Moderated"))
    await run_batch(tmp_path, "a", "b", "c", retry=True)
    holdings = read_folder(tmp_path)
    assert states_of(holdings) == ["saved"] * 3
    view = inspect_ledger(tmp_path / "run.db")
    assert holdings.totals is not None
    assert holdings.totals.credits == view.spent_credits >= cost_of(holdings.rows) > 0
    assert (holdings.totals.queued, holdings.totals.unpriced) == (0, 0)


async def test_image_that_the_manifest_does_not_list_yet_is_shown(tmp_path: Path) -> None:
    """A run that was killed between the two has it in its ledger; what both have is one row."""
    await run_batch(tmp_path, "a", "b")
    manifest = tmp_path / "manifest.jsonl"
    both = read_folder(tmp_path).rows
    manifest.write_bytes(manifest.read_bytes().splitlines(keepends=True)[0])
    assert read_folder(tmp_path).rows == both
    manifest.unlink()
    assert [row["file"] for row in read_folder(tmp_path).rows] == [row["file"] for row in both]


async def test_ledger_elsewhere_is_read_where_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its name, the page shows what the manifest lists."""
    folder, ledger = tmp_path / "out", tmp_path / "elsewhere.db"
    await run_batch(folder, "a", "b", script=("Error",), ledger=ledger)
    assert states_of(read_folder(folder)) == ["saved"]
    assert states_of(read_folder(folder, ledger)) == ["failed", "saved"]
    assert main(["gallery", str(folder), "--ledger", str(tmp_path / "none.db")]) == 2
    assert "there is no ledger" in capsys.readouterr().err


async def test_queued_rows_are_counted(tmp_path: Path) -> None:
    """A run that was stopped has sent none of them, so they have no tile."""
    async with (
        Sandbox() as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path) as batch,
    ):
        await batch.add([FluxDev(prompt=str(number)) for number in range(7)])
    holdings = read_folder(tmp_path)
    assert holdings.rows == []
    assert holdings.totals is not None
    assert holdings.totals.queued == 7


@pytest.mark.parametrize(
    "kind", ["text", "empty", "other tables", "bad state", "bad fields", "pipe", "folder"]
)
async def test_ledger_that_is_none_takes_away_no_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """Whatever stands under its name: the images are shown, and at most a line says what is missing."""
    await run_batch(tmp_path, "a", "b", script=("Ready", "Error"))
    ledger = tmp_path / "run.db"
    if kind in ("bad state", "bad fields"):
        column, value = ("state", "'odd'") if kind == "bad state" else ("fields", "'{'")
        with sqlite3.connect(ledger) as db:
            db.execute("PRAGMA ignore_check_constraints = on")
            db.execute(f"UPDATE entries SET {column} = {value}")
        db.close()
    else:
        ledger.unlink()
    if kind == "text":
        ledger.write_text("this is no database, however long it may be" * 100)
    elif kind == "empty":
        ledger.write_bytes(b"")
    elif kind == "other tables":
        with sqlite3.connect(ledger) as db:
            db.execute("CREATE TABLE mine (x)")
        db.close()
    elif kind == "pipe":
        os.mkfifo(ledger)
    elif kind == "folder":
        ledger.mkdir()
    assert main(["gallery", str(tmp_path)]) == 0
    err = capsys.readouterr().err
    assert len(err.splitlines()) <= 1
    assert "Traceback" not in err
    assert [row["file"] for row in read_folder(tmp_path).rows if row["state"] == "saved"] == ["00000-a.jpg"]


async def test_link_to_a_ledger_elsewhere_is_not_followed(tmp_path: Path) -> None:
    """A folder of a stranger must not bring the prompts of another run into its page."""
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    await run_batch(mine, "my own prompt", script=("Error",))
    theirs.mkdir()
    (theirs / "manifest.jsonl").write_text(json.dumps({"index": 0, "prompt": "x", "file": "x.png"}) + "\n")
    (theirs / "run.db").symlink_to(mine / "run.db")
    holdings = read_folder(theirs)
    assert [row["prompt"] for row in holdings.rows] == ["x"]
    assert holdings.totals is None
