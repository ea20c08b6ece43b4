"""What type checkers say of the calls by a model's name, and that the generated files are up to date."""

from __future__ import annotations

import re
from pathlib import Path

from mypy import api

from bfl_async.models import _generate

_FILE = Path(__file__).parent.parent / "typing" / "typed_calls.py"


def test_wrong_fields_are_type_errors_and_right_ones_are_not(tmp_path: Path) -> None:
    """Exactly the lines that are told to be, each with its error."""
    marked = {
        (number, code[1])
        for number, line in enumerate(_FILE.read_text().splitlines(), start=1)
        if (code := re.search(r"# type: ignore\[([a-z-]+)\]", line))
    }
    assert len(marked) >= 10
    bare = tmp_path / "typed_calls.py"
    bare.write_text(_FILE.read_text().replace("# type: ignore", "#"))
    root = Path(__file__).parent.parent.parent
    out, err, _ = api.run(["--config-file", str(root / "pyproject.toml"), "--no-pretty", str(bare)])
    assert not err
    refused = re.findall(r"typed_calls\.py:(\d+): error: .*\[([a-z-]+)\]$", out, re.MULTILINE)
    assert {(int(line), code) for line, code in refused} == marked, out


def test_generated_files_are_what_the_classes_say() -> None:
    """Overloads, typed fields, and the lists of public names."""
    for path, text in _generate.files().items():
        message = f"{path} is stale: run python -m bfl_async.models._generate"
        assert path.read_text() == text, message
    assert _generate.main(["--check"]) == 0
