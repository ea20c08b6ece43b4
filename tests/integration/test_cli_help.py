"""What the command says of itself holds: examples run, exit codes are those of the table, shells complete it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bfl_async.cli import main
from bfl_async.cli.app import cli
from bfl_async.cli.exit_codes import ExitCode
from bfl_async.models.catalog import CATALOG
from tests.integration.test_cli import Run, run, server

__all__ = ["run", "server"]  # the fixtures

KLEIN = ("-m", "flux-2-klein-4b")  # the quickest
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
COMMAND = shutil.which("bfl-async", path=str(Path(sys.executable).parent)) or "bfl-async"


def commands(command: click.Command = cli, *words: str) -> Iterator[tuple[str, click.Command]]:
    """Every command with its words, groups included."""
    yield " ".join(words), command
    if isinstance(command, click.Group):
        for name, beneath in command.commands.items():
            yield from commands(beneath, *words, name)


def examples(command: click.Command) -> list[str]:
    """The lines of the help's examples."""
    _, _, lines = (command.help or "").partition("Examples:")
    return [line.strip() for line in lines.splitlines() if line.strip()]


def arguments(example: str) -> list[str]:
    """What the shell would give to the command."""
    lexer = shlex.shlex(example, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    words = words[words.index("bfl-async") + 1 :]
    ends = (at for at, word in enumerate(words) if re.fullmatch(r"[|&;<>()]+", word))
    return words[: next(ends, len(words))]


ALL = dict(commands())
EXAMPLES = [line for command in ALL.values() for line in examples(command)]
# Those that end by themselves and need neither a database nor a key; the rest is parsed.
RUN = [
    line for line in EXAMPLES
    if line.startswith("bfl-async ") and arguments(line)[0] not in ("sandbox", "worker", "enqueue", "jobs", "login")
]  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_help_has_a_purpose_in_one_line_and_two_examples(name: str) -> None:
    """The list of commands shows the purpose whole, in 80 columns."""
    command = ALL[name]
    purpose = (command.help or "").splitlines()[0]
    assert purpose.endswith(".")
    assert command.get_short_help_str(limit=80 - len("  completion  ")) == purpose
    assert len(examples(command)) >= 2
    for line in examples(command):
        assert f"bfl-async {name}".strip() in line or name == ""


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_parses(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the help's examples has a command, options and arguments that there are."""
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "yes")
    context = cli.make_context("bfl-async", arguments(example))
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest:
            break  # a group that works by itself
        name, command, rest = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("server", [200], indirect=True)
@pytest.mark.slow
def test_examples_run(run: Run, server: subprocess.Popen[str]) -> None:
    """One after the other, as a reader would type them; only ids and the host are the sandbox's."""
    Path("prompts.txt").write_text("a cat\na dog\n")
    Path("stories.txt").write_text("a cat\nin a hat\n\na dog\n")
    Path("prompts").mkdir()
    Path("prompts/more.txt").write_text("# birds\na bird\n")
    Path("animals.csv").write_text("animal,style\ncat,oil\n")
    Path("prompts.tsv").write_text("Prompt\tCaption\n1\ta cat\n")
    finetune = run("finetunes")[1].splitlines()[0]
    assert run("generate", "a cat", "-o", "cat.jpg")[0] == 0
    task_id = str(re.search(r'"task_id": "([^"]+)"', run("generate", "a cat", "--json")[1])[1])  # type: ignore[index]  # None fails the test
    ids = {r"TASK_ID|[0-9a-f]{8}-[0-9a-f-]{27}": task_id, "my-style": finetune}
    # This sandbox serves no description of the API; test_sandbox_openapi.py has one that does.
    kept = [line for line in RUN if "delete" not in line and "models --update" not in line]
    asks = [line for line in RUN if "delete" in line and "--yes" in line]
    assert len(kept) > 20
    for line in [*kept, *asks]:  # what is shown must still be there
        for pattern, ours in ids.items():
            line = re.sub(pattern, ours, line)
        words = arguments(line.replace("https://api.bfl.ai", os.environ["BFL_BASE_URL"]))
        if "-o" in words and Path(words[words.index("-o") + 1]).is_file():
            words.append("--force")  # an earlier example has written it
        code, _, err = run(*words)
        assert code == 0, f"{line}: {err}"


def test_reference_and_help_have_the_table_of_exit_codes() -> None:
    """One table, in the code."""
    assert all(f"| `{code:d}` | {code.meaning} |\n" in REFERENCE.read_text("utf-8") for code in ExitCode)
    shown = cli.get_help(click.Context(cli))
    assert all(
        re.search(rf"^ *{code:d}  {re.escape(code.meaning)}$", shown, re.MULTILINE) for code in ExitCode
    )


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["models"], ExitCode.DONE),
        (["generate", "[fail] x", *KLEIN, "--sandbox"], ExitCode.FAILED),
        (["nope"], ExitCode.USAGE),
        (["batch", "prompts.txt", *KLEIN, "--sandbox"], ExitCode.PARTIAL),
        (["batch", "prompts.txt", "--budget", "0.01", "--sandbox"], ExitCode.ACCOUNT),
        (["generate", "[moderate-prompt] x", *KLEIN, "--sandbox"], ExitCode.MODERATED),
    ],
)
def test_exit_code_is_produced(run: Run, argv: list[str], code: ExitCode) -> None:
    """Each of the table; a pipe's is beneath, those of signals are where batches are interrupted, in test_cli.py."""
    Path("prompts.txt").write_text("a cat\n[fail] x\n")
    assert run(*argv)[0] == code


