"""What a batch will send is named before it is sent: by `--dry-run`, by `--max-cost`, and beside a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.integration.test_cli import Run, run

__all__ = ["run"]  # the fixture

KLEIN = ("-m", "flux-2-klein-4b", "--width", "512", "--height", "512")  # 1.4 credits
PRO = ("-m", "flux-pro-1.1")  # 4 credits


def plan_of(run: Run, *argv: str) -> dict[str, object]:
    code, out, err = run("batch", *argv, "--dry-run")
    assert code == 0
    assert err.endswith("nothing was sent\n")
    plan = json.loads(out)["plan"]
    assert isinstance(plan, dict)
    return plan


def begin(run: Run, *model: str, rows: int = 9, usd: str = "0.13") -> None:
    """Begin a batch that its budget stops."""
    Path("p.txt").write_text("".join(f"a fish {n}\n" for n in range(rows)))
    assert run("batch", "p.txt", *model, "-o", "out", "--sandbox", "--budget", usd)[0] == 4


def saved(run: Run) -> int:
    return int(json.loads(run("status", "out", "--json")[1])["counts"]["saved"])


@pytest.mark.slow
def test_resume_is_planned_and_bounded_like_a_beginning(run: Run) -> None:
    """What a budget left queued counts for --dry-run and --max-cost, to the credit."""
    begin(run, *PRO)
    assert saved(run) == 3
    plan = plan_of(run, "p.txt", *PRO, "-o", "out")
    assert (plan["new"], plan["in_ledger"], plan["send"], plan["usd"]) == (0, 9, 6, 0.24)
    code, out, err = run("batch", "p.txt", *PRO, "-o", "out", "--sandbox", "--max-cost", "0.239")
    assert (code, out) == (4, "")
    assert "the cost of 6 requests is about 0.24 USD, and --max-cost is 0.239 USD: nothing was sent" in err
    assert saved(run) == 3
    assert run("batch", "p.txt", *PRO, "-o", "out", "--sandbox", "--max-cost", "0.24")[0] == 0
    assert saved(run) == 9
    assert plan_of(run, "p.txt", *PRO, "-o", "out")["usd"] == 0.0


def test_what_an_earlier_input_left_is_named_and_not_sent(run: Run) -> None:
    """A wrong model, stopped: the right one is all that the next command pays for, and exit code 0 is in reach."""
    begin(run, *PRO)
    plan = plan_of(run, "p.txt", *KLEIN, "-o", "out")
    assert (plan["send"], plan["usd"]) == (9, 0.126)
    assert plan["left"] == {"count": 6, "usd": 0.24, "unpriced": 0}
    assert plan_of(run, "p.txt", *KLEIN, "-o", "out", "--and-earlier")["usd"] == 0.366
    code, _, err = run("batch", "p.txt", *KLEIN, "-o", "out", "--sandbox")
    assert (code, saved(run)) == (3, 12)
    first = err.splitlines()[0]
    assert first.startswith(
        "not sent: 6 entries of an earlier input that this one does not ask for (6 queued; "
    )
    assert "--and-earlier" in first
    assert "bfl-async drop" in first
    code, _, err = run("drop", "out", "--queued")
    assert (code, err) == (0, "removed 6 entries from 'out/run.db'; left: 12 saved\n")
    assert run("batch", "p.txt", *KLEIN, "-o", "out", "--sandbox")[0] == 0


@pytest.mark.slow
def test_lines_that_were_deleted_are_paid_only_when_said(run: Run) -> None:
    """The file was cut: --and-earlier sends the rest."""
    begin(run, *PRO, rows=7)
    Path("p.txt").write_text("a fish 0\n")
    assert run("batch", "p.txt", *PRO, "-o", "out", "--sandbox")[0] == 3
    assert saved(run) == 3
    assert run("batch", "p.txt", *PRO, "-o", "out", "--sandbox", "--and-earlier")[0] == 0
    assert saved(run) == 7


@pytest.mark.slow
def test_retries_are_planned_each_by_its_flag(run: Run) -> None:
    """Only of rows that the input asks for; a plan that is refused changes nothing."""
    Path("p.txt").write_text("[fail] a\n[fail] b\n[moderate-output] c\nd\n")
    assert run("batch", "p.txt", *PRO, "-o", "out", "--sandbox")[0] == 3
    Path("p.txt").write_text("[fail] a\n[moderate-output] c\nd\n")
    plan = plan_of(run, "p.txt", *PRO, "-o", "out", "--retry-failed", "--retry-moderated")
    parts = {part["part"]: part["count"] for part in plan["parts"]}  # type: ignore[attr-defined]  # JSON
    assert parts == {"new": 0, "queued": 0, "retry_failed": 1, "retry_moderated": 1}
    assert plan["left"] == {"count": 1, "usd": 0.04, "unpriced": 0}
    argv = ("batch", "p.txt", *PRO, "-o", "out", "--sandbox")
    assert run(*argv, "--retry-failed", "--max-cost", "0.03")[0] == 4
    assert plan_of(run, *argv[1:6])["send"] == 0
    code, out, _ = run(*argv, "--retry-failed", "--max-cost", "0.04")
    assert (code, json.loads(out.splitlines()[-1])["summary"]["outcomes"]) == (3, 1)


def test_unknown_price_is_never_a_figure(run: Run) -> None:
    """Neither 0.0 in JSON nor 0.00 USD in words."""
    Path("p.jsonl").write_text('{"prompt": "a", "model": "flux-dev"}\n')
    code, out, err = run("batch", "p.jsonl", "-o", "out", "--dry-run")
    assert (code, json.loads(out)["plan"]["usd"], json.loads(out)["plan"]["unpriced"]) == (0, None, 1)
    assert "cost unknown" in err
    with Path("p.jsonl").open("a") as file:
        file.write('{"prompt": "b", "model": "flux-pro-1.1"}\n')
    code, out, err = run("batch", "p.jsonl", "-o", "out", "--dry-run")
    assert "cost about 0.04 USD, and 1 of unknown price" in err


def test_dropped_entries_keep_their_cost_and_can_be_asked_for_again(run: Run) -> None:
    """`status` counts what was paid; the row is then a new one."""
    Path("p.txt").write_text("[moderate-output] a\nb\n")
    assert run("batch", "p.txt", *PRO, "-o", "out", "--sandbox")[0] == 3
    spent = json.loads(run("status", "out", "--json")[1])["credits_spent"]
    assert run("drop", "out/run.db", "--index", "0")[0] == 0
    status = json.loads(run("status", "out", "--json")[1])
    assert (status["credits_spent"], status["counts"]["moderated"]) == (spent, 0)
    assert plan_of(run, "p.txt", *PRO, "-o", "out")["new"] == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["missing", "--queued"], "there is no ledger 'missing'"),
        (["out"], "say what to remove"),
        (
            ["out", "--index", "0"],
            "nothing was removed: entry 0 is saved, and what is paid and saved stays in the ledger",
        ),
        (["out", "--index", "1", "--index", "7"], "there is no entry 7 in 'out/run.db': nothing was removed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_drop_that_cannot_be_done_is_one_line(run: Run, argv: list[str], says: str) -> None:
    """And removes nothing."""
    Path("p.txt").write_text("a\n[fail] b\n")
    assert run("batch", "p.txt", *KLEIN, "-o", "out", "--sandbox")[0] == 3
    code, out, err = run("drop", *argv)
    assert (code, out) == (2, "")
    assert says in err
    assert json.loads(run("status", "out", "--json")[1])["counts"]["failed"] == 1


@pytest.mark.slow
def test_pipe_sends_what_it_asks_for_and_nothing_else(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no plan of a pipe; what an earlier input left stays queued all the same."""
    begin(run, *PRO)
    Path("in.txt").write_text("a fish 8\na bird\n")
    with Path("in.txt").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        code, out, _ = run("batch", "-", *PRO, "-o", "out", "--sandbox")
    prompts = {line["prompt"] for line in map(json.loads, out.splitlines()) if "prompt" in line}
    assert (code, prompts) == (3, {"a fish 8", "a bird"})


