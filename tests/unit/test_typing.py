"""What type checkers say of the calls by a model's name, and that the generated files are up to date."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mypy import api

from bfl_async.models import _generate

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "tests" / "typing").glob("*.py"))
# What stands after each line that is wrong: the codes of mypy, then the checker that names a word, and the word.
MARK = re.compile(r'# type: ignore\[([a-z,-]+)\](?:  # (both|mypy|pyright): "([^"]+)")?')


@dataclass(frozen=True)
class Wrong:
    """A line that both checkers refuse.

    Args:
        codes: Those of mypy.
        checker: Whose message holds the word: "both", "mypy" or "pyright".
        word: A regular expression; "" for any message.
    """

    codes: frozenset[str]
    checker: str
    word: str

    def is_named(self, checker: str, messages: list[str]) -> bool:
        """Return whether the word is in a message, as far as this checker has to name it."""
        if self.checker not in ("both", checker):
            return True
        return any(re.search(rf"\b({self.word})\b", message) for message in messages)


def wrong_lines() -> dict[tuple[str, int], Wrong]:
    """Return the marked lines of all files, by file name and number."""
    return {
        (path.name, number): Wrong(frozenset(mark[1].split(",")), mark[2] or "both", mark[3] or "")
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if (mark := MARK.search(line))
    }


def bare_files(folder: Path) -> Iterator[Path]:
    """Write the files without what hides their errors; yield their paths."""
    for path in FILES:
        bare = folder / path.name
        bare.write_text(path.read_text().replace("# type: ignore", "#"))
        yield bare


def check(checker: str, found: dict[tuple[str, int], list[str]]) -> None:
    """Compare the lines that a checker refuses with the marked ones."""
    expected = wrong_lines()
    assert found.keys() == expected.keys()
    unnamed = {
        place: found[place] for place, wrong in expected.items() if not wrong.is_named(checker, found[place])
    }
    assert not unnamed


def test_mypy_refuses_wrong_fields_at_the_call(tmp_path: Path) -> None:
    """Exactly the marked lines, each with its codes; where mypy can name the field, it does."""
    assert len(wrong_lines()) >= 30
    bare = [str(path) for path in bare_files(tmp_path)]
    out, err, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), "--no-pretty", *bare])
    assert not err
    found: dict[tuple[str, int], list[str]] = defaultdict(list)
    codes: dict[tuple[str, int], set[str]] = defaultdict(set)
    for name, line, message, code in re.findall(
        r"(\w+\.py):(\d+): error: (.*)  \[([a-z-]+)\]$", out, re.MULTILINE
    ):
        found[name, int(line)].append(message)
        codes[name, int(line)].add(code)
    check("mypy", found)
    assert codes == {place: set(wrong.codes) for place, wrong in wrong_lines().items()}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_pyright_refuses_wrong_fields_at_the_field(tmp_path: Path) -> None:
    """Exactly the marked lines; the message names the field, and begins where its value is."""
    bare = list(bare_files(tmp_path))
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    done = subprocess.run(
        ["pyright", "--outputjson", "-p", str(tmp_path)], capture_output=True, text=True, check=False
    )
    found: dict[tuple[str, int], list[str]] = defaultdict(list)
    lines = {path.name: path.read_text().splitlines() for path in bare}
    for item in json.loads(done.stdout)["generalDiagnostics"]:
        if item["severity"] != "error":
            continue
        name, start = Path(item["file"]).name, item["range"]["start"]
        found[name, start["line"] + 1].append(item["message"])
        field = re.search(r'parameter "(\w+)" of type', item["message"])
        if field and field[1] != "model":
            before = lines[name][start["line"]][: start["character"]]
            assert before.endswith(f"{field[1]}="), item
    check("pyright", found)


def test_generated_files_are_what_the_classes_say() -> None:
    """Overloads, typed fields, and the lists of public names."""
    for path, text in _generate.files().items():
        message = f"{path} is stale: run python -m bfl_async.models._generate"
        assert path.read_text() == text, message
    assert _generate.main(["--check"]) == 0