def test_exit_code_of_a_reader_that_has_gone_is_produced(tmp_path: Path) -> None:
    """`bfl-async models | head -1`, and not a word on stderr."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "bfl_async", "models"], stdout=gone, stderr=subprocess.PIPE, cwd=tmp_path
        )
    assert (done.returncode, done.stderr) == (ExitCode.READER_GONE, b"")


# --- completion ---------------------------------------------------------------------------------------------

SHELLS = {
    # Each prints what it would offer for the words after `words`; bash and zsh as their own machinery calls the script.
    "bash": """
        compopt() { local IFS=" "; echo "compopt $*"; }
        source ./script
        COMP_WORDS=({words}); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _bfl_async_completion bfl-async
        printf '%s\\n' "${COMPREPLY[@]}"
    """,
    "zsh": """
        compdef() { }
        compadd() { print -l -- $completions }
        _describe() { print -l -- ${completions_with_descriptions%%:*} }
        _path_files() { print "compopt -o default" }
        source ./script
        words=({words}); CURRENT=$#words
        _bfl_async_completion
    """,
    "fish": """
        source script
        complete -C "{words}" | string split -f 1 \\t
    """,
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("bfl-async generate -m flux-2-k", [name for name in CATALOG if name.startswith("flux-2-k")]),
        ("bfl-async gen", ["generate"]),
        ("bfl-async finetunes sh", ["show"]),
        ("bfl-async batch --format ts", ["tsv"]),
        ("bfl-async batch --retry-f", ["--retry-failed"]),
        ("bfl-async batch pro", ["prompts.txt"]),
    ],
)
def test_shell_completes(tmp_path: Path, shell: str, words: str, offered: list[str]) -> None:
    """Commands, models, choices, options and files, in the shells themselves."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "prompts.txt").touch()
    script = subprocess.run([COMMAND, "completion", shell], capture_output=True, text=True, check=True)
    (tmp_path / "script").write_text(script.stdout)
    done = subprocess.run(
        [shell, "-c", SHELLS[shell].replace("{words}", words)],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    found = done.stdout.split("\n")[:-1]
    if "compopt -o default" in found:  # the shell itself looks for files
        found = ["prompts.txt"]
    assert sorted(line for line in found if line) == sorted(offered), done.stderr


def test_completion_imports_little() -> None:
    """Who presses Tab waits: neither the HTTP client nor the drawing library is loaded for it."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bfl_async"],
        env={
            **os.environ, "_BFL_ASYNC_COMPLETE": "bash_complete", "COMP_WORDS": "bfl-async generate -m flux-2-k",
            "COMP_CWORD": "3",
        },
        capture_output=True,
        text=True,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "plain,flux-2-klein-4b" in done.stdout
    assert {"aiohttp", "anyio", "rich", "PIL"} & loaded == set()


def test_module_is_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    """`python -m bfl_async` says what `bfl-async` says."""
    assert main(["models"]) == 0
    shown = capfd.readouterr().out
    # Not the environment of the process, to which readline adds COLUMNS.
    env = dict(os.environ)
    for command in ([sys.executable, "-m", "bfl_async"], [COMMAND]):
        done = subprocess.run([*command, "models"], env=env, capture_output=True, text=True, check=True)
        assert done.stdout == shown


def test_command_alone_shows_the_help(run: Run) -> None:
    """In its own lines, on stderr, with the exit code of a usage error."""
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err == run("--help")[1]