def test_columns_that_are_not_used_are_named_in_the_plan(run: Run) -> None:
    """On stderr and in JSON; a column that is almost a field is refused in one line."""
    Path("p.csv").write_text("prompt,Category\na,b\n")
    code, out, err = run("batch", "p.csv", *PRO, "--dry-run")
    assert (code, json.loads(out)["plan"]["ignored_columns"]) == (0, ["Category"])
    assert err.startswith("columns of 'p.csv' that are not used: Category\n")
    Path("p.csv").write_text("prompt,widht\na,512\n")
    code, _, err = run("batch", "p.csv", *PRO, "--dry-run")
    assert (code, err.count("\n")) == (2, 1)
    assert run("batch", "p.csv", *PRO, "--dry-run", "--ignore-column", "widht")[0] == 0


@pytest.mark.slow
def test_plan_knows_what_a_lost_ledger_had_paid(run: Run) -> None:
    """The manifest's lines count as done, in the plan as in the run."""
    Path("p.txt").write_text("a\nb\n")
    assert run("batch", "p.txt", *PRO, "-o", "out", "--sandbox")[0] == 0
    for path in Path("out").glob("run.db*"):
        path.unlink()
    Path("p.txt").write_text("a\nb\nc\n")
    plan = plan_of(run, "p.txt", *PRO, "-o", "out")
    assert (plan["new"], plan["send"], plan["usd"]) == (1, 1, 0.04)
    code, out, _ = run("batch", "p.txt", *PRO, "-o", "out", "--sandbox", "--max-cost", "0.04")
    assert (code, json.loads(out.splitlines()[-1])["summary"]["outcomes"]) == (0, 1)


def test_dry_run_refuses_a_ledger_that_the_run_refuses(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was begun with the sandbox, and the true API; the other way round it is the same."""
    Path("p.txt").write_text("a\n")
    assert run("batch", "p.txt", *KLEIN, "-o", "out", "--sandbox")[0] == 0
    # Without a key, nothing says where a run would send to.
    code, _, err = run("batch", "p.txt", *KLEIN, "-o", "out", "--dry-run")
    assert code == 0
    assert err.startswith("'out/run.db' was begun with the sandbox: add --sandbox to go on with it")
    assert run("batch", "p.txt", *KLEIN, "-o", "out", "--dry-run", "--sandbox")[0] == 0
    monkeypatch.setenv("BFL_API_KEY", "bfl_" + "k" * 24)
    answers = [run("batch", "p.txt", *KLEIN, "-o", "out", *dry) for dry in ([], ["--dry-run"])]
    assert answers[0] == answers[1]
    code, out, err = answers[0]
    assert (code, out) == (2, "")
    assert (
        "begun with the sandbox (or another server on this machine), and this run uses bfl.ai: choose" in err
    )


def test_deleted_images_are_named_and_made_again_when_asked(run: Run) -> None:
    """The plan has their cost, the entry keeps its number and name, and what was paid before stays counted."""
    Path("p.txt").write_text("a\nb\nc\n")
    argv = ("batch", "p.txt", *PRO, "-o", "out", "--sandbox")
    assert run(*argv)[0] == 0
    Path("out/00001-b.jpg").unlink()
    names = "1 image is missing in 'out': 00001-b.jpg; `batch` with --retry-missing makes it again, and pays again\n"
    code, out, err = run(*argv)
    assert (code, names in err, Path("out/00001-b.jpg").exists()) == (0, True, False)
    assert names in run("status", "out")[1]
    assert json.loads(run("status", "out", "--json")[1])["missing"] == 1
    plan = plan_of(run, *argv[1:])
    assert (plan["send"], plan["missing"]) == (0, ["00001-b.jpg"])
    plan = plan_of(run, *argv[1:], "--retry-missing")
    assert (plan["send"], plan["usd"], plan["in_ledger"]) == (1, 0.04, 3)
    assert {"part": "retry_missing", "count": 1, "usd": 0.04, "unpriced": 0} in plan["parts"]  # type: ignore[operator]  # JSON
    assert run(*argv, "--retry-missing", "--max-cost", "0.03")[0] == 4
    assert json.loads(run("status", "out", "--json")[1])["counts"]["saved"] == 3
    code, out, err = run(*argv, "--retry-missing", "--max-cost", "0.04")
    assert (code, json.loads(out.splitlines()[-1])["summary"]["outcomes"]) == (0, 1)
    assert "missing in" not in err
    assert Path("out/00001-b.jpg").exists()
    status = json.loads(run("status", "out", "--json")[1])
    assert (status["missing"], status["credits_spent"]) == (0, 16.0)
    assert run(*argv, "--retry-missing")[1].count("\n") == 1


def test_missing_images_of_other_rows_are_not_made_again(run: Run) -> None:
    """Only what the input asks for."""
    Path("p.txt").write_text("a\nb\n")
    assert run("batch", "p.txt", *KLEIN, "-o", "out", "--sandbox")[0] == 0
    for path in Path("out").glob("*.jpg"):
        path.unlink()
    Path("p.txt").write_text("a\n")
    code, out, err = run("batch", "p.txt", *KLEIN, "-o", "out", "--sandbox", "--retry-missing")
    assert (code, json.loads(out.splitlines()[-1])["summary"]["outcomes"]) == (0, 1)
    assert "1 image is missing in 'out': 00001-b.jpg" in err
    assert [path.name for path in Path("out").glob("*.jpg")] == ["00000-a.jpg"]


def test_corrected_prompt_brings_the_exit_code_back_to_0(run: Run) -> None:
    """The message says how: what was moderated stays in the ledger until it is dropped."""
    Path("p.txt").write_text("a cat\na dog [moderate-prompt]\n")
    argv = ("batch", "p.txt", *KLEIN, "-o", "out", "--sandbox")
    code, _, err = run(*argv)
    assert code == 3
    assert "1 moderated: correct its prompt and run the command again" in err
    command = re.search(r"`bfl-async (drop out --moderated)`, and the exit code can be 0", err)
    assert command is not None
    Path("p.txt").write_text("a cat\na dog\n")
    assert run(*argv)[0] == 3
    assert run(*command[1].split())[0] == 0
    assert run(*argv)[0] == 0


def test_few_requests_take_the_time_of_one(run: Run) -> None:
    """A slot that has nothing to do makes no task quicker."""
    seconds = []
    for count in (1, 2, 12, 24):
        Path("p.txt").write_text("".join(f"a fish {n}\n" for n in range(count)))
        seconds.append(float(str(plan_of(run, "p.txt", *PRO, "--limit", "12", "-o", "out")["seconds"])))
    assert seconds[0] == seconds[1] == seconds[2]
    assert seconds[3] == pytest.approx(2 * seconds[0], abs=0.2)
